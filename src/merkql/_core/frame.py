"""WAL frames: one group commit, for any number of partitions, as bytes and back.

Format: docs/formats/frame.md.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import xxhash

MAGIC = b"MKWF"
VERSION = 1
ALIGNMENT = 4096  # a sync never rewrites a sector that an earlier one made durable
# magic, version, reserved, checksum | epoch, position, sequence, durable sequence, floor sequence,
# size, section count, reserved
HEADER = struct.Struct("<4sB3xQ6QI4x")
JOINED_SIZE_MAX = 16 << 10  # below it one copy costs less than several small steps
NUMBER_MAX = 1 << 62  # offsets and sequence numbers stay below it
CHECKSUM_START = 16  # the first byte under the checksum
# topic id, partition, record count, first offset, data size, salts size
SECTION = struct.Struct("<16sIIQQQ")


class Section(NamedTuple):
    """The batches one group brings to one partition, and their salts where the topic has them."""

    topic_id: bytes
    partition: int
    first_offset: int
    record_count: int
    data: bytes | memoryview
    salts: bytes | memoryview = b""


class Frame(NamedTuple):
    """One whole group. Sequence numbers count groups over the life of the data directory.

    ``durable_sequence``: every group up to it was durable before this one was written.
    ``floor_sequence``: every group below it is durable in the segments and no longer needed here.
    """

    epoch: int
    position: int
    sequence: int
    durable_sequence: int
    floor_sequence: int
    sections: tuple[Section, ...]
    size: int = 0

    @property
    def next_position(self) -> int:
        return self.position + padded(self.size)


def padded(size: int) -> int:
    """``size`` rounded up to the alignment of frames."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def encode(frame: Frame, seed: int) -> list[bytes | memoryview]:
    """The frame's bytes in parts, padding included; large payloads are passed on uncopied.

    ``seed`` belongs to the data directory: a frame of another log, or one forged inside a record by
    somebody who cannot read the directory, does not check out.
    """
    table, payloads = b"", []
    for topic_id, partition, first_offset, count, data, salts in frame.sections:
        table += SECTION.pack(topic_id, partition, count, first_offset, len(data), len(salts))
        payloads += [data, salts] if salts else [data]
    size = HEADER.size + len(table) + sum(map(len, payloads))
    header = HEADER.pack(
        MAGIC,
        VERSION,
        0,
        frame.epoch,
        frame.position,
        frame.sequence,
        frame.durable_sequence,
        frame.floor_sequence,
        size,
        len(frame.sections),
    )
    padding = bytes(padded(size) - size)
    if size <= JOINED_SIZE_MAX:
        content = b"".join((header[CHECKSUM_START:], table, *payloads))
        digest = xxhash.xxh3_64_intdigest(content, seed=seed)
        return [b"".join((header[:8], digest.to_bytes(8, "little"), content, padding))]
    checksum = xxhash.xxh3_64(header[CHECKSUM_START:], seed=seed)
    checksum.update(table)
    for part in payloads:
        checksum.update(part)
    sealed = header[:8] + checksum.intdigest().to_bytes(8, "little") + header[CHECKSUM_START:]
    return [sealed + table, *payloads, padding] if padding else [sealed + table, *payloads]


def is_of(head: bytes, epoch: int, position: int) -> bool:
    """Whether the first bytes of a frame, unchecked, state this epoch and position."""
    if len(head) < HEADER.size or head[:4] != MAGIC:
        return False
    stated_epoch, stated_position = HEADER.unpack_from(head)[3:5]
    return bool(stated_epoch == epoch and stated_position == position)


def stated_size(head: bytes | memoryview, position: int) -> int | None:
    """The size of the frame whose first bytes these are, unchecked; None if none begins here."""
    if len(head) < HEADER.size or head[:4] != MAGIC:
        return None
    _, version, _, _, stated, _, _, _, size, count = HEADER.unpack_from(head)
    if version != VERSION or stated != position or size < HEADER.size + count * SECTION.size:
        return None
    return int(size)


def decode(data: bytes | memoryview, position: int, seed: int) -> Frame | None:
    """The whole and sound frame at the beginning of ``data``, or None.

    ``position`` is where that is in the WAL file. None says nothing about why: a torn write and old
    content look alike. The caller judges by the frames around (docs/formats/frame.md).
    """
    data = memoryview(data)
    size = stated_size(data, position)
    if size is None or size > len(data):
        return None
    _, _, checksum, epoch, _, sequence, durable, floor, _, count = HEADER.unpack_from(data)
    if xxhash.xxh3_64_intdigest(data[CHECKSUM_START:size], seed=seed) != checksum:
        return None
    sections = _decode_sections(data[:size], count)
    if sections is None or max(sequence, durable, floor) > NUMBER_MAX:
        return None
    return Frame(epoch, position, sequence, durable, floor, sections, size)


def _decode_sections(frame: memoryview, count: int) -> tuple[Section, ...] | None:
    sections = []
    start = HEADER.size + count * SECTION.size
    for i in range(count):
        topic_id, partition, records, first, data_size, salts_size = SECTION.unpack_from(
            frame, HEADER.size + i * SECTION.size
        )
        middle, end = start + data_size, start + data_size + salts_size
        if end > len(frame) or max(first, records) > NUMBER_MAX:
            return None
        sections.append(
            Section(topic_id, partition, first, records, frame[start:middle], frame[middle:end])
        )
        start = end
    return tuple(sections) if start == len(frame) else None
