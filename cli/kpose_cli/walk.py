"""The stages of ``kpose demo``: each calls what the command of its name calls."""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import kpose
from kpose import (
    artefacts,
    drawing,
    examples,
    images,
    persons,
    prediction_files,
    runtime,
    video,
)
from kpose.errors import InputError
from kpose.files import atomic_file, read_json, write_json
from kpose.geometry import Box, person_box
from kpose.joints import BODY_13
from kpose.predictor import Predictor
from kpose.records import ImageRef, PersonRecord
from kpose.runtime import Runtime
from kpose.shards import PreparedData
from kpose_cli.common import counted, progress
from kpose_datasets import synthetic

if TYPE_CHECKING:
    from kpose.config import Config
    from kpose.evaluation import Scores

SEED = 11
"""Of everything that is rendered: a room and clothes that are pleasant to look at."""

START = "compact"
"""The packaged model that the demo starts from."""

SETTINGS = "demo.json"
"""Marks a folder as a demo's and says which."""

SUMMARY = "summary.json"
"""Written last: its presence says that the demo is finished."""

SHOWN = 6
"""Frames of the clip in the overlay picture."""

GENERAL, USE_CASE = "general", "use_case"
TITLES = {GENERAL: "varied people", USE_CASE: "the use case"}

BEFORE, AFTER = "pretrained", "finetuned"
"""Names of the two runs."""

CLIP = "clip.mp4"

STAGES = {
    "render": "draw varied people, a use case, and a clip of it",
    "prepare": "cut the crops",
    "pretrain": "train on varied people",
    "finetune": "train on the use case",
    "evaluate": "score both networks on people that neither has seen",
    "export": "write SavedModel and TFLite, run and compare them",
    "predict": "find the joints in the clip",
    "report": "write report.html",
}

