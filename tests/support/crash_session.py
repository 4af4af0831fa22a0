"""Runs calls against a broker on a recording seam and keeps a model of what they promised.

Everything that is random or has a thread of its own is pinned, so that one seed makes one journal.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from merkql import BrokerConfig, ProducerRecord, RetentionConfig, WriterFailedError, erasures
from merkql.broker import Broker
from merkql.storage import directory, engine, maintenance, partition_log, wal
from merkql.transparency import key_file
from merkql.transparency.note import SigningKey
from support.log_model import Event, LogModel, PartitionModel, TopicModel
from support.recorder import RecordingFiles

WAL_FILE_SIZE = 16 << 10  # small, so that short workloads fill, change and recycle WAL files
DERIVED_SYNC_BYTES = 8 << 10  # likewise: so that index and tree are synced at some sync points only


@contextmanager
def pinned(seed: int = 1) -> Iterator[pytest.MonkeyPatch]:
    """Randomness from a seed, no background thread, WAL files of 16 KiB, a boot id that is ours."""
    draw = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "urandom", draw.randbytes)
        clock = SimpleNamespace(time_ns=lambda: 1_700_000_000 * 10**9, time=time.time)
        patch.setattr(directory, "time", clock)
        patch.setattr(engine.Engine, "now_ms", lambda self: 1_700_000_000_000)
        patch.setattr(maintenance.Maintenance, "wake", lambda self: None)
        patch.setattr(maintenance.Maintenance, "watch_retention", lambda self: None)
        patch.setattr(wal, "FILE_SIZE_MIN", WAL_FILE_SIZE)
        patch.setattr(wal, "FILE_SIZE_MAX", WAL_FILE_SIZE)
        patch.setattr(partition_log, "DERIVED_SYNC_BYTES", DERIVED_SYNC_BYTES)
        patch.setattr(erasures, "process", lambda: {"user": "u", "uid": 0, "pid": 1, "host": "h"})
        reboot(patch, 1)
        yield patch


def reboot(patch: pytest.MonkeyPatch, number: int) -> None:
    """From now on the machine has been started again."""
    patch.setattr(engine, "boot_id", lambda: number.to_bytes(16, "big"))


class CrashSession:
    """Calls on a broker; before and after each, the journal gets a mark and the model a state.

    ``models[n]`` is what n finished calls promised.
    """

    def __init__(self, root: str, files: RecordingFiles | None = None) -> None:
        self.root = root
        self.files = files or RecordingFiles(root)
        self.models = [LogModel()]
        self.broker: Broker
        self.other: Broker | None = None  # of a second process; this one does nothing meanwhile
        self.open()

    def open(self) -> None:
        self.broker = self._another()
        self.producer = self.broker.producer()

    def _another(self) -> Broker:
        key = f"{self.root}.key"
        config = BrokerConfig(self.root, signing_key=key if os.path.exists(key) else None)
        return Broker(config, self.files)

    def close(self) -> None:
        self._step(self.broker.close, lambda model: None)

    def reopen(self) -> None:
        self.close()
        self.open()

    def crash_and_reopen(self) -> None:
        """As a killed process does: nothing is said to the disk."""
        self.broker._engine.abandon()
        self.broker.closed = True
        self.open()

    def hand_over(self, topic: str, partition: int, event: Event) -> None:
        """Another process takes the writer role, writes, and is the one that goes on."""

        def work() -> None:
            coming = self.other or self._another()
            self.broker, self.other = coming, self.broker
            self.producer = self.broker.producer()
            self.producer.send_batch([_record(topic, partition, event)])

        def change(model: LogModel) -> None:
            model.topics[topic].partitions[partition].groups.append([event])

        self._step(work, change)

    def create(
        self,
        topic: str,
        partitions: int = 1,
        *,
        max_records: int | None = None,
        durability: str = "fsync",
        erasable: bool = False,
        **options: object,
    ) -> None:
        def change(model: LogModel) -> None:
            model.topics[topic] = TopicModel(
                [PartitionModel() for _ in range(partitions)],
                durability == "fsync",
                max_records,
                erasable,
            )

        self._step(
            lambda: self.broker.create_topic(
                topic,
                partitions=partitions,
                retention=RetentionConfig(max_records=max_records),
                durability=durability,
                erasable=erasable,
                **options,
            ),
            change,
        )

    def send(self, topic: str, partition: int, events: list[Event]) -> None:
        """One call, one group, one partition."""
        self.batch([(topic, partition, event) for event in events])

    def batch(self, placed: list[tuple[str, int, Event]]) -> None:
        """One ``send_batch`` over any partitions."""
        groups: dict[tuple[str, int], list[Event]] = {}
        for topic, partition, event in placed:
            groups.setdefault((topic, partition), []).append(event)

        def change(model: LogModel) -> None:
            for (topic, partition), events in groups.items():
                model.topics[topic].partitions[partition].groups.append(events)
            if any(model.topics[topic].durable for topic, _ in groups):
                for one in (p for t in model.topics.values() for p in t.partitions):
                    one.synced = len(one.groups)  # one sync covers all that came before

        self._step(lambda: self.producer.send_batch([_record(*place) for place in placed]), change)

    def tend(self) -> None:
        """What the background thread does when it is woken, and a sync whether due or not."""

        def work() -> None:
            engine = self.broker._engine
            maintenance.tend(engine.writer, engine)
            maintenance.sync_segments(engine.writer, engine)

        def change(model: LogModel) -> None:
            for one in (p for t in model.topics.values() for p in t.partitions):
                one.synced = len(one.groups)

        self._step(work, change)

    def retain(self) -> None:
        self._step(self.broker.apply_retention, lambda model: None)

    def compact(self, topic: str, partition: int = 0) -> None:
        self._step(self.broker.topic(topic).partition(partition).compact, lambda model: None)

    def alter_retention(self, topic: str, max_records: int) -> None:
        def change(model: LogModel) -> None:
            one = model.topics[topic]
            for partition in one.partitions:
                if one.max_records is not None:
                    size = len(partition.events())
                    partition.start = max(partition.start, size - one.max_records)
            one.max_records = max_records

        config = RetentionConfig(max_records=max_records)
        self._step(lambda: self.broker.topic(topic).alter(retention=config), change)

    def delete(self, topic: str) -> None:
        def change(model: LogModel) -> None:
            del model.topics[topic]
            model.committed = {
                place: offset for place, offset in model.committed.items() if place[1] != topic
            }

        self._step(lambda: self.broker.delete_topic(topic), change)

    def send_with_failing_sync(self, topic: str, partition: int, event: Event) -> None:
        """The sync of the WAL fails and loses the frame; the broker is closed and opened again.

        What became of the record is settled by opening: there, or not.
        """
        log = self.models[-1].topics[topic].partitions[partition]
        before = len(log.events())

        def work() -> None:
            self.files.failing_syncs = 1
            with pytest.raises((OSError, WriterFailedError), match="Input/output"):
                self.producer.send_batch([_record(topic, partition, event)])
            self.files.failing_syncs = 0
            with contextlib.suppress(OSError, WriterFailedError):
                self.broker.close()
            self.open()
            if self.broker.topic(topic).partition(partition).end_offset == before:
                self.models[-1].topics[topic].partitions[partition].groups.pop()

        self._step(work, lambda m: m.topics[topic].partitions[partition].groups.append([event]))

    def checkpoint(self, topic: str, partition: int) -> None:
        """A signed checkpoint; the first call makes the key, beside the directory."""
        key = f"{self.root}.key"
        if not os.path.exists(key):
            key_file.write_key(key, SigningKey("crash.example/log", bytes(32)))
            if self.other is not None:  # it knows no key
                self._step(self.other.close, lambda model: None)
                self.other = None
            self.reopen()

        def change(model: LogModel) -> None:
            one = model.topics[topic].partitions[partition]
            if one.signed[-1:] != [len(one.events())]:  # else the newest is returned again
                one.signed.append(len(one.events()))

        self._step(self.broker.topic(topic).partition(partition).checkpoint, change)

    def erase(self, topic: str, partition: int, *offsets: int) -> None:
        def change(model: LogModel) -> None:
            model.topics[topic].partitions[partition].erased.update(offsets)

        held = self.broker.topic(topic).partition(partition)
        self._step(lambda: held.erase(*offsets, by="the crash tests"), change)

    def erase_key(self, topic: str, key: bytes) -> None:
        def change(model: LogModel) -> None:
            for one in model.topics[topic].partitions:
                found = [at for at, event in enumerate(one.events()) if event.key == key]
                one.erased.update(found)

        self._step(lambda: self.broker.topic(topic).erase_key(key), change)

    def operation(self, name: str) -> None:
        """A line in the journal for who wants to find where something begins."""
        self.files.mark("operation", name)

    def end(self) -> None:
        """Let go of the brokers without a word, if they are open."""
        for one in (self.broker, self.other):
            if one is not None and not one.closed:
                one._engine.abandon()
                one.closed = True

    def add_partitions(self, topic: str, count: int) -> None:
        def change(model: LogModel) -> None:
            partitions = model.topics[topic].partitions
            partitions += [PartitionModel() for _ in range(count - len(partitions))]

        self._step(lambda: self.broker.topic(topic).add_partitions(count), change)

    def commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        def work() -> None:
            with self.broker.consumer(group, auto_commit=False) as consumer:
                consumer.assign([(topic, partition)])
                consumer.commit_sync({(topic, partition): offset})

        def change(model: LogModel) -> None:
            model.committed[group, topic, partition] = offset

        self._step(work, change)

    def _step(self, work: Callable[[], object], change: Callable[[LogModel], None]) -> None:
        after = self.models[-1].copy()
        change(after)
        self.files.mark("begin", len(self.models))
        self.models.append(after)
        work()
        self._note_roots()
        self.files.mark("done", len(self.models) - 1)

    def _note_roots(self) -> None:
        """Of erasable topics, whose leaves depend on salts that the model does not know."""
        for name, topic in self.models[-1].topics.items():
            if topic.erasable and not self.broker.closed:
                for partition, model in enumerate(topic.partitions):
                    held = self.broker.topic(name).partition(partition)
                    model.roots[held.end_offset] = held.root()


def _record(topic: str, partition: int, event: Event) -> ProducerRecord:
    return ProducerRecord(
        topic,
        event.value,
        event.key,
        event.headers,
        partition=partition,
        timestamp_ms=event.timestamp_ms,
    )
