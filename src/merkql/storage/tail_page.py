"""A partition's tail page: where it ends now, for readers and for the next writer.

It is read and written with one call each and has a checksum, so a torn page counts as missing. It
is derived: without it the segments are scanned. Format: docs/formats/tail-page.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import xxhash

from merkql.storage.file_pool import FilePool

SIZE = 4096
MAGIC = b"MKTP"
VERSION = 3
ATTEMPTS = 3  # a page being written at this moment may read torn
STATE_LIVE = 0
STATE_CLEAN = 1
# magic, version, state, peak count, reserved, checksum | boot id, writer, start offset, end offset,
# segment first offset, segment position, index count, durable offset, checkpoint offset,
# checkpoint position, checkpoint index count, largest timestamp, rewrites
_HEADER = struct.Struct("<4sBBBxQ16sQ9QqQ")
_CHECKSUM_START = 16
_HASH_SIZE = 32
_NUMBER_MAX = 1 << 62  # offsets, positions and counts of a sound page are below it


@dataclass(slots=True)  # not frozen, which is slower to make: one for each commit
class TailState:
    """Where a partition ends. Offsets count records, positions bytes of the last segment."""

    end_offset: int
    segment_offset: int  # first offset of the last segment
    position: int  # end of the last whole batch in it
    index_count: int
    peaks: bytes  # of the tree at end_offset
    start_offset: int = 0
    durable_offset: int = 0  # the segment is synced up to here
    checkpoint_offset: int = 0  # index and tree are synced up to here too
    checkpoint_position: int = 0
    checkpoint_index_count: int = 0
    largest_timestamp_ms: int = -(1 << 63)
    writer: int = 0  # random, of the broker that wrote the page; 0 when it closed cleanly
    boot_id: bytes = bytes(16)  # zero when it closed cleanly
    clean: bool = False
    rewrites: int = 0  # how often a sealed segment was replaced under its name

    def cleaned(self) -> TailState:
        """The page after a clean close: it depends on the log's content alone."""
        return replace(
            self,
            writer=0,
            boot_id=bytes(16),
            clean=True,
            durable_offset=self.end_offset,
            checkpoint_offset=self.end_offset,
            checkpoint_position=self.position,
            checkpoint_index_count=self.index_count,
        )


def encode(state: TailState) -> bytes:
    body = (
        _HEADER.pack(
            MAGIC,
            VERSION,
            STATE_CLEAN if state.clean else STATE_LIVE,
            len(state.peaks) // _HASH_SIZE,
            0,
            state.boot_id,
            state.writer,
            state.start_offset,
            state.end_offset,
            state.segment_offset,
            state.position,
            state.index_count,
            state.durable_offset,
            state.checkpoint_offset,
            state.checkpoint_position,
            state.checkpoint_index_count,
            state.largest_timestamp_ms,
            state.rewrites,
        )
        + state.peaks
    )
    checksum = xxhash.xxh3_64_intdigest(body[:8] + body[_CHECKSUM_START:])
    return body[:8] + checksum.to_bytes(8, "little") + body[_CHECKSUM_START:]


def decode(page: bytes) -> TailState | None:
    """The state a page states, or None for one that is torn, damaged or of another version."""
    if len(page) < _HEADER.size:
        return None
    fields = _HEADER.unpack_from(page)
    magic, version, state, peak_count, checksum, boot_id, writer, *numbers = fields
    size = _HEADER.size + peak_count * _HASH_SIZE
    if magic != MAGIC or version != VERSION or state > STATE_CLEAN or len(page) < size:
        return None
    if xxhash.xxh3_64_intdigest(page[:8] + page[_CHECKSUM_START:size]) != checksum:
        return None
    *counts, largest, rewrites = numbers
    start, end, segment, position, index_count, durable, *checkpoint = counts
    if end.bit_count() != peak_count or max(counts) > _NUMBER_MAX:
        return None
    return TailState(
        end_offset=end,
        segment_offset=segment,
        position=position,
        index_count=index_count,
        peaks=page[_HEADER.size : size],
        start_offset=start,
        durable_offset=durable,
        checkpoint_offset=checkpoint[0],
        checkpoint_position=checkpoint[1],
        checkpoint_index_count=checkpoint[2],
        largest_timestamp_ms=largest,
        writer=writer,
        boot_id=boot_id,
        clean=state == STATE_CLEAN,
        rewrites=rewrites,
    )


def size_of(state: TailState) -> int:
    """The size in bytes of the page that encodes ``state``."""
    return _HEADER.size + len(state.peaks)


def read(pool: FilePool, path: str) -> TailState | None:
    """The page on disk; None if it is missing or fails its checksum."""
    for _ in range(ATTEMPTS):
        page = read_bytes(pool, path)
        if not page:
            return None
        state = decode(page)
        if state is not None:
            return state
    return None


def last_segment(pool: FilePool, path: str) -> int | None:
    """The first offset of the partition's last segment, as the page states it now."""
    state = read(pool, path)
    return state.segment_offset if state is not None else None


def read_bytes(pool: FilePool, path: str) -> bytes:
    """The file's content, sound or not; empty if it is missing."""
    try:
        return pool.read(path, SIZE, 0)
    except FileNotFoundError:
        return b""


def is_current(page: TailState | None, boot_id: bytes) -> bool:
    """Whether the page's end can be trusted, being clean or written since the last boot."""
    if page is None:
        return False
    return page.clean or (page.boot_id == boot_id and any(boot_id))
