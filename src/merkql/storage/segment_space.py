"""Preallocates space in a partition's last segment, ahead of its writer, from any process.

A sealed segment must not grow. So a process that preallocates holds a shared lock (flock) on the
file and checks that it is still the last; one that seals it takes the lock exclusively.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from merkql.storage.files import Files

AHEAD = 4 << 20  # bytes kept ready ahead of a busy writer
STEP = 8 << 20
SEAL_WAIT_S = 1.0  # for a process that preallocates, which takes milliseconds
_LOOK_S = 0.0005


def set_aside(files: Files, path: str, position: int, is_last: Callable[[], bool]) -> int:
    """Allocate space behind ``position``, page cache included; returns where it ends.

    New pages cost a writer more than copying into them. Returns 0 if the segment is sealed or about
    to be.
    """
    descriptor = files.open(path, write=True)
    try:
        if not files.lock(descriptor, exclusive=False, wait=False) or not is_last():
            return 0
        size = files.size(descriptor)
        if size - position < AHEAD:
            begin = max(size, position)
            files.allocate(descriptor, begin, STEP)
            files.load(descriptor, begin, STEP)
            size = begin + STEP
        return size
    finally:
        files.release(descriptor)


@contextmanager
def blocking_preallocation(files: Files, path: str) -> Iterator[None]:
    """Block preallocation while a segment is sealed and the next one published.

    A process stopped in the middle of preallocating is not waited for: at worst zeros follow the
    batches.
    """
    descriptor = files.open(path, write=True, create=True)
    deadline = time.monotonic() + SEAL_WAIT_S
    try:
        while not files.lock(descriptor, wait=False) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        yield
    finally:
        files.release(descriptor)
