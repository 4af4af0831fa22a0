"""One partition in a process that only reads: what is visible now. Never writes.

The writer's tail page states where the log ends. Where it cannot be trusted (written before the
last boot, or damaged), the whole batches in the last segment count.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from merkql._core.batch_fields import HEADER_SIZE
from merkql._core.frontier import Frontier
from merkql._core.merkle import peaks_at
from merkql.errors import CorruptionError
from merkql.storage import layout, tail_page
from merkql.storage.file_pool import FilePool
from merkql.storage.offset_index import (
    TIMESTAMP_MIN,
    IndexEntry,
    OffsetIndex,
    running_entries,
)
from merkql.storage.partition_identity import PartitionId
from merkql.storage.scanned_index import ScannedIndex
from merkql.storage.segment import (
    SealedSegment,
    Segment,
    list_sealed,
    look_again,
    offsets_on_disk,
    scan_segment,
)
from merkql.storage.start_file import read_start
from merkql.storage.tail_page import TailState
from merkql.storage.tree_file import TreeFiles


class GrowingSegment(Segment):
    """The last segment, up to where its writer has published it."""

    def __init__(
        self,
        pool: FilePool,
        directory: str,
        first_offset: int,
        end_position: int,
        index: OffsetIndex | ScannedIndex,
    ) -> None:
        super().__init__(pool, directory, first_offset)
        self._end_position = end_position
        self.index = index

    @property
    def end_position(self) -> int:
        return self._end_position


class ReaderLog:
    """A partition's state for readers; call ``refresh`` before each use."""

    def __init__(
        self, pool: FilePool, directory: str, identity: PartitionId, boot_id: bytes
    ) -> None:
        self.pool = pool
        self.directory = directory
        self.id = identity
        self.tree = TreeFiles(pool, layout.tree_directory(directory))
        self.damage: CorruptionError | None = None
        self.has_salts = False  # the topic sets it: whether each record has a salt
        begin: Segment = self._growing(0, 0, ScannedIndex(directory, []))
        self._parts: tuple[tuple[SealedSegment, ...], Segment] = ((), begin)  # replaced as one
        self._lock = threading.Lock()
        self.frontier = Frontier()
        self.start_offset = 0
        self.end_offset = 0
        self.rewrites = 0  # how often a sealed segment was replaced under its name
        self.is_here: Callable[[], bool] = lambda: True  # set by the topic: whether it still exists
        self.seen = -1  # the version of the shared state this is up to date with
        self._boot_id = boot_id
        self._tail_path = layout.tail_page(directory)
        self._page: TailState | None = None
        self._page_bytes = b""  # the bytes of that page
        self._scanned = False

    @property
    def all_segments(self) -> tuple[Segment, ...]:
        """Every segment in order; the last may be empty."""
        sealed, active = self._parts
        return (*sealed, active)

    @property
    def segments(self) -> tuple[SealedSegment, ...]:
        """The segments that grow no more."""
        return self._parts[0]

    @property
    def active(self) -> Segment:
        """The last segment."""
        return self._parts[1]

    @property
    def tip(self) -> tuple[int, int]:
        """The end: an offset and its position in the last segment."""
        return self.end_offset, self.active.end_position

    def refresh(self) -> None:
        """Read where the log ends now. Cost: one read of a page if nothing changed."""
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        content = tail_page.read_bytes(self.pool, self._tail_path)
        if self._page is not None and content == self._page_bytes:
            return
        page = tail_page.decode(content)
        if page is None:  # perhaps it is being written at this moment
            page, content = tail_page.read(self.pool, self._tail_path), b""
        if page is not None and tail_page.is_current(page, self._boot_id):
            if page != self._page:
                if page.clean and self._is_outrun(page):
                    self._scan(page)
                    return
                self._follow(page)
            self._page, self._page_bytes = page, content
        else:
            self._page = None
            self._scan(page)

    @property
    def retired(self) -> bool:
        """Whether its topic was deleted: its files may then be another topic's.

        Cost: one ``stat``. Ask it after a read: only then does it tell what was read.
        """
        return not self.is_here()

    def look_again(self) -> None:
        """A file is missing: drop everything cached at the next ``refresh``."""
        with self._lock:
            self.pool.forget(self.directory, below=True)
            self.seen = -1
            self._page = None
            self._scanned = False

    def _is_outrun(self, page: TailState) -> bool:
        """Whether records stand behind the end a clean close left: the page is an older copy."""
        path = layout.segment(self.directory, page.segment_offset)
        try:
            return bool(self.pool.read(path, HEADER_SIZE, page.position).strip(b"\0"))
        except FileNotFoundError:
            return False  # reading it will say so

    def _follow(self, page: TailState) -> None:
        sealed, before = self.segments, self._page
        if before is None or (page.segment_offset, page.start_offset) != (
            before.segment_offset,
            before.start_offset,
        ):
            sealed = self._list_segments(page.segment_offset)
        index = self.active.index if self._page is not None else None
        if isinstance(index, OffsetIndex) and self.active.first_offset == page.segment_offset:
            index.extend_to(page.index_count)
        else:
            path = layout.segment_index(self.directory, page.segment_offset)
            index = OffsetIndex(self.pool, path, page.index_count)
        if page.rewrites != self.rewrites:
            look_again(sealed)  # the descriptors of those just found, too, may be of another file
            self.rewrites = page.rewrites
        self._parts = (sealed, self._growing(page.segment_offset, page.position, index))
        self.frontier = Frontier(page.end_offset, page.peaks)
        self.start_offset = page.start_offset
        self.end_offset = page.end_offset

    def _scan(self, page: TailState | None) -> None:
        """Count whole batches in the last segment, where the page's end cannot be trusted."""
        firsts = offsets_on_disk(self.pool, self.directory)
        if not firsts:
            self.damage = self._loss()
            return
        self.damage = None
        path = layout.segment(self.directory, firsts[-1])
        if self._scanned and firsts[-1] == self.active.first_offset:
            header = self.pool.read(path, HEADER_SIZE, self.active.end_position)
            if not header.strip(b"\0"):
                return  # nothing was written behind what is known
        sealed = self._list_segments(firsts[-1])
        entries: list[IndexEntry] = []
        end_offset, end_position, largest = firsts[-1], 0, TIMESTAMP_MIN
        for run in scan_segment(self.pool, path, position=0, expected_offset=firsts[-1]):
            entries += running_entries(run.batches, run.position, largest)
            largest = entries[-1].largest_timestamp_ms if entries else largest
            end_offset, end_position = run.next_offset, run.end_position
        index = ScannedIndex(layout.segment_index(self.directory, firsts[-1]), entries)
        self._parts = (sealed, self._growing(firsts[-1], end_position, index))
        self.frontier = self._frontier_of_files(end_offset)
        start = read_start(self.pool, layout.start_file(self.directory))
        if page is not None:
            start = max(start, page.start_offset)  # of any session, as it never decreases
        # After a power cut the log may end below its start until the WAL is replayed.
        self.start_offset = min(start, end_offset)
        self.end_offset = end_offset
        self._scanned = True

    def _loss(self) -> CorruptionError | None:
        """The damage where there is no segment: a missing directory of an existing topic."""
        if self.pool.files.status(self.directory) is not None or not self.is_here():
            return None
        return CorruptionError(self.directory, 0, "the partition's directory is missing")

    def _frontier_of_files(self, size: int) -> Frontier:
        """The tree as its files have it; an empty one if they are too short."""
        try:
            return Frontier(size, peaks_at(size, self.tree.read))
        except CorruptionError:
            return Frontier()

    def _growing(
        self, first_offset: int, end_position: int, index: OffsetIndex | ScannedIndex
    ) -> GrowingSegment:
        return GrowingSegment(self.pool, self.directory, first_offset, end_position, index)

    def _list_segments(self, last: int) -> tuple[SealedSegment, ...]:
        return list_sealed(self.pool, self.directory, last, self.segments)
