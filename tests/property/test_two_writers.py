"""Two brokers of one process take turns at one directory, against a list in memory.

Goal: whatever two writers do one after the other, and whoever dies between, both show what a list
would hold: offsets, bytes, roots, topics. Method: a seeded walk; after every step the broker that
did nothing is asked what the log holds, now and then both verify it.
"""

from __future__ import annotations

import logging
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from merkql import Broker, ProducerRecord, RetentionConfig
from merkql.storage.engine import Engine
from support.crashes import crash
from support.log_model import Event, root_of
from support.monitor import MonitorFiles

STEPS = 150
SLOW_WALKS = 300


@dataclass
class TopicModel:
    """What a topic has to hold, by partition."""

    written: list[list[Event]]
    starts: list[int]
    erasable: bool
    limit: int | None = None
    segment_bytes: int = 4096
    roots: list[dict[int, bytes]] = field(default_factory=list)

    def start(self, index: int) -> int:
        end = len(self.written[index])
        return max(self.starts[index], end - self.limit if self.limit else 0)


class Walk:
    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.topics: dict[str, TopicModel] = {}
        self.clock = 1_700_000_000_000
        self.brokers = [Broker.open(root), Broker.open(root)]
        self.steps: list[str] = []

    def run(self, count: int) -> None:
        moves: list[Callable[[Broker], None]] = [
            *[self.send] * 6,
            *[self.send_batch] * 4,
            self.send_nowait,
            self.consume,
            self.create,
            self.delete,
            self.add_partitions,
            self.alter,
            self.retain,
            self.compact,
            self.sync,
            self.verify,
            self.shrink,
        ]
        for _ in range(count):
            number = self.random.randrange(2)
            if self.random.random() < 0.08:
                self.leave(number, dies=self.random.random() < 0.5)
            else:
                move = self.random.choice(moves)
                self.steps.append(f"{number}.{move.__name__}")
                move(self.brokers[number])
            self.check(self.brokers[1 - number])
        for broker in self.brokers:
            self.check(broker)
            for name in self.topics:
                self.verify_topic(broker, name)
            broker.close()
        assert not list((self.root / "wal").iterdir())
        with Broker.open(self.root) as broker:
            self.check(broker)

    def leave(self, number: int, *, dies: bool) -> None:
        """One goes, by a close or as a kill would have it, and another comes; now and then both."""
        numbers = [0, 1] if self.random.random() < 0.25 else [number]
        self.steps.append(f"{numbers} {'crash' if dies else 'close'}")
        for one in numbers:
            if dies:
                crash(self.brokers[one])
            else:
                self.brokers[one].close()
        if not dies and len(numbers) == 2:
            assert not list((self.root / "wal").iterdir())
        for one in numbers:
            self.brokers[one] = Broker.open(self.root)

    def event(self) -> Event:
        size = self.random.choice([0, 10, 10, 40, 900, 1500])
        self.clock += self.random.randrange(3)
        value = self.random.randbytes(size) if size else None
        return Event(value, self.random.choice([None, b"k"]), self.clock)

    def place(self) -> tuple[str, int] | None:
        if not self.topics:
            return None
        name = self.random.choice(sorted(self.topics))
        return name, self.random.randrange(len(self.topics[name].written))

    def records(self, count: int) -> list[tuple[str, int, Event]]:
        places = [self.place() for _ in range(count)]
        return [(*place, self.event()) for place in places if place is not None]

    def note(self, name: str, index: int, event: Event, offset: int) -> None:
        assert offset == len(self.topics[name].written[index])
        self.topics[name].written[index].append(event)

    def send(self, broker: Broker) -> None:
        for name, index, event in self.records(1):
            metadata = broker.producer().send(record_of(name, index, event))
            self.note(name, index, event, metadata.offset)

    def send_batch(self, broker: Broker) -> None:
        records = self.records(self.random.randrange(1, 12))
        sent = broker.producer().send_batch([record_of(*one) for one in records])
        for one, metadata in zip(records, sent, strict=True):
            self.note(*one, metadata.offset)

    def send_nowait(self, broker: Broker) -> None:
        records = self.records(self.random.randrange(1, 6))
        producer = broker.producer()
        deliveries = [producer.send_nowait(record_of(*one)) for one in records]
        producer.flush()
        for one, delivery in zip(records, deliveries, strict=True):
            self.note(*one, delivery.result(5).offset)

    def consume(self, broker: Broker) -> None:
        """All of a partition, as a consumer of either broker is handed it."""
        place = self.place()
        if place is None:
            return
        name, index = place
        model = self.topics[name]
        with broker.consumer("g", auto_commit=False) as consumer:
            consumer.assign([place])
            consumer.seek(place, model.start(index))
            expected = model.written[index][model.start(index) :]
            seen: list[Event] = []
            while len(seen) < len(expected):
                records = consumer.poll(timeout=5)
                assert records, (len(seen), len(expected))
                seen += [event_of(record) for record in records]
            assert seen == expected

    def create(self, broker: Broker) -> None:
        name = self.random.choice("abc")
        if name in self.topics:
            return
        count, erasable = self.random.randrange(1, 4), self.random.random() < 0.3
        broker.create_topic(
            name,
            partitions=count,
            segment_bytes=self.random.choice([4096, 16384]),
            compression=self.random.choice(["none", "lz4"]),
            durability=self.random.choice(["fsync", "disk"]),
            erasable=erasable,
        )
        self.topics[name] = TopicModel([[] for _ in range(count)], [0] * count, erasable)

    def delete(self, broker: Broker) -> None:
        place = self.place()
        if place is not None and self.random.random() < 0.5:
            broker.delete_topic(place[0])
            del self.topics[place[0]]

    def add_partitions(self, broker: Broker) -> None:
        place = self.place()
        if place is not None and len(self.topics[place[0]].written) < 5:
            model = self.topics[place[0]]
            model.written.append([])
            model.starts.append(0)
            broker.topic(place[0]).add_partitions(len(model.written))

    def alter(self, broker: Broker) -> None:
        place = self.place()
        if place is None:
            return
        model = self.topics[place[0]]
        model.starts = [model.start(index) for index in range(len(model.starts))]
        model.limit = self.random.choice([None, 3, 8, 20])
        broker.topic(place[0]).alter(
            retention=RetentionConfig(max_records=model.limit),
            durability=self.random.choice([None, "fsync", "disk"]),
            compression=self.random.choice([None, "none", "lz4"]),
            segment_bytes=self.random.choice([None, 4096, 16384]),
        )

    def retain(self, broker: Broker) -> None:
        broker.apply_retention()

    def compact(self, broker: Broker) -> None:
        place = self.place()
        if place is not None:
            broker.topic(place[0]).partition(place[1]).compact()

    def sync(self, broker: Broker) -> None:
        broker.producer().flush()
        broker._engine.sync_records()

    def shrink(self, broker: Broker) -> None:
        """As the background thread does with a log that is quiet."""
        broker._engine.shrink_wal()

    def verify(self, broker: Broker) -> None:
        for name in self.topics:
            self.verify_topic(broker, name)

    def verify_topic(self, broker: Broker, name: str) -> None:
        for index, written in enumerate(self.topics[name].written):
            report = broker.topic(name).partition(index).verify()
            assert report.end_offset == len(written)

    def check(self, broker: Broker) -> None:
        """What one broker shows, asked at once after the other wrote."""
        assert broker.topics() == sorted(self.topics)
        for name, model in self.topics.items():
            topic = broker.topic(name)
            assert topic.partition_count == len(model.written)
            for index, written in enumerate(model.written):
                partition = topic.partition(index)
                start = model.start(index)
                assert (partition.start_offset, partition.end_offset) == (start, len(written))
                records = partition.read_range(start, len(written))
                assert [record.offset for record in records] == list(range(start, len(written)))
                assert [event_of(record) for record in records] == written[start:]
                if not model.erasable and self.random.random() < 0.2:
                    assert partition.root() == root_of(written)


