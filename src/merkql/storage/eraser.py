"""What a topic asks of whoever erases its records: merkql.erasures."""

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
    """Who erases, and why, as they say; it is kept for good, so nothing of the record itself."""

    by: str | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        for name, text in (("by", self.by), ("reason", self.reason)):
            if text is not None and not isinstance(text, str):
                raise TypeError(f"{name} is a str or None, not {text!r}")
            if text is not None and len(text) > TEXT_MAX:
                raise ValueError(f"{name} has at most {TEXT_MAX} characters, not {len(text)}")


class Eraser(Protocol):
    """Erases records, and knows what was erased."""

    def erase(
        self, topic: Any, partitions: Iterable[int], choose: Choice, reason: Reason
    ) -> dict[int, list[int]]:
        """Destroy the records that ``choose`` says of each partition; those destroyed now."""

    def logged(self, topic_id: bytes, partition: int) -> set[int]:
        """The offsets that were erased, or are being."""

    def pending(self, topic_id: bytes, partition: int) -> set[int]:
        """Those that are being erased now, or wait to be."""
