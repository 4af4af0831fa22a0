"""Opens a partition for writing: as a clean close left it, or repaired after a crash.

Scans the last segment from its last known sync point, replays the WAL, rebuilds index and tree, and
judges the rest: an unsynced tail is truncated and logged, anything else that is wrong becomes the
partition's ``damage``. Only this module truncates. Rules: docs/durability.md.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass

from merkql._core.batch_header import scan
from merkql._core.frame import Section
from merkql._core.frontier import Frontier
from merkql._core.index_entries import encode_entries
from merkql.errors import CorruptionError
from merkql.storage import layout, tail_page
from merkql.storage.batch_search import find_whole_batch, holds_bytes
from merkql.storage.gaps import check_last, tell_missing_beginning
from merkql.storage.offset_index import (
    ENTRY_SIZE,
    TIMESTAMP_MIN,
    IndexDamagedError,
    OffsetIndex,
)
from merkql.storage.partition_log import PartitionLog
from merkql.storage.segment import (
    ActiveSegment,
    BatchTuple,
    SealedSegment,
    SegmentEnd,
    scan_segment,
)
from merkql.storage.start_file import read_start, write_start
from merkql.storage.tail_page import TailState
from merkql.storage.tree_repair import mend_tree, tree_reaches
from merkql.storage.tree_space import SALT_SIZE

logger = logging.getLogger("merkql.recovery")


@dataclass(slots=True)
class _Tail:
    """The last segment as the scan and the WAL show it; positions are absolute."""

    first_offset: int
    batches: list[BatchTuple]  # from the scan start on
    scan_offset: int
    scan_position: int
    scan_index_count: int
    end_offset: int
    end_position: int
    file_size: int
    reason: str


def open_log(
    log: PartitionLog, *, clean: bool, sections: list[Section], boot_id: bytes
) -> PartitionLog:
    """Fill an empty ``log`` from its directory; ``sections`` is what the WAL holds for it.

    Everything visible afterwards is durable: synced here, or by the clean close before.
    """
    try:
        names = log.pool.files.list_directory(log.directory)
    except FileNotFoundError:
        log.give_up(CorruptionError(log.directory, 0, "the partition's directory is missing"))
        logger.error("%s", log.damage)
        return log
    _remove_leftovers(log, names)
    page = tail_page.read(log.pool, log.tail_path)
    start_damage = _take_start(log, page)
    log.rewrites = page.rewrites if page is not None else 0
    firsts = sorted(o for o in map(layout.parse_segment, names) if o is not None)
    tell_missing_beginning(log, firsts)
    if clean and page is not None and page.clean and _open_clean(log, page, firsts):
        return log
    _mend(log, firsts, sections, (page, boot_id), start_damage)
    return log


def _mend(
    log: PartitionLog,
    firsts: list[int],
    sections: list[Section],
    found: tuple[TailState | None, bytes],
    start_damage: CorruptionError | None,
) -> None:
    """Repair a partition that was not closed cleanly."""
    page, boot_id = found
    trusted = page if tail_page.is_current(page, boot_id) else None
    log.durable_offset = page.durable_offset if page is not None else 0
    # Every record below it was durable, as far as can be known.
    promised = trusted.end_offset if trusted is not None else log.durable_offset
    if not firsts:
        _begin(log, promised, sections)
        if log.damage is None and not sections:
            log.write_tail_page()  # new: nothing to make durable before the first sync point
            return
        firsts = [log.active.first_offset]
    log.segments = _sealed(log, firsts)
    tail = _scan_tail(log, firsts[-1], page)
    try:
        if page is None or page.segment_offset != firsts[-1]:
            is_empty = tail.end_offset == firsts[-1]
            check_last(log, firsts[-1], is_empty=is_empty, end_is_known=trusted is not None)
        _replay(log, tail, sections)
        start = log.start_offset if log.settings.durable else 0  # it never passes the end
        _judge(
            log, tail, max(promised, start), in_order=log.settings.durable or trusted is not None
        )
        if start_damage is not None:
            raise start_damage
    except CorruptionError as damage:
        logger.error("%s", damage)
        log.damage = log.damage or damage  # keep the first: it is closest to the cause
    _open_tail(log, tail)
    if log.damage is None:
        log.damage = _missing_salts(log, tail.end_offset)
    if log.damage is None:
        retained_away = _take_retained_away(log)
        mend_tree(log, page, trusted)
        if log.damage is None:
            log.sync_point(whole=True)  # before the WAL and old segments go
            log.write_tail_page()
            _remove_segments(log, retained_away)


def _take_start(log: PartitionLog, page: TailState | None) -> CorruptionError | None:
    """Set the first visible offset; returns the damage if neither start file nor page has it."""
    path = layout.start_file(log.directory)
    if page is not None:
        log.start_offset = page.start_offset  # of any session, as it never decreases
    try:
        log.start_offset = max(log.start_offset, read_start(log.pool, path))
    except CorruptionError as damage:
        if page is None:
            return damage
        logger.warning("%s; taken from the tail page: %d", damage, page.start_offset)
        write_start(log.pool, path, page.start_offset)
    return None


def _take_retained_away(log: PartitionLog) -> list[SealedSegment]:
    """Drop the segments that an interrupted retention or compaction was removing."""
    count = sum(segment.end_offset <= log.start_offset for segment in log.segments)
    retained_away = log.segments[:count]
    if not retained_away or not tree_reaches(log, retained_away[-1].end_offset):
        return []  # these records are needed to rebuild missing hashes
    log.segments = log.segments[count:]
    return list(retained_away)


def _remove_segments(log: PartitionLog, segments: list[SealedSegment]) -> None:
    if not segments:
        return
    log.tree.sync()  # the hashes outlive the records, rebuilt ones too
    for segment in segments:
        logger.info("%s: below the start, left by an interrupted retention, removed", segment.path)
        segment.remove()
    log.pool.sync_names(log.directory)


def _open_clean(log: PartitionLog, page: TailState, firsts: list[int]) -> bool:
    """Open as the tail page states, if every file has the size it states."""
    if not firsts or firsts[-1] != page.segment_offset or log.start_offset > page.end_offset:
        return False
    if len(firsts) > 1 and firsts[1] <= max(log.start_offset, page.start_offset):
        return False  # a removal failed: repeat it now
    pool = log.pool
    index_path = layout.segment_index(log.directory, page.segment_offset)
    index_size = pool.size_of(index_path) or 0
    if (
        pool.size_of(layout.segment(log.directory, page.segment_offset)) != page.position
        or index_size != page.index_count * ENTRY_SIZE
        or not tree_reaches(log, page.end_offset)
        or _missing_salts(log, page.end_offset) is not None
    ):
        return False
    log.segments = _sealed(log, firsts)
    end = SegmentEnd(page.position, page.index_count, page.largest_timestamp_ms)
    log.active = ActiveSegment(pool, log.directory, page.segment_offset, end)
    log.frontier = Frontier(page.end_offset, page.peaks)
    log.move_end(page.end_offset)
    log.durable_offset = page.end_offset
    log.checkpoint = (page.end_offset, page.position, page.index_count)
    return True


def _missing_salts(log: PartitionLog, end_offset: int) -> CorruptionError | None:
    """The damage if an erasable topic lacks some records' salts: they cannot be rebuilt."""
    if not log.settings.erasable or not end_offset:
        return None
    path = layout.tree_salts(log.tree.directory)
    size = log.pool.size_of(path) or 0
    if size >= end_offset * SALT_SIZE:
        return None
    return CorruptionError(path, size, f"{end_offset} records have salts, and some are missing")


