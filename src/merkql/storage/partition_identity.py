"""Which partition, and what its writer needs of its topic's configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LogSettings:
    """What a partition's writer needs of its topic's configuration."""

    compression: str
    segment_bytes: int
    segment_age_ms: int
    erasable: bool
    durable: bool  # what is visible was synced, in the WAL if not in the segment


@dataclass(frozen=True, slots=True)
class PartitionId:
    """Which partition this is, for messages, records and WAL frames."""

    topic: str
    topic_id: bytes
    index: int
