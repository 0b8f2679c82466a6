import errno
import importlib
import json
import os
import pty
import subprocess
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner

from kpose import errors
from kpose_cli import common
from kpose_cli import main as main_module
from kpose_cli.main import COMMANDS, describe, main


def python(code, **env):
    """Run code in a Python of its own, with this one's import path."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env},
        timeout=120,
    )


@pytest.fixture
def command(monkeypatch):
    """Replace ``kpose doctor`` by a command that calls a function."""

    def install(function):
        module = type(sys)("kpose_cli.fake")
        module.fake = click.command("doctor")(function)
        monkeypatch.setitem(sys.modules, "kpose_cli.fake", module)
        row = ("kpose_cli.fake", "fake", "")
        monkeypatch.setitem(main_module.COMMANDS, "doctor", row)

    return install


def raising(error):
    def function():
        raise error

    return function


def test_help_imports_nothing_heavy():
    result = python(
        "import sys\n"
        "from kpose_cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'cv2', 'scipy', 'rich', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    assert result.stderr == ""
    assert result.stdout.splitlines()[-1] == "[]"
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_own_help_does_not_load_tensorflow(name):
    result = python(
        "import sys\n"
        "from kpose_cli.main import main\n"
        f"try: main([{name!r}, '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'tensorflow' not in sys.modules"
    )

    assert result.returncode == 0, result.stderr
    assert "--debug" in result.stdout
    assert "--json" in result.stdout


def test_without_arguments_the_help_is_shown():
    result = CliRunner().invoke(main, [])

    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


def test_the_version_is_the_packages():
    result = CliRunner().invoke(main, ["--version"])

    assert result.output == "kpose, version 0.1.0\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_name_of_the_table_is_a_command(name):
    module, attribute, _ = COMMANDS[name]

    command = getattr(importlib.import_module(module), attribute)

    assert isinstance(command, click.Command)
    assert command.name == name


class ResourceExhaustedError(Exception):
    """Has the name of TensorFlow's class."""


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (errors.InputError("a.mat must be\n  a file"), "a.mat must be a file", 1),
        (errors.GateError("0.06 px is over 0.05"), "0.06 px is over 0.05", 2),
        (errors.ResourceError("no memory for batch 256"), "no memory for batch 256", 3),
        (MemoryError(), "out of memory or disk space", 3),
        (ResourceExhaustedError("OOM"), "out of memory or disk space: OOM", 3),
        (
            OSError(errno.ENOSPC, "No space left"),
            "out of memory or disk space: [Errno 28] No space left",
            3,
        ),
        (OSError(errno.EACCES, "No entry", "a"), "a: No entry", 1),
        (
            ZeroDivisionError("by zero"),
            "unexpected ZeroDivisionError: by zero (`--debug` shows where)",
            1,
        ),
    ],
    ids=["input", "gate", "kpose", "memory", "tensorflow", "disk", "os", "bug"],
)
def test_an_error_is_one_line_and_an_exit_code(command, error, message, code):
    command(raising(error))

    result = CliRunner().invoke(main, ["doctor"])

    assert result.exit_code == code
    assert result.stderr == f"Error: {message}\n"
    assert result.stdout == ""


@pytest.mark.parametrize("place", [["--debug", "doctor"], ["doctor", "--debug"]])
def test_debug_adds_the_traceback_and_keeps_the_code(command, place):
    command(raising(errors.GateError("missed")))

    result = CliRunner().invoke(main, place)

    assert result.exit_code == 2
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith("Error: missed\n")


def test_debug_of_one_call_does_not_reach_the_next(command):
    command(raising(errors.GateError("missed")))
    CliRunner().invoke(main, ["doctor", "--debug"])

    assert CliRunner().invoke(main, ["doctor"]).stderr == "Error: missed\n"


def test_ctrl_c_is_one_line(command):
    command(raising(KeyboardInterrupt()))

    result = CliRunner().invoke(main, ["doctor"])

    assert result.exit_code == 130
    assert result.stderr == "Error: interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forecast"], "Error: No such command 'forecast'. (try `main --help`)"),
        (["--fast"], "(try `main --help`)"),
        (["doctor", "x"], "(try `main doctor --help`)"),
    ],
    ids=["command", "option", "argument"],
)
def test_a_wrong_call_is_bad_input_in_one_line(command, arguments, message):
    command(lambda: None)

    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_command_may_choose_its_exit_code(command):
    command(lambda: click.get_current_context().exit(2))

    assert CliRunner().invoke(main, ["doctor"]).exit_code == 2


def test_describe_reads_a_click_exception_without_context():
    assert describe(click.UsageError("give one")) == ("give one", 1)


def test_the_json_summary_is_the_last_line_and_has_no_nan(capsys):
    scores = {"all": float("nan"), "wrist": [1.5, float("inf")], 3: (None, True)}

    print("something else")
    common.echo_summary(scores, True, "ignored")

    line = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(line) == {"all": None, "wrist": [1.5, None], "3": [None, True]}


