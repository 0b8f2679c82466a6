"""``prepare`` killed at any moment and run again: the bytes of an unbroken run."""

import os
import random
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import scipy.io

PERSONS, SHARD = 1000, 40
"""LSP's training persons, in shards so small that most kills find some finished."""

SCRIPT = """
import pathlib, sys
from kpose.examples import prepare
from kpose_datasets import read_source

if __name__ == "__main__":
    source = read_source(sys.argv[1])
    prepare([source], pathlib.Path(sys.argv[2]), workers=2, shard_records=%d)
"""

KILLS = 10


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill") / "lsp"
    generator = np.random.default_rng(0)
    joints = generator.uniform(40, 260, (3, 14, PERSONS))
    joints[2] = 0
    (folder / "images").mkdir(parents=True)
    scipy.io.savemat(folder / "joints.mat", {"joints": joints})
    for number in range(1, PERSONS + 1):
        noise = generator.integers(0, 256, (9, 9, 3), np.uint8)
        path = folder / "images" / f"im{number:04}.jpg"
        cv2.imwrite(str(path), cv2.resize(noise, (300, 300)))
    return folder


def start(root, out):
    script = root / "prepare.py"
    script.write_text(SCRIPT % SHARD)
    return subprocess.Popen(
        [sys.executable, str(script), f"lsp:{root}", str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,  # what Python says of a killed process's semaphores
    )


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.slow
def test_ten_kills_at_random_moments(root, tmp_path):
    began = time.monotonic()
    assert start(root, tmp_path / "whole").wait() == 0
    seconds = time.monotonic() - began
    whole = content(tmp_path / "whole")
    assert "dataset.json" in whole and len(whole) == 3 + PERSONS // SHARD
    moments = random.Random(1)
    for number in range(KILLS):
        out = tmp_path / f"killed-{number}"
        process = start(root, out)
        time.sleep(moments.uniform(0, 1.1 * seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        shards = len(list(out.glob("shard-*.tfrecord")))
        print(f"kill {number}: {shards} of {PERSONS // SHARD} shards were there")
        assert start(root, out).wait() == 0
        assert content(out) == whole
