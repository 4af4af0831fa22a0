"""Scrubs erased records from WAL files that recovery had set aside.

Such files hold records that their partition could not take back.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping

from merkql._core.frame import Frame
from merkql.storage import layout
from merkql.storage.files import Files
from merkql.storage.shared_state import LivePartition
from merkql.storage.wal_reader import frames_of

CHUNK_SIZE = 1 << 20

logger = logging.getLogger("merkql.recovery")


def scrub_kept_frames(
    files: Files, directory: str, seed: int, erased: Mapping[LivePartition, Iterable[int]]
) -> None:
    """Overwrite with zeros every frame that holds, or may hold, one of these records; durable.

    The other records of such a frame go too; their partition could not take them in anyway. So does
    whatever is not a sound frame: nobody can tell which records it holds.
    """
    for name in sorted(files.list_directory(directory)):
        if not name.endswith(layout.KEPT_SUFFIX):
            continue
        path = os.path.join(directory, name)
        kept = [one for one in frames_of(files, path, seed) if not _holds_any(one, erased)]
        descriptor = files.open(path, write=True)
        try:
            begins = [0, *(one.next_position for one in kept)]
            ends = [*(one.position for one in kept), files.size(descriptor)]
            overwritten = [
                _overwrite(files, descriptor, begin, end)
                for begin, end in zip(begins, ends, strict=True)
            ]
            files.sync(descriptor)
        finally:
            files.close(descriptor)
        if any(overwritten):
            logger.warning("%s: overwrote records that are, or may be, erased", path)


def _holds_any(one: Frame, erased: Mapping[LivePartition, Iterable[int]]) -> bool:
    for section in one.sections:
        offsets = range(section.first_offset, section.first_offset + section.record_count)
        place = (section.topic_id, section.partition)
        if any(offset in offsets for offset in erased.get(place, ())):
            return True
    return False


def _overwrite(files: Files, descriptor: int, begin: int, end: int) -> bool:
    """Write zeros where there is anything else between the two positions."""
    found = False
    while begin < end:
        written = files.next_data(descriptor, begin)
        if written is None:
            break
        begin = max(begin, written)
        size = min(end - begin, CHUNK_SIZE)
        if size > 0 and any(files.read(descriptor, size, begin)):
            files.write(descriptor, bytes(size), begin)
            found = True
        begin += max(size, 1)
    return found
