"""A report in a real browser: nothing missing, no errors, no sideways scrolling."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpose import report
from kpose.evaluation import Example, evaluate
from kpose.joints import BODY_13
from kpose.metrics import THRESHOLD
from kpose.runtime import Prediction

PERSONS = 60

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--enable-logging=stderr --v=0 --virtual-time-budget=5000"
).split()

PHONE = 390
"""Width in CSS pixels."""

LARGEST = 5_000_000
"""Bytes of a report."""

# Added to a copy of the report. A frame is as wide as it is told to be; a headless
# window is not narrower than some 500 pixels in every version.
PROBE = f"""
<iframe id="phone" style="width: {PHONE}px; height: 900px; border: 0"
  src="report.html"></iframe>
<pre id="found"></pre>
<script>
addEventListener("load", () => {{
  const page = document.getElementById("phone").contentDocument;
  const images = [...page.images];
  const links = [...page.querySelectorAll("nav a")];
  document.getElementById("found").textContent = JSON.stringify({{
    title: page.title,
    images: images.length,
    loaded: images.filter(image => image.complete && image.naturalWidth > 0).length,
    shown: images.filter(image => image.clientWidth > 100).length,
    width: page.documentElement.scrollWidth,
    links: links.length,
    targets: links.filter(a => page.getElementById(a.hash.slice(1))).length,
    outside: [...page.body.querySelectorAll("*")]
      .filter(one => !one.closest(".scroll, pre"))
      .filter(one => one.getBoundingClientRect().right > {PHONE})
      .map(one => one.tagName),
  }});
}});
</script>
"""


class Network:
    """Answers the ground truth that it was told, with some noise."""

    skeleton = BODY_13
    flip_curve = None

    def __init__(self, joints):
        rng = np.random.default_rng(1)
        noise = rng.normal(0, 0.06, joints[..., :2].shape)
        self.keypoints = (joints[..., :2] + noise).astype(np.float32)
        self.confidence = rng.uniform(0.2, 1, joints.shape[:2]).astype(np.float32)

    def predict(self, crops):
        numbers = crops[:, 0, 0, 0]
        return Prediction(self.keypoints[numbers], self.confidence[numbers])


def crops_of_noise(joints, size=224):
    """Yield crops, whose first pixel is their number, as hard to compress as photos."""
    rng = np.random.default_rng(3)
    for number in range(len(joints)):
        small = rng.integers(0, 256, (56, 56, 3), np.uint8)
        crop = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
        crop[0, 0, 0] = number
        yield crop[None], joints[number : number + 1]


@pytest.fixture(scope="module", name="page")
def make_page(tmp_path_factory):
    """A report with every section that one can have."""
    rng = np.random.default_rng(5)
    joints = np.ones((PERSONS, 13, 3), np.float32)
    joints[..., :2] = rng.uniform(0.15, 0.85, (PERSONS, 13, 2))
    scores = evaluate(
        Network(joints),
        crops_of_noise(joints),
        flip_test=False,
        mean_pose=joints[..., :2].mean(axis=0),
        ious=rng.uniform(0.3, 1, PERSONS),
    )
    folder = tmp_path_factory.mktemp("browser")
    log = folder / "log.csv"
    rows = "".join(f"{epoch},{9 / epoch:.3f},{9 * epoch}\n" for epoch in range(1, 11))
    log.write_text(f"epoch,loss,val_pck_all\n{rows}")
    sections = report.score_sections(
        "a-model-with-a-long-name-20261124",
        scores,
        BODY_13,
        facts="Persons: 60 of nobody/a/path/that/has/no/space/to/break/the/line/at.",
        persons=[f"folder/of/a/recording/video_0001/{n:06}" for n in range(PERSONS)],
        card={"model": "x" * 300, "training": {"data": [{"source": "noise"}]}},
        history=log,
        leak="3 of 60 validation pictures have a near duplicate in training",
        times={"decode": 1.5, "crop": 0.5, "network": 40.0},
    )
    assert all(isinstance(example, Example) for example in scores.worst)
    path = folder / "report.html"
    report.write_report(path, f"kpose eval: PCK@{THRESHOLD} of noise", sections)
    return path


def browse(*arguments):
    """Run Chromium and return its output and the lines of the page's console."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on the PATH (apt-get install chromium)")
    result = subprocess.run(
        [chromium, *OPTIONS, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return result.stdout, console


def probe(page: Path, tmp_path: Path, text: str | None = None):
    """Return what the browser says about a report on a phone, and its console."""
    html = page.read_text(encoding="utf-8") if text is None else text
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    (tmp_path / "probe.html").write_text(f"<!doctype html>{PROBE}", encoding="utf-8")
    output, console = browse(
        f"--user-data-dir={tmp_path / 'profile'}",
        "--allow-file-access-from-files",  # the probe looks into the frame
        "--dump-dom",
        (tmp_path / "probe.html").as_uri(),
    )
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', output, re.DOTALL)
    return json.loads(found), console


def test_a_report_is_whole_and_fits_a_phone(page, tmp_path):
    found, console = probe(page, tmp_path)

    assert console == []
    assert found["title"] == "kpose eval: PCK@0.2 of noise"
    # Four plots, and 24 worst and 12 best persons.
    assert found["images"] == found["loaded"] == found["shown"] == 4 + 24 + 12
    assert found["width"] <= PHONE and found["outside"] == []
    assert found["links"] == found["targets"] == 16


def test_the_probe_sees_what_it_is_for(page, tmp_path):
    """Catches a probe that finds no fault with anything."""
    html = page.read_text(encoding="utf-8")
    worse = html.replace("<h1>", '<img src="data:image/png;base64,AAAA"><h1>', 1)
    worse = worse.replace("</h1>", "</h1><div style='width: 500px'>wide</div>", 1)
    worse = worse.replace("</body>", "<script>console.error('no')</script></body>")

    found, console = probe(page, tmp_path, worse)

    assert len(console) == 1
    assert found["loaded"] == found["images"] - 1
    assert found["width"] >= 500 and found["outside"] == ["DIV"]


def test_it_looks_like_something_and_is_small_enough_to_send(page, tmp_path):
    picture = tmp_path / "report.png"

    _, console = browse(
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--screenshot={picture}",
        "--window-size=1000,2600",
        page.as_uri(),
    )

    assert console == []
    pixels = cv2.imread(str(picture))
    assert pixels.shape == (2600, 1000, 3)
    # Letters and plots all the way down, on white.
    for part in np.array_split(pixels, 5):
        assert 0.01 < (part < 200).any(axis=-1).mean() < 0.9
    assert page.stat().st_size < LARGEST


def test_each_plot_lies_beside_it(page):
    plots = sorted(report.plots_folder(page).iterdir())

    names = ["confidence.png", "joints.png", "pck_curve.png", "training.png"]
    assert [file.name for file in plots] == names
    for file in plots:
        assert cv2.imread(str(file)).shape[1] == report.WIDTH * report.DPI
