"""Do Kafka's Python clients read our batches, and do we read theirs?

Goal: each direction, each compression, with null and empty fields. Method: the clients' own record
parsers and builders, no network. murmur2 is compared with kafka-python's too.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from merkql._core.accumulator import RecordAccumulator
from merkql._core.murmur2 import murmur2
from merkql._core.record import Record
from merkql._core.record_batch import decode, encode, leaf_hashes, scan
from support import naive_batch
from support.naive_batch import CODECS, NaiveRecord

pytestmark = pytest.mark.interop
kafka_records = pytest.importorskip("kafka.record.default_records")
aiokafka_records = pytest.importorskip("aiokafka.record.default_records")

RECORDS = [
    NaiveRecord(b"k", b"v", (), 1_700_000_000_000),
    NaiveRecord(None, b"no key", (), 1_700_000_000_001),
    NaiveRecord(b"tombstone", None, (), 1_700_000_000_001),
    NaiveRecord(b"", b"", (), 1_699_999_999_000),
    NaiveRecord(b"headers", b"v", (("a", b"1"), ("a", b""), ("été", None)), 1_700_000_000_500),
    NaiveRecord(b"large", random.Random(1).randbytes(3000) + bytes(3000), (), 1_700_000_000_600),
]
CLIENTS = [
    pytest.param(kafka_records, id="kafka-python"),
    pytest.param(aiokafka_records, id="aiokafka"),
]


def fields(record: Any) -> tuple[Any, ...]:
    """What a client's record, or ours, says; bytes where clients give other kinds of buffers."""
    key = None if record.key is None else bytes(record.key)
    value = None if record.value is None else bytes(record.value)
    time = record.timestamp_ms if isinstance(record, Record) else record.timestamp
    return record.offset, time, key, value, tuple(map(tuple, record.headers))


def expected(first_offset: int) -> list[tuple[Any, ...]]:
    return [
        (offset, record.timestamp_ms, record.key, record.value, record.headers)
        for offset, record in enumerate(RECORDS, first_offset)
    ]


def ours(first_offset: int, **options: Any) -> bytes:
    accumulator = RecordAccumulator(0)
    for record in RECORDS:
        accumulator.add(record.key, record.value, record.headers, record.timestamp_ms)
    return encode([accumulator], first_offset, **options).data


def theirs(client: Any, compression: str) -> bytes:
    builder = client.DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS[compression],
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )
    for offset, record in enumerate(RECORDS):
        builder.append(offset, record.timestamp_ms, record.key, record.value, list(record.headers))
    return bytes(builder.build())


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("compression", ["none", "lz4"])
@pytest.mark.parametrize("batch_size", [1, 100, 1 << 20])
def test_clients_read_our_batches(client: Any, compression: str, batch_size: int) -> None:
    data = ours(1000, compression=compression, batch_size_bytes=batch_size)
    read = []
    for first, position, size, count, largest in scan(data, 1000).batches:
        batch = client.DefaultRecordBatch(bytearray(data[position : position + size]))
        assert batch.validate_crc()
        assert (batch.base_offset, batch.magic) == (first, 2)
        assert batch.max_timestamp == largest
        records = list(batch)
        assert len(records) == count
        read += records
    assert [fields(record) for record in read] == expected(1000)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("compression", CODECS)
def test_we_read_clients_batches(client: Any, compression: str) -> None:
    try:
        data = theirs(client, compression)
    except Exception as error:  # each client has a class of its own for this
        pytest.skip(f"{compression}: {error}")
    assert data[22] & 7 == CODECS[compression]
    assert scan(data, 0).verdict == "clean"
    result = decode(data, "t", 0, first_offset=0, stop_offset=100, max_records=100)
    assert [fields(record) for record in result.records] == expected(0)
    assert leaf_hashes(data) == naive_batch.leaf_hashes(RECORDS, 0)


@pytest.mark.parametrize("client", CLIENTS)
def test_plain_batches_are_the_same_bytes(client: Any) -> None:
    """But for the leader epoch, which a client leaves to the broker and is outside the checksum."""
    data, other = ours(0, batch_size_bytes=1 << 20), theirs(client, "none")
    assert data[:12] == other[:12]
    assert data[16:] == other[16:]


def test_murmur2_is_kafka_pythons() -> None:
    oracle = pytest.importorskip("kafka.partitioner.default").murmur2
    draw = random.Random(3)
    for size in [*range(70), 1000, 65_536]:
        key = draw.randbytes(size)
        assert murmur2(key) & 0xFFFFFFFF == oracle(key) & 0xFFFFFFFF