def test_the_json_summary_takes_paths_and_numpy_numbers(capsys, tmp_path):
    common.echo_summary({"out": tmp_path, "n": np.int64(3)}, True, "")

    assert json.loads(capsys.readouterr().out) == {"out": str(tmp_path), "n": 3}


def test_without_json_the_text_is_printed(capsys):
    common.echo_summary({"n": 3}, False, "3 persons")

    assert capsys.readouterr().out == "3 persons\n"


def test_progress_is_silent_where_nobody_looks(capsys):
    with common.progress(3, "reading") as advance:
        advance(1)

    assert capsys.readouterr() == ("", "")


def test_progress_is_drawn_on_stderr_of_a_terminal():
    code = (
        "from kpose_cli.common import progress\n"
        "with progress(3, 'reading') as advance: advance(2); advance(1)\n"
    )
    reader, terminal = pty.openpty()
    error_reader, error_terminal = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", code],
        stdout=terminal,
        stderr=error_terminal,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"},
        check=True,
        timeout=60,
    )
    os.set_blocking(reader, False)
    drawn = os.read(error_reader, 100_000).decode()

    assert "reading" in drawn
    assert "3/3" in drawn
    with pytest.raises(BlockingIOError):  # nothing on stdout
        os.read(reader, 1)
    for end in (reader, terminal, error_reader, error_terminal):
        os.close(end)


def test_tensorflow_is_imported_quietly(monkeypatch):
    code = (
        "from kpose_cli.quiet import silence_libraries\n"
        "silence_libraries()\n"
        "import tensorflow\n"
        "print(tensorflow.reduce_sum([1, 2]).numpy())\n"
    )
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)

    result = python(code)

    assert result.stdout == "3\n"
    assert result.stderr == ""


def test_litert_loads_a_file_quietly(tmp_path):
    """The file is made in another process: TensorFlow says much."""
    made = python(
        "import sys, tensorflow as tf\n"
        "network = tf.function(lambda x: tf.nn.relu(tf.nn.conv2d(x, tf.ones([3, 3, 3,"
        " 8]), 1, 'SAME')), input_signature=[tf.TensorSpec([1, 8, 8, 3])])\n"
        "converter = tf.lite.TFLiteConverter.from_concrete_functions("
        "[network.get_concrete_function()])\n"
        f"open({str(tmp_path / 'a.tflite')!r}, 'wb').write(converter.convert())\n"
    )
    assert (tmp_path / "a.tflite").exists(), made.stderr
    load = (
        "from ai_edge_litert.interpreter import Interpreter\n"
        f"one = Interpreter({str(tmp_path / 'a.tflite')!r})\n"
        "one.allocate_tensors()\n"
        "print(one.get_input_details()[0]['shape'].tolist())\n"
    )
    quiet = "from kpose_cli.quiet import silence_libraries\nsilence_libraries()\n"

    loud, result = python(load), python(quiet + load)

    assert "XNNPACK" in loud.stderr  # else this tests nothing any more
    assert (result.stdout, result.stderr) == ("[1, 8, 8, 3]\n", "")


def test_a_damaged_tiff_is_refused_without_pillows_log():
    code = (
        "from kpose_cli.quiet import silence_libraries\n"
        "silence_libraries()\n"
        "import io, struct\n"
        "import PIL.Image\n"
        "from kpose import images\n"
        "file = io.BytesIO()\n"
        "PIL.Image.new('RGB', (8, 8)).save(file, 'TIFF')\n"
        "count = struct.pack('<HHIH', 277, 3, 1, 3)  # samples per pixel\n"
        "data = file.getvalue()\n"
        "assert count in data\n"
        "try:\n"
        "    images.decode(data.replace(count, count[:-2] + b'\\xff\\xff'))\n"
        "except images.InputError:\n"
        "    print('refused')\n"
    )

    result = python(code)

    assert (result.stdout, result.stderr) == ("refused\n", "")


def test_a_tensorflow_that_does_not_import_is_not_hidden(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'from C++')\nraise ImportError('broken')\n"
    )
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from kpose_cli.quiet import silence_libraries\n"
        "silence_libraries()\n"
        "import tensorflow\n"
    )

    result = python(code)

    assert result.returncode == 1
    assert result.stderr.startswith("from C++")
    assert result.stderr.endswith("ImportError: broken\n")


def test_the_users_log_level_stays():
    code = (
        "import os\n"
        "from kpose_cli.quiet import silence_libraries\n"
        "silence_libraries()\n"
        "print(os.environ['TF_CPP_MIN_LOG_LEVEL'], os.environ['OPENCV_LOG_LEVEL'])\n"
    )

    result = python(code, TF_CPP_MIN_LOG_LEVEL="0", OPENCV_LOG_LEVEL="INFO")

    assert result.stdout == "0 INFO\n"
