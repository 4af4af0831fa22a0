"""Recomputes a partition from its records and reports the first fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from merkql._core.batch_leaves import leaf_hashes
from merkql._core.frontier import Frontier
from merkql.errors import CorruptionError, again
from merkql.storage import layout
from merkql.storage.gaps import check_beginning, missing_offsets
from merkql.storage.index_repair import AnyLog
from merkql.storage.offset_index import (
    ENTRY_SIZE,
    TIMESTAMP_MIN,
    IndexDamagedError,
    running_entries,
)
from merkql.storage.salts import check_salts, read_salts
from merkql.storage.segment import Run, SealedSegment, Segment, scan_segment
from merkql.storage.tree_space import HASH_SIZE

LEAVES_AT_ONCE = 1 << 15


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was recomputed: records, their bytes on disk, and their root.

    ``erased``: the offsets of erased records, whose entries were hashed.
    """

    topic: str
    partition: int
    first_offset: int
    end_offset: int
    size_bytes: int
    root: bytes
    erased: tuple[int, ...] = ()


class DerivedDamageError(CorruptionError):
    """An index entry or a stored hash is wrong; the records it derives from are sound."""


def verify_log(log: AnyLog, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Check every batch, index entry, leaf and stored hash of one partition. Writes nothing."""
    if log.damage is not None:
        raise again(log.damage)
    if log.pool.files.status(log.directory) is None:
        raise CorruptionError(log.directory, 0, "the directory of the partition is missing")
    end_offset, end_position = log.tip  # before the segments: a roll in between only adds some
    segments = [s for s in log.all_segments if s.first_offset <= end_offset]
    first = segments[0].first_offset
    check_beginning(log, first)
    frontier = _check_retained_away(log, first)
    erased: list[int] = []
    size = 0
    for segment in segments:
        stop = segment.end_position
        if not isinstance(segment, SealedSegment):
            stop = end_position if end_offset > segment.first_offset else 0
            if not stop:
                continue  # nothing was written to it: there may be no file yet
        if segment.first_offset > frontier.size:
            raise missing_offsets(log.directory, frontier.size, segment.first_offset)
        number, largest = 0, TIMESTAMP_MIN
        for run in scan_segment(
            log.pool, segment.path, position=0, expected_offset=segment.first_offset, end=stop
        ):
            if run.verdict not in ("", "clean") or (run.verdict and run.end_position != stop):
                reason = run.reason or "unused space inside the segment"
                raise CorruptionError(segment.path, run.end_position, reason)
            if run.batches:
                largest = _check_index(segment, run, number, largest)
                number += len(run.batches)
                _check_tree(log, run, frontier, erased)
                size += len(run.data)
            if progress is not None:
                progress(frontier.size - first, end_offset - first)
        if isinstance(segment, SealedSegment) and frontier.size != segment.end_offset:
            raise CorruptionError(segment.path, stop, f"ends at offset {frontier.size}")
    current = log.frontier
    if frontier.size == current.size and frontier.root() != current.root():
        raise CorruptionError(log.tree.directory, 0, "the records do not lead to the root")
    place = (log.id.topic, log.id.index, first, frontier.size, size, frontier.root())
    return VerifyReport(*place, erased=tuple(erased))


def _check_index(segment: Segment, run: Run, number: int, largest: int) -> int:
    """Compare the index with the batches; returns the largest timestamp so far."""
    for expected in running_entries(run.batches, run.position, largest):
        try:
            segment.open_index()
            found = segment.index.entry(number)
        except (IndexDamagedError, IndexError) as error:
            path = segment.index.path
            reason = str(error).removeprefix(f"{path}: ")
            raise DerivedDamageError(path, number * ENTRY_SIZE, reason) from None
        if found != expected:
            raise DerivedDamageError(
                segment.index.path, number * ENTRY_SIZE, f"entry {number} is not that of its batch"
            )
        number += 1
        largest = expected.largest_timestamp_ms
    return largest


def _check_retained_away(log: AnyLog, first: int) -> Frontier:
    """The tree below the first record: from its stored leaves, compared with higher levels."""
    frontier = Frontier()
    for start in range(0, first, LEAVES_AT_ONCE):
        leaves = log.tree.read([(0, start, min(LEAVES_AT_ONCE, first - start))])[0]
        for level, index, hashes in frontier.append(leaves):
            if level and log.tree.read([(level, index, len(hashes) // HASH_SIZE)])[0] != hashes:
                last = start + len(leaves) // HASH_SIZE - 1
                raise CorruptionError(
                    layout.tree_level(log.tree.directory, 0),
                    start * HASH_SIZE,
                    f"among the stored hashes of offsets {start} to {last}, whose records are "
                    f"retained away, and level {level} above them one is wrong",
                )
    return frontier


def _check_tree(log: AnyLog, run: Run, frontier: Frontier, erased: list[int]) -> None:
    """Hash a run's records and compare with every stored hash above them."""
    first, known = frontier.size, len(erased)
    salts = None
    if log.has_salts:
        salts = read_salts(log.pool, log.tree.directory, first, run.next_offset)
    leaves = leaf_hashes(run.data, salts=salts, erased=erased)
    if salts is not None:
        check_salts(log.tree.directory, salts, first, erased[known:])
    for level, index, hashes in frontier.append(leaves):
        try:
            stored = log.tree.read([(level, index, len(hashes) // HASH_SIZE)])[0]
        except CorruptionError as error:  # some are not there
            raise DerivedDamageError(error.path, error.position, error.reason) from None
        if stored != hashes:
            at = next(i for i in range(len(hashes)) if stored[i] != hashes[i])
            path = layout.tree_level(log.tree.directory, level)
            raise DerivedDamageError(
                path,
                index * HASH_SIZE + at,
                f"a stored hash is not that of the records it stands for (level {level}, "
                f"index {index + at // HASH_SIZE})",
            )
