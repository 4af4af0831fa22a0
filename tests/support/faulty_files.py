"""A file seam on which the n-th operation fails, once or from then on."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

from merkql.storage.files import Files

CHANGING = (
    "open",
    "write",
    "write_parts",
    "allocate",
    "truncate",
    "sync",
    "rename",
    "remove",
    "make_directory",
    "remove_directory",
    "sync_directory",
)


class FaultyFiles(Files):
    """Counts the operations named in ``operations`` and lets the one numbered ``at`` fail.

    ``lasting``: all after it fail too, until ``heal``. A failed write may have been done in part.
    """

    def __init__(self, operations: tuple[str, ...] = CHANGING, *, lasting: bool = False) -> None:
        self.operations = operations
        self.count = 0
        self.at = -1
        self.lasting = lasting
        self.spared = "/"  # syncs of files that end so never fail
        self.error = errno.EIO
        self.failed: list[str] = []
        self._lock = threading.Lock()

    def arm(self, at: int) -> None:
        """Let the operation ``at`` operations from now fail; 0 is the next."""
        self.at = self.count + at

    def heal(self) -> None:
        self.at = -1

    def _fails(self, name: str) -> bool:
        with self._lock:
            number = self.count
            self.count += 1
            fails = 0 <= self.at <= number if self.lasting else number == self.at
            if fails:
                self.failed.append(name)
            return fails


def _wrapped(name: str) -> Callable[..., Any]:
    def method(self: FaultyFiles, *arguments: Any, **options: Any) -> Any:
        original = getattr(Files, name)
        if name not in self.operations:
            return original(self, *arguments, **options)
        if name == "sync" and os.readlink(f"/proc/self/fd/{arguments[0]}").endswith(self.spared):
            return original(self, *arguments, **options)
        if not self._fails(name):
            return original(self, *arguments, **options)
        if name == "write" and len(arguments[1]) > 1:
            part = bytes(memoryview(arguments[1]).cast("B")[: len(arguments[1]) // 2])
            original(self, arguments[0], part, *arguments[2:])
        raise OSError(self.error, os.strerror(self.error))

    return method


def _blocks(size: int) -> int:
    return -(-size // 4096)


class FullDisk(Files):
    """Once armed: from the n-th operation that needs space on there is none, until ``heal``.

    Overwriting what is written or allocated needs none.
    """

    def __init__(self) -> None:
        self.left = float("inf")
        self.refused = 0

    def arm(self, at: int) -> None:
        self.left = at

    def heal(self) -> None:
        self.left = float("inf")

    def open(self, path: str, *, write: bool = False, create: bool = False) -> int:
        if create and self.status(path) is None:
            self._take()
        return super().open(path, write=write, create=create)

    def write(self, descriptor: int, data: Any, position: int) -> None:
        if _blocks(position + len(data)) > _blocks(self.size(descriptor)):
            self._take()
        super().write(descriptor, data, position)

    def allocate(self, descriptor: int, position: int, size: int) -> None:
        self._take()
        super().allocate(descriptor, position, size)

    def make_directory(self, path: str) -> None:
        self._take()
        super().make_directory(path)

    def _take(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


for _name in CHANGING:
    setattr(FaultyFiles, _name, _wrapped(_name))
