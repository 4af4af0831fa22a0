"""What a partition asks of its topic, and of what signs for it."""

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
    """What signs for the partitions of one data directory."""

    def check_opened(self, log: PartitionLog, *, clean: bool) -> None:
        """Compare a partition just opened with what it signed; a contradiction is its refusal."""

    def make(self, log: PartitionLog) -> KeptCheckpoint:
        """Sign all that is there now."""

    def follow(self, settings: LogSettings) -> None:
        """A topic's partitions are kept by these settings from now on."""

    def keep(self, log: PartitionLog, checkpoint: KeptCheckpoint) -> None:
        """Keep the signatures and timestamps that came to a checkpoint since it was made."""


class PartitionOwner(Protocol):
    """What a partition asks of its topic."""

    def open_log(self, index: int) -> AnyLog:
        """The partition's state, fresh; opened, and mended, at its first use."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the writer still; raises ``ReadOnlyError`` where nothing may be written."""

    @property
    def retention(self) -> RetentionConfig:
        """What the topic keeps."""

    def erase(
        self, partitions: Iterable[int], choose: Choice, reason: Reason
    ) -> dict[int, list[int]]:
        """Destroy records; those that were destroyed now, by partition."""

    def erased(self, index: int) -> set[int]:
        """The offsets of one partition that were erased, as the log of erasures says."""

    def being_erased(self, index: int) -> set[int]:
        """Those that are being erased now."""

    @property
    def checkpointer(self) -> CheckpointMaker:
        """What signs for the topic's partitions."""
