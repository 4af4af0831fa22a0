"""What a partition needs of its topic, and of the checkpoint signer."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from merkql.storage.eraser import Choice, Reason
    from merkql.storage.history import KeptCheckpoint
    from merkql.storage.index_repair import AnyLog
    from merkql.storage.partition_identity import LogSettings
    from merkql.storage.partition_log import PartitionLog
    from merkql.storage.retention import RetentionConfig


class CheckpointMaker(Protocol):
    """Signs checkpoints for the partitions of one data directory."""

    def check_opened(self, log: PartitionLog, *, clean: bool) -> None:
        """Compare a newly opened partition with its checkpoints; sets its ``refusal``."""

    def make(self, log: PartitionLog) -> KeptCheckpoint:
        """Sign the root over all records there are now."""

    def follow(self, settings: LogSettings) -> None:
        """Apply a topic's new checkpoint schedule."""

    def keep(self, log: PartitionLog, checkpoint: KeptCheckpoint) -> None:
        """Store signatures and timestamps that a checkpoint got since it was made."""


class PartitionOwner(Protocol):
    """What a partition needs of its topic."""

    def open_log(self, index: int) -> AnyLog:
        """The partition's up-to-date state; opened, and recovered, at first use."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Exclude all writing; raises ``ReadOnlyError`` if opened read-only."""

    @property
    def retention(self) -> RetentionConfig:
        """The topic's retention limits."""

    def erase(
        self, partitions: Iterable[int], choose: Choice, reason: Reason
    ) -> dict[int, list[int]]:
        """Erase records; returns the offsets erased now, by partition."""

    def erased(self, index: int) -> set[int]:
        """The offsets of one partition that are erased, or being erased, per the audit log."""

    def being_erased(self, index: int) -> set[int]:
        """The offsets whose erasure is in progress."""

    @property
    def checkpointer(self) -> CheckpointMaker:
        """Signs for the topic's partitions."""
