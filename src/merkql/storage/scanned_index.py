"""An offset index built by scanning the batches, in memory: for readers, which may not write."""

from __future__ import annotations

from merkql.storage.offset_index import TIMESTAMP_MIN, IndexDamagedError, IndexEntry


class ScannedIndex:
    """The same lookups as ``OffsetIndex``, without a file."""

    def __init__(self, path: str, entries: list[IndexEntry]) -> None:
        self.path = path
        self._entries = entries

    @property
    def count(self) -> int:
        return len(self._entries)

    def entry(self, number: int) -> IndexEntry:
        return self._entries[number]

    def find(self, offset: int) -> int:
        low = -1
        for number, entry in enumerate(self._entries):
            if entry.first_offset > offset:
                break
            low = number
        if low < 0:
            raise IndexDamagedError(f"{self.path}: no entry at or below offset {offset}")
        return low

    def span(self, offset: int, end: int) -> tuple[int, int, int, int]:
        """No fast path here: the caller falls back to ``find``."""
        return 0, 0, 0, 0

    def find_timestamp(self, timestamp_ms: int) -> int | None:
        found = (n for n, e in enumerate(self._entries) if e.largest_timestamp_ms >= timestamp_ms)
        return next(found, None)

    def find_position(self, position: int) -> int:
        found = (n for n, e in enumerate(self._entries) if e.position >= position)
        return next(found, self.count)

    def largest_timestamp_ms(self) -> int:
        return self._entries[-1].largest_timestamp_ms if self._entries else TIMESTAMP_MIN

    def unload(self) -> None:
        """Nothing to unload: there is no file to reload from."""
