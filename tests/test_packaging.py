import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "kpose": ROOT / "kpose",
    "kpose_datasets": ROOT / "datasets" / "kpose_datasets",
    "kpose_cli": ROOT / "cli" / "kpose_cli",
}
PLAIN = (
    *("errors", "files", "joints", "records", "geometry", "images", "drawing"),
    *("screening", "shards", "examples", "artefacts", "persons", "detection"),
    *("phases", "replay", "faults", "agreement"),
)
"""Modules that import neither TensorFlow nor Keras."""

ANY_BACKEND = ("metrics.py", "losses.py", "augment.py", "looks.py", "models/*.py")
"""Modules that Keras may run on any backend."""


def imports(path):
    """Top-level names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).split(".")[0]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("kpose", {"kpose_datasets", "kpose_cli"}),
        ("kpose_datasets", {"kpose_cli", "tensorflow", "keras"}),
    ],
)
def test_imports_point_one_way(package, forbidden):
    files = list(PACKAGES[package].rglob("*.py"))

    assert len(files) > 3
    for path in files:
        assert not forbidden.intersection(imports(path)), path


def test_folders_that_hold_packages_are_no_packages_themselves():
    """Otherwise `import datasets` in the checkout would not be Hugging Face's."""
    for folder in ("cli", "datasets", "serving", "tests", "."):
        assert not (ROOT / folder / "__init__.py").exists()
    assert not (ROOT / "conftest.py").exists()


def test_every_dependency_that_is_imported_is_declared():
    """Names as they are imported, and what pip calls them where it differs."""
    distributions = {
        "ai_edge_litert": "ai-edge-litert",
        "cv2": "opencv-python",
        "google": "protobuf",
        "google_crc32c": "google-crc32c",
        "PIL": "pillow",
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {
        line.split(">")[0].split("=")[0].split("<")[0]
        for line in project["dependencies"]
    }
    used = {
        distributions.get(name, name)
        for folder in PACKAGES.values()
        for path in folder.rglob("*.py")
        for name in imports(path)
        if name not in sys.stdlib_module_names and name not in PACKAGES
    }

    # tf.summary needs tensorboard; nothing imports it by name.
    assert used | {"tensorboard"} == declared


def test_the_core_imports_neither_tensorflow_nor_keras():
    hide = "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None"
    source = "; ".join([hide, *(f"import kpose.{name}" for name in PLAIN)])

    subprocess.run([sys.executable, "-c", source], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("pattern", ANY_BACKEND)
def test_model_code_names_no_backend(pattern):
    paths = list(PACKAGES["kpose"].glob(pattern))

    assert paths
    for path in paths:
        assert not {"tensorflow", "torch", "jax"}.intersection(imports(path)), path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The files of a freshly built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    builder = pytest.importorskip("hatchling.builders.wheel")
    (path,) = builder.WheelBuilder(str(ROOT)).build(directory=str(out))
    return zipfile.ZipFile(path).namelist()


def test_the_wheel_holds_three_packages_and_nothing_else(wheel):
    tops = {name.split("/")[0] for name in wheel}

    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_holds_every_file_of_its_packages(wheel):
    wanted = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert {name for name in wheel if ".dist-info/" not in name} == wanted
    assert any(name.startswith("kpose/configs/") for name in wheel)
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_the_shipped_models_fit_in_the_package():
    for path in (ROOT / "kpose" / "weights").glob("*"):
        assert path.stat().st_size < 6_000_000, path


def test_python_versions_are_said_alike_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bootstrap = (ROOT / "bootstrap.py").read_text()

    assert project["requires-python"] == ">=3.11,<3.13"
    assert "VERSIONS = ((3, 11), (3, 12))" in bootstrap


def bootstrap(*arguments, head=""):
    """Run bootstrap.py with something changed first; nothing is installed."""
    code = (
        "import runpy, sys, subprocess, os, ctypes\n"
        "def ran(command, **options):\n"
        "    print('ran', *command)\n"
        "    return subprocess.CompletedProcess(command, 0)\n"
        "subprocess.run = ran\n"
        f"{head}\n"
        f"sys.argv = ['bootstrap.py', *{arguments!r}]\n"
        f"runpy.run_path({str(ROOT / 'bootstrap.py')!r}, run_name='__main__')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("version", [(3, 10, 1), (3, 13, 0)])
def test_bootstrap_refuses_another_python_in_one_line(version):
    result = bootstrap("demo", head=f"sys.version_info = {version}")

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "expected Python 3.11 or 3.12, but this is 3.1" in result.stderr
    assert result.stdout == ""


NO_LIBRARIES = (
    "def missing(name): raise OSError\nctypes.CDLL = missing\nsys.platform = 'linux'\n"
)


def test_bootstrap_names_missing_libraries_in_one_line(tmp_path):
    result = bootstrap(
        *("demo", "--venv", str(tmp_path)), head=NO_LIBRARIES + "os.geteuid = lambda: 9"
    )

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "libgl1 libglib2.0-0 libxcb1" in result.stderr
    assert result.stdout == ""


def test_bootstrap_installs_libraries_as_root(tmp_path):
    result = bootstrap(
        *("demo", "--venv", str(tmp_path)),
        head=NO_LIBRARIES
        + "os.geteuid = lambda: 0\nimport shutil\nshutil.which = lambda name: name",
    )

    assert result.returncode == 0
    commands = [line for line in result.stdout.splitlines() if line[:4] == "ran "]
    assert commands[0] == "ran apt-get update"
    assert commands[1].endswith("libgl1 libglib2.0-0 libxcb1")


def commands(result):
    """The last words of what bootstrap ran, that tell the commands apart."""
    lines = [line for line in result.stdout.splitlines() if line[:4] == "ran "]
    return [line.split(" -m ", 1)[1] for line in lines if " -m " in line]


def test_bootstrap_installs_once_and_passes_arguments_on(tmp_path):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()

    first = bootstrap("demo", "--venv", str(venv), "--quick")
    second = bootstrap("demo", "--venv", str(venv))
    third = bootstrap("test", "--venv", str(venv), "-k", "joints")
    fourth = bootstrap("demo", "--venv", str(venv))

    install = f"pip install --editable {ROOT}"
    assert commands(first) == [f"venv {venv}", install, "kpose_cli demo --quick"]
    assert commands(second) == ["kpose_cli demo"]
    tools = ["ruff check", "ruff format --check", "mypy", "pytest -k joints"]
    assert commands(third) == [f"venv {venv}", f"{install}[dev]", *tools]
    assert commands(fourth) == ["kpose_cli demo"]  # what the tests need is enough


def test_bootstrap_installs_again_when_the_project_changes(tmp_path):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    (venv / "kpose-installed").write_text("0000 user\n")

    result = bootstrap("demo", "--venv", str(venv))

    assert f"pip install --editable {ROOT}" in commands(result)


def test_bootstrap_stops_at_the_first_failure_with_its_code(tmp_path):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    head = (
        "def failing(command, **options):\n"
        "    print('ran', *command)\n"
        "    code = 3 if 'mypy' in command else 0\n"
        "    return subprocess.CompletedProcess(command, code)\n"
        "subprocess.run = failing"
    )

    result = bootstrap("test", "--venv", str(venv), head=head)

    assert result.returncode == 3
    assert commands(result)[-1] == "mypy"
    assert result.stderr == "bootstrap: `mypy` failed\n"
