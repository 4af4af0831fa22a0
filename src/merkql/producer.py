"""Producers: where records enter, are routed to partitions, and wait for the disk or do not."""

from __future__ import annotations

import itertools
import operator
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, overload

from merkql._core.accumulator import RecordAccumulator
from merkql._core.record import ProducerRecord, RecordMetadata
from merkql.delivery import Delivery, Filling
from merkql.errors import ClosedError, RecordTooLargeError, UnknownTopicError, again
from merkql.partitioners import Partitioner, murmur2
from merkql.storage.committer import Committer
from merkql.storage.partition_log import PartitionLog
from merkql.storage.writer import CommitRequest
from merkql.topic import Topic

if TYPE_CHECKING:
    from merkql.storage.index_repair import AnyLog

WRITE_BYTES_MAX = 1 << 30  # of one call to one partition: it is one frame and one segment
Bytes = bytes | bytearray | memoryview | str
_GIVEN_BY_RECORD: Any = ...  # None is a value: Kafka's tombstone
Headers = Iterable[tuple[str, Bytes | None]] | Mapping[str, Bytes | None]


class ProducerOwner(Protocol):
    """What a producer asks of its broker."""

    def ensure_topic(self, name: str) -> Topic:
        """The topic, created if that is allowed."""

    def committer(self) -> Committer:
        """The group commit; raises where there is none."""

    def _unregister(self, closeable: Any) -> None:
        """The producer is closed."""


