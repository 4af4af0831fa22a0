"""How a directory is opened, and what the engine asks of who opened it."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from merkql.storage.eraser import Eraser
    from merkql.storage.partition_log import PartitionLog
    from merkql.storage.shared_state import LivePartition

OPEN_FILES_MAX = 512


class TopicSource(Protocol):
    """What the engine asks of who knows the topics."""

    def load(self) -> None:
        """Find the topics on disk and bring those the WAL names up to date."""

    def refresh(self) -> None:
        """See what another process made of the topics."""

    @property
    def erasures(self) -> Eraser:
        """What erases records."""

    def logs_of(self, partitions: Iterable[LivePartition]) -> list[PartitionLog]:
        """Those partitions, opened; without those whose topic is deleted."""


class Access(NamedTuple):
    """How a directory is opened."""

    read_only: bool = False
    exclusive: bool = False  # keep the writer role for life
    timeout_s: float = 30.0  # for another process to give the writer role up


def open_files_limit() -> int:
    """How many files the pool keeps open: a quarter of what the process may."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return OPEN_FILES_MAX
    return max(16, min(OPEN_FILES_MAX, soft // 4))
