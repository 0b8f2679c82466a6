"""Work on many items in several processes, results in order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from kpose.errors import ResourceError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    task: Callable[[Item], Result], items: Sequence[Item], workers: int | None
) -> Iterator[Result]:
    """Yield ``task(item)`` for every item.

    OpenCV has one thread per process meanwhile.

    Args:
        task: A function that other processes can import, or a ``partial`` of one.
        items: What it is called with.
        workers: Processes; None for one per core. One, or one item, runs in this
            process.

    Raises:
        ResourceError: If a process was killed.
    """
    workers = min(workers or os.cpu_count() or 1, len(items))
    if workers <= 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield from map(task, items)
        finally:
            cv2.setNumThreads(threads)
        return
    # Not fork: TensorFlow's threads in this process do not survive it.
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    ) as pool:
        futures = deque(pool.submit(task, item) for item in items)
        try:
            while futures:  # a result that was taken is not kept
                yield futures.popleft().result()
        except BrokenProcessPool:
            raise ResourceError(
                "a worker process was killed, as happens when memory runs out; "
                "run the same command again to continue, with fewer workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One thread per process; Ctrl-C is the parent's; a killed parent ends this."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
