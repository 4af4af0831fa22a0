"""Kafka RecordBatch v2 and record digests, slow and plain: an oracle written from the pages."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

HEADER = struct.Struct(">qiibIhiqqqhii")
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

Headers = tuple[tuple[str, "bytes | None"], ...]


def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc32c_table()


def crc32c(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state = _TABLE[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


@dataclass(frozen=True)
class NaiveRecord:
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int = 0


@dataclass
class NaiveBatch:
    """One batch, every field of its header open to be set wrong."""

    first_offset: int
    records: list[NaiveRecord]
    attributes: int = 0
    overrides: dict[str, int] = field(default_factory=dict)

    def record_bytes(self) -> bytes:
        base = self.records[0].timestamp_ms if self.records else -1
        return b"".join(
            encode_record(record, index, record.timestamp_ms - base)
            for index, record in enumerate(self.records)
        )

    def encode(self, body: bytes | None = None) -> bytes:
        """The batch; `body` in the place of the records, compressed ones for instance."""
        body = self.record_bytes() if body is None else body
        times = [record.timestamp_ms for record in self.records] or [-1]
        names = {
            "last_offset_delta": len(self.records) - 1,
            "base_timestamp": times[0],
            "max_timestamp": max(times),
            "count": len(self.records),
            "magic": 2,
            "length": 49 + len(body),
            **self.overrides,
        }
        checked = struct.pack(
            ">hiqqqhii",
            self.attributes,
            names["last_offset_delta"],
            names["base_timestamp"],
            names["max_timestamp"],
            -1,
            -1,
            -1,
            names["count"],
        )
        checked += body
        crc = names.get("crc", crc32c(checked))
        start = struct.pack(">qiibI", self.first_offset, names["length"], 0, names["magic"], crc)
        return start + checked


def varint(value: int) -> bytes:
    bits = (value << 1) ^ (value >> 63)
    written = bytearray()
    while bits > 0x7F:
        written.append(bits & 0x7F | 0x80)
        bits >>= 7
    written.append(bits)
    return bytes(written)


def sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def encode_record(record: NaiveRecord, offset_delta: int, timestamp_delta: int) -> bytes:
    body = b"\x00" + varint(timestamp_delta) + varint(offset_delta)
    body += sized(record.key) + sized(record.value) + varint(len(record.headers))
    for name, value in record.headers:
        body += sized(name.encode()) + sized(value)
    return varint(len(body)) + body


def _sized32(data: bytes | None) -> bytes:
    return struct.pack(">i", -1 if data is None else len(data)) + (data or b"")


def record_digest(record: NaiveRecord, salt: bytes = b"") -> bytes:
    message = b"merkql-record/v1\n" + bytes([len(salt)]) + salt
    message += _sized32(record.key) + _sized32(record.value)
    message += struct.pack(">i", len(record.headers))
    for name, value in record.headers:
        message += _sized32(name.encode()) + _sized32(value)
    return hashlib.sha256(message).digest()


def leaf_hash(record: NaiveRecord, offset: int, salt: bytes = b"") -> bytes:
    entry = struct.pack(">BQq", 1, offset, record.timestamp_ms) + record_digest(record, salt)
    return hashlib.sha256(b"\x00" + entry).digest()


def leaf_hashes(records: list[NaiveRecord], first_offset: int, salts: bytes = b"") -> bytes:
    return b"".join(
        leaf_hash(record, first_offset + index, salts[16 * index : 16 * index + 16])
        for index, record in enumerate(records)
    )
