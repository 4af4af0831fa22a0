"""Any sequence of calls against lists in memory.

Goal: no order of appends, rolls, reopenings, crashes, retentions, erasures, proofs, commits and
changes to topics makes the directory show anything but what lists would. Method: a state machine of
two writers and a reader beside them; each call goes to one of the three. After every step one of
them, in turn, is asked for all offsets, bytes and roots, and nothing missing is forgiven.
"""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from merkql import (
    Broker,
    BrokerConfig,
    OffsetOutOfRangeError,
    Partition,
    ProducerRecord,
    Record,
    RecordTooLargeError,
    RetentionConfig,
    UnknownTopicError,
)
from merkql.storage.engine import Engine
from support.crashes import crash
from support.directory_model import Limits, PartitionModel, TopicModel
from support.log_model import Event
from support.monitor import MonitorFiles
from support.naive_tree import NaiveTree

NAMES = ("t", "u", "T-2")
PARTITIONS_MAX = 4
SEGMENT_BYTES = (4096, 6000)
START_MS = 1_700_000_000_000

values = st.one_of(st.none(), st.binary(max_size=40), st.binary(min_size=900, max_size=1500))
keys = st.one_of(st.none(), st.sampled_from([b"", b"k", b"key"]), st.binary(max_size=8))
headers = st.lists(
    st.tuples(st.text(max_size=5), st.one_of(st.none(), st.binary(max_size=5))), max_size=2
).map(tuple)
ages = st.one_of(st.integers(-1000, 5000), st.sampled_from([START_MS + 1, START_MS, -(1 << 40)]))
events = st.builds(Event, values, keys, ages, headers)  # the age becomes a timestamp when written
numbers = st.integers(0, 1 << 30)
some_numbers = st.lists(numbers, min_size=1, max_size=3)
placed = st.tuples(numbers, numbers, events)  # in which topic, in which partition, what
writers = st.integers(0, 1)
brokers = st.integers(0, 2)  # the last only reads
groups = st.sampled_from(["g", "h"])
limits = st.builds(
    Limits,
    max_records=st.one_of(st.none(), st.integers(1, 8)),
    max_bytes=st.one_of(st.none(), st.integers(1, 6000)),
    max_age_ms=st.one_of(st.none(), st.integers(1, 4000)),
)
settings_of_topics = dict(
    compression=st.sampled_from(["none", "lz4"]), durability=st.sampled_from(["fsync", "disk"])
)


