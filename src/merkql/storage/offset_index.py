"""A segment's index: from an offset or a timestamp to the batch that holds it.

One fixed-size entry for each batch, each with its own checksum; derived from the batches. Format:
docs/formats/offset-index.md.
"""

from __future__ import annotations

import struct
import sys
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from merkql._core.crc32c import crc32c
from merkql.storage.file_pool import FilePool

ENTRY_SIZE = 24
TIMESTAMP_MIN = -(1 << 63)
_ENTRY = struct.Struct("<QIIq")  # first offset, position, check, largest timestamp so far
_CHECKED = struct.Struct("<QIq")


class IndexEntry(NamedTuple):
    """A batch: its first offset, where it is, and the largest timestamp up to its end."""

    first_offset: int
    position: int
    largest_timestamp_ms: int


class IndexDamagedError(Exception):
    """The index contradicts itself or its segment; caught in storage, which rebuilds it."""


def encode_entry(entry: IndexEntry) -> bytes:
    check = crc32c(_CHECKED.pack(*entry))
    return _ENTRY.pack(entry.first_offset, entry.position, check, entry.largest_timestamp_ms)


def decode_entries(data: bytes) -> Iterator[tuple[IndexEntry, bool]]:
    """Each whole entry as stored, and whether its checksum matches."""
    for first, position, check, timestamp in _ENTRY.iter_unpack(
        data[: len(data) - len(data) % ENTRY_SIZE]
    ):
        entry = IndexEntry(first, position, timestamp)
        yield entry, crc32c(_CHECKED.pack(*entry)) == check


def running_entries(
    batches: Iterable[tuple[int, int, int, int, int]], base_position: int, largest: int
) -> list[IndexEntry]:
    """Index entries of consecutive batches, whose positions are relative to ``base_position``.

    ``largest``: the largest timestamp in the segment before them. Entries hold a running maximum,
    so that timestamps can be bisected although they need not be in order.
    """
    entries = []
    for first_offset, position, _size, _count, timestamp in batches:
        largest = max(largest, timestamp)
        entries.append(IndexEntry(first_offset, base_position + position, largest))
    return entries


Columns = tuple["array[int]", "array[int]", "array[int]"]  # offsets, words, timestamps


class OffsetIndex:
    """The entries of one segment: loaded at the first lookup, kept up to date from then on."""

    def __init__(self, pool: FilePool, path: str, count: int) -> None:
        self._pool = pool
        self.path = path
        self.count = count
        self._columns: Columns | None = None  # a process that only writes needs none
        self._largest: tuple[int, int] | None = None  # entry count, and its largest timestamp
        self._lock = threading.Lock()  # held while columns are loaded or extended

    def append(self, data: bytes) -> None:
        """Take in the encoded entries of new batches, which the file has already."""
        with self._lock:
            columns = self._columns
            if columns is not None:
                offsets, words, timestamps = columns
                new_offsets, new_words, new_timestamps = _columns_of(data)
                timestamps.extend(new_timestamps)
                words.extend(new_words)
                offsets.extend(new_offsets)  # last: readers search it without the lock
            self.count += len(data) // ENTRY_SIZE

    def extend_to(self, count: int) -> None:
        """Set the number of entries: more that another process appended, or fewer.

        Also repairs columns of unequal length, left by a Ctrl-C in ``append``.
        """
        with self._lock:
            columns = self._columns
            if count != self.count or (columns and any(len(one) != count for one in columns)):
                self._columns = self._largest = None
                self.count = count

    def entry(self, number: int) -> IndexEntry:
        """The checked entry ``number``; ``IndexDamagedError`` if it does not check out."""
        offsets, words, timestamps = self._load()
        if number >= len(offsets):
            raise IndexDamagedError(f"{self.path}: {len(offsets)} entries, none of number {number}")
        word = words[number]
        entry = IndexEntry(offsets[number], word & 0xFFFFFFFF, timestamps[number])
        if crc32c(_CHECKED.pack(*entry)) != word >> 32:
            raise IndexDamagedError(f"{self.path}: entry {number} does not check out")
        return entry

    def find(self, offset: int) -> int:
        """The number of the last entry that begins at or below ``offset``."""
        number = bisect_right(self._load()[0], offset) - 1
        if number < 0:
            raise IndexDamagedError(f"{self.path}: no entry at or below offset {offset}")
        # If both neighbours are sound, the bisection cannot have been misled.
        if number + 1 < self.count and self.entry(number + 1).first_offset <= offset:
            raise IndexDamagedError(f"{self.path}: entries out of order")
        return number

    def span(self, offset: int, end: int) -> tuple[int, int, int, int]:
        """First offset, position, size and record count of the batch that should hold ``offset``.

        Unchecked: the caller checks what it finds there. ``end``: where the last batch ends; its
        record count is unknown here and given as 0.
        """
        offsets, words, _ = self._load()
        number = bisect_right(offsets, offset)
        if not number:
            return 0, 0, 0, 0
        first, position, count = offsets[number - 1], words[number - 1] & 0xFFFFFFFF, 0
        if number < len(offsets):
            count = offsets[number] - first
            end = words[number] & 0xFFFFFFFF
        return first, position, end - position, count

    def find_timestamp(self, timestamp_ms: int) -> int | None:
        """The number of the first batch with a record at or after ``timestamp_ms``, or None."""
        number = bisect_left(self._load()[2], timestamp_ms)
        if number > 0:
            self.entry(number - 1)
        if number >= self.count:
            return None
        self.entry(number)
        return number

    def find_position(self, position: int) -> int:
        """The number of the first batch at or after ``position``; ``count`` if none is."""
        number = bisect_left(self._load()[1], position, key=lambda word: word & 0xFFFFFFFF)
        if number < self.count:
            self.entry(number)
        return number

    def largest_timestamp_ms(self) -> int:
        """The largest timestamp in the segment; ``TIMESTAMP_MIN`` if it is empty."""
        count = self.count
        known = self._largest  # cached: a search by time asks segment after segment
        if known is None or known[0] != count:
            largest = self.entry(count - 1).largest_timestamp_ms if count else TIMESTAMP_MIN
            known = self._largest = (count, largest)
        return known[1]

    def unload(self) -> None:
        """Drop the entries in memory; they are reloaded when needed."""
        with self._lock:
            self._largest = None
            if self.count:
                self._columns = None

    def _load(self) -> Columns:
        columns = self._columns
        if columns is None:
            with self._lock:
                columns = self._columns
                if columns is None:
                    columns = self._columns = self._read()
        return columns

    def _read(self) -> Columns:
        size = self.count * ENTRY_SIZE
        try:
            data = self._pool.read(self.path, size, 0) if size else b""
        except FileNotFoundError:
            raise IndexDamagedError(f"{self.path} is missing") from None
        if len(data) < size:
            raise IndexDamagedError(f"{self.path}: {len(data)} bytes instead of {size}")
        return _columns_of(data)


def _columns_of(data: bytes) -> Columns:
    words = array("Q", data)
    timestamps = array("q", data)
    if sys.byteorder == "big":
        words.byteswap()
        timestamps.byteswap()
    return words[0::3], words[1::3], timestamps[2::3]
