"""Reads the write-ahead log back after a crash: which groups are there, and what is wrong.

Format and the rules this module enforces: docs/formats/frame.md. Changes no file.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from merkql._core import frame
from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.entries import wal_files
from merkql.storage.files import Files, read_file

logger = logging.getLogger("merkql.recovery")
_FILE_SIZE_MAX = 1 << 36


class WalContent(NamedTuple):
    """The frames recovery needs, in order, and the highest sequence number seen anywhere."""

    frames: list[frame.Frame]
    last_sequence: int


class _Found(NamedTuple):
    path: str
    frame: frame.Frame


def read_wal(files: Files, directory: str, seed: int) -> WalContent:
    """Every frame that was durable or may have been, in sequence.

    A frame that is not whole ends the log (it was never acknowledged) and is logged. Raises
    ``CorruptionError`` when a later frame says that the missing one had been durable.
    """
    found: dict[int, _Found] = {}
    for _, path in wal_files(files, directory):
        for one in _frames_of(read_file(files, path, _FILE_SIZE_MAX), seed):
            found[one.sequence] = _Found(path, one)
    if not found:
        return WalContent([], 0)
    last_sequence = max(found)
    promised = max(one.frame.durable_sequence for one in found.values())
    frames = []
    for sequence in range(found[last_sequence].frame.floor_sequence, last_sequence + 1):
        if sequence in found:
            frames.append(found[sequence].frame)
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
    """Put WAL files aside whose records could not be put where they belong."""
    for _, path in wal_files(files, directory):
        files.rename(path, path + layout.KEPT_SUFFIX)
        logger.error("%s: kept aside, not all of its records could be put back", path)
    files.sync_directory(directory)


def _frames_of(data: bytes, seed: int) -> list[frame.Frame]:
    """All sound frames of one file, also those behind a damaged one."""
    view = memoryview(data)
    frames = []
    position = 0
    while position < len(data):
        one = frame.decode(view, position, seed)
        if one is not None:
            frames.append(one)
            position = one.next_position
        else:
            position += frame.ALIGNMENT
    return frames


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
