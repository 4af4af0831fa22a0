"""Space set aside in a partition's last segment, ahead of its writer, by any process at any time.

A segment that is sealed has its size for good. So who sets space aside holds the file locked
(flock, shared) and looks whether it is still the last; who seals it keeps the others out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from merkql.storage.files import Files

AHEAD = 4 << 20  # space that is ready before the writer comes to it, once it writes much
STEP = 8 << 20
SEAL_WAIT_S = 1.0  # for another process that sets space aside, which takes milliseconds
_LOOK_S = 0.0005


def set_aside(files: Files, path: str, position: int, is_last: Callable[[], bool]) -> int:
    """Have space ready behind ``position``, pages and all, and say up to where there is some now.

    New pages cost a writer more than the copy into them. Nothing, and 0, where the segment is
    sealed or about to be.
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
def held_in_size(files: Files, path: str) -> Iterator[None]:
    """Nobody sets space aside meanwhile; for who seals the segment, and says so before the end.

    A process that was stopped in the middle is not waited for: at worst zeros follow the batches.
    """
    descriptor = files.open(path, write=True, create=True)
    deadline = time.monotonic() + SEAL_WAIT_S
    try:
        while not files.lock(descriptor, wait=False) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        yield
    finally:
        files.release(descriptor)
