import os

import cv2
import pytest

from kpose.errors import ResourceError
from kpose.workers import in_order


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    assert list(in_order(abs, [-3, 2, -1], workers)) == [3, 2, 1]


def test_one_worker_is_this_process_with_one_thread_of_opencv():
    before = cv2.getNumThreads()
    pids = list(
        in_order(lambda item: (item, os.getpid(), cv2.getNumThreads()), "ab", 1)
    )
    assert pids == [("a", os.getpid(), 1), ("b", os.getpid(), 1)]
    assert cv2.getNumThreads() == before


def test_nothing_to_do_starts_nothing():
    assert list(in_order(abs, [], None)) == []


def test_a_killed_process_is_said():
    with pytest.raises(ResourceError, match="a worker process was killed"):
        list(in_order(os._exit, [9, 9], 2))
