"""The record parsers and builders of kafka-python and aiokafka, one like the other: oracles.

Importing this needs both; a test asks for them first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka import errors as aiokafka_errors
from aiokafka.record import default_records as aiokafka_batches
from aiokafka.record import memory_records as aiokafka_memory
from kafka import errors as kafka_errors
from kafka.record import default_records as kafka_batches
from kafka.record import memory_records as kafka_memory

from support import naive_batch
from support.naive_batch import NaiveRecord

UNSUPPORTED = (kafka_errors.UnsupportedCodecError, aiokafka_errors.UnsupportedCodecError)
LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 8, 16, 32  # attributes of a batch


@dataclass(frozen=True)
class Client:
    """One client's way in and out of record batches."""

    name: str
    memory_records: Any
    builder: Any
    checksum_size_max: int  # kafka-python's checksum is Python: 0.1 s a MiB


KAFKA = Client(
    "kafka-python", kafka_memory.MemoryRecords, kafka_batches.DefaultRecordBatchBuilder, 1 << 20
)
AIOKAFKA = Client(
    "aiokafka", aiokafka_memory.MemoryRecords, aiokafka_batches.DefaultRecordBatchBuilder, 1 << 30
)


def fields(record: Any) -> tuple[Any, ...]:
    """What a client's record says; bytes where clients give other kinds of buffers."""
    key = None if record.key is None else bytes(record.key)
    value = None if record.value is None else bytes(record.value)
    return record.offset, record.timestamp, key, value, tuple(map(tuple, record.headers))


def expected(first_offset: int, records: list[NaiveRecord]) -> list[tuple[Any, ...]]:
    return [
        (offset, record.timestamp_ms, record.key, record.value, record.headers)
        for offset, record in enumerate(records, first_offset)
    ]


def batches_of(client: Client, data: bytes) -> Iterator[tuple[Any, list[Any]]]:
    """Each batch of a file as the client has it, and its records; nothing may be left over."""
    records = client.memory_records(data)
    if hasattr(records, "valid_bytes"):
        assert records.valid_bytes() == len(data)
    position = 0
    while records.has_next():
        batch = records.next_batch()
        size = 12 + struct.unpack_from(">i", data, position + 8)[0]
        position += size
        if size <= client.checksum_size_max:
            assert batch.validate_crc()
        yield batch, list(batch)
    assert position == len(data)


def theirs(client: Client, records: list[NaiveRecord], first_offset: int, codec: int) -> bytes:
    """A batch the client built, with the fields a Kafka server sets behind the checksum's back."""
    builder = client.builder(
        magic=2,
        compression_type=codec,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for number, one in enumerate(records):
        assert builder.append(number, one.timestamp_ms, one.key, one.value, list(one.headers))
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, first_offset)
    struct.pack_into(">i", data, 12, 7)  # the leader's epoch
    return bytes(data)


def marked(data: bytes, attributes: int, largest_timestamp_ms: int | None = None) -> bytes:
    """A batch with what a Kafka server marks it with, and the checksum that goes with that."""
    changed = bytearray(data)
    changed[22] |= attributes
    if largest_timestamp_ms is not None:
        struct.pack_into(">q", changed, 35, largest_timestamp_ms)
    struct.pack_into(">I", changed, 17, naive_batch.crc32c(bytes(changed[21:])))
    return bytes(changed)
