"""What the fixed part of a record batch says, for who only wants to know where it ends.

Checks nothing: `batch_header.scan` does. Format: docs/formats/kafka-record-batch.md.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER_SIZE = 61
CONTROL = 0x20  # of the attributes: a mark of a transaction, not records
LENGTH_POSITION_END = 12  # the stated length counts the bytes behind it
# first offset, length, leader epoch, magic, checksum, attributes, last offset delta, first and
# largest timestamp
_FIELDS = struct.Struct(">qiibIhiqq")
_PRODUCER = struct.Struct(">q")  # right behind them
_CODEC_MASK = 7
_CONTROL_BIT = 1 << 5


class BatchFields(NamedTuple):
    """The fields of one batch that say which records it holds and how long it is."""

    first_offset: int
    size: int
    next_offset: int
    largest_timestamp_ms: int


class BatchDetails(NamedTuple):
    """What else a header says, for who looks at a file."""

    codec: int
    is_control: bool
    timestamp_ms: int  # of the first record
    producer_id: int


def details(header: bytes) -> BatchDetails:
    """The details as they stand in a whole header."""
    _, _, _, _, _, attributes, _, first_timestamp, _ = _FIELDS.unpack_from(header)
    (producer_id,) = _PRODUCER.unpack_from(header, _FIELDS.size)
    return BatchDetails(
        attributes & _CODEC_MASK, bool(attributes & _CONTROL_BIT), first_timestamp, producer_id
    )


def peek(header: bytes) -> BatchFields | None:
    """The fields as they stand in a header, or None for one that is cut short."""
    if len(header) < HEADER_SIZE:
        return None
    first, length, _, _, _, _, last_delta, _, largest = _FIELDS.unpack_from(header)
    return BatchFields(first, LENGTH_POSITION_END + length, first + last_delta + 1, largest)


def is_control(header: bytes) -> bool:
    """Whether the batch holds marks of a transaction, which are handed out to nobody."""
    return len(header) >= HEADER_SIZE and bool(_FIELDS.unpack_from(header)[5] & CONTROL)
