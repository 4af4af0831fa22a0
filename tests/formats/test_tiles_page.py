"""The page of tiles: its example is a bundle, and records are made into such."""

from __future__ import annotations

import struct

from merkql._core.batch_leaves import leaf_hashes_and_entries
from support import naive_batch
from support.naive_batch import NaiveBatch, NaiveRecord
from support.pages import worked_example


def bundled(offset: int, timestamp_ms: int, digest: bytes) -> bytes:
    return struct.pack(">HBQq", 49, 1, offset, timestamp_ms) + digest


def test_example_has_the_fields_of_the_page() -> None:
    example = worked_example("tiles")
    entries = [bundled(0, 1000, b"\x11" * 32), bundled(1, 2000, b"\x22" * 32)]
    assert example == b"".join(entries)


def test_records_are_made_into_such_bundles() -> None:
    records = [NaiveRecord(b"k", b"v", (), 1000 * n) for n in range(300)]
    data = NaiveBatch(40, records).encode()
    hashes, bundle = leaf_hashes_and_entries(data)
    assert hashes == naive_batch.leaf_hashes(records, 40)
    digests = [naive_batch.record_digest(record) for record in records]
    expected = [bundled(40 + n, 1000 * n, digests[n]) for n in range(300)]
    assert bundle == b"".join(expected)
    assert leaf_hashes_and_entries(data, first_offset=339)[1] == expected[299]
    salts = bytes(range(16)) * 300
    hashes, bundle = leaf_hashes_and_entries(data, salts=salts)
    assert hashes == naive_batch.leaf_hashes(records, 40, salts)
    digest = naive_batch.record_digest(records[7], bytes(range(16)))
    assert bundle[7 * 51 : 8 * 51] == bundled(47, 7000, digest)
