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


class BatchFields(NamedTuple):
    """The fields of one batch that say which records it holds and how long it is."""

    first_offset: int
    size: int
    next_offset: int
    largest_timestamp_ms: int


def peek(header: bytes) -> BatchFields | None:
    """The fields as they stand in a header, or None for one that is cut short."""
    if len(header) < HEADER_SIZE:
        return None
    first, length, _, _, _, _, last_delta, _, largest = _FIELDS.unpack_from(header)
    return BatchFields(first, LENGTH_POSITION_END + length, first + last_delta + 1, largest)


def is_control(header: bytes) -> bool:
    """Whether the batch holds marks of a transaction, which are handed out to nobody."""
    return len(header) >= HEADER_SIZE and bool(_FIELDS.unpack_from(header)[5] & CONTROL)
