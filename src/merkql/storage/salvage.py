"""Reads what is intact in a damaged partition: skips the damage and reports where it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from merkql._core.batch_decoder import decode
from merkql._core.record import Record
from merkql.errors import CorruptionError, again
from merkql.storage.batch_search import find_whole_batch
from merkql.storage.gaps import missing_offsets
from merkql.storage.index_repair import AnyLog
from merkql.storage.segment import Segment, scan_segment

OFFSETS_MAX = 1 << 62  # no partition has as many


@dataclass(slots=True)
class SalvagedRange:
    """Intact records in order, and one error for each stretch that could not be read."""

    records: list[Record] = field(default_factory=list)
    damage: list[CorruptionError] = field(default_factory=list)


def salvage(log: AnyLog, start: int, stop: int | None) -> SalvagedRange:
    """Every whole batch on disk, found by its own bytes: index, tail page and tree are not used."""
    result = SalvagedRange()
    segments = log.all_segments
    if segments[0].first_offset > log.start_offset:
        lost = missing_offsets(log.directory, log.start_offset, segments[0].first_offset)
        result.damage.append(lost)
    for segment, following in zip(segments, (*segments[1:], None), strict=True):
        if not log.pool.exists(segment.path):
            if following is None and not segment.end_position:
                continue  # nothing was written to it
            result.damage.append(CorruptionError(segment.path, 0, "the segment is missing"))
            continue
        reached = _salvage_segment(log, segment, (start, stop), result)
        if following is not None and reached < following.first_offset:
            lost = missing_offsets(log.directory, reached, following.first_offset)
            result.damage.append(lost)
    found = {(one.path, one.position) for one in result.damage}
    if log.damage is not None and (log.damage.path, log.damage.position) not in found:
        result.damage.append(again(log.damage))  # lost records at the end
    return result


def _salvage_segment(
    log: AnyLog, segment: Segment, window: tuple[int, int | None], result: SalvagedRange
) -> int:
    """Add what one file holds; returns the offset after its last whole batch."""
    start, stop = window
    position, offset = 0, segment.first_offset
    end = log.pool.size(segment.path)
    while True:
        run = None
        for run in scan_segment(
            log.pool, segment.path, position=position, expected_offset=offset, end=end
        ):
            if run.batches and run.next_offset > start:
                result.records += decode(
                    run.data,
                    log.id.topic,
                    log.id.index,
                    first_offset=start,
                    stop_offset=OFFSETS_MAX if stop is None else min(stop, OFFSETS_MAX),
                    max_records=1 << 31,
                ).records
        assert run is not None  # a scan yields at least once
        # A whole batch right here would have a wrong first offset: search after it.
        found = find_whole_batch(
            log.pool, segment.path, run.end_position + 1, end, offset_min=run.next_offset
        )
        if run.verdict == "clean" and found is None:
            if segment is log.all_segments[-1] and run.next_offset < log.end_offset:
                lost = f"offsets {run.next_offset} to {log.end_offset - 1} are missing"
                cut = CorruptionError(segment.path, end, f"the file is cut short: {lost}")
                result.damage.append(cut)
            return run.next_offset
        reason = run.reason or "unused space inside the segment"
        if found is None:
            result.damage.append(CorruptionError(segment.path, run.end_position, reason))
            return run.next_offset
        offset, position = found
        lost = f"; offsets {run.next_offset} to {offset - 1} cannot be read"
        result.damage.append(CorruptionError(segment.path, run.end_position, reason + lost))
