"""The stored hashes of one partition's tree: a flat file for each of the levels 0, 4, 8, …

Hash i of a level is 32 bytes at position 32 * i. A file may go on past what the tree has (space
kept ahead, a torn tail): only the tree's size says what counts. Every file can be made again from
the records. Format: docs/formats/merkle-log.md.
"""

from __future__ import annotations

from merkql._core.frontier import HASH_BYTES, STORED_LEVEL_STRIDE
from merkql._core.treetop import ROW_BYTES
from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.file_pool import FilePool

LEVELS = range(0, 64, STORED_LEVEL_STRIDE)
NEVER_WRITTEN = bytes(HASH_BYTES)  # what space kept ahead reads as, and no SHA-256 ever is

# The top of a tree is in every proof: where a level from 8 up has few hashes, those asked for are
# kept, which saves half the reads of a proof. 128 KiB a partition, once proofs are made.
KEPT_LEVEL_MIN = 8
KEPT_COUNT_MAX = 4096


class _Paths(dict[int, str]):
    """The path of each level, made when it is asked for: most trees have few of the 64."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory

    def __missing__(self, level: int) -> str:
        path = self[level] = layout.tree_level(self._directory, level)
        return path


class TreeFiles:
    """Writes what a Frontier adds and answers what proofs ask; one thread at a time writes."""

    def __init__(self, files: FilePool, directory: str) -> None:
        self.directory = directory
        self.incurable: set[tuple[str, int]] = set()  # damage that making it again left there
        self._files = files
        self._paths = _Paths(directory)
        self._kept: dict[int, bytes] = {}  # by level: the first hashes of its file
        self._unsynced: set[int] = set()
        self._others_wrote = True  # and what they wrote before us may not be synced either

    def write(self, additions: list[tuple[int, int, bytes]]) -> None:
        """Put hashes in their places: (level, first index, hashes). Durable after `sync`."""
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
        """Of each stored level below `top` the 16 hashes of which one is above leaf `index`.

        For who checks where they lead: what is missing is left out.
        """
        read, rows, level = self._files.read, b"", 0
        while level < top:  # twice, mostly: a comprehension costs as much as a read
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
        """The size in bytes of each level's file, space kept ahead among it."""
        found = ((level, self._files.size_of(self._paths[level])) for level in LEVELS)
        return {level: size for level, size in found if size is not None}

    def truncate(self, size: int) -> None:
        """Cut every file to what a tree of `size` leaves stores; shorter files stay as they are."""
        self._kept.clear()
        for level, found in self.sizes().items():
            wanted = (size >> level) * HASH_BYTES
            if found > wanted:
                self._files.truncate(self._paths[level], wanted)
                self._unsynced.add(level)

    def others_wrote(self) -> None:
        """Another process wrote hashes: the next ``sync`` is of every file there is."""
        self._others_wrote = True

    def sync(self) -> None:
        """Make all that was written durable, but for the names of new files."""
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
