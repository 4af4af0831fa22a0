"""Sorts the records of one ``send_batch`` into the partitions they go to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from merkql._core.accumulator import RecordAccumulator, add_by_key
from merkql._core.record import ProducerRecord
from merkql.errors import UnknownTopicError
from merkql.partitioners import Partitioner, murmur2
from merkql.storage.partition_log import PartitionLog
from merkql.topic import Topic

if TYPE_CHECKING:
    from merkql.storage.index_repair import AnyLog

_Part = tuple[int, RecordAccumulator]  # its number in the call, and its records
Route = Callable[[Topic, "bytes | None", "int | None"], int]  # of a key, or what the record says


def log_of(topic: Topic, index: int) -> PartitionLog:
    """The state of a partition to write to; ``UnknownTopicError`` if its topic was deleted."""
    if topic.deleted:
        raise UnknownTopicError(topic.name, "it was deleted")
    log: AnyLog = topic._known_log(index)
    assert isinstance(log, PartitionLog)
    return log


def is_durable(topic: Topic) -> bool:
    """Whether writes to the topic wait for the disk."""
    return topic.config.durability == "fsync"


class Routed:
    """The records of one call, sorted into the partitions they go to."""

    def __init__(self, ensure_topic: Callable[[str], Topic], route: Route, now_ms: int) -> None:
        self.parts: list[tuple[PartitionLog, RecordAccumulator]] = []
        self.order: list[int] = []  # the part of each record, in the order they came
        self.durable = False
        self._ensure_topic = ensure_topic
        self._route = route
        self._now_ms = now_ms
        self._topics: dict[str, tuple[Topic, list[_Part | None]]] = {}

    @property
    def is_outdated(self) -> bool:
        """Whether a topic was deleted since the records were sorted."""
        return any(topic.deleted for topic, _ in self._topics.values())

    def add(self, records: list[ProducerRecord], *, by_key: Partitioner) -> None:
        """Add each record to the partition that its topic, partition number and key give.

        Consecutive records routed by the default partitioner are added in one call of the core: a
        call for each would be most of the cost of a batch of 1,000.
        """
        at = 0
        while at < len(records):
            record = records[at]
            if type(record) is not ProducerRecord:
                raise TypeError(f"send_batch takes ProducerRecords, not {type(record).__name__}")
            topic, parts = self._topics.get(record.topic) or self._open(record.topic)
            index = self._route(topic, record.key, record.partition)
            if index >= len(parts):  # some were added to the topic meanwhile
                parts += [None] * (topic.partition_count - len(parts))
            part, accumulator = parts[index] or self._begin(topic, parts, index)
            accumulator.add_record(record)
            self.order.append(part)
            at += 1
            if by_key is murmur2:
                at = add_by_key(records, at, record.topic, parts, self.order)

    def _begin(self, topic: Topic, parts: list[_Part | None], index: int) -> _Part:
        accumulator = RecordAccumulator(self._now_ms)
        self.parts.append((log_of(topic, index), accumulator))
        part = parts[index] = (len(self.parts) - 1, accumulator)
        return part

    def _open(self, name: str) -> tuple[Topic, list[_Part | None]]:
        topic = self._ensure_topic(name)
        self.durable = self.durable or is_durable(topic)
        parts: list[_Part | None] = [None] * topic.partition_count
        opened = self._topics[name] = (topic, parts)
        return opened
