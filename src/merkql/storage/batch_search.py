"""Finds whole batches after damage, for recovery, verification and salvage."""

from __future__ import annotations

import re

from merkql._core.batch_fields import HEADER_SIZE, peek
from merkql._core.batch_header import scan
from merkql.storage.file_pool import FilePool

# The leader epoch we write, and the magic byte: bytes 12 to 16 of every batch.
_SIGNATURE = re.compile(rb"\x00\x00\x00\x00\x02", re.DOTALL)
_SIGNATURE_POSITION = 12
_MAGIC = b"\x02"
CHUNK_SIZE = 1 << 20
SPARSE_SIZE_MIN = 256 << 20  # larger than any file we write: its holes are skipped


def find_whole_batch(
    pool: FilePool, path: str, position: int, end: int, *, offset_min: int
) -> tuple[int, int] | None:
    """The first whole batch at or after ``position`` whose first offset is at least ``offset_min``.

    Returns its first offset and position, or None. Reads the file once, a few MiB at a time, and
    skips the holes of a very large one.
    """
    while position < end:
        if end - position > SPARSE_SIZE_MIN:
            written = pool.next_data(path, position)
            if written is None:
                return None
            position = max(position, written - HEADER_SIZE)  # a header may begin with zeros
        chunk = pool.read(path, min(CHUNK_SIZE, end - position), position)
        if len(chunk) < HEADER_SIZE:
            return None
        # A match may overlap the one before it, so step by one byte. Zeros, which unused space
        # mostly is, have no magic byte: that is seen ten times as fast.
        at = _SIGNATURE.search(chunk, _SIGNATURE_POSITION) if _MAGIC in chunk else None
        while at is not None:
            begin = position + at.start() - _SIGNATURE_POSITION
            found = _whole_batch_at(pool, path, begin, end, offset_min)
            if found:
                return found
            at = _SIGNATURE.search(chunk, at.start() + 1)
        position += len(chunk) - HEADER_SIZE
        if len(chunk) < CHUNK_SIZE:
            return None
    return None


def _whole_batch_at(
    pool: FilePool, path: str, position: int, end: int, offset_min: int
) -> tuple[int, int] | None:
    fields = peek(pool.read(path, HEADER_SIZE, position))
    if fields is None or fields.first_offset < offset_min:
        return None
    if fields.size < HEADER_SIZE or position + fields.size > end:
        return None
    result = scan(pool.read(path, fields.size, position), None)
    behind = position + fields.size
    if not result.batches or _is_contradicted(pool, path, behind, result.next_offset):
        return None
    return fields.first_offset, position


def _is_contradicted(pool: FilePool, path: str, position: int, next_offset: int) -> bool:
    """Whether a sound batch follows that does not continue at ``next_offset``.

    A batch's checksum does not cover its first offset, so the next batch has to confirm it.
    """
    fields = peek(pool.read(path, HEADER_SIZE, position))
    if fields is None or fields.size < HEADER_SIZE:
        return False
    following = scan(pool.read(path, fields.size, position), None)
    return bool(following.batches) and following.batches[0][0] != next_offset


def holds_bytes(pool: FilePool, path: str, position: int, end: int) -> bool:
    """Whether there is anything but zeros in the range. Memory: a few MiB."""
    while position < end:
        if end - position > SPARSE_SIZE_MIN:
            written = pool.next_data(path, position)
            if written is None:
                return False
            position = max(position, written)
        chunk = pool.read(path, min(CHUNK_SIZE, end - position), position)
        if not chunk or chunk != bytes(len(chunk)):
            return bool(chunk)
        position += len(chunk)
    return False
