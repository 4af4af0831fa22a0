"""What a whole data directory has to show, in memory: topics, windows, erasures, commits.

An oracle: what it takes from disk it reads with `struct` alone, by docs/formats/segment.md; leaves
are those of `support.log_model`, trees those of `support.naive_tree`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from support.log_model import Event
from support.naive_tree import NaiveTree

_BATCH = struct.Struct(">qi")  # first offset, and the size of what follows


@dataclass
class Limits:
    """Of retention, as `RetentionConfig` has them."""

    max_records: int | None = None
    max_bytes: int | None = None
    max_age_ms: int | None = None


@dataclass
class PartitionModel:
    """A list of events; which of them are shown, erased, committed."""

    directory: Path
    written: list[Event] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    erased: set[int] = field(default_factory=set)
    kept_start: int = 0  # what was hidden once stays hidden
    roots: dict[int, bytes] = field(default_factory=dict)
    committed: dict[str, int] = field(default_factory=dict)  # by group

    def event(self, offset: int) -> Event | None:
        """What is to be read there; None for a record that is erased."""
        return None if offset in self.erased else self.written[offset]

    def root(self, size: int) -> bytes:
        if size not in self.roots:
            self.roots[size] = NaiveTree(self.leaves).root(0, size)
        return self.roots[size]

    def start(self, limits: Limits, now_ms: int) -> int:
        """The first offset that is shown now."""
        end = len(self.written)
        start = self.kept_start
        if limits.max_records is not None:
            start = max(start, end - limits.max_records)
        if limits.max_bytes is not None:
            start = max(start, self._start_by_size(limits.max_bytes))
        if limits.max_age_ms is not None:
            oldest = now_ms - limits.max_age_ms
            young = (n for n in range(start, end) if self.written[n].timestamp_ms >= oldest)
            start = next(young, end)
        return start

    def _start_by_size(self, max_bytes: int) -> int:
        """The newest batches on disk that fit, and the newest in any case."""
        start = len(self.written)
        for first, size in reversed(batches(self.directory)):
            max_bytes -= size
            if max_bytes < 0 and start < len(self.written):
                break
            start = first
        return start


@dataclass
class TopicModel:
    partitions: list[PartitionModel]
    erasable: bool
    segment_bytes: int
    limits: Limits = field(default_factory=Limits)


def batches(directory: Path) -> list[tuple[int, int]]:
    """First offset and size in bytes of each batch of a partition, in order."""
    found = []
    for path in sorted(directory.glob("*.log")):
        try:
            content, position = path.read_bytes(), 0
        except FileNotFoundError:  # the broker applies retention in the background, too
            continue
        while position + _BATCH.size <= len(content):
            first, size = _BATCH.unpack_from(content, position)
            if not size:
                break  # space set aside
            found.append((first, _BATCH.size + size))
            position += _BATCH.size + size
    return found