class LogMachine(RuleBasedStateMachine):
    """Up to three topics of up to four partitions with small segments, in one directory."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.files = MonitorFiles()  # a sync by either writer covers what both wrote
        self.now_ms = START_MS
        self.clock = mock.patch.object(Engine, "now_ms", new=self._now_ms)
        self.clock.start()
        self.topics: dict[str, TopicModel] = {}
        self.deleted: list[Partition] = []
        self.asked = 0
        self.brokers = [self._open(number) for number in range(3)]

    def _now_ms(self) -> int:
        return self.now_ms

    def _open(self, number: int) -> Broker:
        return Broker(BrokerConfig(self.root, read_only=number == 2), self.files)

    # Topics

    @initialize(erasable=st.booleans(), count=st.integers(1, 3), seed=numbers, **settings_of_topics)
    def begin_with_some(self, erasable: bool, count: int, seed: int, **options: str) -> None:
        self.create_topic(0, NAMES[0], SEGMENT_BYTES[0], erasable, count, **options)
        for index in range(count):
            self.send_values(index % 2, 0, index, seed % 60 >> index, seed)

    @precondition(lambda self: len(self.topics) < len(NAMES))
    @rule(
        by=writers,
        name=st.sampled_from(NAMES),
        segment_bytes=st.sampled_from(SEGMENT_BYTES),
        erasable=st.booleans(),
        count=st.integers(1, PARTITIONS_MAX - 1),
        **settings_of_topics,
    )
    def create_topic(
        self, by: int, name: str, segment_bytes: int, erasable: bool, count: int, **options: str
    ) -> None:
        if name in self.topics:
            return
        self.brokers[by].create_topic(
            name, partitions=count, segment_bytes=segment_bytes, erasable=erasable, **options
        )
        models = [PartitionModel(self._directory(name, index)) for index in range(count)]
        self.topics[name] = TopicModel(models, erasable, segment_bytes)

    @precondition(lambda self: len(self.topics) > 1)
    @rule(by=writers, topic=numbers)
    def delete_topic(self, by: int, topic: int) -> None:
        """Whoever holds a partition of it is told so for good, whatever comes under its name."""
        name, _ = self._topic(topic)
        self.deleted = [broker.topic(name).partition(0) for broker in self.brokers]
        self.brokers[by].delete_topic(name)
        del self.topics[name]

    @rule(by=writers, topic=numbers, count=st.integers(1, PARTITIONS_MAX))
    def add_partitions(self, by: int, topic: int, count: int) -> None:
        name, model = self._topic(topic)
        count = max(count, len(model.partitions))
        self.brokers[by].topic(name).add_partitions(count)
        for index in range(len(model.partitions), count):
            model.partitions.append(PartitionModel(self._directory(name, index)))

    @rule(by=writers, topic=numbers, **settings_of_topics)
    def alter(self, by: int, topic: int, **options: str) -> None:
        self.brokers[by].topic(self._topic(topic)[0]).alter(**options)

    @rule(by=writers, topic=numbers, limits=limits)
    def alter_retention(self, by: int, topic: int, limits: Limits) -> None:
        name, model = self._topic(topic)
        model.limits = limits
        self.brokers[by].topic(name).alter(retention=RetentionConfig(**asdict(limits)))

    @rule(by=writers)
    def apply_retention(self, by: int) -> None:
        self.brokers[by].apply_retention()

    @rule(by=writers, topic=numbers, index=numbers)
    def compact(self, by: int, topic: int, index: int) -> None:
        name, index, _, _ = self._partition(topic, index)
        self.brokers[by].topic(name).partition(index).compact()

    @rule(ms=st.integers(1, 3000))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    # Processes

    @rule(chosen=st.sets(brokers, min_size=1), dies=st.booleans())
    def leave_and_come_back(self, chosen: set[int], dies: bool) -> None:
        """By a close, or as after kill -9: what was acknowledged is there all the same."""
        for number in chosen:
            if dies and number < 2:
                crash(self.brokers[number])
                # What nobody opens again is judged by who does: its page is not of a clean close.
                forgotten = (".wal", "__erasures/0/tree/h00", "__erasures/0/tree/h04")
                self.files._dirty -= {p for p in self.files._dirty if p.endswith(forgotten)}
            else:
                self.brokers[number].close()
        if not dies and chosen >= {0, 1}:
            assert not list((self.root / "wal").iterdir())
        self.deleted = []
        for number in chosen:
            self.brokers[number] = self._open(number)

    # Writing

    @rule(by=writers, where=placed)
    def send(self, by: int, where: tuple[int, int, Event]) -> None:
        self._note(where, lambda record: self.brokers[by].producer().send(record).offset)

    @rule(by=writers, batch=st.lists(placed, min_size=2, max_size=12))
    def send_batch(self, by: int, batch: list[tuple[int, int, Event]]) -> None:
        records = [self._record(one) for one in batch]
        places = iter(self.brokers[by].producer().send_batch(records))
        for one in batch:
            self._note(one, lambda _: next(places).offset)

    @rule(by=writers, batch=st.lists(placed, min_size=1, max_size=6))
    def send_nowait_and_flush(self, by: int, batch: list[tuple[int, int, Event]]) -> None:
        producer = self.brokers[by].producer()
        deliveries = [producer.send_nowait(self._record(one)) for one in batch]
        assert producer.flush() == 0
        results = iter(deliveries)
        for one in batch:
            self._note(one, lambda _: next(results).result(0).offset)

    @rule(by=writers, topic=numbers, index=numbers, count=st.integers(1, 40), seed=numbers)
    def send_values(self, by: int, topic: int, index: int, count: int, seed: int) -> None:
        """Enough of them to fill segments."""
        name, number, model, _ = self._partition(topic, index)
        chance = random.Random(seed)
        some = [
            Event(
                chance.randbytes(chance.choice([0, 10, 30, 90, 700])),
                chance.choice([None, b"", b"k", b"key"]),
                self.now_ms - chance.randrange(-1000, 5000),
            )
            for _ in range(count)
        ]
        offsets = (
            self.brokers[by]
            .producer()
            .send_values(
                name,
                [event.value for event in some],
                keys=[event.key for event in some],
                partition=number,
                timestamps_ms=[event.timestamp_ms for event in some],
            )
        )
        end = len(model.written)
        assert list(offsets) == list(range(end, end + len(some)))
        for event in some:
            self._append(name, number, event)

    @rule(by=writers, topic=numbers, index=numbers, batch=st.lists(placed, max_size=3))
    def send_one_too_large(
        self, by: int, topic: int, index: int, batch: list[tuple[int, int, Event]]
    ) -> None:
        """It is refused, and with it all that came in the same call."""
        name, number, _, model = self._partition(topic, index)
        large = ProducerRecord(name, b"v" * model.segment_bytes, partition=number)
        with pytest.raises(RecordTooLargeError):
            self.brokers[by].producer().send_batch([*map(self._record, batch), large])

    # Erasing

    @precondition(lambda self: any(of.erasable for of in self.topics.values()))
    @rule(by=writers, topic=numbers, index=numbers, chosen=some_numbers)
    def erase(self, by: int, topic: int, index: int, chosen: list[int]) -> None:
        """Also what retention took, and what is erased already."""
        name, number, model, _ = self._partition(topic, index, erasable=True)
        count = len(model.written)
        offsets = sorted({one % count for one in chosen}) if count else []
        found = self.brokers[by].topic(name).partition(number).erase(*offsets)
        assert found == [one for one in offsets if one not in model.erased]
        model.erased.update(offsets)

    @precondition(lambda self: any(of.erasable for of in self.topics.values()))
    @rule(by=writers, topic=numbers, key=st.sampled_from([b"", b"k", b"key"]))
    def erase_key(self, by: int, topic: int, key: bytes) -> None:
        """All that is there, whether or not it is shown; what is on disk no more keeps its salt."""
        name, model = self._topic(topic, erasable=True)
        found = self.brokers[by].topic(name).erase_key(key)
        for index, one in enumerate(model.partitions):
            of_key = {n for n, event in enumerate(one.written) if event.key == key}
            now = set(found.get(index, []))
            shown = {n for n in of_key if n >= one.start(model.limits, self.now_ms)}
            assert shown - one.erased <= now <= of_key - one.erased
            one.erased |= now

    # Reading

    @rule(by=brokers, topic=numbers, index=numbers, offset=numbers, size=numbers)
    def prove(self, by: int, topic: int, index: int, offset: int, size: int) -> None:
        """Any record in any tree of the past; the entry only while the record is here."""
        name, number, model, of = self._partition(topic, index)
        count = len(model.written)
        if not count:
            return
        partition = self.brokers[by].topic(name).partition(number)
        size = 1 + size % count
        offset %= size
        proof = partition.proof(offset, size)
        tree = NaiveTree(model.leaves)
        assert proof.leaf_hash == model.leaves[offset]
        assert list(proof.path) == tree.inclusion(offset, 0, size)
        assert proof.root == model.root(size)
        if offset >= model.start(of.limits, self.now_ms):
            if offset in model.erased:
                assert proof.entry is not None
                proof.check_leaf(model.root(size))
            else:
                assert proof.verify(partition.read(offset), model.root(size))
        assert partition.consistency_proof(size).verify(model.root(size), model.root(count))
        assert partition.find(model.leaves[offset]) == model.leaves.index(model.leaves[offset])

    @rule(by=brokers, group=groups, most=st.integers(1, 20), subscribes=st.booleans())
    def consume_and_commit(self, by: int, group: str, most: int, subscribes: bool) -> None:
        """The group goes on where it committed, or at the start that overtook it, and says so."""
        places = {
            (name, index): one
            for name, of in self.topics.items()
            for index, one in enumerate(of.partitions)
        }
        starts = {
            place: one.start(self.topics[place[0]].limits, self.now_ms)
            for place, one in places.items()
        }
        told: list[tuple[tuple[str, int], int, int]] = []
        with self.brokers[by].consumer(
            group, auto_commit=False, on_gap=lambda *gap: told.append(gap)
        ) as consumer:
            if subscribes:
                consumer.subscribe(list(self.topics))
            else:
                consumer.assign(places)
            records = consumer.poll(max_records=most)
            assert set(consumer.assignment) == set(places)
            expected = {
                place: max(one.committed.get(group, 0), starts[place])
                for place, one in places.items()
            }
            left = sum(len(one.written) - expected[place] for place, one in places.items())
            for record in records:
                place = (record.topic, record.partition)
                assert record.offset == expected[place]
                assert event_of(record) == places[place].event(record.offset)
                expected[place] += 1
            assert records or not left
            consumer.commit_sync()
            for place, one in places.items():
                before, now = one.committed.get(group), consumer.position(place)
                is_overtaken = before is not None and before < starts[place]
                gap = (place, before, starts[place])
                if now == expected[place]:
                    assert told.count(gap) == is_overtaken
                else:  # it was not this partition's turn
                    assert is_overtaken
                    assert (now, told.count(gap)) == (before, 0)
                one.committed[group] = now
        assert len({place for place, _, _ in told}) == len(told)

    @rule(by=brokers, topic=numbers, index=numbers, age=ages)
    def find_by_time(self, by: int, topic: int, index: int, age: int) -> None:
        name, number, model, of = self._partition(topic, index)
        start, when = model.start(of.limits, self.now_ms), self.now_ms - age
        found = self.brokers[by].topic(name).partition(number).offset_for_timestamp(when)
        shown = range(start, len(model.written))
        assert found == next((n for n in shown if model.written[n].timestamp_ms >= when), None)

    @rule(by=brokers, topic=numbers, index=numbers)
    def verify(self, by: int, topic: int, index: int) -> None:
        name, number, model, _ = self._partition(topic, index)
        report = self.brokers[by].topic(name).partition(number).verify()
        assert report.end_offset == len(model.written)
        assert report.root == model.root(report.end_offset)
        assert set(report.erased) == {n for n in model.erased if n >= report.first_offset}

    @invariant()
    def shows_what_was_written(self) -> None:
        self.asked = (self.asked + 1) % 3
        broker = self.brokers[self.asked]
        assert broker.topics() == sorted(self.topics)
        for name, of in self.topics.items():
            topic = broker.topic(name)
            assert topic.partition_count == len(of.partitions)
            assert topic.config.retention == RetentionConfig(**asdict(of.limits))
            for partition, model in zip(topic.partitions(), of.partitions, strict=True):
                model.kept_start = model.start(of.limits, self.now_ms)  # it never moves back
                self._check(partition, model, model.kept_start)
        for partition in self.deleted:
            with pytest.raises(UnknownTopicError):
                partition.read(0)
            with pytest.raises(UnknownTopicError):
                _ = partition.end_offset

    def _check(self, partition: Partition, model: PartitionModel, start: int) -> None:
        end = len(model.written)
        shown = (partition.start_offset, partition.end_offset)
        assert shown == (start, end), (partition, shown, start, end)
        records = partition.read_range(start, end)
        assert [record.offset for record in records] == list(range(start, end))
        assert [event_of(r) for r in records] == [model.event(n) for n in range(start, end)]
        assert partition.root() == model.root(end)
        for outside in (start - 1, end):
            if outside >= 0:
                with pytest.raises(OffsetOutOfRangeError):
                    partition.read(outside)

    def teardown(self) -> None:
        for broker in self.brokers:
            broker.close()
        self.clock.stop()
        shutil.rmtree(self.root)
        assert not self.files.broken

    # The models of what was drawn

    def _directory(self, name: str, index: int) -> Path:
        return Path(self.brokers[0].topic(name).directory, str(index))

    def _topic(self, drawn: int, *, erasable: bool = False) -> tuple[str, TopicModel]:
        names = [name for name, of in self.topics.items() if of.erasable or not erasable]
        name = names[drawn % len(names)]
        return name, self.topics[name]

    def _partition(
        self, topic: int, index: int, *, erasable: bool = False
    ) -> tuple[str, int, PartitionModel, TopicModel]:
        name, model = self._topic(topic, erasable=erasable)
        index %= len(model.partitions)
        return name, index, model.partitions[index], model

    def _dated(self, event: Event) -> Event:
        return replace(event, timestamp_ms=self.now_ms - event.timestamp_ms)

    def _record(self, where: tuple[int, int, Event]) -> ProducerRecord:
        name, index, _, _ = self._partition(*where[:2])
        event = self._dated(where[2])
        return ProducerRecord(
            name,
            event.value,
            event.key,
            event.headers,
            partition=index,
            timestamp_ms=event.timestamp_ms,
        )

    def _note(self, where: tuple[int, int, Event], offset_of: object) -> None:
        name, index, model, _ = self._partition(*where[:2])
        assert offset_of(self._record(where)) == len(model.written)
        self._append(name, index, self._dated(where[2]))

    def _append(self, name: str, index: int, event: Event) -> None:
        model = self.topics[name].partitions[index]
        offset = len(model.written)
        salt = self.brokers[0].topic(name).partition(index).salts(offset, offset + 1)
        model.leaves.append(event.leaf(offset, salt))
        model.written.append(event)


def event_of(record: Record) -> Event | None:
    if record.erased:
        assert (record.value, record.key, record.headers) == (None, None, ())
        return None
    return Event(record.value, record.key, record.timestamp_ms, record.headers)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_any_sequence_of_calls_matches_lists_in_memory() -> None:
    run_state_machine_as_test(
        LogMachine,
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            derandomize=True,  # the same walks each time; the slow one below draws new ones
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow],
            deadline=None,
        ),
    )


@pytest.mark.slow
def test_any_long_sequence_of_calls_matches_lists_in_memory() -> None:
    run_state_machine_as_test(
        LogMachine,
        settings=settings(
            max_examples=400,
            stateful_step_count=80,
            suppress_health_check=[HealthCheck.too_slow],
            deadline=None,
        ),
    )