def _begin(log: PartitionLog, promised: int, sections: list[Section]) -> None:
    """A partition without a segment: either new, or its segments are lost."""
    reason = ""
    if promised or (log.start_offset and not sections):
        ended = max(promised, log.start_offset)
        reason = f"no segment is left of a log that ended at offset {ended}"
    elif sections and sections[0].first_offset:
        reason = f"no segment is left before offset {sections[0].first_offset}"
    if reason:
        log.damage = CorruptionError(layout.segment(log.directory, 0), 0, reason)
        logger.error("%s", log.damage)
    log.begin_segment(0)


def _remove_leftovers(log: PartitionLog, names: list[str]) -> None:
    if layout.TREE not in names:
        log.pool.files.make_directory(log.tree.directory)
        log.names_unsynced = True
    for name in names:
        if name.endswith(layout.TEMPORARY_SUFFIX):
            path = f"{log.directory}/{name}"
            logger.info("%s: left by an interrupted operation, removed", path)
            log.pool.remove(path)


def _sealed(log: PartitionLog, firsts: list[int]) -> tuple[SealedSegment, ...]:
    return tuple(
        SealedSegment(log.pool, log.directory, first, following)
        for first, following in itertools.pairwise(firsts)
    )


def _scan_tail(log: PartitionLog, first_offset: int, page: TailState | None) -> _Tail:
    """Scan the last segment from the page's checkpoint, or from its beginning."""
    path = layout.segment(log.directory, first_offset)
    file_size = log.pool.size(path)
    offset, position, index_count = first_offset, 0, 0
    if (
        page is not None
        and page.segment_offset == first_offset
        and page.checkpoint_position <= file_size
        and _index_reaches(log, first_offset, page)
        and tree_reaches(log, page.checkpoint_offset)
    ):
        offset = page.checkpoint_offset
        position = page.checkpoint_position
        index_count = page.checkpoint_index_count
    elif page is not None and page.checkpoint_offset > first_offset:
        logger.warning(
            "%s: index or tree do not reach as far as they did; rebuilding them from offset %d",
            log.directory,
            first_offset,
        )
    tail = _Tail(first_offset, [], offset, position, index_count, offset, position, file_size, "")
    _scan_on(log, tail)
    return tail


