"""What a topic asks of its broker."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from merkql.storage.access import TopicSource
    from merkql.storage.file_pool import FilePool
    from merkql.storage.partition_owner import CheckpointMaker
    from merkql.storage.partition_states import PartitionStates


class TopicOwner(Protocol):
    """The engine, as far as topics know it."""

    pool: FilePool
    read_only: bool
    partitions: PartitionStates
    topics: TopicSource

    checkpointer: CheckpointMaker

    def exclusive(self, *, topics: bool = False) -> AbstractContextManager[None]:
        """Hold the writer still; ``topics`` are going to change, or not."""

    def now_ms(self) -> int:
        """The wall clock, milliseconds since 1970."""

    def check_open(self) -> None:
        """Raise ``ClosedError`` once the broker is closed."""

    def watch_retention(self) -> None:
        """Apply retention in the background from now on."""

    def announce(self) -> None:
        """Tell consumers that partitions changed."""
