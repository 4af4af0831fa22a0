"""Preallocates tree and salt files, so that no write after the WAL's sync lacks space."""

from __future__ import annotations

from merkql._core.frontier import STORED_LEVEL_STRIDE
from merkql.storage import layout
from merkql.storage.file_pool import FilePool
from merkql.storage.segment import PREALLOCATION_MIN

SALT_SIZE = 16
NO_SALT = bytes(SALT_SIZE)  # a destroyed salt; no random one is all zeros
HASH_SIZE = 32
BUNDLED_SIZE = 51  # a u16 size and an entry of 49 bytes
STEP_MIN = 4096
STEP_MAX = 1 << 20


def stored_levels(size: int) -> int:
    """How many files a tree of ``size`` leaves has."""
    return -(-size.bit_length() // STORED_LEVEL_STRIDE)


class TreeSpace:
    """How far the files of one tree are allocated by this process."""

    def __init__(self, pool: FilePool, directory: str) -> None:
        self._pool = pool
        self._directory = directory
        self._hashes: dict[int, int] = {}  # by level, in bytes
        self._room = 0  # up to so many leaves every level has space
        self._salts = 0

    def forget(self) -> None:
        """The files were truncated: allocate anew."""
        self._hashes.clear()
        self._room = self._salts = 0

    def reserve(self, size: int, count: int, *, salts: bool) -> bool:
        """Room for ``count`` more leaves in a tree of ``size``; True if a file may be new."""
        made = size + count > self._room and self._reserve_levels(size, count)
        if salts and (size + count) * SALT_SIZE > self._salts:
            made |= not self._salts
            self._reserve_salts(size * SALT_SIZE, (size + count) * SALT_SIZE)
        return made

    def _reserve_levels(self, size: int, count: int) -> bool:
        made, level, room = False, 0, 1 << 64
        while needed := ((size + count) >> level) * HASH_SIZE:
            if needed > self._hashes.get(level, 0):
                made |= level not in self._hashes
                self._reserve_level(level, (size >> level) * HASH_SIZE, needed)
            room = min(room, (self._hashes[level] // HASH_SIZE + 1 << level) - 1)
            level += STORED_LEVEL_STRIDE
        self._room = min(room, (1 << level) - 1)
        return made

    def _reserve_level(self, level: int, begin: int, needed: int) -> None:
        step = min(max(begin, STEP_MIN), STEP_MAX)
        target = -(-needed // step) * step + STEP_MIN
        self._pool.allocate(layout.tree_level(self._directory, level), begin, target - begin)
        self._hashes[level] = target

    def _reserve_salts(self, begin: int, needed: int) -> None:
        target = -(-needed // PREALLOCATION_MIN) * PREALLOCATION_MIN
        self._pool.allocate(layout.tree_salts(self._directory), begin, target - begin)
        self._salts = target
