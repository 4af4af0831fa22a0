"""Which partition it is, and the part of its topic's configuration that writing needs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSchedule:
    """When a topic's checkpoints are signed automatically, besides at every close.

    ``records``: after so many new ones. ``seconds``: when a new record has waited so long. None: as
    the broker was opened (``checkpoint_records``, ``checkpoint_seconds``).
    """

    records: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("records", self.records), ("seconds", self.seconds)):
            kind = int if name == "records" else (int, float)
            if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                raise TypeError(f"{name} is a number or None, not {value!r}")
            if value is not None and not 0 < value < 1 << 53:
                raise ValueError(f"{name} is more than 0, not {value!r}")

    def or_else(self, other: CheckpointSchedule) -> CheckpointSchedule:
        """This schedule if it sets anything, else the other."""
        return self if self != CheckpointSchedule() else other


@dataclass(slots=True)
class LogSettings:
    """The part of a topic's configuration that writing a partition needs."""

    compression: str
    segment_bytes: int
    segment_age_ms: int
    erasable: bool
    durable: bool  # visible records are synced, in the WAL or the segment
    checkpoints: CheckpointSchedule = field(default_factory=CheckpointSchedule)

    def follow(self, other: LogSettings) -> None:
        """Take over another's settings, except ``erasable``, which never changes."""
        self.compression = other.compression
        self.segment_bytes = other.segment_bytes
        self.segment_age_ms = other.segment_age_ms
        self.durable = other.durable
        self.checkpoints = other.checkpoints


@dataclass(frozen=True, slots=True)
class PartitionId:
    """Names a partition in messages, records and WAL frames."""

    topic: str
    topic_id: bytes
    index: int