def record_of(name: str, index: int, event: Event) -> ProducerRecord:
    return ProducerRecord(
        name, event.value, event.key, partition=index, timestamp_ms=event.timestamp_ms
    )


def event_of(record: object) -> Event:
    return Event(record.value, record.key, record.timestamp_ms)  # type: ignore[attr-defined]


def forgetting_wal(both: MonitorFiles) -> Callable[[Engine], None]:
    """``Engine.abandon``; recovery may read what nobody synced, and makes it durable elsewhere."""
    abandon = Engine.abandon

    def forget(engine: Engine) -> None:
        abandon(engine)
        both._dirty -= {path for path in both._dirty if path.endswith(".wal")}

    return forget


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    logging.disable(logging.CRITICAL)
    both = MonitorFiles()  # a sync by either covers what both wrote
    monkeypatch.setattr("merkql.broker.Files", lambda: both)
    monkeypatch.setattr(Engine, "abandon", forgetting_wal(both))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as path:
        yield Path(path) / "data"
    assert not both.broken, both.broken
    logging.disable(logging.NOTSET)


def walk(root: Path, seed: int) -> None:
    one = Walk(root, seed)
    try:
        one.run(STEPS)
    except BaseException as error:
        error.add_note(f"seed {seed}: {' '.join(one.steps[-30:])}")
        raise
    finally:
        for broker in one.brokers:
            crash(broker)


@pytest.mark.parametrize("seed", range(4))
def test_two_writers_are_one_list(root: Path, seed: int) -> None:
    walk(root, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, SLOW_WALKS))
def test_two_writers_are_one_list_on_long_walks(root: Path, seed: int) -> None:
    walk(root, seed)
