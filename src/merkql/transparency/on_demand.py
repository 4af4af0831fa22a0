"""The checkpoints of one open data directory, with their code imported once it is needed.

Most directories sign nothing, and opening them should not wait for that import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from merkql.storage import layout
from merkql.storage.partition_identity import CheckpointSchedule

if TYPE_CHECKING:
    from merkql.storage.engine import Engine
    from merkql.storage.history import KeptCheckpoint
    from merkql.storage.partition_identity import LogSettings
    from merkql.storage.partition_log import PartitionLog
    from merkql.transparency.checkpointer import Checkpointer
    from merkql.transparency.schedule import Schedule


class Checkpoints:
    """Forwards to ``Checkpointer`` and its schedule. Safe to share between threads."""

    def __init__(self, engine: Engine, signing_key: object) -> None:
        """Reads ``signing_key`` (see ``BrokerConfig``) now, so that errors are raised now."""
        self._engine = engine
        self._signing_key = signing_key
        self._loaded: Checkpointer | None = None
        self._schedule: Schedule | None = None
        if signing_key is not None:
            self._loaded = self._checkpointer

    @property
    def _checkpointer(self) -> Checkpointer:
        if self._loaded is None:
            from merkql.transparency.checkpointer import Checkpointer, signers_of

            self._loaded = Checkpointer(self._engine, list(signers_of(self._signing_key)))
        return self._loaded

    def start(self, *, records: int | None, seconds: float | None) -> None:
        """Sign automatically from now on, after so many records or seconds, and at close."""
        if self._signing_key is None and records is None and seconds is None:
            return
        from merkql.transparency.schedule import Schedule

        default = CheckpointSchedule(records=records, seconds=seconds)
        self._schedule = Schedule(self._engine, self._checkpointer, default)
        for log in self._engine.logs():  # opened by recovery
            self.follow(log.settings)

    def follow(self, settings: LogSettings) -> None:
        """Apply a topic's new checkpoint schedule."""
        if self._schedule is not None and settings.checkpoints != CheckpointSchedule():
            self._schedule.watch()

    def stop(self) -> None:
        """End the schedule's thread without waiting for it."""
        if self._schedule is not None:
            self._schedule.stop()

    def close(self) -> None:
        """End the schedule and sign what is not signed yet; raises the first error of that."""
        if self._schedule is not None:
            self._schedule.close()

    def check_opened(self, log: PartitionLog, *, clean: bool) -> None:
        """Compare a newly opened partition with its checkpoints; one ``stat`` without any."""
        if self._loaded is not None or log.pool.exists(layout.checkpoints(log.directory)):
            self._checkpointer.check_opened(log, clean=clean)
        self.follow(log.settings)

    def make(self, log: PartitionLog) -> KeptCheckpoint:
        """Sign the root over all records; see ``Checkpointer.make``."""
        return self._checkpointer.make(log)

    def keep(self, log: PartitionLog, checkpoint: KeptCheckpoint) -> None:
        """Store signatures and timestamps that a checkpoint got since it was made."""
        self._checkpointer.keep(log, checkpoint)
