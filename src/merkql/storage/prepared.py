"""A group's records for one partition, from their encoding until they are in its files.

What is written once the group is durable is computed before, while the disk syncs the WAL.
"""

from __future__ import annotations

from typing import Protocol

from merkql._core.batch_leaves import leaf_hashes
from merkql._core.frame import Section
from merkql._core.frontier import Frontier
from merkql.storage.partition_identity import PartitionId
from merkql.storage.segment import Batches


class Destination(Protocol):
    """The partition they go to."""

    id: PartitionId
    end_offset: int
    frontier: Frontier


class Prepared:
    """Encoded records, and the tree with them once hashed."""

    __slots__ = (
        "additions",
        "batches",
        "entries",
        "frontier",
        "largest_timestamp_ms",
        "log",
        "page",
        "salts",
    )

    def __init__(self, log: Destination, batches: Batches, salts: bytes) -> None:
        self.log = log
        self.batches = batches
        self.salts = salts
        self.frontier: Frontier | None = None
        self.additions: list[tuple[int, int, bytes]] = []
        self.entries = b""  # of the index; `PartitionLog.compose` sets this and what follows
        self.largest_timestamp_ms = 0
        self.page = b""  # the tail page with them

    def hash(self) -> Frontier:
        """The tree with these records; computed once."""
        if self.frontier is None:
            hashes = self.batches.leaf_hashes or leaf_hashes(
                self.batches.data, salts=self.salts or None
            )
            frontier = self.log.frontier.copy()
            self.additions = frontier.append(hashes)
            self.frontier = frontier  # last: its presence means done
        return self.frontier

    def section(self) -> Section:
        return Section(
            self.log.id.topic_id,
            self.log.id.index,
            self.log.end_offset,
            self.batches.count,
            self.batches.data,
            self.salts,
        )
