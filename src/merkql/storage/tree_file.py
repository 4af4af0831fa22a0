"""The stored hashes of one partition's tree: one flat file for each of the levels 0, 4, 8, …

Hash i of a level is 32 bytes at position 32 * i. A file may be longer than the tree needs
(preallocated space, a torn tail): only the tree's size counts. Every file can be rebuilt from the
records. Format: docs/formats/merkle-log.md.
"""

from __future__ import annotations

from merkql._core.frontier import HASH_BYTES, STORED_LEVEL_STRIDE
from merkql._core.treetop import ROW_BYTES
from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.file_pool import FilePool

LEVELS = range(0, 64, STORED_LEVEL_STRIDE)
NEVER_WRITTEN = bytes(HASH_BYTES)  # what preallocated space reads as; no real hash is zero

# The top of the tree is in every proof: hashes of levels from 8 up are cached while the level has
# few of them, which saves half the reads of a proof. At most 128 KiB for each such level.
KEPT_LEVEL_MIN = 8
KEPT_COUNT_MAX = 4096


class _Paths(dict[int, str]):
    """The path of each level, built at first use: most trees have few levels."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory

    def __missing__(self, level: int) -> str:
        path = self[level] = layout.tree_level(self._directory, level)
        return path


class TreeFiles:
    """Writes what a Frontier adds and reads what proofs need; one thread at a time writes."""

    def __init__(self, files: FilePool, directory: str) -> None:
        self.directory = directory
        self.incurable: set[tuple[str, int]] = set()  # damage that a rebuild did not mend
        self._files = files
        self._paths = _Paths(directory)
        self._kept: dict[int, bytes] = {}  # by level: the first hashes of its file
        self._unsynced: set[int] = set()
        self._others_wrote = True  # what was written before we opened may be unsynced too

    def write(self, additions: list[tuple[int, int, bytes]]) -> None:
        """Write hashes to their places: (level, first index, hashes). Durable after ``sync``."""
        for level, first, hashes in additions:
            self._files.write(self._paths[level], hashes, first * HASH_BYTES)
            self._unsynced.add(level)  # after the write: a sync in between must not clear it
            if level in self._kept and first * HASH_BYTES < len(self._kept[level]):
                del self._kept[level]

    def read(self, requests: list[tuple[int, int, int]]) -> list[bytes]:
        """The hashes of each (level, first index, count), in one read each.

        Raises CorruptionError where hashes are missing.
        """
        answers = []
        for level, first, count in requests:
            begin, end = first * HASH_BYTES, (first + count) * HASH_BYTES
            if level < KEPT_LEVEL_MIN or first + count > KEPT_COUNT_MAX:
                answers.append(self._read(level, begin, end))
                continue
            kept = self._kept.get(level, b"")
            if len(kept) < end:
                kept += self._read(level, len(kept), end)
                self._kept[level] = kept
            answers.append(kept[begin:end])
        return answers

    def rows(self, index: int, top: int) -> bytes:
        """For each stored level below ``top``: the 16 hashes around the one above leaf ``index``.

        The caller checks the result: missing hashes are left out.
        """
        read, rows, level = self._files.read, b"", 0
        while level < top:  # a loop of two, mostly; a comprehension would cost as much as a read
            path = self._paths[level]
            level += STORED_LEVEL_STRIDE
            rows += read(path, ROW_BYTES, (index >> level) * ROW_BYTES)
        return rows

    def _read(self, level: int, begin: int, end: int) -> bytes:
        path = self._paths[level]
        try:
            hashes = self._files.read(path, end - begin, begin)
        except FileNotFoundError:
            raise CorruptionError(path, begin, "the file of tree hashes is gone") from None
        if len(hashes) != end - begin:
            raise CorruptionError(
                path, begin + len(hashes), "tree hashes are missing at the end of the file"
            )
        if hashes.endswith(NEVER_WRITTEN):
            hole = begin + hashes.index(NEVER_WRITTEN)
            raise CorruptionError(path, hole, "a tree hash was never written")
        return hashes

    def sizes(self) -> dict[int, int]:
        """The size in bytes of each level's file, preallocated space included."""
        found = ((level, self._files.size_of(self._paths[level])) for level in LEVELS)
        return {level: size for level, size in found if size is not None}

    def truncate(self, size: int) -> None:
        """Cut every file to what a tree of ``size`` leaves stores; shorter files stay."""
        self._kept.clear()
        for level, found in self.sizes().items():
            wanted = (size >> level) * HASH_BYTES
            if found > wanted:
                self._files.truncate(self._paths[level], wanted)
                self._unsynced.add(level)

    def others_wrote(self) -> None:
        """Another process wrote hashes: the next ``sync`` covers every file."""
        self._others_wrote = True

    def sync(self) -> None:
        """Make all that was written durable, except the names of new files."""
        if self._others_wrote:
            self._others_wrote = False
            self._unsynced |= set(self.sizes())
        for level in sorted(self._unsynced):
            self._unsynced.discard(level)  # before the call: a write during it marks it again
            try:
                self._files.sync(self._paths[level])
            except OSError:
                self._unsynced.add(level)
                raise
