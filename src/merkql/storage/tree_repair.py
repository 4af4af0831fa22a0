"""Rebuilds a partition's tree: its end after a crash, or all of it from the records.

Stored hashes are derived, except those of records that are gone: if these are missing, the tree
cannot be rebuilt. Used by recovery, and wherever a damaged hash is met.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from merkql._core.batch_leaves import leaf_hashes
from merkql._core.frontier import STORED_LEVEL_STRIDE, Frontier
from merkql._core.merkle import peaks_at
from merkql.errors import CorruptionError, again
from merkql.storage import layout
from merkql.storage.partition_log import PartitionLog
from merkql.storage.salts import check_salts, read_salts
from merkql.storage.segment import sound_runs
from merkql.storage.tail_page import TailState
from merkql.storage.tree_space import HASH_SIZE

logger = logging.getLogger("merkql.recovery")
LEAVES_AT_ONCE = 1 << 15
Result = TypeVar("Result")


def tree_reaches(log: PartitionLog, size: int) -> bool:
    """Whether every tree file is long enough for ``size`` leaves."""
    level = 0
    while size >> level:
        path = layout.tree_level(log.tree.directory, level)
        if (log.pool.size_of(path) or 0) < (size >> level) * HASH_SIZE:
            return False
        level += STORED_LEVEL_STRIDE
    return True


def mend_tree(log: PartitionLog, page: TailState | None, trusted: TailState | None) -> None:
    """Restore the end of the tree: from its files up to the checkpoint, then from the records.

    Without a tail page nothing states what the files should hold: then from the records alone.
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
    """The peaks of the tree's first ``size`` leaves; None if stored hashes are missing."""
    if not tree_reaches(log, size):
        return None
    try:
        return bytes(peaks_at(size, log.tree.read))
    except CorruptionError as damage:
        logger.warning("%s", damage)
        return None


def is_mendable(log: PartitionLog, damage: CorruptionError) -> bool:
    """Whether a rebuild may help; one that did not is not repeated for each call."""
    return log.damage is None and (damage.path, damage.position) not in log.tree.incurable


def with_rebuilt_tree(
    log: PartitionLog, damage: CorruptionError, work: Callable[[], Result]
) -> Result:
    """Run ``work``, which met ``damage``, on a rebuilt tree; remember if that did not help."""
    try:
        rebuild_whole_tree(log, log.frontier.peaks)
        return work()
    except CorruptionError:
        log.tree.incurable.add((damage.path, damage.position))
        raise


def rebuild_whole_tree(log: PartitionLog, known: bytes | None) -> None:
    """Rebuild every stored hash from the records on disk and the leaves of those that are gone.

    Leaves of records retained away cannot be rebuilt: they must be present. ``known``: the peaks
    that must result. If others do, records or leaves were changed: that becomes the partition's
    damage, and no hash is written, because the stored ones are the evidence. Cost: one scan, or
    two.
    """
    first = log.all_segments[0].first_offset
    logger.warning("%s: rebuilding the tree from offset %d", log.tree.directory, first)
    log.mended = True  # before the first hash is written
    if known is not None:
        gone = _tree_of_gone(log, first)
        if _peaks_behind(log, gone) != known:
            gone = Frontier(first, _peaks_on_disk(log, first) or gone.peaks)
            if _peaks_behind(log, gone) != known:
                log.damage = CorruptionError(
                    log.tree.directory, 0, "the records do not have the root they had"
                )
                raise again(log.damage)
            frontier = gone  # a stored leaf of a gone record is wrong, not what is above
        else:
            frontier = _tree_of_gone(log, first, write=True)
    else:
        frontier = _judge_tree_of_gone(log, first)
    for segment in log.all_segments:
        _append_leaves(log, frontier, (segment.first_offset, 0, segment.first_offset))
    log.frontier = frontier
    log.trim_tree()


def _judge_tree_of_gone(log: PartitionLog, first: int) -> Frontier:
    """The tree of the records that are gone, where its peaks are not known otherwise."""
    frontier = _tree_of_gone(log, first)
    stored = _peaks_on_disk(log, first)
    if stored not in (None, frontier.peaks):
        raise CorruptionError(
            log.tree.directory,
            0,
            f"the stored hashes of records below {first}, which are gone, contradict each other",
        )
    return _tree_of_gone(log, first, write=True)


def _tree_of_gone(log: PartitionLog, first: int, *, write: bool = False) -> Frontier:
    """The tree below offset ``first`` from its stored leaves; ``write`` rewrites its files."""
    frontier = Frontier()
    path = layout.tree_level(log.tree.directory, 0)
    size = log.pool.size(path) if log.pool.exists(path) else 0
    if size < first * HASH_SIZE:
        raise CorruptionError(
            path, size, f"hashes of records below {first}, which are gone, are missing"
        )
    for start in range(0, first, LEAVES_AT_ONCE):
        leaves = log.tree.read([(0, start, min(LEAVES_AT_ONCE, first - start))])[0]
        additions = frontier.append(leaves)
        if write:
            log.tree.write([addition for addition in additions if addition[0]])
    return frontier


def _peaks_behind(log: PartitionLog, gone: Frontier) -> bytes:
    """The peaks that result from the records on disk after the tree of those gone."""
    frontier = Frontier(gone.size, gone.peaks)
    for segment in log.all_segments:
        _append_leaves(log, frontier, (segment.first_offset, 0, segment.first_offset), dry=True)
    return bytes(frontier.peaks)


def _append_leaves(
    log: PartitionLog, frontier: Frontier, begin: tuple[int, int, int], *, dry: bool = False
) -> None:
    """Hash records into the tree and, unless ``dry``, its files.

    ``begin``: the segment's first offset, a position in it and the offset there.
    """
    segment_offset, position, offset = begin
    path = layout.segment(log.directory, segment_offset)
    end = log.active.end_position if segment_offset == log.active.first_offset else None
    for run in sound_runs(log.pool, path, position=position, expected_offset=offset, end=end):
        if run.batches:
            first, salts, erased = run.batches[0][0], None, list[int]()
            if log.has_salts:
                salts = read_salts(log.pool, log.tree.directory, first, run.next_offset)
            leaves = leaf_hashes(run.data, salts=salts, erased=erased)
            if salts is not None:
                check_salts(log.tree.directory, salts, first, erased)
            additions = frontier.append(leaves)
            if not dry:
                log.tree.write(additions)
