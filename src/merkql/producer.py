"""Producers: where records enter, are routed to partitions, and wait for the disk or do not."""

from __future__ import annotations

import itertools
import operator
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, overload

from merkql._core.accumulator import RecordAccumulator
from merkql._core.record import ProducerRecord, RecordMetadata
from merkql.delivery import Delivery, Filling, Place, Refusals
from merkql.errors import ClosedError, RecordTooLargeError, UnknownTopicError, again
from merkql.partitioners import Partitioner, murmur2
from merkql.routing import Routed, is_durable, log_of
from merkql.storage.access import ProcessBound
from merkql.storage.arguments import check_seconds
from merkql.storage.committer import Committer
from merkql.storage.partition_log import PartitionLog
from merkql.storage.writer import CommitRequest
from merkql.topic import Topic

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

    def unregister(self, closeable: Any) -> None:
        """The producer is closed."""


class Producer(ProcessBound):
    """Sends records. Safe to share between threads; close it, or use it as a context manager."""

    def __init__(self, broker: ProducerOwner, partitioner: Partitioner | None = None) -> None:
        if partitioner is not None and not callable(partitioner):
            raise TypeError(f"partitioner is a callable of (key, count), not {partitioner!r}")
        self._broker = broker
        self._committer = broker.committer()
        self._partitioner = partitioner or murmur2
        self._closed_reason = ""
        self._filling: Filling | None = None
        self._undelivered: dict[Filling, None] = {}
        self._refusals = Refusals()
        self._report = weakref.finalize(self, self._refusals.report)  # when it is dropped, too
        self._report.atexit = False  # a child of a fork ends, too
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
        log = log_of(target, index)
        accumulator = RecordAccumulator(time.time_ns() // 1_000_000)
        accumulator.add_record(record)
        _check_size(accumulator, log)
        request = CommitRequest([(log, accumulator)], durable=is_durable(target))
        try:
            self._committer.commit(request)
        except UnknownTopicError:
            if not target.deleted:
                raise
            return self.send(record)  # another process deleted the topic: to what it is now
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
        if not records:
            return []
        routed = Routed(self._broker.ensure_topic, self._route, time.time_ns() // 1_000_000)
        routed.add(records, by_key=self._partitioner)
        for log, accumulator in routed.parts:
            _check_size(accumulator, log)
        request = CommitRequest(routed.parts, durable=routed.durable)
        try:
            self._committer.commit(request)
        except UnknownTopicError:
            if not routed.is_outdated:
                raise
            return self.send_batch(records)
        next_of = [
            iter(accumulator.metadata(log.id.topic, log.id.index, first)).__next__
            for (log, accumulator), first in zip(routed.parts, request.first_offsets, strict=True)
        ]
        return [next_of[part]() for part in routed.order]

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
        _check_sequences(values=values, keys=keys, timestamps_ms=timestamps_ms)
        self._check_open()
        target = self._broker.ensure_topic(topic)
        if keys is None or partition is not None or target.partition_count == 1:
            index = self._route(target, None, partition)
            accumulator = RecordAccumulator(time.time_ns() // 1_000_000)
            accumulator.extend_values(values, keys, timestamps_ms)
            if not len(accumulator):
                return range(0)
            log = log_of(target, index)
            _check_size(accumulator, log)
            request = CommitRequest([(log, accumulator)], durable=is_durable(target))
            try:
                self._committer.commit(request)
            except UnknownTopicError:
                if not target.deleted:
                    raise
                return self.send_values(
                    topic, values, keys=keys, partition=partition, timestamps_ms=timestamps_ms
                )
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

        Blocks while more than 32 MiB wait for the disk. Bad arguments raise here, not later. How
        many records were refused that nobody asked about is logged (``merkql.producer``) at
        ``close``, and every ten seconds while it goes on.
        """
        record = _as_record(topic, value, key, headers, partition, timestamp_ms)
        committer = self._committer
        if self._closed_reason or committer.disowned:
            self._check_open()
        committer.wait_for_room()
        now_ms = time.time_ns() // 1_000_000
        while True:
            request = self._filling
            if request is None or request.taken or request.done:
                request = Filling(self, durable=False)
            place = self._place_in(request, record)
            with committer.lock:
                if not (request.taken or request.done):
                    return self._fill(request, place, record, now_ms)

    def _place_in(self, request: Filling, record: ProducerRecord) -> Place:
        """Where a record goes that joins a request; the first of a topic or partition looks it up.

        What is found holds while the request does, which is milliseconds.
        """
        target = request.topics.get(record.topic)
        if target is None:
            target = request.topics[record.topic] = self._broker.ensure_topic(record.topic)
        index = self._route(target, record.key, record.partition)
        place = request.places.get((target, index))
        if place is None:
            log = log_of(target, index)
            if log.damage is not None:
                raise again(log.damage)  # here, not in a request that others' records share
            place = request.places.setdefault((target, index), Place(target.name, index, log))
        return place

    def _fill(
        self, request: Filling, place: Place, record: ProducerRecord, now_ms: int
    ) -> Delivery:
        """Add a record to a request nobody has taken; the caller holds the queue's lock."""
        segment_bytes = place.log.settings.segment_bytes
        size = place.accumulator.add_within(record, segment_bytes, now_ms)
        if size > segment_bytes:
            raise RecordTooLargeError(size, segment_bytes)
        if place.part < 0:
            place.part = len(request.parts)
            request.parts.append((place.log, place.accumulator))
            request.durable = request.durable or place.log.settings.durable
        request.count += 1
        if request.count > 1:
            self._committer.grow_locked(request, size)
        else:
            request.size_bytes = size
            self._committer.enqueue_locked(request)
            self._undelivered[request] = None
            self._filling = request
        return Delivery(request, place)

    def flush(self, timeout: float | None = None) -> int:
        """Wait until what ``send_nowait`` queued is committed or refused.

        Returns how many records are still on their way after ``timeout`` seconds: 0 for none.
        """
        seconds = check_seconds(timeout, "timeout")
        if self._committer.disowned:
            return 0  # the parent of this fork has them
        with self._lock:
            self._flushed.wait_for(lambda: not self._undelivered or self._committer.closed, seconds)
            return sum(request.count for request in list(self._undelivered))

    def close(self) -> None:
        """Flush and end this producer; closing twice is fine."""
        if self._closed_reason:
            return
        self.flush()
        self._closed_reason = "the producer is closed; make another with broker.producer()"
        self._broker.unregister(self)
        self._report()

    def __repr__(self) -> str:
        return f"<Producer of {self._broker!r}{', closed' if self._closed_reason else ''}>"

    def __enter__(self) -> Producer:
        self._check_open()
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
        if self._closed_reason or self._committer.disowned:  # the latter before any lock
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


def _as_record(topic: str | ProducerRecord, *fields: Any) -> ProducerRecord:
    if isinstance(topic, ProducerRecord):
        if fields != (_GIVEN_BY_RECORD, None, (), None, None):
            raise TypeError("with a ProducerRecord give nothing else: it says all there is to say")
        return topic
    if fields[0] is _GIVEN_BY_RECORD:
        raise TypeError("a value is missing: send(topic, value); None for a tombstone")
    return ProducerRecord(topic, *fields)


def _as_int(value: object) -> object:
    """The int that a number of another library stands for; other things as they are."""
    if type(value) is int or isinstance(value, bool) or not hasattr(value, "__index__"):
        return value
    return operator.index(value)


def _check_size(accumulator: RecordAccumulator, log: PartitionLog) -> None:
    if accumulator.size_bytes > WRITE_BYTES_MAX:
        raise ValueError(
            f"one call brings {accumulator.size_bytes} bytes to one partition, more than "
            f"{WRITE_BYTES_MAX}: send them in several"
        )
    if accumulator.largest_size_bytes > log.settings.segment_bytes:
        raise RecordTooLargeError(accumulator.largest_size_bytes, log.settings.segment_bytes)


def _check_sequences(**given: object) -> None:
    for name, value in given.items():
        if value is None and name != "values":
            continue
        # What numpy and pandas have for it is none by name, but has a length and items.
        is_one = hasattr(type(value), "__len__") and hasattr(type(value), "__getitem__")
        if not is_one or isinstance(value, (bytes, bytearray, str, Mapping)):
            raise TypeError(f"{name} is a sequence with one for each record, not {value!r:.60}")


def _check_lengths(
    values: Sequence[Any], keys: Sequence[Any], timestamps_ms: Sequence[Any] | None
) -> None:
    if len(keys) != len(values):
        raise ValueError(f"{len(values)} values and {len(keys)} keys")
    if timestamps_ms is not None and len(timestamps_ms) != len(values):
        raise ValueError(f"{len(values)} values and {len(timestamps_ms)} timestamps")
