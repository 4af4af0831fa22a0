"""Which partition, and what its writer needs of its topic's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSchedule:
    """When a topic's checkpoints are signed without being asked for; at close they are always.

    ``records``: after so many new ones. ``seconds``: when a new record waited so long. None: as
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
        """This one, where it says anything; else the other."""
        return self if self != CheckpointSchedule() else other


@dataclass(slots=True)
class LogSettings:
    """What a partition's writer needs of its topic's configuration."""

    compression: str
    segment_bytes: int
    segment_age_ms: int
    erasable: bool
    durable: bool  # what is visible was synced, in the WAL if not in the segment
    checkpoints: CheckpointSchedule = field(default_factory=CheckpointSchedule)

    def follow(self, other: LogSettings) -> None:
        """Be as the other from now on; whether there are salts is settled for life."""
        self.compression = other.compression
        self.segment_bytes = other.segment_bytes
        self.segment_age_ms = other.segment_age_ms
        self.durable = other.durable
        self.checkpoints = other.checkpoints


@dataclass(frozen=True, slots=True)
class PartitionId:
    """Which partition this is, for messages, records and WAL frames."""

    topic: str
    topic_id: bytes
    index: int
