"""What a log has to hold after a sequence of calls: topics, records, offsets, in memory.

An oracle: it shares no code with merkql. Leaves and roots are those of docs/formats/merkle-log.md,
with hashlib and `support.naive_tree`.
"""

from __future__ import annotations

import copy
import hashlib
import struct
from dataclasses import dataclass, field

from support.naive_tree import NaiveTree, leaf

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class Event:
    """A record as it was offered."""

    value: bytes | None
    key: bytes | None = None
    timestamp_ms: int = 1_700_000_000_000
    headers: Headers = ()

    def digest(self, salt: bytes = b"") -> bytes:
        parts = [b"merkql-record/v1\n", bytes([len(salt)]), salt, _sized(self.key)]
        parts += [_sized(self.value), struct.pack(">i", len(self.headers))]
        for name, value in self.headers:
            parts += [_sized(name.encode()), _sized(value)]
        return hashlib.sha256(b"".join(parts)).digest()

    def leaf(self, offset: int, salt: bytes = b"") -> bytes:
        return leaf(struct.pack(">BQq", 1, offset, self.timestamp_ms) + self.digest(salt))


def _sized(data: bytes | None) -> bytes:
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


@dataclass
class PartitionModel:
    """Groups of records in the order they were committed; a crash may cut between groups only."""

    groups: list[list[Event]] = field(default_factory=list)
    start: int = 0  # the first offset that has to be shown, whatever the retention
    synced: int = 0  # in groups: what survives power loss
    roots: dict[int, bytes] = field(default_factory=dict)  # by size, as told when it was reached
    signed: list[int] = field(default_factory=list)  # sizes of the checkpoints
    erased: set[int] = field(default_factory=set)  # offsets

    def events(self) -> list[Event]:
        return [event for group in self.groups for event in group]

    def boundaries(self, first_group: int) -> set[int]:
        """The ends a log may have that holds at least the first so many groups."""
        sizes = [len(group) for group in self.groups]
        return {sum(sizes[:count]) for count in range(first_group, len(sizes) + 1)}


@dataclass
class TopicModel:
    partitions: list[PartitionModel]
    durable: bool = True
    max_records: int | None = None
    erasable: bool = False


@dataclass
class LogModel:
    """The whole data directory."""

    topics: dict[str, TopicModel] = field(default_factory=dict)
    committed: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def copy(self) -> LogModel:
        return copy.deepcopy(self)


def root_of(events: list[Event]) -> bytes:
    """The tree's root over records without salts."""
    return NaiveTree([e.leaf(offset) for offset, e in enumerate(events)]).root(0, len(events))
