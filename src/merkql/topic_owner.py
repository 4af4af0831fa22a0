"""What a topic needs of its broker's engine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from merkql.storage.access import TopicSource
    from merkql.storage.file_pool import FilePool
    from merkql.storage.partition_owner import CheckpointMaker
    from merkql.storage.partition_states import PartitionStates


class TopicOwner(Protocol):
    """The part of the engine that topics use."""

    pool: FilePool
    read_only: bool
    partitions: PartitionStates
    topics: TopicSource

    checkpointer: CheckpointMaker

    def exclusive(self, *, topics: bool = False) -> AbstractContextManager[None]:
        """Exclude all writing; ``topics``: topics or partitions are going to change."""

    def now_ms(self) -> int:
        """The wall clock, milliseconds since 1970."""

    def check_open(self) -> None:
        """Raise ``ClosedError`` once the broker is closed."""

    def watch_retention(self) -> None:
        """Apply retention in the background from now on."""

    def announce(self) -> None:
        """Wake consumers: partitions changed."""