class Producer:
    """Sends records. Safe to share between threads; close it, or use it as a context manager."""

    def __init__(self, broker: ProducerOwner, partitioner: Partitioner | None = None) -> None:
        if partitioner is not None and not callable(partitioner):
            raise TypeError(f"partitioner is a callable of (key, count), not {partitioner!r}")
        self._broker = broker
        self._committer = broker.committer()
        self._partitioner = partitioner or murmur2
        self._closed_reason = ""
        self._filling: Filling | None = None
        self._undelivered: dict[Filling, int] = {}
        self._lock = threading.Lock()  # `with` takes this, not the condition: see storage.arrivals
        self._flushed = threading.Condition(self._lock)

    @overload
    def send(self, record: ProducerRecord, /) -> RecordMetadata: ...

    @overload
    def send(
        self,
        topic: str,
        value: Bytes | None,
        *,
        key: Bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> RecordMetadata: ...

    def send(
        self,
        topic: str | ProducerRecord,
        value: Bytes | None = _GIVEN_BY_RECORD,
        *,
        key: Bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> RecordMetadata:
        """Send one record and return when it is as durable as its topic says.

        Cost: one sync of the disk, shared with whoever sends at the same time. Raises
        ``RecordTooLargeError``, ``UnknownTopicError``, ``UnknownPartitionError``; an ``OSError``
        means that nothing was acknowledged.
        """
        record = _as_record(topic, value, key, headers, partition, timestamp_ms)
        self._check_open()
        target = self._broker.ensure_topic(record.topic)
        index = self._route(target, record.key, record.partition)
        log = _log_of(target, index)
        accumulator = RecordAccumulator(time.time_ns() // 1_000_000)
        accumulator.add_record(record)
        _check_size(accumulator, log)
        request = CommitRequest([(log, accumulator)], durable=_is_durable(target))
        self._committer.commit(request)
        return RecordMetadata(
            target.name, index, request.first_offsets[0], accumulator.timestamp_ms(0)
        )

    def send_batch(self, records: Iterable[ProducerRecord]) -> list[RecordMetadata]:
        """Send records to any topics and partitions with one sync; their places, in order.

        All or nothing for each partition, also across a crash.
        """
        if not isinstance(records, Iterable):
            raise TypeError(f"records is an iterable of ProducerRecord, not {records!r}")
        records = list(records)
        self._check_open()
        routed = _Routed(self, time.time_ns() // 1_000_000)
        for record in records:
            if type(record) is not ProducerRecord:
                raise TypeError(f"send_batch takes ProducerRecords, not {type(record).__name__}")
            routed.add(record)
        if not records:
            return []
        for log, accumulator in routed.parts:
            _check_size(accumulator, log)
        request = CommitRequest(routed.parts, durable=routed.durable)
        self._committer.commit(request)
        places = [
            iter(accumulator.metadata(log.id.topic, log.id.index, first))
            for (log, accumulator), first in zip(routed.parts, request.first_offsets, strict=True)
        ]
        return [next(places[part]) for part in routed.order]

    def send_values(
        self,
        topic: str,
        values: Sequence[Bytes | None],
        *,
        keys: Sequence[Bytes | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Sequence[int] | None = None,
    ) -> range | list[int]:
        """Send many values with one sync, the fast way; their offsets, in order.

        With neither keys nor ``partition`` all go to one partition, the next in turn, and the
        offsets are a ``range``. With keys each goes where its key belongs.
        """
        if not isinstance(values, Sequence) or isinstance(values, (bytes, str)):
            raise TypeError(f"values is a sequence of values, not {type(values).__name__}")
        self._check_open()
        target = self._broker.ensure_topic(topic)
        if keys is None or partition is not None or target.partition_count == 1:
            index = self._route(target, None, partition)
            accumulator = RecordAccumulator(time.time_ns() // 1_000_000)
            accumulator.extend_values(values, keys, timestamps_ms)
            if not len(accumulator):
                return range(0)
            log = _log_of(target, index)
            _check_size(accumulator, log)
            request = CommitRequest([(log, accumulator)], durable=_is_durable(target))
            self._committer.commit(request)
            first = request.first_offsets[0]
            return range(first, first + len(accumulator))
        times = timestamps_ms if timestamps_ms is not None else itertools.repeat(None)
        _check_lengths(values, keys, timestamps_ms)
        records = [
            ProducerRecord(topic, value, key, timestamp_ms=timestamp)
            for value, key, timestamp in zip(values, keys, times, strict=False)
        ]
        return [metadata.offset for metadata in self.send_batch(records)]

    @overload
    def send_nowait(self, record: ProducerRecord, /) -> Delivery: ...

    @overload
    def send_nowait(
        self,
        topic: str,
        value: Bytes | None,
        *,
        key: Bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Delivery: ...

    def send_nowait(
        self,
        topic: str | ProducerRecord,
        value: Bytes | None = _GIVEN_BY_RECORD,
        *,
        key: Bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Delivery:
        """Queue one record and return at once; the ``Delivery`` tells when it is durable.

        Blocks while more than 32 MiB wait for the disk. Bad arguments raise here, not later.
        """
        record = _as_record(topic, value, key, headers, partition, timestamp_ms)
        self._check_open()
        target = self._broker.ensure_topic(record.topic)
        index = self._route(target, record.key, record.partition)
        log = _log_of(target, index)
        committer = self._committer
        if log.damage is not None:
            raise again(log.damage)  # here, not in a request that others' records share
        _check_record_size(record, log)
        committer.wait_for_room()
        with committer.lock:
            request = self._filling
            fresh = request is None or request.taken or request.done
            if fresh or request is None:
                request = Filling(self, durable=False)
            part = request.places.get(log)
            accumulator = RecordAccumulator(0) if part is None else request.parts[part][1]
            before = accumulator.size_bytes
            accumulator.add(record.key, record.value, record.headers, _time_of(record))
            if part is None:
                part = request.places[log] = len(request.parts)
                request.parts.append((log, accumulator))
            request.durable = request.durable or _is_durable(target)
            size = accumulator.size_bytes - before
            if fresh:
                request.size_bytes = size
                committer.enqueue_locked(request)
                self._filling = request
            else:
                committer.grow_locked(request, size)
            delivery = Delivery(request, part, len(accumulator) - 1, (target.name, index))
        with self._lock:
            if not request.done:
                self._undelivered[request] = self._undelivered.get(request, 0) + 1
        return delivery

    def flush(self, timeout: float | None = None) -> int:
        """Wait until what ``send_nowait`` queued is committed or refused.

        Returns how many records are still on their way after ``timeout`` seconds: 0 for none.
        """
        with self._lock:
            self._flushed.wait_for(lambda: not self._undelivered or self._committer.closed, timeout)
            return sum(self._undelivered.values())

    def close(self) -> None:
        """Flush and end this producer; closing twice is fine."""
        if self._closed_reason:
            return
        self.flush()
        self._closed_reason = "the producer is closed; make another with broker.producer()"
        self._broker._unregister(self)

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _delivered(self, request: Filling) -> None:
        with self._lock:
            self._undelivered.pop(request, None)
            if not self._undelivered:
                self._flushed.notify_all()

    def _check_open(self) -> None:
        if self._closed_reason:
            self._broker.committer()  # which says so if it is the broker that is closed
            raise ClosedError(self._closed_reason)

    def _route(self, topic: Topic, key: bytes | None, partition: int | None) -> int:
        if partition is not None:
            return topic.partition(partition).index
        count = topic.partition_count
        if key is not None:
            index = _as_int(self._partitioner(key, count)) if count > 1 else 0
            if type(index) is not int or not 0 <= index < count:
                raise ValueError(
                    f"the partitioner gave {index!r} for {count} partitions; "
                    f"it has to give 0 to {count - 1}"
                )
            return index
        index = topic.next_partition
        topic.next_partition = (index + 1) % count
        return index % count


class _Routed:
    """The records of one call, sorted into the partitions they go to."""

    def __init__(self, producer: Producer, now_ms: int) -> None:
        self.parts: list[tuple[PartitionLog, RecordAccumulator]] = []
        self.order: list[int] = []  # the part of each record, in the order they came
        self.durable = False
        self._producer = producer
        self._now_ms = now_ms
        self._topics: dict[str, tuple[Topic, dict[int, int]]] = {}

    def add(self, record: ProducerRecord) -> None:
        """Put one record where its topic, partition and key say."""
        topic, part_of = self._topics.get(record.topic) or self._open(record.topic)
        index = self._producer._route(topic, record.key, record.partition)
        part = part_of.get(index)
        if part is None:
            part = part_of[index] = len(self.parts)
            self.parts.append((_log_of(topic, index), RecordAccumulator(self._now_ms)))
        self.parts[part][1].add_record(record)
        self.order.append(part)

    def _open(self, name: str) -> tuple[Topic, dict[int, int]]:
        topic = self._producer._broker.ensure_topic(name)
        self.durable = self.durable or _is_durable(topic)
        entry = self._topics[name] = (topic, {})
        return entry


def _as_record(topic: str | ProducerRecord, *fields: Any) -> ProducerRecord:
    if isinstance(topic, ProducerRecord):
        if fields != (_GIVEN_BY_RECORD, None, (), None, None):
            raise TypeError("with a ProducerRecord give nothing else: it says all there is to say")
        return topic
    if fields[0] is _GIVEN_BY_RECORD:
        raise TypeError("a value is missing: send(topic, value); None for a tombstone")
    return ProducerRecord(topic, *fields)


def _log_of(topic: Topic, index: int) -> PartitionLog:
    if topic.deleted:
        raise UnknownTopicError(topic.name, "it was deleted")
    log: AnyLog = topic.open_log(index)
    assert isinstance(log, PartitionLog)
    return log


def _as_int(value: object) -> object:
    """The int that a number of another library stands for; other things as they are."""
    if type(value) is int or isinstance(value, bool) or not hasattr(value, "__index__"):
        return value
    return operator.index(value)


def _is_durable(topic: Topic) -> bool:
    return topic.config.durability == "fsync"


def _check_size(accumulator: RecordAccumulator, log: PartitionLog) -> None:
    if accumulator.size_bytes > WRITE_BYTES_MAX:
        raise ValueError(
            f"one call brings {accumulator.size_bytes} bytes to one partition, more than "
            f"{WRITE_BYTES_MAX}: send them in several"
        )
    if accumulator.largest_size_bytes > log.settings.segment_bytes:
        raise RecordTooLargeError(accumulator.largest_size_bytes, log.settings.segment_bytes)


def _check_record_size(record: ProducerRecord, log: PartitionLog) -> None:
    size = len(record.key or b"") + len(record.value or b"")
    if size + 4096 > log.settings.segment_bytes or record.headers:
        alone = RecordAccumulator(0)
        alone.add_record(record)
        _check_size(alone, log)


def _time_of(record: ProducerRecord) -> int:
    if record.timestamp_ms is not None:
        return record.timestamp_ms
    return time.time_ns() // 1_000_000


def _check_lengths(
    values: Sequence[Any], keys: Sequence[Any], timestamps_ms: Sequence[Any] | None
) -> None:
    if len(keys) != len(values):
        raise ValueError(f"{len(values)} values and {len(keys)} keys")
    if timestamps_ms is not None and len(timestamps_ms) != len(values):
        raise ValueError(f"{len(values)} values and {len(timestamps_ms)} timestamps")
