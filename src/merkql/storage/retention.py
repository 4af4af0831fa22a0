"""Retention: which records stay visible, and freeing the disk space of the rest.

The window is exact to the record for count and age, to the batch for size. Whole segments are
removed at once; ``compact`` rewrites the one the window begins in. The tree keeps every hash.
"""

from __future__ import annotations

import errno
import logging
from dataclasses import dataclass
from functools import partial

from merkql._core.accumulator import RecordAccumulator
from merkql._core.batch_decoder import decode
from merkql._core.batch_encoder import encode
from merkql._core.batch_fields import HEADER_SIZE, is_control
from merkql._core.batch_header import BatchError, scan
from merkql._core.batch_leaves import leaf_hashes_and_entries
from merkql._core.record import Record
from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.index_repair import AnyLog, with_index
from merkql.storage.offset_index import IndexEntry
from merkql.storage.partition_log import BATCH_SIZE_COMPRESSED, PartitionLog
from merkql.storage.segment import SealedSegment, Segment, list_sealed, sound_runs
from merkql.storage.start_file import write_start
from merkql.storage.tree_space import BUNDLED_SIZE, HASH_SIZE

logger = logging.getLogger("merkql.retention")

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
CODEC_AT = 22  # in a batch: the low byte of its attributes
CODEC_MASK = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionConfig:
    """How much of each partition stays readable; ``None`` sets no limit.

    ``max_records``: that many of the newest records. ``max_bytes``: the newest batches that
    together take at most that many bytes on disk, and always the newest one. ``max_age_ms``:
    everything from the first record that is at most that old, by its timestamp. Proofs and roots
    are kept whatever the limits.
    """

    max_records: int | None = None
    max_bytes: int | None = None
    max_age_ms: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_records", "max_bytes", "max_age_ms"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"retention {name} is an int or None, not {value!r}")
            if value < 1:
                raise ValueError(f"retention {name} is at least 1 (or None), not {value}")
            if value >= 1 << 63:
                raise ValueError(f"retention {name} is less than 2**63 (or None), not {value}")


NO_LIMITS = RetentionConfig()


def visible_start(log: AnyLog, retention: RetentionConfig, now_ms: int) -> int:
    """The first offset that is visible now."""
    start = log.start_offset
    end = log.end_offset
    if retention.max_records is not None:
        start = max(start, end - retention.max_records)
    if retention.max_bytes is not None:
        start = max(start, _start_by_size(log, retention.max_bytes))
    if retention.max_age_ms is not None and start < end:
        start = max(start, _start_by_age(log, now_ms - retention.max_age_ms, start))
    return min(start, end)


def _start_by_size(log: AnyLog, max_bytes: int) -> int:
    remaining = max_bytes
    for segment in reversed(log.all_segments):
        if segment.end_position > remaining:
            start = with_index(log, segment, partial(_first_behind, log, remaining))
            return start if start < log.end_offset else _newest_batch(log)
        remaining -= segment.end_position
    return 0


def _newest_batch(log: AnyLog) -> int:
    """The first offset of the newest batch: what was just acknowledged stays visible."""
    newest = next(segment for segment in reversed(log.all_segments) if segment.end_position)
    return with_index(log, newest, lambda one: one.index.entry(one.index.count - 1)).first_offset


def _first_behind(log: AnyLog, size: int, segment: Segment) -> int:
    """The first offset of the batches that lie whole within the last ``size`` bytes."""
    number = segment.index.find_position(segment.end_position - size)
    if number < segment.index.count:
        return segment.index.entry(number).first_offset
    return segment.end_offset if isinstance(segment, SealedSegment) else log.end_offset


def _start_by_age(log: AnyLog, cutoff_ms: int, start: int) -> int:
    found = offset_for_timestamp(log, cutoff_ms, start)
    return log.end_offset if found is None else found


