"""The state of one partition in a writing process: ordered segments, one tree, its bounds.

Only the leader of the group commit changes it (``reserve``, ``encode``, ``apply``); any thread may
read it. After each commit the tail page holds what a successor needs. Filled by recovery.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading

from merkql._core.accumulator import RecordAccumulator
from merkql._core.batch_encoder import encode
from merkql._core.frontier import Frontier
from merkql._core.index_entries import encode_entries
from merkql.errors import CorruptionError, UnknownTopicError, again
from merkql.storage import layout, tail_page
from merkql.storage.file_pool import FilePool
from merkql.storage.partition_identity import LogSettings, PartitionId
from merkql.storage.prepared import Prepared
from merkql.storage.segment import (
    ActiveSegment,
    SealedSegment,
    Segment,
    SegmentEnd,
    list_sealed,
    look_again,
)
from merkql.storage.segment_space import blocking_preallocation
from merkql.storage.tail_page import TailState
from merkql.storage.tree_file import TreeFiles
from merkql.storage.tree_space import SALT_SIZE, TreeSpace, stored_levels

logger = logging.getLogger("merkql.storage")
BATCH_SIZE_PLAIN = 16 << 10
BATCH_SIZE_COMPRESSED = 64 << 10
DERIVED_SYNC_BYTES = 32 << 20  # at most so much is indexed and hashed again by recovery


_Parts = tuple[tuple[SealedSegment, ...], ActiveSegment | None]


class PartitionLog:
    """The state of one partition in a process that writes."""

    def __init__(
        self, pool: FilePool, directory: str, identity: PartitionId, settings: LogSettings
    ) -> None:
        self.pool = pool
        self.directory = directory
        self.tail_path = layout.tail_page(directory)
        self.id = identity
        self.key = (identity.topic_id, identity.index)  # in the WAL and the shared state
        self.settings = settings
        self.tree = TreeFiles(pool, layout.tree_directory(directory))
        self._parts: _Parts = ((), None)  # replaced as one, so that no reader sees a half-done roll
        self.frontier = Frontier()
        self.start_offset = self.end_offset = 0
        self.rewrites = 0  # how often a sealed segment was replaced under its name
        self.damage: CorruptionError | None = None
        self.refusal: CorruptionError | None = None  # contradicts a checkpoint it signed: read-only
        self._tip = (0, 0, 0)  # offset, position and index count of the end, replaced as one
        self.durable_offset = 0  # up to here segments, salts and names are synced
        self.checkpoint = (0, 0, 0)  # a tip up to which index and tree are synced too
        self.writer = 0
        self.boot_id = bytes(16)
        self.names_unsynced = False
        self.mended = False  # index or tree were rebuilt and not synced since
        self.retired = False  # its topic is deleted
        self.seen = -1  # the version of the shared state this is up to date with
        self.led = False  # this process is writing it: no need to check for news
        self.state_lock = threading.Lock()  # held while catching up with other processes
        self.page = b""  # the tail page as last written or read in this session
        self._space = TreeSpace(pool, self.tree.directory)
        self._sync_lock = threading.Lock()

    @property
    def all_segments(self) -> tuple[Segment, ...]:
        """Every segment in order; the active one, last, may be empty."""
        sealed, active = self._parts
        assert active is not None  # set by recovery
        return (*sealed, active)

    @property
    def segments(self) -> tuple[SealedSegment, ...]:
        """The sealed segments, in order."""
        return self._parts[0]

    @segments.setter
    def segments(self, segments: tuple[SealedSegment, ...]) -> None:
        self._parts = (segments, self._parts[1])

    @property
    def active(self) -> ActiveSegment:
        """The last segment, which is appended to."""
        active = self._parts[1]
        assert active is not None  # set by recovery
        return active

    @active.setter
    def active(self, active: ActiveSegment) -> None:
        self._parts = (self._parts[0], active)

    @property
    def tip(self) -> tuple[int, int]:
        """The end: an offset, and its position in the segment that was last then."""
        return self._tip[:2]

    def give_up(self, damage: CorruptionError) -> None:
        """It cannot be opened: leave it empty, with this damage."""
        self.damage = damage
        self.active = ActiveSegment(self.pool, self.directory, 0, SegmentEnd())

    @property
    def has_salts(self) -> bool:
        """Whether each record's digest is salted, as in erasable topics."""
        return self.settings.erasable

    def check_writable(self) -> None:
        """``CorruptionError`` if it is damaged, ``UnknownTopicError`` if deleted."""
        if self.damage is not None:
            raise again(self.damage)
        if self.refusal is not None:
            raise again(self.refusal)
        if self.retired:
            raise UnknownTopicError(self.id.topic, "it was deleted")

    def reserve(self, size: int, count: int, calls: int) -> None:
        """Preallocate, so that nothing after the WAL's sync can run out of space.

        For ``size`` bytes and ``count`` records of so many calls.
        """
        batch_count = min(count, size // BATCH_SIZE_PLAIN + calls + 1)
        self.active.reserve(size + batch_count * 64, batch_count)
        if self._space.reserve(self.end_offset, count, salts=self.settings.erasable):
            self.names_unsynced = True  # a file may be new

    def encode(self, accumulators: list[RecordAccumulator]) -> Prepared:
        """Encode the group's records, and hash them if they are few; changes nothing."""
        plain = self.settings.compression == "none"
        salts = b""
        if self.settings.erasable:
            salts = os.urandom(SALT_SIZE * sum(map(len, accumulators)))
        batches = encode(
            accumulators,
            self.end_offset,
            compression=self.settings.compression,
            batch_size_bytes=BATCH_SIZE_PLAIN if plain else BATCH_SIZE_COMPRESSED,
            salts=salts or None,
            hashed=not (plain and self.settings.durable),  # else while the WAL is synced
        )
        return Prepared(self, batches, salts)

    def compose(self, prepared: Prepared) -> None:
        """Compute what ``apply`` writes besides the records, while the disk syncs the WAL.

        Index and tree are written here: readers ignore both past the end the tail page states.
        """
        active, batches, (_, position, count) = self.active, prepared.batches, self._tip
        prepared.entries, largest = encode_entries(
            batches.batches, position, active.largest_timestamp_ms
        )
        prepared.largest_timestamp_ms = largest
        end = SegmentEnd(position + len(batches.data), count + len(batches.batches), largest)
        state = self._tail_state(self.end_offset + batches.count, end, prepared.hash())
        active.write_index(prepared.entries, count)
        self.tree.write(prepared.additions)
        prepared.page = tail_page.encode(state)

    def apply(self, prepared: Prepared) -> None:
        """Write what the WAL holds by now to the segment, and make it visible."""
        if not prepared.page:
            self.compose(prepared)
        active, batches = self.active, prepared.batches
        active.rewind(*self._tip[1:])  # the last call may have been interrupted
        active.append(batches.data, prepared.entries, prepared.largest_timestamp_ms)
        if prepared.salts:
            path = layout.tree_salts(self.tree.directory)
            self.pool.write(path, prepared.salts, SALT_SIZE * self.end_offset, critical=True)
        self.frontier = prepared.hash()
        self.move_end(self.end_offset + batches.count)
        self.pool.write(self.tail_path, prepared.page, 0)
        self.page = prepared.page

    def move_end(self, end_offset: int) -> None:
        """Make the records up to ``end_offset`` visible in this process."""
        tip = (end_offset, self.active.end_position, self.active.index.count)
        self._tip, self.end_offset = tip, end_offset  # one statement, for a Ctrl-C's sake

    def write_tail_page(self) -> None:
        """Write the tail page, for readers and for the next writer."""
        page = tail_page.encode(self.tail_state())
        self.pool.write(self.tail_path, page, 0)
        self.page = page

    @property
    def is_live(self) -> bool:
        """Whether its tail page was written in this session."""
        return bool(self.page)

    def follow(self, page: TailState, written: bytes) -> None:
        """Continue from ``page``, which another process wrote as the bytes ``written``."""
        same = self._parts[1] is not None and self.active.first_offset == page.segment_offset
        if not same or stored_levels(page.end_offset) > stored_levels(self.end_offset):
            self.names_unsynced = True  # others created files
        end = SegmentEnd(page.position, page.index_count, page.largest_timestamp_ms)
        active, sealed = self.active if same else None, self.segments
        if active is None or page.start_offset != self.start_offset or not self.page:
            sealed = list_sealed(self.pool, self.directory, page.segment_offset, sealed)
        if active is None:
            active = ActiveSegment(self.pool, self.directory, page.segment_offset, end)
        else:
            active.move_end(end)
        if page.rewrites != self.rewrites:
            look_again(sealed)
        self._parts = (sealed, active)
        self.tree.others_wrote()
        self.frontier = Frontier(page.end_offset, page.peaks)
        self.start_offset = max(page.start_offset, self.start_offset)
        marks = (page.checkpoint_offset, page.checkpoint_position, page.checkpoint_index_count)
        self.checkpoint = max(marks, self.checkpoint) if same else marks
        self.durable_offset = max(page.durable_offset, self.durable_offset)
        self.writer, self.rewrites = page.writer, page.rewrites
        self.move_end(page.end_offset)
        self.page = written  # last: it means that this page was applied

    def look_again(self) -> None:
        """A file is missing: drop everything cached."""
        self.pool.forget(self.directory, below=True)
        self.seen, self.page = -1, b""

    def blank(self) -> PartitionLog:
        """An empty log of the same partition, for recovery to fill."""
        return PartitionLog(self.pool, self.directory, self.id, self.settings)

    def become(self, other: PartitionLog) -> None:
        """Take over the state of ``other``, which recovery filled, under running readers."""
        self._parts, self._tip = other._parts, other._tip
        self.tree, self.frontier = other.tree, other.frontier
        self._space.forget()
        self.start_offset, self.end_offset = other.start_offset, other.end_offset
        self.checkpoint, self.durable_offset = other.checkpoint, other.durable_offset
        self.names_unsynced, self.damage = other.names_unsynced, other.damage
        self.rewrites, self.writer = other.rewrites, other.writer
        self.boot_id, self.page = other.boot_id, other.page

    def tail_state(self) -> TailState:
        """What the tail page says of the log as it is."""
        active = self.active
        end = SegmentEnd(active.end_position, active.index.count, active.largest_timestamp_ms)
        return self._tail_state(self.end_offset, end, self.frontier)

    def _tail_state(self, end_offset: int, end: SegmentEnd, frontier: Frontier) -> TailState:
        """The same, of a log that ends there."""
        offset, position, index_count = self.checkpoint
        return TailState(
            end_offset=end_offset,
            segment_offset=self.active.first_offset,
            position=end.position,
            index_count=end.index_count,
            durable_offset=self.durable_offset,
            peaks=frontier.peaks,
            start_offset=self.start_offset,
            checkpoint_offset=offset,
            checkpoint_position=position,
            checkpoint_index_count=index_count,
            largest_timestamp_ms=end.largest_timestamp_ms,
            writer=self.writer,
            boot_id=self.boot_id,
            rewrites=self.rewrites,
        )

    def roll(self) -> None:
        """Seal the last segment, durably, and begin the next; on the write path."""
        with self._sync_lock, blocking_preallocation(self.pool.files, self.active.path):
            sealed = self.active.seal(self.end_offset)
            self._sync_salts_and_names()
            self.tree.sync()
            self.begin_segment(self.end_offset, sealed)
            self.durable_offset = self.end_offset
            self.checkpoint = (self.end_offset, 0, 0)
            self.write_tail_page()

    def begin_segment(self, first_offset: int, *sealed: SealedSegment) -> None:
        """Create the next segment, empty; its name is durable with the next sync point.

        ``sealed``: the segment that was last until now, if any.
        """
        active = ActiveSegment(self.pool, self.directory, first_offset, SegmentEnd())
        self.pool.write(active.path, b"", 0)
        self.names_unsynced = True
        self._parts = ((*self.segments, *sealed), active)
        self._tip = (first_offset, 0, 0)

    def sync_point(self, *, whole: bool = False) -> None:
        """Make all that is visible now durable in the segment, so that its WAL file can be freed.

        Index and tree can be rebuilt from the segment: they are synced if ``whole``, else every
        ``DERIVED_SYNC_BYTES``, because each further sync delays the WAL's. Runs beside the writer:
        what is appended during the call may or may not be covered.
        """
        with self._sync_lock:
            if self.retired:
                return
            tip = self._tip  # read before the syncs, so covered by them
            if self.durable_offset < tip[0] or self.names_unsynced:
                self.active.sync()
                self._sync_salts_and_names()
                self.durable_offset = tip[0]
            behind = tip[1] - self.checkpoint[1]
            if behind >= DERIVED_SYNC_BYTES or (whole and self.checkpoint != tip):
                self.active.sync_index()
                self.tree.sync()
                self.checkpoint = tip

    def write_out(self) -> None:
        """Write back behind the writer and preallocate ahead of it, so that it waits for neither.

        A lack of space is reported by the writer when it needs it.
        """
        with self._sync_lock, contextlib.suppress(OSError):
            if not self.retired:
                self.active.start_writeback()
                self.active.prepare(lambda: tail_page.last_segment(self.pool, self.tail_path))

    def retire(self) -> None:
        """The topic is being deleted: no more writes or syncs."""
        with self._sync_lock:
            self.retired = True

    def close(self) -> None:
        """A clean close: files trimmed and durable, and the tail page says so."""
        page = tail_page.encode(self.tail_state().cleaned()).ljust(tail_page.SIZE, b"\0")
        is_as_found = not (self.mended or self.active.is_allocated)
        if is_as_found and tail_page.read_bytes(self.pool, self.tail_path) == page:
            return  # another clean close left it so, and nobody wrote since
        with self._sync_lock:
            self.active.trim()
            self.active.sync()
            self.active.sync_index()
            self.trim_tree()
            self.tree.sync()
            self._sync_salts_and_names()
        self.pool.write(self.tail_path, page, 0)
        self.pool.sync(self.tail_path)
        self.pool.sync_names(self.directory)

    def sync_mended(self) -> None:
        """Sync what was made again here: the processes that stay do not know of it."""
        if self.mended and self.damage is None:
            with self._sync_lock:
                self.active.sync_index()
                self.tree.sync()
            self.mended = False

    def trim_tree(self) -> None:
        """Give back the unused space reserved for hashes and salts."""
        self.tree.truncate(self.end_offset)
        self._space.forget()
        path = layout.tree_salts(self.tree.directory)
        if self.settings.erasable and self.pool.exists(path):
            self.pool.truncate(path, self.end_offset * SALT_SIZE)

    def _sync_salts_and_names(self) -> None:
        """Sync what cannot be rebuilt from the segments."""
        if self.settings.erasable and self.end_offset:
            self.pool.sync(layout.tree_salts(self.tree.directory))
        if self.names_unsynced:
            self.names_unsynced = False  # first: a file created meanwhile sets it again
            try:
                self.pool.sync_names(self.directory)
                self.pool.sync_names(self.tree.directory)
            except OSError:
                self.names_unsynced = True
                raise
