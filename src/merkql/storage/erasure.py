"""Erases records of one partition: their bytes in the segments, and their salts.

What remains of a record is its log entry: offset, time, and the digest in its place in the batch.
New files are prepared beside the old ones first; ``carry_out`` may be interrupted anywhere and
repeated. The whole sequence: merkql.erasures. Format: docs/formats/erasure.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from operator import methodcaller
from typing import NamedTuple

from merkql._core.batch_decoder import decode
from merkql._core.batch_erasure import erase_records
from merkql._core.batch_fields import HEADER_SIZE, is_control
from merkql._core.batch_header import BatchError, scan
from merkql._core.batch_leaves import leaf_hashes_and_entries
from merkql._core.record import Record
from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.index_repair import AnyLog, with_index
from merkql.storage.offset_index import IndexEntry
from merkql.storage.partition_log import PartitionLog
from merkql.storage.rewriting import NewSegment
from merkql.storage.salts import read_salts
from merkql.storage.segment import SealedSegment, Segment, sound_runs
from merkql.storage.tree_space import BUNDLED_SIZE, HASH_SIZE, NO_SALT, SALT_SIZE


class Erasure:
    """Records of one partition that are about to be erased; made by ``prepare``."""

    def __init__(self, log: PartitionLog) -> None:
        self.log = log
        self.offsets: list[int] = []  # of records whose salt or content still exists
        self._segments: list[tuple[SealedSegment, NewSegment]] = []

    @property
    def is_needed(self) -> bool:
        """Whether anything of the records is left to erase."""
        return bool(self.offsets)

    def discard(self) -> None:
        """Remove what was prepared; the partition stays as it is."""
        for _, new in self._segments:
            new.discard()

    def carry_out(self) -> None:
        """Put the new segments in place and destroy the salts; durable."""
        log = self.log
        for old, new in self._segments:
            installed = new.install()
            log.segments = tuple(installed if one is old else one for one in log.segments)
        if self._segments:
            log.rewrites += 1  # makes readers in other processes reopen the files
            log.write_tail_page()
        path = layout.tree_salts(log.tree.directory)
        for first, stop in ranges(self.offsets):
            salts = bytes((stop - first) * SALT_SIZE)
            log.pool.write(path, salts, first * SALT_SIZE, critical=True)
        log.pool.sync(path)

    def _add(self, old: SealedSegment, changed: dict[int, bytes]) -> None:
        """Prepare a copy of ``old`` with other batches at some of its positions."""
        log = self.log
        new = NewSegment(log, old.first_offset, old.end_offset)
        self._segments.append((old, new))
        first = old.first_offset
        for run in sound_runs(log.pool, old.path, position=0, expected_offset=first):
            for batch in run.batches:
                position, end = batch[1], batch[1] + batch[2]
                data = changed.get(run.position + position, run.data[position:end])
                new.add(data, [(batch[0], 0, len(data), *batch[3:])])
        new.sync()


def prepare(log: PartitionLog, offsets: Iterable[int]) -> Erasure:
    """Prepare to erase these records; nothing is erased yet. For the leader alone.

    Seals the last segment if it holds one of them. Cost: each segment that holds one is read and
    written whole. Raises ``CorruptionError`` if damage prevents it.
    """
    wanted = sorted(set(offsets))
    erasure = Erasure(log)
    if wanted and wanted[-1] >= log.active.first_offset:
        log.roll()
    log.sync_point()  # recovery replays nothing into sealed segments whose names are durable
    log.write_tail_page()
    log.pool.sync(log.tail_path)  # replaces the last clean close's page, which would be trusted
    tree = log.tree.directory
    salts = {one: read_salts(log.pool, tree, one, one + 1) for one in wanted}
    found: set[int] = set()
    try:
        for segment in _segments_with(log, wanted):
            changed = _erased_batches(log, segment, wanted, found)
            if changed:
                erasure._add(segment, changed)
    except BaseException:
        erasure.discard()
        raise
    erasure.offsets = [one for one in wanted if one in found or salts[one] != NO_SALT]
    return erasure


def _segments_with(log: PartitionLog, offsets: list[int]) -> list[SealedSegment]:
    """The segments that may hold some of the offsets, including overlapping ones.

    An interrupted compaction leaves a segment whose end is also in the next one.
    """
    found: list[SealedSegment] = []
    for number, segment in enumerate(log.segments):
        following = log.segments[number + 1 : number + 2]
        stop = following[0].end_offset if following else segment.end_offset
        if bisect_left(offsets, segment.first_offset) < bisect_left(offsets, stop):
            found.append(segment)
    return found


def _erased_batches(
    log: PartitionLog, segment: SealedSegment, offsets: list[int], found: set[int]
) -> dict[int, bytes]:
    """By position: a segment's batches that hold some of the records, without them.

    Adds the offsets of the records that were still present to ``found``.
    """
    changed: dict[int, bytes] = {}
    groups: dict[IndexEntry, list[int]] = {}
    for offset in offsets[bisect_left(offsets, segment.first_offset) :]:
        entry = with_index(log, segment, methodcaller("locate", offset))
        groups.setdefault(entry, []).append(offset)
    for entry, members in groups.items():
        batch = log.pool.read(segment.path, segment.batch_at(entry.position).size, entry.position)
        checked = scan(batch, entry.first_offset)
        if checked.verdict != "clean" or len(checked.batches) != 1:
            raise CorruptionError(segment.path, entry.position, checked.reason or "unused space")
        here = [offset for offset in members if offset < checked.next_offset]
        digests = _digests(log, segment, (entry, batch, checked.next_offset), here)
        if digests:
            found.update(digests)
            changed[entry.position] = erase_records(batch, digests)
    return changed


def _digests(
    log: PartitionLog, segment: Segment, place: tuple[IndexEntry, bytes, int], offsets: list[int]
) -> dict[int, bytes]:
    """The digests that remain of the records at ``offsets`` which are not erased yet.

    Only if their leaves match the tree: for a damaged record, a wrong digest would remain for good.
    """
    entry, batch, stop = place
    first = entry.first_offset
    if not offsets:
        return {}
    if is_control(batch[:HEADER_SIZE]):
        raise ValueError(f"offset {offsets[0]} is a mark of a transaction, and not a record")
    erased: list[int] = []
    salts = read_salts(log.pool, log.tree.directory, first, stop)
    try:
        hashes, bundled = leaf_hashes_and_entries(batch, salts=salts, erased=erased)
    except BatchError as error:
        raise CorruptionError(segment.path, entry.position, error.reason) from None
    stored = log.tree.read([(0, first, stop - first)])[0]
    gone = set(erased)
    digests = {}
    for offset in offsets:
        if offset in gone:
            continue
        at = slice((offset - first) * HASH_SIZE, (offset - first + 1) * HASH_SIZE)
        if hashes[at] != stored[at]:
            reason = f"the record at offset {offset}, or its salt, is not what it was"
            raise CorruptionError(segment.path, entry.position, reason)
        end = (offset - first + 1) * BUNDLED_SIZE
        digests[offset] = bundled[end - HASH_SIZE : end]
    return digests


class Found(NamedTuple):
    """The result of a search by key, and the end offset it searched to."""

    offsets: list[int]
    end: int


def find_key(log: AnyLog, key: bytes, begin: int = 0) -> Found:
    """The offsets from ``begin`` on of the records on disk with this key.

    Cost: reads all records from there on, 4 MiB at a time.
    """
    found: list[int] = []
    end = log.end_offset
    for records in _records(log, begin, end):
        found += [record.offset for record in records if record.key == key]
    return Found(sorted(set(found)), end)


def _records(log: AnyLog, begin: int, end: int) -> Iterator[list[Record]]:
    """Runs of records, including those on disk that retention hides."""
    for segment in log.all_segments:
        stop = None if isinstance(segment, SealedSegment) else segment.end_position
        if stop == 0 or (isinstance(segment, SealedSegment) and segment.end_offset <= begin):
            continue
        for run in sound_runs(
            log.pool, segment.path, position=0, expected_offset=segment.first_offset, end=stop
        ):
            yield decode(
                run.data,
                log.id.topic,
                log.id.index,
                first_offset=begin,
                stop_offset=end,
                max_records=1 << 31,
            ).records


def ranges(offsets: Collection[int]) -> list[tuple[int, int]]:
    """Sorted offsets as half-open ranges."""
    found: list[tuple[int, int]] = []
    for offset in offsets:
        if found and found[-1][1] == offset:
            found[-1] = (found[-1][0], offset + 1)
        else:
            found.append((offset, offset + 1))
    return found