def offset_for_timestamp(log: AnyLog, timestamp_ms: int, start: int) -> int | None:
    """The first offset from ``start`` on whose timestamp is at or after ``timestamp_ms``."""
    for segment in log.all_segments:
        if isinstance(segment, SealedSegment) and (
            segment.end_offset <= start
            or with_index(log, segment, _largest_timestamp_ms) < timestamp_ms
        ):
            continue
        found = with_index(log, segment, partial(_find_in_segment, log, timestamp_ms, start))
        if found is not None:
            return found
    return None


def _largest_timestamp_ms(segment: Segment) -> int:
    return segment.index.largest_timestamp_ms()


def _find_in_segment(log: AnyLog, timestamp_ms: int, start: int, segment: Segment) -> int | None:
    number = segment.index.find_timestamp(timestamp_ms)
    if number is None:
        return None
    if start > segment.first_offset:
        # The running maximum may come from a batch below the start: search on from there.
        number = max(number, segment.index.find(start))
    for entry in (segment.index.entry(n) for n in range(number, segment.index.count)):
        for record in _records_at(log, segment, entry, max(start, entry.first_offset)):
            if record.timestamp_ms >= timestamp_ms:
                return record.offset
    return None


def _records_at(log: AnyLog, segment: Segment, entry: IndexEntry, first: int) -> list[Record]:
    size = segment.batch_at(entry.position).size
    data = log.pool.read(segment.path, size, entry.position)
    try:
        result = decode(
            data,
            log.id.topic,
            log.id.index,
            first_offset=first,
            stop_offset=log.end_offset,
            max_records=1 << 31,
            expected_offset=entry.first_offset,
        )
    except BatchError as error:
        at = entry.position + error.position
        raise CorruptionError(segment.path, at, error.reason) from None
    return result.records


def apply_retention(log: PartitionLog, retention: RetentionConfig, now_ms: int) -> int:
    """Move the start and remove the segments below it; returns the bytes freed. For the leader."""
    list_again(log)
    start = visible_start(log, retention, now_ms)
    if start == log.end_offset and log.active.end_position and start > log.active.first_offset:
        log.roll()
    removable = [s for s in log.segments if s.end_offset <= start]
    by_clock = retention.max_bytes is not None or retention.max_age_ms is not None
    kept = True
    if start > log.start_offset and (removable or by_clock):
        kept = _persist_start(log, start)  # first: else the removed records look lost
    size = _remove_segments(log, removable) if removable else 0
    if not kept and not _write_start(log):
        logger.warning(
            "%s: the disk is full; the start is in %s alone", log.directory, log.tail_path
        )
    return size


def _persist_start(log: PartitionLog, start: int) -> bool:
    """``keep_start``; False on a full disk, where only the synced tail page states it."""
    log.start_offset = start
    log.write_tail_page()
    kept = _write_start(log)
    if not kept:
        log.pool.sync(log.tail_path)
    return kept


def _write_start(log: PartitionLog) -> bool:
    """Write the start file; False if the disk is full."""
    try:
        write_start(log.pool, layout.start_file(log.directory), log.start_offset)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        return False
    return True


def _remove_segments(log: PartitionLog, removable: list[SealedSegment]) -> int:
    """Remove these segments, oldest first; returns the bytes freed."""
    log.tree.sync()  # the hashes outlive their records
    log.segments = log.segments[len(removable) :]
    size = 0
    for segment in removable:
        size += segment.end_position
        segment.remove()
        count = segment.end_offset - segment.first_offset
        logger.info("%s: %d records retained away", segment.path, count)
    log.pool.sync_names(log.directory)
    return size


def list_again(log: PartitionLog) -> None:
    """See which segments other processes removed or rewrote: the tail page does not tell."""
    log.segments = list_sealed(log.pool, log.directory, log.active.first_offset, log.segments)


def keep_hidden(log: PartitionLog, retention: RetentionConfig, now_ms: int) -> None:
    """What the limits hide now stays hidden, whatever becomes of them. For the leader."""
    list_again(log)
    keep_start(log, visible_start(log, retention, now_ms))


def keep_start(log: PartitionLog, start: int) -> None:
    """Make ``start`` the first offset for good, whatever the limits become."""
    if start > log.start_offset:
        log.start_offset = start
        log.write_tail_page()
        write_start(log.pool, layout.start_file(log.directory), start)


