import html.parser
import re

import numpy as np
import pytest

from kpose import images, report
from kpose.errors import InputError
from kpose.evaluation import DEFINITIONS, Example, score
from kpose.joints import BODY_13


class Page(html.parser.HTMLParser):
    """Collects what a browser would load and show."""

    def __init__(self):
        super().__init__()
        self.tags, self.references, self.text, self.anchors = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for key, value in attrs if key in ("src", "href")]
        self.anchors += [value for key, value in attrs if key == "id"]

    def handle_data(self, data):
        self.text.append(data)


def parse(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def picture(value=128, size=32):
    return np.full((size, size, 3), value, np.uint8)


def people(count=5):
    rng = np.random.default_rng(2)
    joints = np.ones((count, 13, 3), np.float32)
    joints[..., :2] = rng.uniform(0.1, 0.9, (count, 13, 2))
    return joints, joints[..., :2] + rng.normal(0, 0.05, (count, 13, 2))


def test_a_report_holds_everything_itself(tmp_path):
    path = tmp_path / "report.html"

    report.write_report(
        path,
        "Scores of <compact>",
        [
            report.Table("Scores", ["", "All"], [["a & b", "63.1"]], note="of 100"),
            report.Text("Method", "1 < 2"),
            report.Terms("Words", {"P&K": "x > y", "px": "pixels"}),
            report.Pictures("People", [report.photo(picture(), "left & right")]),
            report.Text("Card", '{"a":\n 1}', preformatted=True),
        ],
    )

    page = parse(path)
    links = [ref for ref in page.references if not ref.startswith("data:image/")]
    assert links == [f"#{anchor}" for anchor in page.anchors] and len(links) == 5
    assert page.tags.count("img") == 1 and len(page.references) == 1 + 5
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?://", path.read_text(encoding="utf-8"))
    text = "".join(page.text)
    for shown in (
        "Scores of <compact>",
        "a & b",
        "63.1",
        "1 < 2",
        "P&K",
        "x > y",
        "left & right",
    ):
        assert shown in text
    assert page.tags.count("dt") == page.tags.count("dd") == 2
    assert '{"a":\n 1}' in text
    assert 'name="viewport"' in path.read_text(encoding="utf-8")


def test_a_report_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("the old one")

    with pytest.raises(AttributeError):
        report.write_report(path, "New", [report.Table("T", ["a"], [[1.5]])])

    assert path.read_text() == "the old one"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def png(value):
    return images.encode(picture(value), "png", 0)


def test_named_pictures_lie_beside_the_report(tmp_path):
    path = tmp_path / "deep" / "july.html"
    first, second = png(10), png(20)
    pictures = [
        report.Figured(first, "a", "curve"),
        report.Figured(second, "b", "curve"),
        report.Figured(png(30), "nameless"),
    ]

    report.write_report(path, "T", [report.Pictures("Plots", pictures)])
    plots = {f.name: f.read_bytes() for f in (tmp_path / "deep/july_plots").iterdir()}
    assert plots == {"curve.png": first, "curve_2.png": second}

    # Another report in its place: none of the old plots is left.
    again = [report.Pictures("Plots", [report.Figured(second, "b", "bars")])]
    report.write_report(path, "T", again)
    assert [f.name for f in (tmp_path / "deep/july_plots").iterdir()] == ["bars.png"]
    report.write_report(path, "T", [])
    assert [f.name for f in (tmp_path / "deep").iterdir()] == ["july.html"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "a_plots").mkdir()
    (tmp_path / "a_plots" / "notes.txt").write_text("mine")

    with pytest.raises(InputError, match=r"a_plots must hold nothing but the plots"):
        report.write_report(tmp_path / "a.html", "T", [])

    assert (tmp_path / "a_plots" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "a.html").exists()


def test_large_crops_are_drawn_smaller():
    joints = np.ones((13, 3), np.float32) / 2
    example = Example(0, 1.0, picture(size=512), joints, joints[:, :2])

    found = report.compare(example, BODY_13, [])

    assert images.decode(found.data).shape == (224, 2 * 224 + 4, 3)


def test_pictures_keep_their_pixels(tmp_path):
    found = report.photo(picture(value=200), "grey")

    assert found.data[:2] == b"\xff\xd8"
    np.testing.assert_allclose(images.decode(found.data), picture(value=200), atol=2)


def test_compare_draws_truth_on_the_left_and_prediction_on_the_right():
    joints = np.zeros((13, 3), np.float32)
    head = BODY_13.names.index("head")
    joints[head] = 0.25, 0.5, 1
    keypoints = np.full((13, 2), 0.75, np.float32)
    keypoints[head] = 0.75, 0.5
    example = Example(1, 112.0, picture(0, size=64), joints, keypoints)

    found = report.compare(example, BODY_13, ["im0001", "im0002"])

    assert found.caption == "im0002: 112.0 px"
    green = images.decode(found.data)[..., 1].astype(float)
    for panel, x in ((green[:, :64], 0.25), (green[:, 68:], 0.75)):
        rows, columns = np.indices(panel.shape)
        weights = np.where(panel > 20, panel, 0)  # without the noise of JPEG
        found_x = (columns * weights).sum() / weights.sum()
        found_y = (rows * weights).sum() / weights.sum()
        # A joint at u has its centre at u * 64 - 0.5; an unannotated one is not drawn.
        np.testing.assert_allclose([found_x, found_y], [64 * x - 0.5, 31.5], atol=0.2)


def sections(tmp_path, **options):
    joints, keypoints = people()
    scores = score(joints, keypoints, BODY_13)
    return report.score_sections("compact", scores, BODY_13, **options)


def test_score_sections_say_what_was_measured(tmp_path):
    path = tmp_path / "report.html"

    report.write_report(path, "T", sections(tmp_path, facts="Flip test on."))

    text = " ".join(" ".join(parse(path).text).split())
    assert "PCK@0.2 head wrist elbow shoulder hip knee ankle All px" in text
    assert "other metrics AUC PCKh@0.5 AP AP50 AP75" in text
    assert "% head wrist elbow shoulder hip knee ankle All AUC, compact" in text
    for term, meaning in DEFINITIONS.items():
        assert f"{term} {meaning}" in text
    assert "torso length = distance from right shoulder to left hip" in text
    assert "Flip test on." in text


def test_score_sections_with_everything(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("epoch,loss,learning_rate,val_pck_all\n1,2.5,0.1,20\n2,1.5,0.1,30\n")

    found = sections(
        tmp_path,
        card={"model": "compact"},
        history=log,
        leak="2 of 3 are near",
        times={"decode": 1.54, "crop": 0.25, "network": 30.0},
    )

    titles = [section.title for section in found]
    assert titles == [
        "Scores",
        "PCK curve",
        "Each joint",
        "Errors by joint",
        "Right and left",
        "Leak score",
        "Time per stage",
        "Training",
        "Other metrics",
        "AUC and PCKh by joint",
        "Definitions",
        "Model card",
    ]
    assert found[titles.index("Leak score")].text == "2 of 3 are near."
    times = found[titles.index("Time per stage")]
    assert [row[1] for row in times.rows] == ["1.5", "0.2", "30.0", "31.8"]
    for title in ("PCK curve", "Errors by joint", "Training"):
        (plot,) = found[titles.index(title)].pictures
        assert images.decode(plot.data).shape[1] > 800
        assert images.decode(plot.data).std() > 5  # something is drawn


def test_confidence_has_a_diagram_that_says_whether_it_is_calibrated():
    joints, keypoints = people(40)
    confidence = np.random.default_rng(0).uniform(0.4, 1, (40, 13))
    scores = score(joints, keypoints, BODY_13, confidence)
    curve = {"raw": [0, 1], "probability": [0, 1]}
    card = {"confidence": {"one_pass": curve, "flip_test": curve}}

    def diagram(**options):
        sections = report.score_sections("compact", scores, BODY_13, **options)
        (section,) = [found for found in sections if found.title == "Confidence"]
        return section.pictures[0]

    plot = diagram(card=card)

    error = f"{100 * scores.calibration_error:.1f} %"
    assert plot.caption == (
        f"Confidence of 520 keypoints: expected calibration error {error}."
    )
    assert images.decode(plot.data).std() > 5
    assert diagram(card={}).caption == plot.caption[:-1] + "; not calibrated."


@pytest.mark.parametrize(
    "content", ["epoch,loss\n1,2\n", "epoch,loss,val_pck_all\n1,a,2\n", None]
)
def test_a_wrong_log_is_named(tmp_path, content):
    log = tmp_path / "log.csv"
    if content is not None:
        log.write_text(content)

    with pytest.raises(InputError, match=r"log\.csv must be a CSV file"):
        report.plot_history(log)
