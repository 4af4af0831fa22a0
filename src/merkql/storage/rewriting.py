"""Rewrites a sealed segment: without its first records, or with other batches in place of some.

The new file is written beside the old one and synced before it takes its place: readers and crashes
find the old segment or the new. Readers with the old file open finish reading it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from merkql.storage import layout
from merkql.storage.offset_index import (
    TIMESTAMP_MIN,
    IndexEntry,
    encode_entry,
    running_entries,
)
from merkql.storage.partition_log import PartitionLog
from merkql.storage.segment import BatchTuple, SealedSegment

POSITION_MAX = 0xFFFFFFFF  # index entries have four bytes for a batch's position


class NewSegment:
    """The next content of a segment, added batch by batch."""

    def __init__(self, log: PartitionLog, first_offset: int, end_offset: int) -> None:
        self.segment = SealedSegment(log.pool, log.directory, first_offset, end_offset)
        self._pool = log.pool
        self._path = layout.temporary(self.segment.path)
        self._index_path = layout.temporary(self.segment.index.path)
        self._entries: list[IndexEntry] = []
        self._size = 0
        self._pool.truncate(self._path, 0)

    def add(self, data: bytes | memoryview, batches: Iterable[BatchTuple]) -> None:
        """Append whole batches, at positions relative to ``data``."""
        if self._size + len(data) > POSITION_MAX:
            text = "a segment would outgrow its index, by what erased records leave behind"
            raise OSError(errno.EFBIG, text, self.segment.path)
        largest = self._entries[-1].largest_timestamp_ms if self._entries else TIMESTAMP_MIN
        self._pool.write(self._path, data, self._size, critical=True)
        self._entries += running_entries(batches, self._size, largest)
        self._size += len(data)

    def sync(self) -> None:
        """Make the content durable, without putting it in place."""
        self._pool.sync(self._path)
        self._pool.truncate(self._index_path, 0)
        self._pool.write(self._index_path, b"".join(map(encode_entry, self._entries)), 0)
        self._pool.sync(self._index_path)

    def discard(self) -> None:
        """Remove the new files."""
        for path in (self._path, self._index_path):
            if self._pool.exists(path):
                self._pool.remove(path)

    def install(self) -> SealedSegment:
        """Put the segment in place, durably, over a segment of the same name."""
        # The index first: beside the old segment it either fits or is found not to.
        self._pool.rename(self._index_path, self.segment.index.path)
        self._pool.rename(self._path, self.segment.path)
        self._pool.sync_names(os.path.dirname(self.segment.path))
        return self.segment
