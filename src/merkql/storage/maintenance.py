"""The broker's maintenance thread: syncs segments, frees WAL files, applies retention.

It starts when there is something to do and ends with the broker. No write waits for it.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from typing import Protocol

from merkql.errors import ClosedError
from merkql.storage.partition_log import PartitionLog
from merkql.storage.worker import Worker
from merkql.storage.writer import Writer

logger = logging.getLogger("merkql.storage")
RETENTION_INTERVAL_S = 5.0
IDLE_S = 60.0  # after so long without writes the WAL shrinks to one small file


class MaintenanceOwner(Protocol):
    """What maintenance needs of the engine."""

    def opening(self) -> AbstractContextManager[None]:
        """Hold the lead; does nothing in the thread that has it."""

    def live_logs(self) -> list[PartitionLog]:
        """Every partition written to in this session, by any process."""

    def shrink_wal(self) -> None:
        """Replace the WAL's files by one small one."""

    def publish_failure(self) -> None:
        """Publish to the other processes that a sync failed here."""


class Maintenance:
    """Does the writer's background work when woken, and retention every few seconds."""

    def __init__(
        self,
        apply_retention: Callable[[], None],
        owner: MaintenanceOwner,
        on_thread: Callable[[threading.Thread], None],
    ) -> None:
        self._apply_retention = apply_retention
        self._owner = owner
        self._writer: Writer | None = None
        self._worker = Worker("merkql-maintenance", self._run, on_thread)
        # Not an Event: a Ctrl-C inside its Python code could leave its lock held.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._retains = False

    def serve(self, writer: Writer) -> None:
        self._writer = writer

    def watch_retention(self) -> None:
        """Some topic has retention limits: apply them from now on, with or without writes."""
        self._retains = True
        self._start()

    def wake(self) -> None:
        """There may be segments to sync or a WAL file to make."""
        if self._wakes.empty():
            self._wakes.put(None)
        self._start()

    def stop(self) -> None:
        """End the thread after its current work, without waiting for it."""
        self._closed = True
        self._wakes.put(None)

    def close(self) -> None:
        """End the thread after its current work, and wait for it."""
        with self._lock:
            self.stop()
        self._worker.join()

    def _start(self) -> None:
        with self._lock:
            if not self._closed:
                self._worker.start()

    def _run(self) -> None:
        while True:
            before = self._written()
            woken = self._wait()
            if self._stopped():
                return
            try:
                if self._writer is not None:
                    tend(self._writer, self._owner)
                    if not woken and self._written() == before and self._writer.wal.is_large:
                        self._owner.shrink_wal()
                if self._retains:
                    self._apply_retention()
            except ClosedError:
                return
            except OSError as error:  # of the disk, which says itself what it is
                logger.error("background work failed: %s", error)
            except Exception:  # one topic's damage must not end the work for the rest
                logger.exception("background work failed")

    def _wait(self) -> bool:
        """True if the thread was woken, False if the wait timed out."""
        try:
            self._wakes.get(timeout=self._patience_s())
        except Empty:
            return False
        while not self._wakes.empty():
            self._wakes.get()
        return True

    def _patience_s(self) -> float | None:
        """How long to wait for work, in seconds; None without a limit."""
        if self._retains:
            return RETENTION_INTERVAL_S
        quiet = self._writer is None or self._writer.failure or not self._writer.wal.is_large
        return None if quiet else IDLE_S

    def _written(self) -> int:
        return self._writer.wal.last_sequence if self._writer is not None else 0

    def _stopped(self) -> bool:
        return self._closed


def tend(writer: Writer, owner: MaintenanceOwner) -> None:
    """Sync what is due and create the next WAL file; a failed sync stops the writer."""
    if writer.failure is not None:
        return
    writer.prepare()
    if writer.wants_sync:
        sync_segments(writer, owner)  # first: it may free the file that is needed
    writer.wal.prepare_file()


def sync_segments(writer: Writer, owner: MaintenanceOwner, *, again: bool = False) -> None:
    """Make all applied records durable in the segments, so that WAL files can be freed.

    Includes what other processes applied, possibly in files this one did not write. ``again``: a
    retry, after the topics that others deleted were forgotten.
    """
    if writer.turn.others_wrote:
        with owner.opening():
            _, logs = writer.take_unsynced()
            sequence = writer.wal.last_sequence  # all applied, as we lead
            for log in owner.live_logs():
                writer.turn.lead(log)
                logs.append(log)
            writer.turn.others_wrote = False
    else:
        sequence, logs = writer.take_unsynced()
    try:
        for log in logs:
            log.sync_point()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not again:
            writer.put_back_unsynced(logs)
            with owner.opening():  # another process may have deleted the topic: it is forgotten now
                pass
            sync_segments(writer, owner, again=True)
            return
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            writer.fail(error)
            owner.publish_failure()
        writer.put_back_unsynced(logs)
        raise
    writer.wal.release(sequence)
