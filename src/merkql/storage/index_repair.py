"""Uses a segment's index, rebuilding it from the batches if it is missing or damaged.

A writer rewrites the file; a reader keeps the entries in memory. Both log it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from merkql.errors import CorruptionError
from merkql.storage.batch_search import find_whole_batch
from merkql.storage.offset_index import (
    ENTRY_SIZE,
    TIMESTAMP_MIN,
    IndexDamagedError,
    IndexEntry,
    OffsetIndex,
    encode_entry,
    running_entries,
)
from merkql.storage.partition_log import PartitionLog
from merkql.storage.reader_log import ReaderLog
from merkql.storage.scanned_index import ScannedIndex
from merkql.storage.segment import SealedSegment, Segment, scan_segment

logger = logging.getLogger("merkql.recovery")
AnyLog = PartitionLog | ReaderLog
Result = TypeVar("Result")


def with_index(log: AnyLog, segment: Segment, use: Callable[[Segment], Result]) -> Result:
    """Run ``use(segment)``, once more with a rebuilt index if the stored one is damaged."""
    try:
        segment.open_index()
        return use(segment)
    except IndexDamagedError as damage:
        logger.warning("%s; rebuilding it from the batches", damage)
    repair_index(log, segment)
    try:
        return use(segment)
    except IndexDamagedError:
        raise CorruptionError(segment.path, 0, "what is looked for is in no whole batch") from None


def repair_index(log: AnyLog, segment: Segment) -> None:
    """Rebuild the index of a segment. Cost: a scan of the segment."""
    sealed = isinstance(segment, SealedSegment)
    entries = _entries_of(log, segment, None if sealed else segment.end_position)
    path = segment.index.path
    if isinstance(log, ReaderLog) or (sealed and log.has_salts and not log.led):
        # An erasure elsewhere may be replacing segment and index right now: keep off the file.
        index: OffsetIndex | ScannedIndex = ScannedIndex(path, entries)
    else:
        log.mended = True
        log.pool.write(path, b"".join(map(encode_entry, entries)), 0)
        if sealed:
            log.pool.truncate(path, len(entries) * ENTRY_SIZE)
        index = OffsetIndex(log.pool, path, len(entries))
    if isinstance(segment, SealedSegment):
        segment.adopt_index(index)
    elif isinstance(log, ReaderLog):
        segment.index = index
    else:
        segment.index.unload()  # the writer goes on appending to this one


def _entries_of(log: AnyLog, segment: Segment, end: int | None) -> list[IndexEntry]:
    entries: list[IndexEntry] = []
    largest = TIMESTAMP_MIN
    for run in scan_segment(
        log.pool, segment.path, position=0, expected_offset=segment.first_offset, end=end
    ):
        entries += running_entries(run.batches, run.position, largest)
        largest = entries[-1].largest_timestamp_ms if entries else largest
        if run.verdict not in ("", "clean"):
            logger.error("%s", CorruptionError(segment.path, run.end_position, run.reason))
            # Batches after the damage stay readable.
            entries += _entries_behind(log, segment, run.end_position, run.next_offset, largest)
    return entries


def _entries_behind(
    log: AnyLog, segment: Segment, position: int, offset: int, largest: int
) -> list[IndexEntry]:
    """Entries of the whole batches after the damage at ``position``.

    The damaged stretch gets an entry too, so that reading there finds the damage and not a gap.
    """
    entries = [IndexEntry(offset, position, largest)]
    end = segment.end_position
    while True:
        found = find_whole_batch(log.pool, segment.path, position + 1, end, offset_min=offset + 1)
        if found is None:
            return entries
        offset, position = found
        verdict = ""
        for run in scan_segment(
            log.pool, segment.path, position=position, expected_offset=offset, end=end
        ):
            entries += running_entries(run.batches, run.position, largest)
            largest = entries[-1].largest_timestamp_ms
            offset, position, verdict = run.next_offset, run.end_position, run.verdict
        if verdict == "clean":
            return entries
        entries.append(IndexEntry(offset, position, largest))
