"""The thread that makes checkpoints automatically: after so many records or seconds.

It sleeps until records arrive and then checks at most twenty times a second. Ends with the broker.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from merkql.errors import ClosedError, MerkqlError
from merkql.storage.engine import Engine
from merkql.storage.partition_identity import CheckpointSchedule
from merkql.storage.partition_log import PartitionLog
from merkql.transparency.checkpointer import Checkpointer

logger = logging.getLogger("merkql.transparency")
PAUSE_S = 0.05


@dataclass(slots=True)
class _Signed:
    size: int
    time_s: float


class Schedule:
    """Makes checkpoints in the background, for topics with ``records`` or ``seconds``."""

    def __init__(
        self,
        engine: Engine,
        checkpointer: Checkpointer,
        default: CheckpointSchedule,
    ) -> None:
        """``default``: for topics without a schedule of their own."""
        self._engine = engine
        self._checkpointer = checkpointer
        self._default = default
        self._signed: dict[PartitionLog, _Signed] = {}
        self._stops: SimpleQueue[None] = SimpleQueue()
        self._stopped = False
        self._lock = threading.Lock()  # held while the thread is started
        self.thread: threading.Thread | None = None
        if default != CheckpointSchedule():
            self.watch()

    def watch(self) -> None:
        """Some topic has a schedule: start the thread."""
        with self._lock:
            if self._stopped or not self._checkpointer.can_sign:
                return
            if self.thread is None:
                self.thread = threading.Thread(
                    target=self._run, name="merkql-checkpoints", daemon=True
                )
                self._engine.threads.append(self.thread)
                self.thread.start()
        self._engine.arrivals.wake()

    def stop(self) -> None:
        """End the thread after the current checkpoint, without waiting for it."""
        with self._lock:
            self._stopped = True
        self._stops.put(None)
        if self.thread is not None:
            self._engine.arrivals.wake()

    def close(self) -> None:
        """End the thread and sign what is not signed yet; raises the first error of that."""
        self.stop()
        if self.thread is not None:
            self.thread.join()
        self.sign_all()

    def sign_all(self) -> None:
        """Sign every partition that was opened and can be written."""
        if not self._checkpointer.can_sign:
            return
        errors: list[Exception] = []
        for log in self._engine.logs():
            try:
                if log.damage is None and log.refusal is None and log.end_offset:
                    self._checkpointer.make(log)
            except (MerkqlError, OSError, ValueError) as error:
                errors.append(error)  # raised after the other partitions are done
        if errors:
            raise errors[0]

    def _run(self) -> None:
        arrivals, version = self._engine.arrivals, -1
        while not self._stopped:
            try:
                wait_s = self._sign_due()
            except ClosedError:
                return
            version = arrivals.wait(version, wait_s)
            try:
                self._stops.get(timeout=PAUSE_S)
            except Empty:
                continue

    def _sign_due(self) -> float | None:
        """Sign what is due; returns the seconds until the next, None if there is none."""
        waits = []
        for log in self._engine.logs():
            if log.damage is not None or log.refusal is not None or log.retired:
                continue
            now_s = time.monotonic()
            signed = self._signed.setdefault(log, _Signed(0, now_s))
            fresh = log.end_offset - signed.size
            if fresh <= 0:
                continue
            age_s, due = now_s - signed.time_s, log.settings.checkpoints.or_else(self._default)
            is_late = due.seconds is not None and age_s >= due.seconds
            if is_late or (due.records is not None and fresh >= due.records):
                self._sign(log, signed)
            elif due.seconds is not None:
                waits.append(due.seconds - age_s)
        return min(waits, default=None)

    def _sign(self, log: PartitionLog, signed: _Signed) -> None:
        try:
            signed.size = self._checkpointer.make(log).size
        except ClosedError:
            raise
        except (MerkqlError, OSError, ValueError):
            logger.exception("no checkpoint of %s/%d", log.id.topic, log.id.index)
        signed.time_s = time.monotonic()
