"""Writes one group of commits: encode, one WAL frame, one sync, apply to segments, publish.

For the leader alone. After a failed sync, or a failed write after one, nothing more is written: the
disk's content is unknown until the directory is opened again.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from merkql.errors import MerkqlError, UnknownTopicError, WriterFailedError
from merkql.storage.arrivals import Arrivals
from merkql.storage.partition_log import PartitionLog
from merkql.storage.prepared import Prepared
from merkql.storage.rolling import measure, wants_roll
from merkql.storage.turn import Turn

if TYPE_CHECKING:
    from merkql._core.accumulator import RecordAccumulator
    from merkql.storage.wal import Wal

SYNC_EVERY_BYTES = 8 << 20  # segments are synced after so many bytes
WRITEBACK_EVERY_BYTES = 1 << 20  # and written back sooner, so that no WAL sync waits for a burst


# Of a deleted topic's partition, and its partition count: the partition of the topic recreated.
Successor = Callable[[PartitionLog, int], "PartitionLog | None"]


class CommitRequest:
    """The records of one call, by partition; then their first offsets, or the error."""

    __slots__ = (
        "done",
        "durable",
        "error",
        "exclusive",
        "first_offsets",
        "gate",
        "on_done",
        "parts",
        "promoted",
        "size_bytes",
        "taken",
        "thread",
        "written",
    )

    def __init__(
        self,
        parts: list[tuple[PartitionLog, RecordAccumulator]],
        *,
        durable: bool,
        exclusive: bool = False,
    ) -> None:
        self.parts = parts
        self.durable = durable
        self.exclusive = exclusive
        self.size_bytes = sum(accumulator.size_bytes for _, accumulator in parts)
        self.first_offsets: list[int] = []
        self.error: BaseException | None = None
        self.done = False
        self.taken = False  # by a leader: no more records may be added
        self.written = False
        self.promoted = False  # its waiting thread was given the lead
        self.gate: threading.Lock | None = None
        self.thread = 0  # that waits at the gate
        self.on_done: Callable[[CommitRequest], None] | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether anybody is to be told; not so for an interrupted leader's own request."""
        return self.gate is not None or self.on_done is not None

    @property
    def settled(self) -> bool:
        """Whether the outcome of the request is known."""
        return self.written or self.error is not None

    def move(self, part: int, successor: Successor) -> bool:
        """Redirect a part to the recreated topic; False: the caller sends again itself."""
        return False


@dataclass(slots=True)
class _Pending:
    """A group in progress, kept so that the successor of an interrupted leader can finish it."""

    requests: list[CommitRequest]
    prepared: dict[PartitionLog, Prepared]
    places: dict[PartitionLog, list[tuple[CommitRequest, int, int]]]  # request, part, count
    sequence: int
    durable: bool