def compact(log: PartitionLog, retention: RetentionConfig, now_ms: int) -> int:
    """Apply retention, then rewrite the segment the window begins in; returns the bytes freed.

    0 if the segment grew: batches in another client's codec are rewritten as LZ4. For the leader
    alone. A crash leaves the old segment, the new one, or both; the next retention then removes the
    old.
    """
    list_again(log)
    start = visible_start(log, retention, now_ms)
    if log.active.end_position and log.active.first_offset < start:
        log.roll()
    size = apply_retention(log, retention, now_ms)
    boundary = next((s for s in log.segments if s.first_offset < start < s.end_offset), None)
    if boundary is None:
        return size
    keep_start(log, start)
    first = _first_kept(log, boundary, start)
    if first == boundary.first_offset:
        return size
    log.tree.sync()
    replacement = _rewrite_from(log, boundary, first)
    log.segments = tuple(replacement if s is boundary else s for s in log.segments)
    size += boundary.end_position - replacement.end_position
    boundary.remove()
    log.pool.sync_names(log.directory)
    return max(0, size)


def _first_kept(log: PartitionLog, segment: SealedSegment, start: int) -> int:
    """Where the rewritten segment begins: at ``start``, or at a control batch that spans it.

    Control batches, the marks of another client's transactions, are kept whole.
    """
    entry = with_index(log, segment, lambda one: one.locate(start))
    header = log.pool.read(segment.path, HEADER_SIZE, entry.position)
    return entry.first_offset if is_control(header) else start


def _rewrite_from(log: PartitionLog, old: SealedSegment, start: int) -> SealedSegment:
    """A new, durable segment with the records of ``old`` from ``start`` on."""
    from merkql.storage.rewriting import NewSegment  # here, as few programs need it

    entry = with_index(log, old, lambda segment: segment.locate(start))
    data = _tail_of_batch(log, old, entry, start)
    head = scan(data, start)
    if head.verdict != "clean" or not head.batches:
        raise CorruptionError(old.path, entry.position, head.reason or "unused space")
    new = NewSegment(log, start, old.end_offset)
    new.add(data, head.batches)
    position, following = entry.position + old.batch_at(entry.position).size, head.next_offset
    for run in sound_runs(log.pool, old.path, position=position, expected_offset=following):
        new.add(run.data, run.batches)
    new.sync()
    return new.install()


def _tail_of_batch(log: PartitionLog, segment: Segment, entry: IndexEntry, start: int) -> bytes:
    """The batch at ``entry`` without its records below ``start``: unchanged, or re-encoded.

    What another client compressed stays compressed, as LZ4.
    """
    data = log.pool.read(segment.path, segment.batch_at(entry.position).size, entry.position)
    if entry.first_offset == start:
        return data
    accumulator = RecordAccumulator(0)
    for record in _records_at(log, segment, entry, start):
        accumulator.add(record.key, record.value, record.headers, record.timestamp_ms)
    encoded = encode(
        [accumulator],
        start,
        compression="lz4" if data[CODEC_AT] & CODEC_MASK else log.settings.compression,
        batch_size_bytes=max(accumulator.size_bytes * 2, BATCH_SIZE_COMPRESSED),
    )
    left = _left_by_erased(data, start)
    if not left:
        return bytes(encoded.data)
    from merkql._core.batch_erasure import erase_records

    return b"".join(
        erase_records(
            encoded.data[position : position + size],
            {offset: left[offset] for offset in left if first <= offset < first + count},
        )
        for first, position, size, count, _ in encoded.batches
    )


def _left_by_erased(batch: bytes, start: int) -> dict[int, bytes]:
    """The digests of the erased records from ``start`` on, for the new batches."""
    erased: list[int] = []
    _, bundled = leaf_hashes_and_entries(batch, first_offset=start, erased=erased)
    ends = {offset: (offset - start + 1) * BUNDLED_SIZE for offset in erased}
    return {offset: bundled[end - HASH_SIZE : end] for offset, end in ends.items()}
