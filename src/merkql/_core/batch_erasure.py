"""Takes records out of a Kafka RecordBatch v2 and leaves of each its digest, in its place.

Offsets, timestamps and all other records stay. Format: docs/formats/kafka-record-batch.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import lz4.frame

from merkql._core.batch_compression import DecompressionError, decompress
from merkql._core.batch_fields import HEADER_SIZE, LENGTH_POSITION_END, details, peek
from merkql._core.batch_header import BatchError
from merkql._core.crc32c import crc32c
from merkql._core.varint import decode_varint, decode_varlong, encode_varint

DECOMPRESSED_SIZE_MAX = 256 << 20
CODEC_MASK = 7
CODEC_LZ4 = 3
ERASED = 0x40  # of a record's attributes, which Kafka has no use for
NAME = b"merkql.erased"
_CODEC_AT = 22  # the low byte of the batch's attributes
_NULL = encode_varint(-1)


def erase_records(batch: bytes, digests: Mapping[int, bytes]) -> bytes:
    """The whole, sound ``batch`` without the records at these offsets; of each its digest is left.

    What was compressed is compressed again, as LZ4. Raises ``BatchError`` for records that cannot
    be read, and for an offset that is not in the batch. Cost: about a microsecond a record.
    """
    if not digests:
        return batch
    fields = peek(batch)
    if fields is None or fields.size != len(batch):
        raise BatchError(0, "not one whole batch")
    missing = [o for o in digests if not fields.first_offset <= o < fields.next_offset]
    if missing:
        raise BatchError(0, f"offset {missing[0]} is not in the batch")
    codec = details(batch[:HEADER_SIZE]).codec
    try:
        records = batch[HEADER_SIZE:]
        if codec:
            records = decompress(codec, memoryview(records), DECOMPRESSED_SIZE_MAX)
        parts = _replaced(records, fields.first_offset, digests)
    except (DecompressionError, ValueError, IndexError) as error:
        raise BatchError(0, f"a record cannot be read: {error}") from None
    return _sealed(batch[:HEADER_SIZE], b"".join(parts), compressed=codec != 0)


def _replaced(records: bytes, first_offset: int, digests: Mapping[int, bytes]) -> list[bytes]:
    parts = []
    offset, position, kept = first_offset, 0, 0
    while position < len(records):
        size, begin = decode_varint(records, position)
        end = begin + size
        if size < 1 or end > len(records):
            raise ValueError(f"a record of {size} bytes at {position}")
        digest = digests.get(offset)
        if digest is not None:
            parts += [records[kept:position], _left_of(records[begin:end], digest)]
            kept = end
        offset, position = offset + 1, end
    parts.append(records[kept:])
    return parts


def _left_of(record: bytes, digest: bytes) -> bytes:
    """An erased record: time and place of ``record`` (without its size), and its digest."""
    _, position = decode_varlong(record, 1)  # timestamp
    _, position = decode_varint(record, position)  # offset
    left = b"".join(
        (
            bytes([record[0] | ERASED]) + record[1:position],
            _NULL + _NULL + encode_varint(1),
            encode_varint(len(NAME)) + NAME,
            encode_varint(len(digest)) + digest,
        )
    )
    return encode_varint(len(left)) + left


def _sealed(header: bytes, records: bytes, *, compressed: bool) -> bytes:
    """The batch with other records: length, codec and checksum are theirs."""
    codec = 0
    if compressed:
        smaller = lz4.frame.compress(records, block_linked=False)
        if len(smaller) < len(records):
            records, codec = smaller, CODEC_LZ4
    attributes = header[_CODEC_AT] & ~CODEC_MASK | codec
    checked = header[_CODEC_AT - 1 : _CODEC_AT] + bytes([attributes]) + header[_CODEC_AT + 1 :]
    length = HEADER_SIZE + len(records) - LENGTH_POSITION_END
    begin = header[:8] + struct.pack(">i", length) + header[12:17]
    return begin + struct.pack(">I", crc32c(checked + records)) + checked + records
