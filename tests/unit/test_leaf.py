"""What the tree commits to: digests, entries and leaf hashes of single records and of runs."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql._core import leaf
from merkql._core.accumulator import RecordAccumulator
from merkql._core.record_batch import encode, leaf_hashes
from support import naive_batch
from support.naive_batch import NaiveRecord

BYTES = st.none() | st.binary(max_size=200)
HEADERS = st.lists(st.tuples(st.text(max_size=10), BYTES), max_size=3).map(tuple)
SALTS = st.just(b"") | st.binary(min_size=16, max_size=16)


def test_digest_written_by_hand() -> None:
    message = b"merkql-record/v1\n" + bytes.fromhex(
        "00 00000001 6b 00000002 7631 00000001 00000001 68 ffffffff"
    )
    assert leaf.record_digest(b"k", b"v1", (("h", None),)) == hashlib.sha256(message).digest()


def test_null_and_empty_differ() -> None:
    digests = {
        leaf.record_digest(key, value, headers)
        for key in (None, b"")
        for value in (None, b"")
        for headers in ((), (("", None),), (("", b""),))
    }
    assert len(digests) == 12


def test_entry_written_by_hand() -> None:
    digest = bytes(range(32))
    expected = bytes.fromhex("01 0000000000000102 ffffffffffffffff") + digest
    assert leaf.entry(0x102, -1, digest) == expected
    assert len(expected) == 49


@given(BYTES, BYTES, HEADERS, st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1), SALTS)
def test_against_the_oracle(
    key: bytes | None,
    value: bytes | None,
    headers: naive_batch.Headers,
    offset: int,
    timestamp_ms: int,
    salt: bytes,
) -> None:
    record = NaiveRecord(key, value, headers, timestamp_ms)
    digest = leaf.record_digest(key, value, headers, salt)
    assert digest == naive_batch.record_digest(record, salt)
    hashed = leaf.record_leaf_hash(offset, timestamp_ms, key, value, headers, salt)
    assert hashed == naive_batch.leaf_hash(record, offset, salt)
    assert hashed == hashlib.sha256(b"\0" + leaf.entry(offset, timestamp_ms, digest)).digest()


@pytest.mark.parametrize("size", [1, 15, 17, 32])
def test_salts_have_16_bytes_or_none(size: int) -> None:
    with pytest.raises(ValueError, match="salt"):
        leaf.record_digest(None, b"", (), bytes(size))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_digests_have_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="digest"):
        leaf.entry(0, 0, bytes(size))


# Where a run of records is full: by number, by bytes, by one record larger than any run.
@pytest.mark.parametrize("count", [1, 127, 128, 129, 256, 300])
@pytest.mark.parametrize("size", [0, 300, 49_000, 49_152, 60_000])
def test_runs(count: int, size: int) -> None:
    draw = random.Random(count * size)
    count = min(count, 10) if size > 300 else count
    records = [
        NaiveRecord(None, draw.randbytes(size if index % 3 else 7), (), index)
        for index in range(count)
    ]
    accumulator = RecordAccumulator(0)
    for record in records:
        accumulator.add(record.key, record.value, (), record.timestamp_ms)
    encoded = encode([accumulator], 77)
    assert encoded.leaf_hashes == naive_batch.leaf_hashes(records, 77)
    assert leaf_hashes(encoded.data) == encoded.leaf_hashes