def _scan_on(log: PartitionLog, tail: _Tail) -> None:
    """Add the whole batches that follow what ``tail`` has."""
    path = layout.segment(log.directory, tail.first_offset)
    runs = scan_segment(log.pool, path, position=tail.end_position, expected_offset=tail.end_offset)
    for run in runs:
        tail.batches += [(b[0], run.position + b[1], *b[2:]) for b in run.batches]
        tail.end_offset, tail.end_position = run.next_offset, run.end_position
        tail.reason = run.reason


def _index_reaches(log: PartitionLog, first_offset: int, page: TailState) -> bool:
    """Whether the index file holds sound entries up to the page's checkpoint."""
    count = page.checkpoint_index_count
    path = layout.segment_index(log.directory, first_offset)
    if not count:
        return page.checkpoint_position == 0
    if (log.pool.size_of(path) or 0) < count * ENTRY_SIZE:
        return False
    try:
        last = OffsetIndex(log.pool, path, count).entry(count - 1)
    except IndexDamagedError:
        return False
    segment = layout.segment(log.directory, first_offset)
    batch = log.pool.read(segment, page.checkpoint_position - last.position, last.position)
    result = scan(batch, last.first_offset)
    return result.verdict == "clean" and result.next_offset == page.checkpoint_offset


def _replay(log: PartitionLog, tail: _Tail, sections: list[Section]) -> None:
    """Write the WAL's batches to their positions in the last segment.

    Also those that the scan found there: after a failed sync the page cache may hold what the disk
    does not, and writing them again settles that.
    """
    path = layout.segment(log.directory, tail.first_offset)
    position_of = {batch[0]: batch[1] for batch in tail.batches}
    position_of[tail.end_offset] = tail.end_position
    position = end_offset = -1
    batches: list[BatchTuple] = []
    for section in sections:
        result = scan(section.data, section.first_offset)
        for first, start, size, count, timestamp in result.batches:
            if first < tail.scan_offset:
                continue
            if position < 0:
                if first not in position_of:
                    raise CorruptionError(
                        path,
                        tail.end_position,
                        f"records {tail.end_offset} to {first - 1} are missing: "
                        f"the write-ahead log goes on at offset {first} ({tail.reason})",
                    )
                position = position_of[first]
            elif first != end_offset:
                raise CorruptionError(path, position, f"the write-ahead log skips to {first}")
            log.pool.write(path, section.data[start : start + size], position, critical=True)
            batches.append((first, position, size, count, timestamp))
            position += size
            end_offset = first + count
        _replay_salts(log, section, tail)
    if not batches:
        return
    kept = [batch for batch in tail.batches if batch[0] < batches[0][0]]
    tail.batches = kept + batches
    tail.end_offset, tail.end_position = end_offset, position
    tail.file_size = max(tail.file_size, position)
    _scan_on(log, tail)  # after a failed sync the segment may hold more than the WAL


