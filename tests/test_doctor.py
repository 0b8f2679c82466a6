import importlib.metadata
import json
import sys

import pytest
from click.testing import CliRunner

from kpose_cli import doctor
from kpose_cli.doctor import Check
from kpose_cli.main import main


def failing():
    raise RuntimeError("libGL.so.1:\n cannot open")


GOOD = Check("video", lambda: "10 frames", "never shown")
BAD = Check("opencv", failing, "apt-get install libgl1")


@pytest.fixture
def checks(monkeypatch):
    def install(*rows, whole=GOOD):
        monkeypatch.setattr(doctor, "CHECKS", rows)
        monkeypatch.setattr(doctor, "WHOLE_WAY", whole._replace(name="whole"))

    return install


def test_a_line_for_each_check(checks):
    checks(GOOD, GOOD)

    result = CliRunner().invoke(main, ["doctor"])

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ok      video: 10 frames",
        "ok      video: 10 frames",
        "ok      whole: 10 frames",
        "3 ok, 0 failed",
    ]


def test_a_failed_line_names_the_remedy_and_the_long_check_waits(checks):
    checks(BAD, GOOD, whole=Check("", lambda: pytest.fail("must not run"), ""))

    result = CliRunner().invoke(main, ["doctor"])

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "failed  opencv: libGL.so.1: cannot open -> apt-get install libgl1",
        "ok      video: 10 frames",
        "failed  whole: not run -> mend the failed lines first",
        "1 ok, 2 failed",
    ]


def test_json_has_the_same(checks):
    checks(BAD)

    result = CliRunner().invoke(main, ["doctor", "--json"])

    assert result.exit_code == 1
    summary = json.loads(result.stdout.splitlines()[-1])
    assert (summary["ok"], summary["failed"]) == (False, 2)
    assert summary["checks"][0] == {
        "name": "opencv",
        "ok": False,
        "detail": "libGL.so.1: cannot open",
        "remedy": "apt-get install libgl1",
    }
    assert result.stdout.count("\n") == 1


def test_this_machine_passes(monkeypatch):
    """The real checks, but for what depends on how kpose was installed here."""
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: [])
    monkeypatch.setattr(doctor, "GPU_DEVICES", ())

    result = CliRunner().invoke(main, ["doctor"])

    assert result.exit_code == 0, result.output
    assert "whole" not in result.output
    assert result.output.splitlines()[-1] == "7 ok, 0 failed"
    assert "ok      train, export, compare: exported files differ" in result.output


@pytest.fixture
def installed(monkeypatch):
    """Say which distributions there are, and what kpose asks for."""

    def install(wanted, versions):
        def version(name):
            if name not in versions:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
        monkeypatch.setattr(importlib.metadata, "version", version)
        return doctor.examine(Check("packages", doctor._packages, "reinstall"))

    return install


def test_versions_inside_their_ranges_are_listed(installed):
    finding = installed(
        ["keras<3.16,>=3.15", "numpy<3,>=2", 'pytest>=9; extra == "dev"'],
        {"keras": "3.15.1", "numpy": "2.4.6"},
    )

    assert finding == ("packages", True, "keras 3.15.1, numpy 2.4.6", "")


@pytest.mark.parametrize("name", ["opencv-python", "opencv-python-headless"])
def test_either_opencv_will_do(installed, name):
    finding = installed(["opencv-python<6,>=4.13"], {name: "5.0.0"})

    assert finding == ("packages", True, f"{name} 5.0.0", "")


@pytest.mark.parametrize(
    ("wanted", "versions", "message"),
    [
        (
            "keras<3.16,>=3.15",
            {"keras": "3.14.0"},
            "keras<3.16,>=3.15 is needed, but keras 3.14.0 is there",
        ),
        ("keras>=3.15", {}, "keras>=3.15 is needed, but missing"),
        (
            "tensorflow<2.22,>=2.21",
            {"tensorflow": "2.21.0", "tensorflow-cpu": "2.21.0"},
            "tensorflow and tensorflow-cpu must not both be installed",
        ),
        (
            "opencv-python>=4.13",
            {"opencv-python-headless": "4.5"},
            "opencv-python>=4.13 is needed, but opencv-python-headless 4.5 is there",
        ),
    ],
    ids=["old", "missing", "both", "old stand-in"],
)
def test_what_does_not_fit_together_is_named(installed, wanted, versions, message):
    finding = installed([wanted], versions)

    assert (finding.ok, finding.detail) == (False, message)


def test_another_python_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))

    with pytest.raises(RuntimeError, match=r"expected 3\.11 or 3\.12, but this is 3"):
        doctor._python()


def test_an_opencv_without_system_libraries_is_a_failed_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)  # makes `import cv2` fail
    checks = {check.name: check for check in doctor.CHECKS}

    finding = doctor.examine(checks["opencv"])

    assert not finding.ok
    assert finding.remedy.startswith("apt-get install libgl1")


def test_a_gpu_that_tensorflow_does_not_see_is_a_failed_line(monkeypatch, tmp_path):
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(doctor, "GPU_DEVICES", (str(tmp_path / "nvidia0"),))
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    with pytest.raises(RuntimeError, match="does not see"):
        doctor._devices()

    monkeypatch.setattr(doctor, "GPU_DEVICES", ())
    assert doctor._devices().endswith("on CPU only")
