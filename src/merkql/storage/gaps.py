"""Offsets that no segment holds although retention did not remove them: a file is missing.

Retention stores the new start before it removes a segment, which tells its work from a loss. No
loss goes unreported, wherever in the log it is.
"""

from __future__ import annotations

import errno
import logging

from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.index_repair import AnyLog, with_index
from merkql.storage.partition_log import PartitionLog
from merkql.storage.segment import Segment

logger = logging.getLogger("merkql.recovery")


class NoSegmentError(FileNotFoundError):
    """No listed file has these offsets; caught in storage, which lists the files again."""


def missing_offsets(directory: str, first: int, stop: int) -> CorruptionError:
    """The error for the offsets from ``first`` up to ``stop``, which no file has."""
    return CorruptionError(layout.segment(directory, first), 0, _reason(first, stop))


def check_beginning(log: AnyLog, first: int) -> None:
    """``NoSegmentError`` unless the first segment, which begins at ``first``, has the start.

    Not ``CorruptionError`` yet: a reader may have listed the files while retention removed some,
    and finds another start when it looks again.
    """
    start = log.start_offset
    if first > start:
        path = layout.segment(log.directory, start)
        raise NoSegmentError(errno.ENOENT, _reason(start, first), path)


def tell_missing_beginning(log: PartitionLog, firsts: list[int]) -> None:
    """Log an error if the first segments are missing; reading them raises it."""
    if firsts and firsts[0] > log.start_offset:
        logger.error("%s", missing_offsets(log.directory, log.start_offset, firsts[0]))


def check_last(log: PartitionLog, last: int, *, is_empty: bool, end_is_known: bool) -> None:
    """``CorruptionError`` unless the log can lead to its last segment, at offset ``last``.

    ``is_empty``: it holds no batch. ``end_is_known``: a trusted tail page is about an earlier
    segment. Call it only if no tail page is about this one: nothing else would tell a stray file,
    whose name alone moves the end of the log, from a segment just begun.
    """
    if not log.segments or not (is_empty or end_is_known):
        return
    before = log.segments[-1]
    try:
        end_offset = with_index(log, before, _end_offset)
    except (CorruptionError, FileNotFoundError):
        return  # its own damage is told where it is read
    if end_offset != last:
        raise CorruptionError(
            layout.segment(log.directory, last),
            0,
            f"not a segment of this log, which ends at offset {end_offset}; if it was put "
            "here by mistake, move it away",
        )


def _end_offset(segment: Segment) -> int:
    """The offset after a segment's last batch, as that batch states it."""
    entry = segment.index.entry(segment.index.count - 1)
    return segment.batch_at(entry.position).next_offset


def _reason(first: int, stop: int) -> str:
    return f"no such segment: offsets {first} to {stop - 1} are missing"


def reason_of(missing: FileNotFoundError) -> str:
    """The message for a file that stayed missing after retries."""
    return str(missing.strerror) if isinstance(missing, NoSegmentError) else "the file is missing"
