"""Entries of the offset index: encoded many at a time as they are one at a time."""

from __future__ import annotations

import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from merkql._core.crc32c import portable_crc32c
from merkql._core.index_entries import encode_entries
from merkql.storage.file_pool import FilePool
from merkql.storage.files import VolatileFiles
from merkql.storage.offset_index import ENTRY_SIZE, IndexEntry, OffsetIndex

TIMES = st.integers(-(1 << 63), (1 << 63) - 1)


def entry_by_the_page(first_offset: int, position: int, largest_ms: int) -> bytes:
    checked = struct.pack("<QIq", first_offset, position, largest_ms)
    return struct.pack("<QIIq", first_offset, position, portable_crc32c(checked), largest_ms)


@given(TIMES, st.integers(0, 1 << 31), st.lists(st.tuples(st.integers(1, 1 << 20), TIMES)))
def test_entries_are_those_of_the_page(
    largest: int, base: int, batches: list[tuple[int, int]]
) -> None:
    given_batches, expected, position = [], b"", 0
    running = largest
    for number, (size, timestamp) in enumerate(batches):
        given_batches.append((number * 10, position, size, 10, timestamp))
        running = max(running, timestamp)
        expected += entry_by_the_page(number * 10, base + position, running)
        position += size
    assert encode_entries(given_batches, base, largest) == (expected, running)


def test_what_is_appended_is_found(tmp_path: Path) -> None:
    index = OffsetIndex(FilePool(VolatileFiles()), str(tmp_path / "index"), 0)
    assert index.find_timestamp(0) is None
    for first, position, time in ((0, 0, 5), (10, 700, 3), (25, 1500, 9)):
        encoded, largest = encode_entries([(first, 0, 1, 1, time)], position, 5)
        with open(tmp_path / "index", "ab") as file:
            file.write(encoded)
        index.append(encoded)
    assert (index.count, largest) == (3, 9)
    assert index.entry(index.find(24)) == IndexEntry(10, 700, 5)
    assert index.find_timestamp(6) == 2
    again = OffsetIndex(FilePool(VolatileFiles()), str(tmp_path / "index"), 3)
    assert again.entry(2) == IndexEntry(25, 1500, 9)
    assert (tmp_path / "index").stat().st_size == 3 * ENTRY_SIZE
