"""Recomputes the log entries of a partition from its records, many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from merkql._core.batch_header import BatchError
from merkql._core.batch_leaves import leaf_hashes_and_entries
from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.index_repair import AnyLog, with_index
from merkql.storage.salts import read_salts
from merkql.storage.segment import SealedSegment, Segment, sound_runs
from merkql.storage.tree_space import BUNDLED_SIZE, HASH_SIZE

ENTRY_SIZE = 49


class EntryRun(NamedTuple):
    """Consecutive entries: first offset, leaf hashes, and the entries, each after its size."""

    first: int
    leaf_hashes: bytes
    bundled: bytes

    @property
    def size(self) -> int:
        """The number of entries."""
        return len(self.leaf_hashes) // HASH_SIZE


def entry_runs(log: AnyLog, first: int, stop: int) -> Iterator[EntryRun]:
    """The entries of offsets [first, stop), which must all be on disk.

    Raises ``CorruptionError`` if a batch is damaged. Memory: a few MiB. Cost: reads and hashes
    every record.
    """
    end_offset, end_position = log.tip  # before the segments: a roll in between only adds some
    for segment in log.all_segments:
        position = segment.end_position
        if not isinstance(segment, SealedSegment):
            position = end_position if end_offset > segment.first_offset else 0
        if first >= stop or not position or segment.first_offset > first:
            continue
        if isinstance(segment, SealedSegment) and segment.end_offset <= first:
            continue
        for run in _runs_of_segment(log, segment, (first, stop), position):
            yield run
            first = run.first + run.size
    if first < stop:
        path = layout.segment(log.directory, first)
        raise CorruptionError(path, 0, f"offsets {first} to {stop - 1} are missing")


def entries_of(log: AnyLog, first: int, stop: int) -> list[bytes]:
    """The entries of offsets [first, stop), 49 bytes each."""
    entries = []
    for run in entry_runs(log, first, stop):
        ends = range(BUNDLED_SIZE, len(run.bundled) + 1, BUNDLED_SIZE)
        entries += [run.bundled[end - ENTRY_SIZE : end] for end in ends]
    return entries


def _runs_of_segment(
    log: AnyLog, segment: Segment, offsets: tuple[int, int], end_position: int
) -> Iterator[EntryRun]:
    first, stop = offsets
    entry = with_index(log, segment, lambda one: one.locate(first))
    for run in sound_runs(
        log.pool,
        segment.path,
        position=entry.position,
        expected_offset=entry.first_offset,
        end=end_position,
    ):
        if run.next_offset <= first:
            continue
        salts = None
        if log.has_salts:
            salts = read_salts(log.pool, log.tree.directory, first, run.next_offset)
        try:
            hashes, bundled = leaf_hashes_and_entries(run.data, first_offset=first, salts=salts)
        except BatchError as error:
            at = run.position + error.position
            raise CorruptionError(segment.path, at, error.reason) from None
        count = min(run.next_offset, stop) - first
        yield EntryRun(first, hashes[: count * HASH_SIZE], bundled[: count * BUNDLED_SIZE])
        first += count
        if first >= stop:
            return
