"""The clothing experiment: who is in which phase, and all of it on tiny recordings."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from kpose import clothing, experiment, models, phases, training
from kpose import config as recipes
from kpose.config import Config, Training
from kpose.errors import InputError
from kpose.examples import Source, prepare
from kpose.joints import BODY_13
from kpose.models import store
from kpose.records import ImageRef, PersonRecord
from kpose.shards import PreparedData
from kpose_cli.main import main

COLORS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 80, 230)}


def draw_takes(folder, takes, source="takes"):
    """Write pictures of a dotted person per take and return their records.

    Args:
        folder: Where the pictures go.
        takes: (recording, clothing, split, frames) each.
        source: Name of the data set.
    """
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    base = np.stack(
        [60 + 20 * (np.arange(13) % 3 - 1), np.linspace(20, 140, 13)], axis=1
    )
    records = []
    for take, worn, split, frames in takes:
        for number in range(frames):
            joints = np.ones((13, 3), np.float32)
            joints[:, :2] = base + random.uniform(-6, 6, base.shape)
            image = random.integers(0, 90, (160, 120, 3), np.uint8)
            for x, y in joints[:, :2]:
                center = (round(float(x)), round(float(y)))
                cv2.circle(
                    image, center, 4, COLORS.get(worn, (250, 250, 250))[::-1], -1
                )
            path = folder / f"{take}-{number:03}.png"
            cv2.imwrite(str(path), image)
            records.append(
                PersonRecord(
                    path.stem,
                    ImageRef(path),
                    joints,
                    np.ones(13, np.int8),
                    source,
                    take,
                    split,
                    recording=take,
                    subject="anna",
                    clothing=worn,
                )
            )
    return records


TAKES = [
    ("a", "red", "train", 20),
    ("b", "green", "train", 14),
    ("c", "blue", "train", 5),
    ("d", "", "train", 3),
    ("e", "red", "test", 6),
    ("f", "green", "train", 1),
]


def make(folder, takes, **options):
    records = draw_takes(folder / "pictures", takes)
    options = {"size": 64, "codec": "png", "workers": 1} | options
    prepare([Source("takes", records, "public domain")], folder / "data", **options)
    return folder / "data"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A prepared folder of four takes in three clothings, one take untagged, and one of
    test persons in red.
    """
    return make(tmp_path_factory.mktemp("recorded"), TAKES)


def test_the_folder_knows_who_wears_what(recorded):
    data = PreparedData.open(recorded)

    worn = [name for _, name, _, frames in TAKES for _ in range(frames)]
    assert data.clothing.tolist() == worn
    assert set(data.subject.tolist()) == {"anna"}
    assert data.summary["clothing"] == {
        "blue": {"train": 5},
        "green": {"train": 15},
        "red": {"test": 6, "train": 20},
    }


def test_a_folder_without_these_columns_opens(recorded, tmp_path):
    index = dict(np.load(recorded / "index.npz"))
    del index["clothing"], index["subject"]
    old = PreparedData(recorded, PreparedData.open(recorded).summary, index)

    assert old.clothing.tolist() == old.subject.tolist() == [""] * len(old)
    with pytest.raises(InputError, match="49 persons without a tag"):
        phases.plan(old)


def test_the_phases_by_hand(recorded):
    """Crops 0-19 red, 20-33 green, 34-38 blue, 39-41 untagged, 42-47 red test, 48
    green. The last tenth of every take is held out: 2, 1, 1, and none of one frame.
    """
    found = phases.plan(PreparedData.open(recorded))

    assert found.clothing == "red"
    assert found.test_ids.tolist() == [*range(42, 48)]
    assert found.untagged == 3
    first, second, full = found.phases
    assert [phase.name for phase in found.phases] == ["phase-1", "phase-2", "full"]
    assert first.clothing == ("blue", "green")
    assert first.train_ids.tolist() == [*range(20, 33), *range(34, 38), 48]
    assert first.val_ids.tolist() == [33, 38]
    assert second.clothing == ("red",)
    assert second.train_ids.tolist() == [*range(18)]
    assert second.val_ids.tolist() == [18, 19]
    assert full.clothing == ("blue", "green", "red")
    both = {*first.train_ids.tolist(), *second.train_ids.tolist()}
    assert full.train_ids.tolist() == sorted(both)
    assert full.val_ids.tolist() == [18, 19, 33, 38]


def test_only_persons_in_the_tested_clothing_are_tested(tmp_path):
    data = PreparedData.open(make(tmp_path, [*TAKES, ("g", "blue", "test", 2)]))

    assert phases.plan(data, "red").test_ids.tolist() == [*range(42, 48)]
    assert phases.plan(data, "blue").test_ids.tolist() == [49, 50]