def _replay_salts(log: PartitionLog, section: Section, tail: _Tail) -> None:
    if section.salts and section.first_offset + section.record_count > tail.scan_offset:
        path = layout.tree_salts(log.tree.directory)
        log.pool.write(path, section.salts, section.first_offset * SALT_SIZE, critical=True)


def _judge(log: PartitionLog, tail: _Tail, promised: int, *, in_order: bool) -> None:
    """Tell a torn tail, which is truncated, from damage, which is reported.

    ``in_order`` is False if later writes may have reached the disk before earlier ones: after a
    power cut, in a topic of durability ``disk``.
    """
    path = layout.segment(log.directory, tail.first_offset)
    later = find_whole_batch(
        log.pool, path, tail.end_position, tail.file_size, offset_min=tail.end_offset
    )
    if later is not None and in_order:
        raise CorruptionError(
            path,
            tail.end_position,
            f"{tail.reason or 'unused space'}, and whole batches follow "
            f"from offset {later[0]} at byte {later[1]}",
        )
    if tail.end_offset < promised:
        raise CorruptionError(
            path,
            tail.end_position,
            f"the log ends at offset {tail.end_offset} and had ended at {promised}"
            + (f": {tail.reason}" if tail.reason else ""),
        )
    if holds_bytes(log.pool, path, tail.end_position, tail.file_size):
        logger.warning(
            "%s: torn write at byte %d cut, %d bytes; the log ends at offset %d",
            path,
            tail.end_position,
            tail.file_size - tail.end_position,
            tail.end_offset,
        )
    log.pool.truncate(path, tail.end_position)


def _open_tail(log: PartitionLog, tail: _Tail) -> None:
    """The active segment and its index, with entries rewritten from the scan start on."""
    pool = log.pool
    index_path = layout.segment_index(log.directory, tail.first_offset)
    largest = TIMESTAMP_MIN
    if tail.scan_index_count:
        before = OffsetIndex(pool, index_path, tail.scan_index_count)
        largest = before.largest_timestamp_ms()
    content, largest = encode_entries(tail.batches, 0, largest)
    begin = tail.scan_index_count * ENTRY_SIZE
    count = tail.scan_index_count + len(tail.batches)
    if log.damage is None:
        old = pool.read(index_path, len(content), begin) if pool.exists(index_path) else b""
        if old != content:
            logger.info("%s: rebuilt from entry %d on", index_path, tail.scan_index_count)
            pool.write(index_path, content, begin)
        pool.truncate(index_path, count * ENTRY_SIZE)
    end = SegmentEnd(tail.end_position, count, largest)
    log.active = ActiveSegment(pool, log.directory, tail.first_offset, end)
    log.checkpoint = (tail.scan_offset, tail.scan_position, tail.scan_index_count)
    log.names_unsynced = True
    log.move_end(tail.end_offset)
    log.start_offset = min(log.start_offset, tail.end_offset)
