"""``kpose doctor``: what works on this machine, and what to do where it does not."""

import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from kpose_cli.common import echo_summary, json_option

SYSTEM_LIBRARIES = (
    "apt-get install libgl1 libglib2.0-0 libxcb1 (Debian, Ubuntu), "
    "or opencv-python-headless in place of opencv-python"
)

STAND_INS = {
    "opencv-python": "opencv-python-headless",
    "tensorflow": "tensorflow-cpu",
}
"""Distributions that install the same module: either will do, both break it."""

GPU_DEVICES = ("/dev/nvidia0", "/dev/dxg")
"""There where Linux, or WSL2, has an NVIDIA driver and a GPU."""


class Check(NamedTuple):
    """One thing to check: what it needs, and what to do where it fails.

    ``run`` returns what was found and raises where it is not good.
    """

    name: str
    run: Callable[[], str]
    remedy: str


class Finding(NamedTuple):
    """What came of a check; ``remedy`` is empty where ``ok``."""

    name: str
    ok: bool
    detail: str
    remedy: str


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check versions, devices, OpenCV, LiteRT, video files and a tiny training.

    Prints a line for each, with the remedy where it failed. Exit code 1 if any did.
    """
    findings = []
    for check in CHECKS:
        findings.append(examine(check))
        if not as_json:
            click.echo(_line(findings[-1]))
    if all(finding.ok for finding in findings):
        findings.append(examine(WHOLE_WAY))
    else:
        findings.append(
            Finding(WHOLE_WAY.name, False, "not run", "mend the failed lines first")
        )
    bad = sum(not finding.ok for finding in findings)
    text = f"{_line(findings[-1])}\n{len(findings) - bad} ok, {bad} failed"
    rows = [finding._asdict() for finding in findings]
    echo_summary({"ok": not bad, "failed": bad, "checks": rows}, as_json, text)
    click.get_current_context().exit(1 if bad else 0)


def examine(check: Check) -> Finding:
    """Run a check; whatever it raises is a finding."""
    try:
        return Finding(check.name, True, check.run(), "")
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        return Finding(check.name, False, detail, check.remedy)


def _line(finding: Finding) -> str:
    if finding.ok:
        return f"ok      {finding.name}: {finding.detail}"
    return f"failed  {finding.name}: {finding.detail} -> {finding.remedy}"


def _python() -> str:
    found = platform.python_version()
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        raise RuntimeError(f"expected 3.11 or 3.12, but this is {found}")
    return f"{found} on {platform.platform(terse=True)}"


def _packages() -> str:
    """Compare what is installed with what kpose's own metadata asks for."""
    from packaging.requirements import Requirement

    found, wrong = [], []
    for line in importlib.metadata.requires("kpose") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        names = [wanted.name, STAND_INS.get(wanted.name, wanted.name)]
        installed = {name: _version(name) for name in names if _version(name)}
        found += [f"{name} {version}" for name, version in installed.items()]
        if len(installed) > 1:
            wrong.append(f"{' and '.join(installed)} must not both be installed")
        elif not installed:
            wrong.append(f"{wanted} is needed, but missing")
        elif not all(version in wanted.specifier for version in installed.values()):
            wrong.append(f"{wanted} is needed, but {found[-1]} is there")
    if wrong:
        raise RuntimeError("; ".join(wrong))
    return ", ".join(found)


def _version(distribution: str) -> str:
    """Return the installed version, empty where there is none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _opencv() -> str:
    import cv2

    window = "headless"
    for line in cv2.getBuildInformation().splitlines():
        name, _, value = line.strip().partition(":")
        if name == "GUI" and value.strip() not in ("", "NONE"):
            window = f"windows by {value.strip()}"
    return f"{cv2.__version__}, {window}"


def _devices() -> str:
    import tensorflow as tf

    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    if not gpus and any(Path(device).exists() for device in GPU_DEVICES):
        raise RuntimeError("this machine has a GPU that TensorFlow does not see")
    return f"TensorFlow {tf.__version__} on {', '.join(gpus) or 'CPU only'}"


def _litert() -> str:
    from ai_edge_litert import interpreter

    return f"{importlib.metadata.version('ai-edge-litert')}, {interpreter.__name__}"


def _video() -> str:
    """Write ten frames that grow brighter, and read them."""
    import numpy as np

    from kpose import video

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with video.Writer(path, 25) as writer:
            for index in range(10):
                writer.write(np.full((64, 64, 3), 20 * index + 20, np.uint8))
        grey = [
            float(frame.image.mean())
            for frame in video.frames(path)
            if frame.image is not None
        ]
    if len(grey) != 10 or max(abs(g - 20 * i - 20) for i, g in enumerate(grey)) > 8:
        raise RuntimeError(f"10 frames were written, {len(grey)} came back: {grey}")
    return "mp4v written and read, 10 frames"


def _whole_way() -> str:
    """Train a tiny network on rendered people, export it, compare the files."""
    from kpose import examples
    from kpose.config import Config, Training
    from kpose.export import publish
    from kpose.training import train
    from kpose_datasets import synthetic

    config = Config(
        training=Training(
            epochs=1,
            batch=4,
            optimizer="adamw",
            learning_rate=1e-3,
            validation_persons=4,
        ),
        model={"name": "linna2016", "size": 64, "width": 0.02},
    )
    with tempfile.TemporaryDirectory() as folder:
        pictures, data, run = (Path(folder) / name for name in ("in", "data", "run"))
        synthetic.write(pictures, count=16, seed=0, workers=1)
        people = [one for one in synthetic.read(pictures) if one.split != "test"]
        source = examples.Source("synthetic", people, synthetic.LICENCE)
        examples.prepare([source], data, size=64, workers=1)
        train(data, config, run)
        formats = publish.publish(run, Path(folder) / "out", list(publish.FILES), data)
    largest = max(row["max_px"] for row in formats["formats"].values())
    return f"exported files differ from the network by at most {largest:.4f} px"


CHECKS = (
    Check("python", _python, "install Python 3.11 or 3.12 and kpose in it"),
    Check("packages", _packages, "pip install --upgrade kpose, in a new environment"),
    Check("opencv", _opencv, SYSTEM_LIBRARIES),
    Check(
        "devices", _devices, 'pip install "kpose[gpu]", and update the NVIDIA driver'
    ),
    Check("litert", _litert, "pip install ai-edge-litert"),
    Check("video", _video, "pip install --force-reinstall opencv-python"),
)
"""From what the rest stands on to what stands on it."""

WHOLE_WAY = Check(
    "train, export, compare",
    _whole_way,
    "report it with the output of kpose doctor --json",
)