def test_a_val_split_is_taken_where_the_clothing_has_one(tmp_path):
    takes = [
        ("a", "red", "train", 10),
        ("b", "red", "val", 3),
        ("c", "blue", "train", 10),
        ("e", "red", "test", 2),
    ]

    found = phases.plan(PreparedData.open(make(tmp_path, takes)), "red")

    first, second, _ = found.phases
    assert second.train_ids.tolist() == [*range(10)]
    assert second.val_ids.tolist() == [10, 11, 12]
    assert first.train_ids.tolist() == [*range(13, 22)]
    assert first.val_ids.tolist() == [22]


def test_both_crops_of_a_person_are_on_one_side(recorded):
    """As where a detector was asked: here every two crops are one person."""
    data = PreparedData.open(recorded)
    data.first[:] = np.arange(len(data)) % 2 == 0

    _, second, _ = phases.plan(data).phases

    assert second.train_ids.tolist() == [*range(18)]
    assert second.val_ids.tolist() == [18]


@pytest.mark.parametrize(
    ("takes", "name", "message"),
    [
        (TAKES, "pink", "must be one of blue, green, red, those of .*: 'pink'"),
        (TAKES, "green", "test persons who wear green. Received: .* in red"),
        (TAKES[:2], None, "held-out persons of split test: .*@all"),
        (
            [*TAKES, ("g", "blue", "test", 2)],
            None,
            "give the clothing that is tested, .* wear 2: blue, red",
        ),
        (TAKES[1:], None, "train and to validate on who wear red. Received: 0 and 0"),
        (
            [TAKES[0], TAKES[4]],
            None,
            "who wear anything but red. Received: 0 and 0",
        ),
    ],
    ids=["unknown", "not tested", "no test", "two tested", "no red", "red alone"],
)
def test_what_cannot_be_divided_is_refused(tmp_path, takes, name, message):
    data = PreparedData.open(make(tmp_path, takes))

    with pytest.raises(InputError, match=message):
        phases.plan(data, name)


def recipe(**changes):
    values = {"epochs": 2, "batch": 4, "optimizer": "adamw", "learning_rate": 1e-3}
    return Config(training=Training(**(values | {"ema": 0.5} | changes)))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """An untrained tiny network that stands for a pretrained one."""
    model = {"name": "linna2016", "size": 64, "width": 0.02, "dropout": 0.2}
    network = models.build(**model, skeleton=BODY_13)
    card = {
        "model": model,
        "skeleton": BODY_13.to_json(),
        "size": 64,
        "mean_pose": [[0.5, 0.5]] * 13,
        "training": {"data": [{"source": "photos", "persons": 9, "licence": "?"}]},
    }
    path = tmp_path_factory.mktemp("pretrained") / "small.keras"
    store.save(network, card, path)
    return path


@pytest.fixture(scope="module")
def general(tmp_path_factory):
    folder = tmp_path_factory.mktemp("general")
    records = draw_takes(folder / "p", [("x", "", "test", 5)], "photos")
    return Source("photos", records, "public domain")


