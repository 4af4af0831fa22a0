"""Reads the write-ahead log after a crash: which groups it holds, and what is damaged.

Format, and the rules enforced here: docs/formats/frame.md. Changes no file. Holds in memory only
the frames that recovery needs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

from merkql._core import frame
from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.entries import wal_files
from merkql.storage.files import Files

logger = logging.getLogger("merkql.recovery")
_CHUNK_SIZE = 1 << 20
_SPARSE_SIZE_MIN = 256 << 20  # larger than any file we write: its holes are skipped


class WalContent(NamedTuple):
    """The frames recovery needs, in order, and the highest sequence number seen anywhere."""

    frames: list[frame.Frame]
    last_sequence: int


class _Found(NamedTuple):
    """Where a sound frame is; its sections are not kept in memory."""

    path: str
    frame: frame.Frame


def read_wal(files: Files, directory: str, seed: int) -> WalContent:
    """Every frame that was durable or may have been, in sequence.

    A torn frame ends the log and is logged: it was never acknowledged. Raises ``CorruptionError``
    if a later frame states that the missing one was durable.
    """
    found: dict[int, _Found] = {}
    for _, path in wal_files(files, directory):
        for one in frames_of(files, path, seed):
            found[one.sequence] = _Found(path, one._replace(sections=()))
    if not found:
        return WalContent([], 0)
    last_sequence = max(found)
    promised = max(one.frame.durable_sequence for one in found.values())
    frames = []
    for sequence in range(found[last_sequence].frame.floor_sequence, last_sequence + 1):
        if sequence in found:
            frames.append(_read_again(files, found[sequence], seed))
        elif sequence <= promised:
            raise _damage(found, sequence, directory)
        else:
            logger.warning(
                "%s: group %d was torn by a crash before it was acknowledged; "
                "it and the %d after it are dropped",
                directory,
                sequence,
                last_sequence - sequence,
            )
            break
    return WalContent(frames, last_sequence)


def keep_wal(files: Files, directory: str) -> None:
    """Set WAL files aside whose records could not all be put back into their partitions."""
    for _, path in wal_files(files, directory):
        files.rename(path, path + layout.KEPT_SUFFIX)
        logger.error("%s: set aside, not all of its records could be put back", path)
    files.sync_directory(directory)


def frames_of(files: Files, path: str, seed: int) -> Iterator[frame.Frame]:
    """All sound frames of one file, including those after a damaged one."""
    descriptor = files.open(path)
    try:
        end, position = files.size(descriptor), 0
        while position < end:
            if end - position > _SPARSE_SIZE_MIN:
                written = files.next_data(descriptor, position)
                if written is None:
                    return
                position = max(position, written // frame.ALIGNMENT * frame.ALIGNMENT)
            chunk = memoryview(files.read(descriptor, _CHUNK_SIZE, position))
            if not chunk:
                return  # somebody cut the file
            begin = position
            while position - begin < len(chunk):
                one = None
                head = chunk[position - begin :]
                size = frame.stated_size(head, position)
                if size is not None and position + size <= end:
                    data = head if size <= len(head) else files.read(descriptor, size, position)
                    one = frame.decode(data, position, seed)
                if one is not None:
                    yield one
                position = position + frame.ALIGNMENT if one is None else one.next_position
    finally:
        files.close(descriptor)


def _read_again(files: Files, found: _Found, seed: int) -> frame.Frame:
    descriptor = files.open(found.path)
    try:
        data = files.read(descriptor, found.frame.size, found.frame.position)
    finally:
        files.close(descriptor)
    again = frame.decode(data, found.frame.position, seed)
    if again is None:
        raise CorruptionError(found.path, found.frame.position, "it changed while it was read")
    return again


def _damage(found: dict[int, _Found], sequence: int, directory: str) -> CorruptionError:
    before = found.get(sequence - 1)
    after = found[min(s for s in found if s > sequence)]
    if before is not None and before.path == after.path:
        position, path = before.frame.next_position, before.path
    elif after.frame.position > 0:
        position, path = 0, after.path
    else:
        position, path = 0, before.path if before is not None else directory
        if before is not None:
            position = before.frame.next_position
    return CorruptionError(
        path,
        position,
        f"the frame of group {sequence} was durable and is missing or damaged; "
        "open with read_only=True to read what the segments hold",
    )
