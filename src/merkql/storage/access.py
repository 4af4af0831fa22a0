"""How a directory is opened, what the engine needs of its opener, and what stays with that."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol, SupportsIndex

if TYPE_CHECKING:
    from merkql.storage.eraser import Eraser
    from merkql.storage.partition_log import PartitionLog
    from merkql.storage.shared_state import LivePartition

OPEN_FILES_MAX = 512


class TopicSource(Protocol):
    """What the engine needs of whoever manages the topics."""

    def load(self) -> None:
        """Find the topics on disk and recover the partitions named in the WAL."""

    def refresh(self) -> None:
        """Pick up topics that another process created, changed or deleted."""

    @property
    def erasures(self) -> Eraser:
        """What erases records."""

    def logs_of(self, partitions: Iterable[LivePartition]) -> list[PartitionLog]:
        """These partitions, opened, except those whose topic is deleted."""


class Access(NamedTuple):
    """The mode a directory is opened in."""

    read_only: bool = False
    exclusive: bool = False  # keep the writer role until closed
    timeout_s: float = 30.0  # for another process to release the writer role


class ProcessBound:
    """The base of what holds locks and open files: it can be neither pickled nor copied.

    A copy that is dropped would end the original.
    """

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied: it belongs to the process that "
            "opened the directory; open that again where you need it"
        )


def open_files_limit() -> int:
    """How many files the pool may keep open: a quarter of the process's limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return OPEN_FILES_MAX
    return max(16, min(OPEN_FILES_MAX, soft // 4))
