"""Decides when a segment ends: when it is full, or old."""

from __future__ import annotations

from merkql._core.accumulator import RecordAccumulator
from merkql.storage.partition_identity import LogSettings
from merkql.storage.segment import ActiveSegment


def measure(accumulators: list[RecordAccumulator]) -> tuple[int, int]:
    """The bytes and the records of a group's part for one partition."""
    if len(accumulators) == 1:
        return accumulators[0].size_bytes, len(accumulators[0])
    return sum(one.size_bytes for one in accumulators), sum(map(len, accumulators))


def wants_roll(
    active: ActiveSegment, settings: LogSettings, size: int, newest: RecordAccumulator
) -> bool:
    """Whether ``size`` bytes of records, ``newest`` last, belong in the next segment.

    Age is told by timestamps, as in Kafka.
    """
    position = active.end_position
    if not position:
        return False
    if position + size > settings.segment_bytes:
        return True
    age_ms = newest.timestamp_ms(len(newest) - 1) - active.first_timestamp_ms()
    return age_ms > settings.segment_age_ms
