"""Reads runs of records from a partition's segments: index lookup, one read, decode."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import ClassVar, NamedTuple

from merkql._core.batch_decoder import decode, record_at
from merkql._core.batch_header import BatchError
from merkql._core.batch_leaves import entry_at
from merkql._core.record import Record
from merkql.errors import CorruptionError, OffsetOutOfRangeError, again
from merkql.storage.gaps import check_beginning, missing_offsets
from merkql.storage.index_repair import AnyLog, with_index
from merkql.storage.offset_index import IndexDamagedError
from merkql.storage.segment import SealedSegment, Segment

FETCH_BYTES = 1 << 20
FEW_RECORDS = 4096  # for fewer than this the index is asked how much they are
UNLIMITED = 1 << 31  # records, or bytes, of one call
BUFFERS_KEPT = 4
ENTRY_SLACK_BYTES = 512  # read past a record's expected end, as records vary in size
BATCH_BYTES_MIN = 16 << 10  # for less than this another read is not worth it

_first_offset = attrgetter("first_offset")


class FetchLimits(NamedTuple):
    """How much one fetch returns; ``max_bytes`` None: only the batch at the offset.

    Bytes are counted after decompression.
    """

    max_records: int
    max_bytes: int | None


class Fetcher:
    """Fetches from any thread, into reused buffers."""

    # Shared by all partitions: one each would keep a megabyte for every partition ever read, even
    # of closed brokers, until they are garbage collected.
    _buffers: ClassVar[list[bytearray]] = []

    def fetch(self, log: AnyLog, offset: int, start: int, limits: FetchLimits) -> list[Record]:
        """Records from ``offset`` on, across segments; empty at the end of the log.

        Skips control batches. ``FileNotFoundError`` if retention removed the segment meanwhile.
        """
        end = log.end_offset
        if offset >= end and log.damage is not None:
            raise again(log.damage)  # not the end of the log: what follows cannot be read
        if offset == end:
            return []
        if not start <= offset < end:
            raise OffsetOutOfRangeError(offset, start, end)
        fetched: list[Record] = []
        while offset < end:
            try:
                records, offset, size = self._fetch_at(log, offset, end, limits)
            except (CorruptionError, FileNotFoundError):
                if fetched:
                    break  # the next call's to report
                raise
            fetched = fetched + records if fetched else records
            if limits.max_bytes is None:
                break
            if fetched:
                room = limits.max_bytes - size
                limits = FetchLimits(limits.max_records - len(records), room)
                if limits.max_records < 1 or room < BATCH_BYTES_MIN:
                    break
        return fetched

    def _fetch_at(
        self, log: AnyLog, offset: int, end: int, limits: FetchLimits
    ) -> tuple[list[Record], int, int]:
        """Records of one segment; none if there were only control batches.

        Also returns the offset to continue from, and how many bytes were read or decompressed.
        """
        segments = log.all_segments
        number = bisect_right(segments, offset, key=_first_offset) - 1
        if number < 0:
            check_beginning(log, segments[0].first_offset)
        stop = segments[number + 1].first_offset if number + 1 < len(segments) else end
        segment = segments[number]
        entry = with_index(log, segment, lambda s: s.locate(offset))
        if isinstance(segment, SealedSegment) and offset >= segment.end_offset:
            raise missing_offsets(log.directory, segment.end_offset, stop)
        room = max(FETCH_BYTES, segment.end_position - entry.position)  # more is of no use
        size = min(limits.max_bytes or _batch_size(segment, entry.position), room)
        if limits.max_records < FEW_RECORDS:
            few_end = with_index(log, segment, lambda s: s.end_of(offset + limits.max_records - 1))
            if few_end > entry.position:  # unchecked: if it is too little, more is read
                size = min(size, few_end - entry.position)
        place = _Place(segment, entry.position, entry.first_offset, offset, min(stop, end))
        buffer = self._buffers.pop() if self._buffers else bytearray(size)
        try:
            while True:
                if len(buffer) < size:
                    buffer = bytearray(size)
                window = memoryview(buffer)[:size]
                records, after, opened = _fetch_into(window, log, place, limits)
                if records is not None:
                    count = min(size, segment.end_position - entry.position)
                    return records, after, max(count, opened)
                size = after
        finally:
            if len(buffer) <= FETCH_BYTES and len(self._buffers) < BUFFERS_KEPT:
                self._buffers.append(buffer)


def _batch_size(segment: Segment, position: int) -> int:
    """The batch size its header states, limited to the segment, as it may be damaged."""
    rest = segment.end_position - position
    return max(1, min(segment.batch_at(position).size, rest))


class _Place(NamedTuple):
    """Where a fetch begins, and which offsets it may return."""

    segment: Segment
    position: int
    batch_offset: int  # the first offset of the batch there
    first_offset: int
    stop_offset: int


def _fetch_into(
    buffer: memoryview, log: AnyLog, place: _Place, limits: FetchLimits
) -> tuple[list[Record] | None, int, int]:
    """The records and the next offset; or None and the size that the first batch needs.

    The third value is the size of compressed batches once decompressed.
    """
    count = place.segment.read_into(buffer, place.position)
    records: list[Record] = []
    try:
        result = decode(
            buffer[:count],
            log.id.topic,
            log.id.index,
            first_offset=place.first_offset,
            stop_offset=place.stop_offset,
            max_records=limits.max_records,
            expected_offset=place.batch_offset,
            records=records,
            opened_size_max=limits.max_bytes or FETCH_BYTES,
        )
    except BatchError as error:
        if records:
            # The damage behind them is the next call's to report.
            return records, records[-1].offset + 1, 0
        at = place.position + error.position
        raise CorruptionError(place.segment.path, at, error.reason) from None
    if records or result.next_offset > place.first_offset:
        return records, result.next_offset, result.opened_size
    at = place.position + result.position
    whole = place.segment.batch_at(at).size
    if count < len(buffer) or whole <= len(buffer):
        raise CorruptionError(place.segment.path, at, "the batch is cut short")
    return None, whole, 0


def read_quickly(log: AnyLog, offset: int) -> Record | None:
    """The record, if the index leads straight to a sound batch that holds it; else None.

    The batch's checksum and first offset confirm the index. Whatever is wrong is left to the slow
    path, which finds it and names it.
    """
    try:
        segment = _segment_with(log, offset)
        first, position, size, _ = segment.index.span(offset, segment.end_position)
        data = log.pool.read(segment.path, max(size, 0), position)
        return record_at(data, first, offset, log.id.topic, log.id.index)
    except (IndexDamagedError, BatchError, FileNotFoundError):
        return None


def entry_quickly(log: AnyLog, offset: int, salt: bytes) -> tuple[bytes, bytes] | None:
    """The record's entry and leaf hash, likewise; the tree has to confirm them."""
    try:
        segment = _segment_with(log, offset)
        first, position, size, count = segment.index.span(offset, segment.end_position)
        if count:
            # Read to the record's end, assuming records of average size up to it.
            part = size * (offset - first + 1) // count + ENTRY_SLACK_BYTES
            if part < size:
                found = entry_at(log.pool.read(segment.path, part, position), first, offset, salt)
                if found is not None:
                    return found
        return entry_at(log.pool.read(segment.path, max(size, 0), position), first, offset, salt)
    except (IndexDamagedError, FileNotFoundError):
        return None


def _segment_with(log: AnyLog, offset: int) -> Segment:
    segments = log.all_segments
    segment = segments[bisect_right(segments, offset, key=_first_offset) - 1]
    segment.open_index()
    return segment
