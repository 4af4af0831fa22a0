"""One segment: a ``.log`` file of record batches back to back, and its index.

``ActiveSegment`` is appended to, ``SealedSegment`` is only read. Neither repairs anything: a
damaged index raises ``IndexDamagedError`` for recovery, damaged batches ``CorruptionError``.
Formats: docs/formats/segment.md, docs/formats/offset-index.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from merkql._core.batch_fields import HEADER_SIZE, BatchFields, peek
from merkql._core.batch_header import ScanResult, scan
from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.file_pool import FilePool
from merkql.storage.offset_index import (
    ENTRY_SIZE,
    TIMESTAMP_MIN,
    IndexDamagedError,
    IndexEntry,
    OffsetIndex,
)
from merkql.storage.scanned_index import ScannedIndex
from merkql.storage.segment_space import AHEAD, set_aside

CHUNK_SIZE = 1 << 20
PREALLOCATION_MIN = 64 << 10
PREALLOCATION_MAX = 8 << 20
INDEX_PREALLOCATION = 4096
WRITEBACK_MIN = 256 << 10

BatchTuple = tuple[int, int, int, int, int]  # first offset, position, size, count, max timestamp


class Batches(Protocol):
    """Whole batches of one partition, as ``EncodedBatches`` or the WAL has them."""

    @property
    def data(self) -> bytes: ...
    @property
    def batches(self) -> list[BatchTuple]: ...
    @property
    def count(self) -> int: ...
    @property
    def first_offset(self) -> int: ...
    @property
    def leaf_hashes(self) -> bytes:
        """Empty where they are to be made from the batches."""


class Segment:
    """What both kinds share: where a batch is, and its bytes."""

    def __init__(self, pool: FilePool, directory: str, first_offset: int) -> None:
        self._pool = pool
        self.directory = directory
        self.first_offset = first_offset
        self.path = layout.segment(directory, first_offset)
        self.index: OffsetIndex | ScannedIndex

    @property
    def end_position(self) -> int:
        """The end of the last whole batch, in bytes."""
        raise AssertionError("each kind of segment knows its own end")

    def open_index(self) -> None:
        """Load ``index``; ``IndexDamagedError`` if it is unusable."""

    def locate(self, offset: int) -> IndexEntry:
        """The index entry of the batch that holds ``offset``."""
        self.open_index()
        return self.index.entry(self.index.find(offset))

    def end_of(self, offset: int) -> int:
        """Where the index has the end of the batch that holds ``offset``, unchecked; 0: unknown."""
        _, position, size, _ = self.index.span(offset, self.end_position)
        return position + size

    def read_into(self, buffer: memoryview, position: int) -> int:
        """Fill ``buffer`` from ``position``, not past the last whole batch; the bytes read."""
        size = min(len(buffer), self.end_position - position)
        if size <= 0:
            return 0
        return self._pool.read_into(self.path, buffer[:size], position)

    def batch_at(self, position: int) -> BatchFields:
        """What the header at ``position`` says, unchecked; ``CorruptionError`` if it is cut."""
        fields = peek(self._pool.read(self.path, HEADER_SIZE, position))
        if fields is None:
            raise CorruptionError(self.path, position, "a batch header is cut short")
        return fields

    def remove(self) -> None:
        """Remove the index, then the batches; the caller syncs the directory."""
        if self._pool.exists(self.index.path):
            self._pool.remove(self.index.path)
        self._pool.remove(self.path)


class SealedSegment(Segment):
    """A segment that never grows again; its file ends with its last batch."""

    def __init__(self, pool: FilePool, directory: str, first_offset: int, end_offset: int) -> None:
        super().__init__(pool, directory, first_offset)
        self.end_offset = end_offset
        self._end_position: int | None = None
        self.index = OffsetIndex(pool, layout.segment_index(directory, first_offset), 0)
        self._index_open = False

    @property
    def end_position(self) -> int:
        if self._end_position is None:
            self._end_position = self._pool.size(self.path)
        return self._end_position

    def open_index(self) -> None:
        """Use the index file if its first and last entry fit the segment."""
        if self._index_open:
            return
        path = self.index.path
        if not self._pool.exists(path):
            raise IndexDamagedError(f"{path} is missing")
        count, rest = divmod(self._pool.size(path), ENTRY_SIZE)
        if rest or not count:
            raise IndexDamagedError(f"{path} ends inside an entry")
        index = OffsetIndex(self._pool, path, count)
        first, last = index.entry(0), index.entry(count - 1)
        batch = self.batch_at(last.position)
        end = last.position + batch.size
        if first[:2] != (self.first_offset, 0) or end != self.end_position:
            raise IndexDamagedError(f"{path} does not belong to the segment beside it")
        # Below the next segment's first offset if a segment between them is missing.
        self.end_offset = min(self.end_offset, batch.next_offset)
        self.index = index
        self._index_open = True

    def look_again(self) -> bool:
        """Drop everything cached, as the files may have been replaced; True if they were."""
        replaced = self._pool.is_replaced(self.path) or self._pool.is_replaced(self.index.path)
        self._pool.forget(self.path)
        self._pool.forget(self.index.path)
        self._end_position = None
        self._index_open = False
        return replaced

    def adopt_index(self, index: OffsetIndex | ScannedIndex) -> None:
        """Use an index that recovery rebuilt."""
        self.index = index
        self._index_open = True


class SegmentEnd(NamedTuple):
    """The end of a segment's content."""

    position: int = 0
    index_count: int = 0
    largest_timestamp_ms: int = TIMESTAMP_MIN


