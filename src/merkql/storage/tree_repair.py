"""Makes a partition's tree again: at its end after a crash, or whole from the records.

Stored hashes are derived, except those of records that are gone: where these are missing, the tree
cannot be made again. Used by recovery, and by whoever meets a damaged hash.
"""

from __future__ import annotations

import logging

from merkql._core.batch_leaves import leaf_hashes
from merkql._core.frontier import Frontier
from merkql._core.merkle import peaks_at
from merkql.errors import CorruptionError, again
from merkql.storage import layout
from merkql.storage.partition_log import PartitionLog
from merkql.storage.segment import scan_segment
from merkql.storage.tail_page import TailState
from merkql.storage.tree_space import HASH_SIZE, SALT_SIZE

logger = logging.getLogger("merkql.recovery")


def tree_reaches(log: PartitionLog, size: int) -> bool:
    """Whether every tree file is long enough for ``size`` leaves."""
    level = 0
    while size >> level:
        path = layout.tree_level(log.tree.directory, level)
        if not log.pool.exists(path) or log.pool.size(path) < (size >> level) * HASH_SIZE:
            return False
        level += 4
    return True


def mend_tree(log: PartitionLog, page: TailState | None, trusted: TailState | None) -> None:
    """The tree at the end: from its files as far as they were synced, then from the records.

    Without a tail page nothing says what the files should hold: then from the records alone.
    """
    known = trusted.peaks if trusted is not None and trusted.end_offset == log.end_offset else None
    try:
        offset, position, _ = log.checkpoint
        peaks = _peaks_on_disk(log, offset) if page is not None else None
        if peaks is not None:
            log.frontier = Frontier(offset, peaks)
            _append_leaves(log, log.frontier, (log.active.first_offset, position, offset))
            if known in (None, log.frontier.peaks):
                return
        rebuild_whole_tree(log, known)
    except CorruptionError as damage:
        logger.error("%s", damage)
        log.damage = damage


def _peaks_on_disk(log: PartitionLog, size: int) -> bytes | None:
    """The peaks of the tree's first ``size`` leaves; None where stored hashes are missing."""
    if not tree_reaches(log, size):
        return None
    try:
        return bytes(peaks_at(size, log.tree.read))
    except CorruptionError as damage:
        logger.warning("%s", damage)
        return None


def rebuild_whole_tree(log: PartitionLog, known: bytes | None) -> None:
    """Make every stored hash again from the records that are here.

    Hashes of records retained away cannot be made again: they have to be there. ``known``: the
    peaks that must come out. Where others do, records were changed: that is the partition's damage,
    and no hash is written, as they are the evidence. Cost: a scan, or two.
    """
    first = log.all_segments[0].first_offset
    logger.warning("%s: rebuilding the tree from offset %d", log.tree.directory, first)
    if not tree_reaches(log, first):
        path = layout.tree_level(log.tree.directory, 0)
        raise CorruptionError(
            path, 0, f"hashes of records below {first}, which are gone, are missing"
        )
    peaks = peaks_at(first, log.tree.read)
    if known is not None:
        frontier = Frontier(first, peaks)
        for segment in log.all_segments:
            _append_leaves(log, frontier, (segment.first_offset, 0, segment.first_offset), dry=True)
        if frontier.peaks != known:
            log.damage = CorruptionError(
                log.tree.directory, 0, "the records do not have the root they had"
            )
            raise again(log.damage)
    frontier = Frontier(first, peaks)
    for segment in log.all_segments:
        _append_leaves(log, frontier, (segment.first_offset, 0, segment.first_offset))
    log.frontier = frontier
    log.trim_tree()


def _append_leaves(
    log: PartitionLog, frontier: Frontier, begin: tuple[int, int, int], *, dry: bool = False
) -> None:
    """Hash records into the tree and, unless ``dry``, its files.

    ``begin``: the segment's first offset, a position in it and the offset there.
    """
    segment_offset, position, offset = begin
    path = layout.segment(log.directory, segment_offset)
    end = log.active.end_position if segment_offset == log.active.first_offset else None
    for run in scan_segment(log.pool, path, position=position, expected_offset=offset, end=end):
        if run.verdict not in ("", "clean"):
            raise CorruptionError(path, run.end_position, run.reason)
        if run.batches:
            salts = _read_salts(log, run.batches[0][0], run.next_offset)
            additions = frontier.append(leaf_hashes(run.data, salts=salts))
            if not dry:
                log.tree.write(additions)


def _read_salts(log: PartitionLog, first: int, stop: int) -> bytes | None:
    if not log.settings.erasable:
        return None
    path = layout.tree_salts(log.tree.directory)
    salts = b""
    if log.pool.exists(path):
        salts = log.pool.read(path, (stop - first) * SALT_SIZE, first * SALT_SIZE)
    if len(salts) < (stop - first) * SALT_SIZE:
        raise CorruptionError(path, first * SALT_SIZE, "salts are missing")
    return salts
