"""RTMDet and YOLOX, on tiny ONNX files whose outputs are known."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from kpose import detection
from kpose.errors import InputError
from kpose.geometry import Box

SIZE = 32


def write(path, outputs, shape=(1, 3, SIZE, SIZE)):
    """Write an ONNX file and return its path.

    Args:
        path: The file.
        outputs: By name, the constant to answer and its dependence on the picture:
            a list of (place in the flat output, input channel), which adds the mean
            of the channel to that number.
        shape: Of the input.
    """
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0)
    ]
    constants, declared = [], []
    for name, (value, places) in outputs.items():
        integral = value.dtype == np.int64
        dtype = onnx.TensorProto.INT64 if integral else onnx.TensorProto.FLOAT
        declared.append(helper.make_tensor_value_info(name, dtype, value.shape))
        constants.append(numpy_helper.from_array(value, f"{name}_value"))
        if integral:
            nodes.append(helper.make_node("Identity", [f"{name}_value"], [name]))
            continue
        weights = np.zeros((3, value.size), np.float32)
        for place, channel in places:
            weights[channel, place] = 1
        constants += [
            numpy_helper.from_array(weights, f"{name}_weights"),
            numpy_helper.from_array(np.array(value.shape), f"{name}_shape"),
        ]
        nodes += [
            helper.make_node("MatMul", ["mean", f"{name}_weights"], [f"{name}_flat"]),
            helper.make_node(
                "Reshape", [f"{name}_flat", f"{name}_shape"], [f"{name}_part"]
            ),
            helper.make_node("Add", [f"{name}_part", f"{name}_value"], [name]),
        ]
    image = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "tiny", [image], declared, constants)
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def picture(color, height=64, width=64):
    return np.full((height, width, 3), color, np.uint8)


def maps():
    """Return RTMDet's three maps for 32 pixels, without any person."""
    return [
        np.full((1, SIZE // stride, SIZE // stride, 5), -20, np.float32)
        for stride in (8, 16, 32)
    ]


def raw_rtmdet(path, **options):
    """Row 1, column 2 of stride 8 has a person where the picture is red.

    The cell below it says almost the same box with a score of 0.6, and row 1, column 0
    of stride 16 another one with 0.7.
    """
    fine, middle, coarse = maps()
    fine[0, 1, 2] = [0, 4, 2, 6, 8]
    fine[0, 2, 2] = [np.log(0.6 / 0.4), 4, 10, 6, 0.5]
    middle[0, 1, 0] = [np.log(0.7 / 0.3), 1, 0, 8, 16]
    outputs = {
        "a": (fine, [((1 * 4 + 2) * 5, 2)]),
        "b": (middle, []),
        "c": (coarse, []),
    }
    return write(path, outputs, **options)


RED = (255, 116.28, 103.53)
"""The red channel is (255 - 123.675) / 58.395 after normalisation, the others ~0."""

RED_SCORE = 1 / (1 + np.exp(-(255 - 123.675) / 58.395))


def test_rtmdet_decodes_distances_from_the_corner_of_the_cell(tmp_path):
    path = raw_rtmdet(tmp_path / "raw.onnx")

    found = detection.open(f"rtmdet:{path}").detect(picture(RED))

    # x0 = 2 * 8 - 4, y0 = 1 * 8 - 2, x1 = 2 * 8 + 6, y1 = 1 * 8 + 8; the picture is
    # twice as large as the input. The cell below is suppressed.
    assert [one.box for one in found] == [
        Box(24, 12, 44, 32),
        Box(-2, 32, 16, 64),
    ]
    assert [one.score for one in found] == pytest.approx([RED_SCORE, 0.7], abs=1e-3)


def test_rtmdet_sees_red_as_its_last_channel(tmp_path):
    path = raw_rtmdet(tmp_path / "raw.onnx")

    found = detection.open(f"rtmdet:{path}").detect(picture((0, 0, 255)))

    # Without red the logit is -123.675 / 58.395, and the cell below wins.
    assert [one.score for one in found] == pytest.approx([0.7, 0.6], abs=1e-5)


def test_rtmdet_of_free_size_runs_at_320(tmp_path):
    path = tmp_path / "free.onnx"
    dets = np.array([[[160, 160, 320, 320, 0.5]]], np.float32)
    outputs = {"dets": (dets, []), "labels": (np.array([[0]]), [])}
    write(path, outputs, shape=("N", 3, "H", "W"))

    found = detection.open(f"rtmdet:{path}").detect(picture(RED, 32, 32))

    assert [one.box for one in found] == [Box(16, 16, 32, 32)]


def test_rtmdet_with_suppression_inside_takes_label_0(tmp_path):
    dets = [[1, 2, 30, 20, 0.9], [0, 0, 9, 9, 0.8], [4, 4, 16, 8, 0.3], [0] * 5]
    outputs = {
        "dets": (np.array([dets], np.float32), []),
        "labels": (np.array([[0, 1, 0, 0]]), []),
    }
    path = write(tmp_path / "deployed.onnx", outputs)

    detector = detection.open(f"rtmdet:{path}")
    found = detector.detect(picture(RED, 16, 32))

    assert [one.box for one in found] == [Box(1, 2, 30, 20), Box(4, 4, 16, 8)]
    assert [one.score for one in found] == pytest.approx([0.9, 0.3])
    assert detector.threshold == 0.25


CELLS = 16 + 4 + 1


def raw_yolox(path):
    """Row 1, column 0 of stride 16 (number 18) has a person, as sure as it is red."""
    values = np.zeros((1, CELLS, 7), np.float32)
    values[0, 18] = [0.5, 0.25, np.log(2), 0, 0, 1 / 255, 0]
    values[0, 17] = [0, 0, 0, 0, 0, 0, 1]  # the other class
    return write(path, {"output": (values, [(18 * 7 + 4, 2), (17 * 7 + 4, 2)])})


def test_yolox_decodes_centre_and_size_in_strides(tmp_path):
    detector = detection.open(f"yolox:{raw_yolox(tmp_path / 'raw.onnx')}")

    (found,) = detector.detect(picture((204, 0, 0), 32, 32))

    # Centre (0.5 * 16, 1.25 * 16), width 2 * 16, height 16; object 204, class 1 / 255.
    np.testing.assert_allclose(found.box, (-8, 12, 24, 28), atol=1e-5)
    assert found.score == pytest.approx(0.8, abs=1e-5)
    assert detector.threshold == 0.3


def test_yolox_sees_red_as_its_last_channel(tmp_path):
    detector = detection.open(f"yolox:{raw_yolox(tmp_path / 'raw.onnx')}")

    assert detector.detect(picture((0, 204, 204), 32, 32)) == []


def test_yolox_keeps_one_of_two_cells_that_say_the_same(tmp_path):
    values = np.zeros((1, CELLS, 6), np.float32)
    values[0, 18] = [0.5, 0.25, 0, 0, 0.9, 0.9]
    values[0, 19] = [-0.5, 0.25, 0, 0, 0.8, 0.8]
    path = write(tmp_path / "twice.onnx", {"output": (values, [])})

    found = detection.open(f"yolox:{path}").detect(picture((0, 0, 0), 32, 32))

    assert [one.score for one in found] == pytest.approx([0.81])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_tiny_pictures_work(tmp_path, size):
    for name in (
        f"yolox:{raw_yolox(tmp_path / 'yolox.onnx')}",
        f"rtmdet:{raw_rtmdet(tmp_path / 'rtmdet.onnx')}",
    ):
        found = detection.open(name).detect(picture((255, 0, 0), *size))

        # The boxes in the input are less than 2 pixels of a picture of 1 x 1.
        assert bool(found) == (size != (1, 1))


@pytest.mark.parametrize("contract", ["rtmdet", "yolox"])
@pytest.mark.parametrize(
    ("output", "shape"),
    [
        (np.zeros((1, 17, 3), np.float32), (1, 3, SIZE, SIZE)),
        (np.zeros((1, CELLS, 5), np.float32), (1, 3, SIZE, SIZE)),
        (np.full((1, CELLS, 85), 90, np.float32), (1, 3, SIZE, SIZE)),
        (np.zeros((1, 4, 4, 6), np.float32), (1, 3, SIZE, SIZE)),
        (np.zeros((1, 4, 3, 5), np.float32), (1, 3, SIZE, SIZE)),
    ],
    ids=["pose", "no_class", "decoded", "six_channels", "other_stride"],
)
def test_other_outputs_are_refused_with_what_came(tmp_path, contract, output, shape):
    path = write(tmp_path / "other.onnx", {"found": (output, [])}, shape)

    with pytest.raises(InputError, match=r"expected .* output.*other\.onnx with found"):
        detection.open(f"{contract}:{path}")


def test_another_input_is_refused_with_what_came(tmp_path):
    shape = (1, SIZE, SIZE, 3)
    image, answer = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name in ("pixels", "answer")
    )
    nodes = [helper.make_node("Identity", ["pixels"], ["answer"])]
    graph = helper.make_graph(nodes, "same", [image], [answer])
    opset = [helper.make_opsetid("", 13)]
    path = tmp_path / "other.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)

    with pytest.raises(InputError, match=r"\[1, 3, H, W\].* pixels tensor\(float\)"):
        detection.open(f"rtmdet:{path}")


def test_a_file_without_an_input_is_refused(tmp_path):
    value = helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [1.0])
    answer = helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, [1])
    nodes = [helper.make_node("Constant", [], ["answer"], value=value)]
    graph = helper.make_graph(nodes, "constant", [], [answer])
    opset = [helper.make_opsetid("", 13)]
    path = tmp_path / "constant.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)

    with pytest.raises(InputError, match=r"one input .* got .*constant\.onnx with $"):
        detection.open(f"yolox:{path}")


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    path = raw_yolox(tmp_path / "cut.onnx")
    path.write_bytes(path.read_bytes()[:400])

    with pytest.raises(InputError, match=r"an ONNX file that .* got .*cut\.onnx"):
        detection.open(f"yolox:{path}")


def test_the_identity_follows_the_content_and_not_the_name(tmp_path):
    one = detection.open(f"yolox:{raw_yolox(tmp_path / 'one.onnx')}")
    copy = detection.open(f"yolox:{raw_yolox(tmp_path / 'copy.onnx')}")
    values = np.zeros((1, CELLS, 6), np.float32)
    path = write(tmp_path / "other.onnx", {"output": (values, [])})
    other = detection.open(f"yolox:{path}")

    assert one.name != copy.name
    assert one.identity == copy.identity != other.identity