class ActiveSegment(Segment):
    """The last segment of a partition: preallocated, appended to, synced from time to time."""

    index: OffsetIndex

    def __init__(self, pool: FilePool, directory: str, first_offset: int, end: SegmentEnd) -> None:
        super().__init__(pool, directory, first_offset)
        self._position = end.position
        self._written_back = end.position
        path = layout.segment_index(directory, first_offset)
        self.index = OffsetIndex(pool, path, end.index_count)
        self.largest_timestamp_ms = end.largest_timestamp_ms
        self._allocated = 0
        self._index_allocated = 0
        self._first_timestamp_ms: int | None = None

    def first_timestamp_ms(self) -> int:
        """The largest timestamp of the first batch; there has to be one."""
        if self._first_timestamp_ms is None:
            self._first_timestamp_ms = self.batch_at(0).largest_timestamp_ms
        return self._first_timestamp_ms

    @property
    def end_position(self) -> int:
        return self._position

    @property
    def is_allocated(self) -> bool:
        """Whether space was set aside that ``trim`` gives back."""
        return bool(self._allocated or self._index_allocated)

    def reserve(self, size: int, batch_count: int) -> None:
        """Preallocate, so that this many bytes can be appended without running out of space.

        Raises ``OSError`` and changes nothing a reader sees if there is no space.
        """
        needed = self._position + size
        if needed > self._allocated:
            step = min(max(self._position, PREALLOCATION_MIN), PREALLOCATION_MAX)
            target = needed + step if self._allocated else max(needed, PREALLOCATION_MIN)
            self._pool.allocate(self.path, self._position, target - self._position)
            self._allocated = target
        needed = (self.index.count + batch_count) * ENTRY_SIZE
        if needed > self._index_allocated:
            target = -(-needed // INDEX_PREALLOCATION) * INDEX_PREALLOCATION
            begin = self.index.count * ENTRY_SIZE
            self._pool.allocate(self.index.path, begin, target - begin)
            self._index_allocated = target

    def prepare(self, last: Callable[[], int | None]) -> None:
        """Preallocate ahead of the writer; may run beside it, in any process, but not ``trim``.

        ``last`` returns the first offset of the last segment: another process may have sealed this
        one.
        """
        known, position = self._allocated, self._position
        if known and known - position < AHEAD and position >= AHEAD:
            end = set_aside(
                self._pool.files, self.path, position, lambda: last() == self.first_offset
            )
            if known == self._allocated and end > known:  # else the writer was quicker
                self._allocated = end

    def rewind(self, position: int, index_count: int) -> None:
        """Forget what an interrupted append did beyond this point; it is repeated."""
        self._position = position
        self.index.extend_to(index_count)

    def move_end(self, end: SegmentEnd) -> None:
        """Another process appended up to here."""
        self._position = end.position
        self.index.extend_to(end.index_count)
        self.largest_timestamp_ms = end.largest_timestamp_ms

    def write_index(self, entries: bytes, number: int) -> None:
        """Write index entries from ``number`` on, of batches that ``append`` writes next."""
        self._pool.write(self.index.path, entries, number * ENTRY_SIZE)

    def append(self, data: bytes | memoryview, entries: bytes, largest_timestamp_ms: int) -> None:
        """Write whole batches at the end; durable after ``sync``."""
        self._pool.write(self.path, data, self._position, critical=True)
        self.index.append(entries)
        self._position += len(data)
        self.largest_timestamp_ms = largest_timestamp_ms

    def start_writeback(self) -> None:
        """Write back steadily what was appended: a burst would delay the WAL's syncs."""
        begin, end = self._written_back, self._position
        if end - begin >= WRITEBACK_MIN:
            self._pool.start_writeback(self.path, begin, end - begin)
            self._written_back = end

    def sync(self) -> None:
        """Make every batch appended durable."""
        self._pool.sync(self.path)

    def sync_index(self) -> None:
        """Make the index durable: what was appended to it before the call."""
        if self.index.count:
            self._pool.sync(self.index.path)

    def trim(self) -> None:
        """Give back unused reserved space, so that the files end with their content."""
        self._pool.truncate(self.path, self._position)
        if self._pool.exists(self.index.path):
            self._pool.truncate(self.index.path, self.index.count * ENTRY_SIZE)
        self._allocated = self._index_allocated = 0

    def seal(self, end_offset: int) -> SealedSegment:
        """End this segment, whose next offset is ``end_offset``: trimmed, and durable on return."""
        self.trim()
        self.sync()
        self.sync_index()
        sealed = SealedSegment(self._pool, self.directory, self.first_offset, end_offset)
        sealed.adopt_index(self.index)
        self.index.unload()
        return sealed


def offsets_on_disk(pool: FilePool, directory: str) -> list[int]:
    """The first offset of each segment of a partition, sorted; empty if it is gone."""
    try:
        names = pool.files.list_directory(directory)
    except FileNotFoundError:
        return []  # the topic was deleted meanwhile
    return sorted(o for o in map(layout.parse_segment, names) if o is not None)


def list_sealed(
    pool: FilePool, directory: str, last: int, known: Iterable[SealedSegment] = ()
) -> tuple[SealedSegment, ...]:
    """The segments before the one that begins at ``last``; reuses those ``known``."""
    before = {segment.first_offset: segment for segment in known}
    firsts = [first for first in offsets_on_disk(pool, directory) if first < last]
    sealed = []
    for first, following in itertools.pairwise([*firsts, last]):
        segment = before.get(first)
        if segment is None or segment.end_offset > following:  # it was rewritten from there on
            segment = SealedSegment(pool, directory, first, following)
        sealed.append(segment)
    return tuple(sealed)


def look_again(segments: Iterable[SealedSegment]) -> bool:
    """Drop what is cached of segments that may have been replaced; True if any was."""
    replaced = [segment for segment in segments if segment.look_again()]
    return bool(replaced)


class Run(NamedTuple):
    """Consecutive whole batches as read from a segment; the last run of a scan has a verdict."""

    data: memoryview  # valid until the next run is asked for
    position: int  # of data in the file
    batches: list[BatchTuple]  # positions relative to data
    next_offset: int
    verdict: str  # "" for more to come, else "clean", "torn" or "corrupt"
    reason: str

    @property
    def end_position(self) -> int:
        return self.position + len(self.data)


def scan_segment(
    pool: FilePool, path: str, *, position: int, expected_offset: int, end: int | None = None
) -> Iterator[Run]:
    """Walk the whole batches of a file from ``position``, checking each checksum and offset.

    Stops at ``end`` (default: the end of the file), at the zeros of unused space, or at the first
    batch that is not whole. Memory: a few MiB, or the largest batch.
    """
    end = pool.size(path) if end is None else end
    chunk_size = CHUNK_SIZE
    buffer = bytearray(max(min(chunk_size, end - position), 0))  # its pages are made only once
    while True:
        size = max(min(chunk_size, end - position), 0)
        if size <= len(buffer):
            data = memoryview(buffer)[: pool.read_into(path, memoryview(buffer)[:size], position)]
        else:
            data = memoryview(pool.read(path, size, position))
        short = len(data) < size  # the file ends before ``end``: it was truncated
        at_end = short or position + size >= end
        result: ScanResult = scan(data, expected_offset)
        verdict: str = result.verdict
        reason = result.reason
        cut = verdict == "torn" and not at_end
        whole = data[: result.position]
        more = cut or (verdict == "clean" and not at_end and len(whole) == size)
        if more:
            verdict = ""
        elif short and verdict == "clean" and len(whole) == len(data):
            verdict, reason = "torn", "the file ends here, and has held more"
        expected_offset = result.next_offset if result.batches else expected_offset
        yield Run(whole, position, result.batches, expected_offset, verdict, reason)
        if not more:
            return
        position += result.position
        if cut and not result.position:
            chunk_size *= 4  # a batch larger than the chunk
        else:
            chunk_size = CHUNK_SIZE


def sound_runs(
    pool: FilePool, path: str, *, position: int, expected_offset: int, end: int | None = None
) -> Iterator[Run]:
    """``scan_segment`` for callers that need every batch: ``CorruptionError`` at damage."""
    for run in scan_segment(
        pool, path, position=position, expected_offset=expected_offset, end=end
    ):
        if run.verdict not in ("", "clean"):
            raise CorruptionError(path, run.end_position, run.reason)
        yield run
