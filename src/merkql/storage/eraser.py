"""What a topic needs of whoever erases its records; implemented by merkql.erasures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from merkql.storage.partition_log import PartitionLog

TEXT_MAX = 10_000
Choice = Callable[[int, "PartitionLog"], Iterable[int]]


@dataclass(frozen=True, slots=True)
class Reason:
    """Who erases and why, as the caller states it; kept for good."""

    by: str | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        for name, text in (("by", self.by), ("reason", self.reason)):
            if text is not None and not isinstance(text, str):
                raise TypeError(f"{name} is a str or None, not {text!r}")
            if text is not None and len(text) > TEXT_MAX:
                raise ValueError(f"{name} has at most {TEXT_MAX} characters, not {len(text)}")


class Eraser(Protocol):
    """Erases records and knows which ones were erased."""

    def erase(
        self, topic: Any, partitions: Iterable[int], choose: Choice, reason: Reason
    ) -> dict[int, list[int]]:
        """Erase what ``choose`` returns for each partition; returns the offsets erased now."""

    def logged(self, topic_id: bytes, partition: int) -> set[int]:
        """The offsets that were erased or are being erased."""

    def pending(self, topic_id: bytes, partition: int) -> set[int]:
        """The offsets whose erasure is in progress or waiting."""
