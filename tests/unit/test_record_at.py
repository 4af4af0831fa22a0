"""One record out of one batch, as `read` takes it: what `decode` finds there, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql._core.batch_decoder import record_at
from merkql._core.record import Record
from merkql._core.record_batch import encode
from support.naive_batch import NaiveBatch, NaiveRecord
from unit.test_record_batch import RECORD_LISTS, accumulated, as_read

FIRST = 70
RECORDS = [NaiveRecord(b"k%d" % n, b"v" * 40, (("h", None),), 1000 + n) for n in range(20)]


def at(data: bytes, offset: int, first: int = FIRST) -> Record | None:
    return record_at(data, first, offset, "orders", 7)


@given(RECORD_LISTS, st.sampled_from(["none", "lz4"]))
def test_each_record_is_the_one_written(records: list[NaiveRecord], compression: str) -> None:
    data = encode([accumulated(records)], FIRST, batch_size_bytes=1 << 20, compression=compression)
    for first, position, size, count, _ in data.batches:
        batch = data.data[position : position + size]
        found = [at(batch, offset, first) for offset in range(first, first + count)]
        assert found == as_read(records, FIRST)[first - FIRST : first - FIRST + count]


def test_what_is_not_in_the_batch_is_not_found() -> None:
    data = NaiveBatch(FIRST, RECORDS).encode()
    assert [at(data, offset) for offset in (0, FIRST - 1, FIRST + 20, 1 << 62)] == [None] * 4
    assert at(data, FIRST, FIRST - 1) is None
    assert at(data, FIRST, FIRST + 1) is None


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_no_flipped_byte_is_served(compression: str) -> None:
    data = encode([accumulated(RECORDS)], FIRST, compression=compression).data
    right = as_read(RECORDS, FIRST)[3]
    assert at(data, FIRST + 3) == right
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x40
        # Bytes 12 to 15, the leader epoch, say nothing and are under no checksum.
        expected = right if 12 <= position < 16 else None
        assert at(bytes(changed), FIRST + 3) == expected, position


def test_a_batch_that_is_cut_or_followed_is_not_read() -> None:
    data = NaiveBatch(FIRST, RECORDS).encode()
    assert not any(at(data[:end], FIRST) for end in range(len(data)))
    assert at(data + b"\0", FIRST) is None


def test_a_control_batch_has_no_records() -> None:
    assert at(NaiveBatch(FIRST, RECORDS[:1], attributes=0x20).encode(), FIRST) is None
