"""Set kpose up in this checkout and run its demo or its tests.

    python3.11 bootstrap.py demo
    python3.11 bootstrap.py test

Needs Python 3.11 or 3.12 and nothing else: makes a virtual environment (``.venv``),
installs kpose and what it needs in it, and installs or names the system libraries that
OpenCV loads. Run again, it starts at once; it installs again when pyproject.toml has
changed. What follows the command goes to ``kpose demo`` or to pytest.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent

VERSIONS = ((3, 11), (3, 12))

LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libxcb.so.1": "libxcb1",
}
"""What OpenCV's wheel loads on Linux, and the Debian package that has it."""

CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
)
"""What ``test`` runs before pytest."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Set kpose up in this checkout and run its demo or its tests.",
        epilog="Further arguments go to `kpose demo` (--quick) or to pytest (-m slow).",
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=["demo", "test"])
    parser.add_argument(
        "--venv", type=Path, default=ROOT / ".venv", help="default: .venv here"
    )
    arguments, rest = parser.parse_known_args()
    check_machine()
    python = set_up(arguments.venv.absolute(), arguments.command == "test")
    if arguments.command == "demo":
        commands = [[python, "-m", "kpose_cli", "demo", *rest]]
    else:
        commands = [[python, "-m", *check] for check in CHECKS]
        commands.append([python, "-m", "pytest", *rest])
    for command in commands:
        shown = " ".join(map(str, command[2:]))
        print("+", shown, flush=True)
        code = run(command)
        if code:
            print(f"bootstrap: `{shown}` failed", file=sys.stderr)
            sys.exit(code)


def check_machine() -> None:
    """Refuse a machine that cannot run kpose, in one line; install what apt can."""
    if sys.version_info[:2] not in VERSIONS:
        sys.exit(
            "bootstrap: expected Python 3.11 or 3.12, but this is {}.{}: "
            "run it with python3.11".format(*sys.version_info)
        )
    if sys.platform == "win32":
        sys.exit("bootstrap: Windows is not supported: run it in WSL2")
    packages = []
    if sys.platform == "linux":
        packages = [package for name, package in LIBRARIES.items() if not loads(name)]
    # Debian and Ubuntu keep the module that makes environments in its own package.
    if importlib.util.find_spec("ensurepip") is None:
        packages.append("python{}.{}-venv".format(*sys.version_info))
    if not packages:
        return
    install = "apt-get install -y --no-install-recommends " + " ".join(packages)
    if os.geteuid() or not shutil.which("apt-get"):
        sys.exit(
            "bootstrap: this machine lacks system libraries; install them and run this "
            f"again: sudo {install} (names of Debian and Ubuntu)"
        )
    print("+", install, flush=True)
    if run(["apt-get", "update"]) or run(install.split()):
        sys.exit(f"bootstrap: `{install}` failed")


def loads(library: str) -> bool:
    """Return whether a shared library can be loaded."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def set_up(venv: Path, dev: bool) -> Path:
    """Make the environment if it is not there and return its Python.

    Args:
        venv: Its folder.
        dev: Whether the tools of the tests are needed.
    """
    python = venv / "bin" / "python"
    stamp = venv / "kpose-installed"
    recipe = (ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode()
    wanted = hashlib.sha256(recipe).hexdigest()
    found = stamp.read_text().split() if stamp.exists() else []
    if found[:1] == [wanted] and (not dev or "dev" in found) and python.exists():
        return python
    print(f"bootstrap: installing kpose in {venv} (2 GB, once)", flush=True)
    if run([sys.executable, "-m", "venv", venv]):
        sys.exit(f"bootstrap: no virtual environment could be made in {venv}")
    dev = dev or "dev" in found
    target = f"{ROOT}[dev]" if dev else str(ROOT)
    if run([python, "-m", "pip", "install", "--editable", target]):
        sys.exit("bootstrap: the installation failed, see above; run this again")
    # Written last: an installation that was stopped is done again.
    stamp.write_text("{} {}\n".format(wanted, "dev" if dev else "user"))
    return python


def run(command: list) -> int:
    """Run a command in the checkout and return its exit code.

    The environment's own packages count, not what the user's shell adds to them.
    """
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME")
    }
    env.update(PYTHONNOUSERSITE="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    env.update(DEBIAN_FRONTEND="noninteractive")
    return subprocess.run([str(part) for part in command], cwd=ROOT, env=env).returncode


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