Report = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Args:
        name: ``"full"`` or ``"quick"``.
        general: Pictures of varied people.
        use_case: Pictures of the use case.
        seconds: Length of the clip.
        pretrain: Changes to the training of the recipe ``compact`` for varied people.
        finetune: The same for the use case.
        size: Side of the crops where the demo starts from no model.
    """

    name: str
    general: int
    use_case: int
    seconds: float
    pretrain: dict[str, Any]
    finetune: dict[str, Any]
    size: int


FULL = Plan(
    name="full",
    general=1500,
    use_case=500,
    seconds=4.0,
    pretrain={"epochs": 2, "learning_rate": 5e-4, "ema": 0.97},
    finetune={"epochs": 5, "learning_rate": 3e-4, "ema": 0.95},
    size=128,
)

QUICK = Plan(
    name="quick",
    general=80,
    use_case=60,
    seconds=2.0,
    pretrain={"epochs": 1, "batch": 8, "learning_rate": 3e-4, "ema": 0.7},
    finetune={"epochs": 1, "batch": 8, "learning_rate": 3e-4, "ema": 0.7},
    size=96,
)

SCRATCH: dict[str, Any] = {
    "name": "compact",
    "backbone": "mobilenet_v1_0.25",
    "head": "simcc",
}
"""The network where there is no model to start from: small, with random weights."""


def walk(out: Path, plan: Plan, init: str | None, report: Report) -> dict[str, Any]:
    """Go the whole way and leave ``report.html`` and ``overlay.png`` in ``out``.

    Args:
        out: New, empty, or a demo of the same plan, which is continued.
        plan: How much is done.
        init: A model to start from, ``"none"``, or None for the packaged one.
        report: Called with one line per stage.

    Returns:
        The summary: scores of each set before and after finetuning, the export's
        parity, seconds per stage of this call, paths.

    Raises:
        InputError: If ``out`` holds something else.
        GateError: If an exported file does not answer as the network does.
    """
    if init is None:
        init = START if START in artefacts.packaged() else "none"
    card = None if init == "none" else artefacts.read_card(init)
    settings: dict[str, Any] = {
        "kpose": kpose.__version__,
        "demo": plan.name,
        "init": init,
    }
    if card is not None:
        settings["sha256"] = card.get("sha256")
    if claim(out, settings, report):
        report(f"{out} holds this demo, finished; remove the folder to run it again")
        return dict(read_json(out / SUMMARY))
    clock = _Clock(report)
    size = int(card["size"]) if card else plan.size
    with clock("render"):
        render(out, plan)
    with clock("prepare"):
        for name in (GENERAL, USE_CASE):
            prepare(out, name, size)
    with clock("pretrain"):
        shorter = recipe(plan.pretrain, {**SCRATCH, "size": size} if not card else {})
        pretrained = _train(out / "data" / GENERAL, shorter, out / BEFORE, init, report)
    with clock("finetune"):
        shorter = recipe(plan.finetune, {})
        start = str(out / BEFORE)
        finetuned = _train(out / "data" / USE_CASE, shorter, out / AFTER, start, report)
    with clock("evaluate"):
        models = {run: runtime.open(out / run) for run in (BEFORE, AFTER)}
        scores = {name: evaluate(out, name, models) for name in (GENERAL, USE_CASE)}
    with clock("export"):
        exported = _export(out)
    with clock("predict"):
        _predict(out, models[BEFORE])
    summary = {
        "out": str(out),
        **settings,
        "training": {BEFORE: pretrained, AFTER: finetuned},
        "scores": {
            name: {run: row.to_json() for run, row in rows.items()}
            for name, rows in scores.items()
        },
        "export": exported,
        "report": str(out / "report.html"),
        "overlay": str(out / "overlay.png"),
        "video": str(out / "predicted" / "clip.mp4"),
    }
    with clock("report"):
        _report(out, plan, scores, exported, clock.stages)
    summary |= {"seconds": round(clock.total, 1), "stages": clock.stages}
    write_json(out / SUMMARY, summary)
    return summary


class _Clock:
    """Says what begins and how long it took."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._start = time.monotonic()
        self.stages: dict[str, float] = {}

    @property
    def total(self) -> float:
        return time.monotonic() - self._start

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._report(f"[{_minutes(self.total)}] {stage}: {STAGES[stage]}")
        start = time.monotonic()
        yield
        self.stages[stage] = round(time.monotonic() - start, 1)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def claim(out: Path, settings: dict[str, Any], report: Report) -> bool:
    """Make ``out`` this demo's; return whether the demo in it is finished already.

    Raises:
        InputError: If it holds something else.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} must be a folder or not exist, but is a file")
    marker = out / SETTINGS
    if marker.is_file():
        found = read_json(marker)
        for key, value in settings.items():
            if not isinstance(found, dict) or found.get(key) != value:
                raise InputError(
                    f"{out} must be new, empty or of the same demo, but {marker.name} "
                    f"has another {key} than {value!r}: give another --out or remove it"
                )
        if (out / SUMMARY).is_file():
            return True
        report(f"continuing the interrupted demo in {out}")
    elif out.exists() and any(out.iterdir()):
        raise InputError(
            f"{out} must be new, empty or a demo's, but holds something else"
        )
    write_json(marker, settings)
    return False


def render(out: Path, plan: Plan) -> None:
    """Draw the recordings and the clip that are not there yet."""
    folder = out / "recordings"
    for name, look, count in (
        (GENERAL, "varied", plan.general),
        (USE_CASE, "use_case", plan.use_case),
    ):
        if not (folder / name).exists():
            with progress(count, f"rendering {name}") as advance:
                synthetic.write(
                    folder / name, count=count, seed=SEED, look=look, progress=advance
                )
    if not (out / CLIP).exists():
        synthetic.write_clip(out / CLIP, seed=SEED, seconds=plan.seconds)


def people(out: Path, name: str, splits: tuple[str, ...]) -> list[PersonRecord]:
    """Return the rendered people of some splits."""
    return [
        record
        for record in synthetic.read(out / "recordings" / name)
        if record.split in splits
    ]


def records(out: Path, name: str, splits: tuple[str, ...]) -> examples.Source:
    """Return the rendered people of some splits as a data set."""
    return examples.Source("synthetic", people(out, name, splits), synthetic.LICENCE)


def prepare(out: Path, name: str, size: int) -> None:
    """Cut the crops to train and to validate on."""
    source = records(out, name, ("train", "val"))
    with progress(None, f"preparing {name}") as advance:
        examples.prepare(
            [source],
            out / "data" / name,
            size=size,
            started=lambda labels: advance(0, total=labels),
            progress=advance,
        )


def recipe(changes: dict[str, Any], model: dict[str, Any]) -> "Config":
    """Return the recipe ``compact`` with a shorter training and another network."""
    from kpose import config

    compact = config.load("compact")
    training = dataclasses.replace(compact.training, **changes)
    return dataclasses.replace(compact, training=training, model=model)


def _train(
    data: Path, recipe: "Config", run: Path, init: str, report: Report
) -> dict[str, Any]:
    from kpose import training

    resume = (run / "resume.npz").is_file()
    if not resume and run.exists():
        shutil.rmtree(run)  # killed before it had anything to go on from
    return training.train(
        data,
        recipe,
        run,
        init=init,
        resume=resume,
        report=lambda line: report(f"  {line}"),
    )


def evaluate(out: Path, name: str, models: dict[str, Runtime]) -> "dict[str, Scores]":
    """Return the scores on the test persons before and after finetuning."""
    from kpose import evaluation

    source = records(out, name, ("test",))
    baseline = PreparedData.open(out / "data" / name).mean_pose
    scores = {}
    for run, model in models.items():
        people = persons.labelled([source], BODY_13)
        with progress(people.count, f"evaluating {run} on {name}") as advance:
            scores[run] = evaluation.evaluate(
                model,
                counted(people.batches(model.size), advance),
                mean_pose=baseline,
            )
    return scores


def _export(out: Path) -> dict[str, Any]:
    folder = out / "export"
    if not folder.exists():
        from kpose.export import publish

        publish.publish(
            out / AFTER, folder, list(publish.FILES), out / "data" / USE_CASE
        )
    return dict(read_json(folder / "parity.json"))


def _predict(out: Path, before: Runtime) -> None:
    """Predict the clip with the exported TFLite file; draw some frames of it.

    In the overlay the upper row is the network before finetuning, the lower row after.
    """
    clip, folder = out / CLIP, out / "predicted"
    boxes = [usual_box(people(out, USE_CASE, ("train",)))]
    after = kpose.load(out / "export" / "model.tflite")
    if not (folder / prediction_files.SUMMARY).is_file():
        shutil.rmtree(folder, ignore_errors=True)  # a killed demo leaves a part of it
        prediction_files.write_folder(after, [clip], folder, boxes=boxes)
    frames = [f.image for f in video.frames(clip) if f.image is not None]
    chosen = np.linspace(0, len(frames) - 1, SHOWN).astype(int)
    rows = [
        prediction_files.overlay(frames[i], predictor.predict_image(frames[i], boxes))
        for predictor in (Predictor(before), after)
        for i in chosen
    ]
    sheet = drawing.contact_sheet(rows, columns=SHOWN)
    with atomic_file(out / "overlay.png") as beside:
        beside.write_bytes(images.encode(sheet, "png", 0))


def usual_box(people: Sequence[PersonRecord]) -> Box:
    """Return where the person of the recordings usually is: the camera never moves.

    The clip has no labels to take boxes from and the demo no detector.
    """
    edges = np.array([person_box(record.joints) for record in people], np.float64)
    low, high = np.percentile(edges, 10, axis=0), np.percentile(edges, 90, axis=0)
    return Box(float(low[0]), float(low[1]), float(high[2]), float(high[3]))


def _report(
    out: Path,
    plan: Plan,
    scores: "dict[str, dict[str, Scores]]",
    exported: dict[str, Any],
    stages: dict[str, float],
) -> None:
    from kpose import evaluation, report

    sections: list[report.Section] = [
        report.Text(
            "What happened",
            f"{plan.general} pictures of varied people and {plan.use_case} of one "
            "person who makes gestures in one room were rendered. A network was "
            "trained on the first, then finetuned on the second. Rendered people are "
            "no photographs: the numbers show that the way works, not how good a model "
            "is on real people. For those, record your own use case.",
        ),
        report.Pictures(
            "The clip",
            [report.photo(_read_overlay(out), "upper row: before, lower row: after")],
            "Predictions before finetuning (.keras) and after (the exported TFLite). "
            "Orange is the person's right side, blue the left.",
        ),
    ]
    for name, title in TITLES.items():
        rows = {
            "mean pose": scores[name][BEFORE].mean_pose,
            "pretrained": scores[name][BEFORE],
            "finetuned": scores[name][AFTER],
        }
        header, cells = evaluation.table({k: v for k, v in rows.items() if v})
        people = f"{scores[name][AFTER].persons} test persons, flip test on"
        sections.append(report.Table(f"Scores on {title}", header, cells, people))
    sections.append(report.Text("What the numbers mean", evaluation.DEFINITION))
    leak = artefacts.read_card(out / AFTER)["training"]["leak"]["sentence"]
    sections.append(report.Text("Validation persons of the finetuning", f"{leak}."))
    after = scores[USE_CASE][AFTER]
    sections += [
        report.Pictures(
            f"Finetuned, on {TITLES[USE_CASE]}",
            [report.plot_curve("finetuned", after)]
            + [report.compare(example, BODY_13, ()) for example in after.worst[:6]],
            "The six worst of the test persons; left: ground truth, right: prediction.",
        ),
        report.Pictures(
            "Training",
            [report.plot_history(out / run / "log.csv") for run in (BEFORE, AFTER)],
            "First pretraining, then finetuning.",
        ),
        report.Table(
            "Exported files",
            ["file", "MB", "largest difference, px"],
            [
                [name, f"{row['bytes'] / 1e6:.2f}", f"{row['max_px']:.4f}"]
                for name, row in exported["formats"].items()
            ],
            f"Compared with the network on {exported['crops_from']}.",
        ),
        report.Table(
            "Time", ["stage", "s"], [[k, f"{v:.0f}"] for k, v in stages.items()]
        ),
    ]
    report.write_report(out / "report.html", f"kpose demo ({plan.name})", sections)


def _read_overlay(out: Path) -> images.Image:
    return images.read(ImageRef(out / "overlay.png"))