@pytest.fixture(scope="module")
def finished(recorded, pretrained, general, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "out"
    lines = []
    results = clothing.run(
        recorded,
        recipe(),
        out,
        init=str(pretrained),
        general=[general],
        report=lines.append,
    )
    return out, results, lines


def test_the_experiment_writes_its_results(finished, pretrained):
    out, results, lines = finished

    assert results == json.loads((out / "results.json").read_text())
    assert results["clothing"] == "red"
    found = results["phases"]
    assert found["phase-1"]["clothing"] == {"blue": 4, "green": 14}
    assert found["phase-2"]["clothing"] == {"red": 18}
    assert found["full"]["persons"] == 36
    assert [found[name]["takes"] for name in found] == [3, 1, 4]
    assert results["test"]["persons"] == 6
    assert results["general"]["evaluated"] == {"photos test": 5}
    assert results["general"]["leak"] == {"pretrained": None, "full": None}
    assert results["untagged"] == 3
    assert lines[0] == (
        "phase 1: 18 persons to train on, 2 to validate on, in clothing blue, green"
    )
    for name in ("figure_6", "frontier", "training"):
        plot = out / "report_plots" / f"{name}.png"
        assert plot.read_bytes().startswith(b"\x89PNG")
    html = (out / "report.html").read_text()
    assert "Table 5" in html and "96.8" in html and html.count("<img") == 3 + 6


def test_phase_2_goes_on_from_phase_1_and_full_from_the_start(finished, pretrained):
    out, _, _ = finished
    start = store.read_card(pretrained)["sha256"]
    cards = {name: store.read_card(out / name / "last.keras")
             for name in ("phase-1", "phase-2", "full")}  # fmt: skip

    initial = {
        name: card["training"]["initial_weights"]["sha256"]
        for name, card in cards.items()
    }
    assert initial == {
        "phase-1": start,
        "phase-2": cards["phase-1"]["sha256"],
        "full": start,
    }
    for card in cards.values():
        assert card["training"]["test_persons_trained_on"] == 0


def test_table_5_has_the_rows_of_the_paper_and_more(finished):
    _, results, _ = finished

    header, rows = clothing.table(results)

    assert header[1:] == [*"head wrist elbow shoulder hip knee ankle".split(), "All",
                          "px"]  # fmt: skip
    assert [row[0] for row in rows] == [
        "general: mean pose",
        "general: pretrained",
        "general: full",
        "use case: mean pose",
        "use case: pretrained",
        "use case: phase 1",
        "use case: phase 2",
        "use case: full",
        "paper, general: mean pose",
        "paper, general: pretrained",
        "paper, general: full",
        "paper, use case: pretrained",
        "paper, use case: phase 1",
        "paper, use case: phase 2",
        "paper, use case: full",
    ]
    assert rows[-1][1:] == "99.3 89.2 95.9 99.7 97.6 98.5 98.6 96.8 -".split()
    assert all(len(row) == len(header) for row in rows)


def test_the_papers_all_is_weighted_by_joints():
    """Reading 16; catches a number of Table 5 typed wrongly."""
    for rows in clothing.PAPER.values():
        for values in rows.values():
            limbs = sum(v for k, v in values.items() if k not in ("head", "all"))
            assert (values["head"] + 2 * limbs) / 13 == pytest.approx(
                values["all"], abs=0.1
            )


def test_scores_are_those_of_the_stored_networks(finished, recorded):
    """Also: the frontier's ends are the networks of the table."""
    out, results, _ = finished
    result = CliRunner().invoke(
        main,
        ["eval", str(out / "full" / "last.keras"), str(recorded), "--split", "test",
         "--json"],
    )  # fmt: skip
    scores = json.loads(result.stdout.splitlines()[-1])

    found = results["networks"]["full"]["use-case"]
    assert found["pck@0.2"] == scores["pck@0.2"]
    assert found["pixel_error"] == scores["pixel_error"]
    errors = [joint["mean_px"] for joint in found["joints"].values()]
    assert np.mean(errors) == pytest.approx(found["pixel_error"], abs=1e-3)
    assert found["curve"][20] == pytest.approx(found["pck@0.2"]["all"], abs=1e-3)
    by_line = {}
    for point in results["frontier"]:
        by_line.setdefault(point["line"], []).append(point["network"])
    assert by_line == {
        "phase-1": ["pretrained", "phase-1-epoch-01", "phase-1"],
        "phase-2": ["phase-1", "phase-2-epoch-01", "phase-2"],
        "full": ["pretrained", "full-epoch-01", "full"],
        "average": [
            "pretrained",
            "average-0.25",
            "average-0.5",
            "average-0.75",
            "full",
        ],
    }
    assert results["frontier"][-1]["use_case"] == found["pck@0.2"]["all"]


def test_asked_again_nothing_is_trained_or_predicted_again(
    finished, recorded, pretrained, general, monkeypatch
):
    out, results, _ = finished
    lines = []

    def never(*args, **options):
        raise AssertionError("predicted again")

    monkeypatch.setattr(training.Trainer, "step", never)
    monkeypatch.setattr(clothing.runtime, "open", never)
    again = clothing.run(
        recorded,
        recipe(),
        out,
        init=str(pretrained),
        clothing="red",
        general=[general],
        report=lines.append,
    )

    assert again["networks"] == results["networks"]
    assert [line for line in lines if "finished before" in line] == [
        f"{name}: finished before" for name in ("phase-1", "phase-2", "full")
    ]


def test_predictions_of_another_network_are_made_again(
    finished, recorded, pretrained, general
):
    """Here: as if ``full`` had been another network, and its people others."""
    out, results, _ = finished
    file = out / "predictions" / "full.npz"
    arrays = dict(np.load(file))
    arrays["use-case of"] = np.array("of another network")
    arrays["use-case"] += 1
    np.savez(file, **arrays)
    lines = []

    again = clothing.run(
        recorded,
        recipe(),
        out,
        init=str(pretrained),
        general=[general],
        report=lines.append,
    )

    assert [line for line in lines if "predicted" in line] == [
        "full: predicted 11 persons"
    ]
    assert again["networks"] == results["networks"]


def test_a_general_set_that_was_trained_on_is_said(recorded, pretrained, tmp_path):
    seen = Source("takes", draw_takes(tmp_path / "p", TAKES[:1]), "public domain")

    results = clothing.run(
        recorded, recipe(epochs=1), tmp_path / "out", init=str(pretrained),
        general=[seen],
    )  # fmt: skip

    assert results["general"]["leak"]["pretrained"] is None
    line = "the model was trained or chosen on persons of takes train"
    assert results["general"]["leak"]["full"] == line
    said = f"general, full: not a score on new people: {line}"
    assert said in clothing.facts(results)


def test_another_experiment_in_the_folder_is_refused(finished, recorded, pretrained):
    out, _, _ = finished

    with pytest.raises(InputError, match="another recipe: training seed 0 there, 3"):
        clothing.run(recorded, recipe(seed=3), out, init=str(pretrained))


@pytest.mark.slow
def test_a_stopped_experiment_goes_on_to_the_same_numbers(
    finished, recorded, pretrained, general, tmp_path, monkeypatch
):
    """Killed in the second epoch of phase 2, whose start is phase 1's last network."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    call = {"init": str(pretrained), "general": [general]}
    whole = clothing.run(recorded, recipe(), tmp_path / "whole", **call)
    step, done = training.Trainer.step, []

    def failing(self, images, joints):
        # Phase 1: 2 epochs of 4 steps. Phase 2: 4 more, and one of its second.
        if len(done) == 13:
            raise KeyboardInterrupt
        done.append(1)
        return step(self, images, joints)

    monkeypatch.setattr(training.Trainer, "step", failing)
    with pytest.raises(KeyboardInterrupt):
        clothing.run(recorded, recipe(), tmp_path / "cut", **call)
    assert training.load_state(tmp_path / "cut" / "phase-2").epoch == 1
    monkeypatch.setattr(training.Trainer, "step", step)
    again = clothing.run(recorded, recipe(), tmp_path / "cut", **call)

    assert again["networks"] == whole["networks"]
    assert again["frontier"] == whole["frontier"]


def test_without_a_general_set_there_is_no_frontier(recorded, pretrained, tmp_path):
    results = clothing.run(
        recorded, recipe(epochs=1), tmp_path / "out", init=str(pretrained)
    )

    assert results["general"] is None and results["frontier"] == []
    assert [row[0] for row in clothing.table(results)[1]][:2] == [
        "use case: mean pose",
        "use case: pretrained",
    ]
    assert not (tmp_path / "out" / "report_plots" / "frontier.png").exists()
    assert not (tmp_path / "out" / "averages").exists()
    assert "general" not in clothing.conclusion(results)


def kpose(*arguments):
    return CliRunner().invoke(main, ["experiment", "clothing", *map(str, arguments)])


def test_the_command_prints_the_table(recorded, pretrained, tmp_path):
    toml = tmp_path / "recipe.toml"
    toml.write_text(recipe().to_toml())
    call = (recorded, "--init", pretrained, "--preset", toml, "--epochs", 1)

    result = kpose(*call, "--out", tmp_path / "out")

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:3] == ["PCK@0.2", "head", "wrist"]
    assert lines[1].startswith("use case: mean pose ")
    said = "phase 2: 18 persons of 1 takes (clothing red: 18), 1 epochs in"
    assert any(line.startswith(said) for line in lines)
    assert lines[-1] == f"report: {tmp_path / 'out' / 'report.html'}"


def test_bad_calls_are_one_line_and_write_nothing(
    recorded, tiny_data, tiny_coco_data, tmp_path
):
    out = tmp_path / "out"
    calls = {
        "must be one of blue, green, red": [recorded, "--clothing", "pink"],
        "24 persons without a tag": [tiny_data],
        "data must be NAME:PATH": [recorded, "--general", "none:here"],
        "there is no nowhere": [recorded, "--init", "nowhere"],
        "preset must be one of": [recorded, "--preset", "quick"],
        "has no dataset.json": [tmp_path],
    }
    for message, call in calls.items():
        result = kpose(*call, "--out", out)
        assert result.exit_code == 1, message
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert not out.exists(), message


def test_a_network_with_other_joints_is_refused(recorded, tmp_path):
    data = PreparedData.open(recorded)
    other = dataclasses.replace(BODY_13, names=BODY_13.names[:1], limbs=())
    card = {"skeleton": other.to_json(), "size": 64}
    monkeypatched = tmp_path / "other.keras"
    import zipfile

    with zipfile.ZipFile(monkeypatched, "w") as archive:
        archive.writestr("kpose.json", json.dumps(card))

    with pytest.raises(InputError, match="must have the joints of"):
        clothing.pretrained_card(str(monkeypatched), data)


def test_the_packaged_recipe_takes_any_network():
    found = recipes.load("clothing")

    assert found.model == {} and found.training.epochs == 5
    assert experiment.init_digest("compact")