class Writer:
    """The write path of one broker."""

    def __init__(
        self,
        turn: Turn,
        arrivals: Arrivals,
        wake_maintenance: Callable[[], None],
        *,
        clear_clean_mark: Callable[[], None],
    ) -> None:
        self.turn = turn
        self.successor: Successor = lambda log, partition_count: None
        self._clear_clean_mark = clear_clean_mark
        self._arrivals = arrivals
        self._wake_maintenance = wake_maintenance
        self._pending: _Pending | None = None
        self._failure: BaseException | None = None
        self._applied_lock = threading.Lock()
        self._applied_sequence = turn.wal.last_sequence
        self._unsynced: dict[PartitionLog, None] = {}
        self._unsynced_bytes = 0
        self._written_back_bytes = 0  # of the unsynced
        self.before_first_write: Callable[[], None] | None = None

    @property
    def wal(self) -> Wal:
        """The write-ahead log; another one after a recovery."""
        return self.turn.wal

    def fail(self, error: BaseException) -> None:
        """Stop writing for good; later commits raise ``WriterFailedError`` from ``error``."""
        if self._failure is None:
            self._failure = error
            self.turn.failed = True  # the next writer, in any process, recovers first

    def check(self) -> None:
        """Raise ``WriterFailedError`` if writing has stopped."""
        if self._failure is not None:
            raise self._failed_error()

    @property
    def failure(self) -> BaseException | None:
        return self._failure

    def write_group(self, requests: list[CommitRequest]) -> None:
        """Commit the requests as one group; each ends with offsets or with an error of its own."""
        self.complete_pending()
        if self._failure is not None:
            for request in requests:
                request.error = self._failed_error()
            return
        try:
            self.turn.begin()
            self._clear_clean_mark()
            pending = self._prepare(requests)
            if self._failure is not None:  # a sync failed while a segment was sealed
                raise self._failed_error()
        except Exception as error:  # of any kind: the callers get it
            if isinstance(error, OSError) and error.errno == errno.EIO:
                self.fail(error)  # this disk's content is unknown now
            _refuse(requests, error)
            return
        if pending is not None:
            self._pending = pending
            self.complete_pending()

    def complete_pending(self) -> None:
        """Write the pending group, or finish it after an interruption; else do nothing."""
        pending = self._pending
        if pending is None:
            return
        try:
            self._carry_out(pending)
        except Exception as error:
            self.fail(error)  # a group may be in the WAL and not in its segments
            _refuse(pending.requests, error)
        self._pending = None

    def take_unsynced(self) -> tuple[int, list[PartitionLog]]:
        """The newest group applied, and the partitions to sync before its WAL file is reused."""
        with self._applied_lock:
            logs = list(self._unsynced)
            self._unsynced.clear()
            self._unsynced_bytes = self._written_back_bytes = 0
            return self._applied_sequence, logs

    def put_back_unsynced(self, logs: list[PartitionLog]) -> None:
        """Syncing them failed for want of file descriptors: try again later."""
        with self._applied_lock:
            self._unsynced.update(dict.fromkeys(logs))
            self._unsynced_bytes = SYNC_EVERY_BYTES

    def forget(self, log: PartitionLog) -> None:
        """The partition is being deleted and needs no sync."""
        with self._applied_lock:
            self._unsynced.pop(log, None)

    def prepare(self) -> None:
        """Start writeback and preallocate ahead for the busy segments, if due."""
        with self._applied_lock:
            if self._unsynced_bytes - self._written_back_bytes < WRITEBACK_EVERY_BYTES:
                return
            self._written_back_bytes = self._unsynced_bytes
            logs = list(self._unsynced)
        for log in logs:
            log.write_out()

    @property
    def _has_work(self) -> bool:
        """Whether there is background work besides making a WAL file."""
        behind = self._unsynced_bytes - self._written_back_bytes
        return behind >= WRITEBACK_EVERY_BYTES or self.wants_sync

    @property
    def wants_sync(self) -> bool:
        return self._unsynced_bytes >= SYNC_EVERY_BYTES or self.wal.wants_release

    def _prepare(self, requests: list[CommitRequest]) -> _Pending | None:
        """Reserve space and encode; refuses the requests whose partitions cannot take them."""
        while True:
            live = [request for request in requests if request.error is None]
            places: dict[PartitionLog, list[tuple[CommitRequest, int, int]]] = {}
            batches: dict[PartitionLog, list[RecordAccumulator]] = {}
            for request in live:
                request.first_offsets = [0] * len(request.parts)
                for number, (log, accumulator) in enumerate(request.parts):
                    places.setdefault(log, []).append((request, number, len(accumulator)))
                    batches.setdefault(log, []).append(accumulator)
            if not self._reserve(batches, places):
                break
        if not live:
            return None
        prepared = {log: log.encode(accumulators) for log, accumulators in batches.items()}
        # The topic's current durability: another process may have altered it since the send.
        durable = any(request.durable for request in live) or any(
            log.settings.durable for log in batches
        )
        return _Pending(live, prepared, places, self.wal.last_sequence + 1, durable)

    def _reserve(
        self,
        batches: dict[PartitionLog, list[RecordAccumulator]],
        places: dict[PartitionLog, list[tuple[CommitRequest, int, int]]],
    ) -> bool:
        """Reserve space everywhere; True if a partition refused, and its requests with it."""
        for log, accumulators in batches.items():
            try:
                self.turn.lead(log)
                log.check_writable()
                size, count = measure(accumulators)
                if wants_roll(log.active, log.settings, size, accumulators[-1]):
                    self.turn.mark_busy()  # a successor that finds a roll half done recovers
                    log.roll()
                log.reserve(size, count, len(accumulators))
                self.turn.note_live(log)
            except (OSError, MerkqlError) as error:
                refused = places[log]
                if isinstance(error, UnknownTopicError):
                    refused = [one for one in refused if not one[0].move(one[1], self.successor)]
                _refuse([request for request, _, _ in refused], error)
                return True
        return False

    def _carry_out(self, pending: _Pending) -> None:
        self.turn.check()
        if self.wal.last_sequence < pending.sequence:
            try:
                sections = tuple([one.section() for one in pending.prepared.values()])
                self.wal.append(sections, sync_follows=pending.durable)
            except OSError as error:
                if self.wal.failed is not None:
                    raise
                _refuse(pending.requests, error)  # nothing was written: the next may succeed
                return
        makes_file = self.wal.claim_file()
        said = self._compose(pending)
        if pending.durable:
            self.wal.sync()
        self.turn.check()
        size = 0
        for log, one in pending.prepared.items():
            offset = one.batches.first_offset
            if log.end_offset == offset:
                log.apply(one)
            else:  # applied before an interruption, which may have prevented the tail page
                log.write_tail_page()
            for request, number, count in pending.places[log]:
                request.first_offsets[number] = offset
                offset += count
            size += len(one.batches.data)
        with self._applied_lock:
            self._applied_sequence = pending.sequence
            for log in pending.prepared:
                self._unsynced[log] = None
            self._unsynced_bytes += size
        self.turn.publish(said)
        for request in pending.requests:
            request.written = True
        self._arrivals.announce()
        if makes_file or self._has_work:
            self._wake_maintenance()

    def _compose(self, pending: _Pending) -> bytes:
        """Compute what follows the sync, while the disk works; returns the shared state of then."""
        for log, one in pending.prepared.items():
            if not one.page:
                log.compose(one)
        return self.turn.compose(synced=pending.durable)

    def _failed_error(self) -> WriterFailedError:
        why = str(self._failure) or repr(self._failure)  # str() of a MemoryError is empty
        error = WriterFailedError(
            f"writing stopped after an earlier error ({why}); close the broker and open it again"
        )
        error.__cause__ = self._failure
        return error


def _refuse(requests: list[CommitRequest], error: BaseException) -> None:
    for request in requests:
        request.error = error
