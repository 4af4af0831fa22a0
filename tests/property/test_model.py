"""Any sequence of calls against a list in memory.

Goal: no order of appends, rolls, reopenings, crashes, retentions, erasures, proofs and commits
makes the log hold anything but what a list would. Method: a state machine; after every step
offsets, bytes and roots are compared, and nothing missing is forgiven.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

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
    OffsetOutOfRangeError,
    ProducerRecord,
    Record,
    RetentionConfig,
)
from support.crashes import crash
from support.log_model import Event
from support.naive_tree import NaiveTree

PARTITIONS = 3
values = st.one_of(st.none(), st.binary(max_size=40), st.binary(min_size=900, max_size=1500))
keys = st.one_of(st.none(), st.binary(max_size=8))
names = st.text(max_size=5)
headers = st.lists(st.tuples(names, st.one_of(st.none(), st.binary(max_size=5))), max_size=2)
times = st.integers(0, 1 << 41)
events = st.builds(
    Event, values, keys, times, headers.map(lambda pairs: tuple((n, v) for n, v in pairs))
)
placed = st.tuples(st.integers(0, PARTITIONS - 1), events)
numbers = st.integers(0, 1 << 30)


class LogMachine(RuleBasedStateMachine):
    """One topic of three partitions with small segments; the model is a list of events each."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.written: list[list[Event]] = [[] for _ in range(PARTITIONS)]
        self.leaves: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        self.erased: list[set[int]] = [set() for _ in range(PARTITIONS)]
        self.erasable = False
        self.starts = [0] * PARTITIONS  # what was hidden stays hidden
        self.limit: int | None = None
        self.committed = [0] * PARTITIONS
        self.roots: dict[tuple[int, int], bytes] = {}
        self.broker = Broker.open(self.root)

    @initialize(
        compression=st.sampled_from(["none", "lz4"]),
        durability=st.sampled_from(["fsync", "disk"]),
        erasable=st.booleans(),
    )
    def create(self, compression: str, durability: str, *, erasable: bool) -> None:
        self.erasable = erasable
        self.broker.create_topic(
            "t",
            partitions=PARTITIONS,
            segment_bytes=4096,
            compression=compression,
            durability=durability,
            erasable=erasable,
        )

    @rule(where=placed)
    def send(self, where: tuple[int, Event]) -> None:
        index, event = where
        metadata = self.broker.producer().send(record_of(index, event))
        assert metadata.offset == len(self.written[index])
        self._note(index, event)

    @rule(batch=st.lists(placed, max_size=12))
    def send_batch(self, batch: list[tuple[int, Event]]) -> None:
        places = self.broker.producer().send_batch([record_of(i, e) for i, e in batch])
        for (index, event), metadata in zip(batch, places, strict=True):
            assert metadata.offset == len(self.written[index])
            self._note(index, event)

    @rule(batch=st.lists(placed, max_size=6))
    def send_nowait_and_flush(self, batch: list[tuple[int, Event]]) -> None:
        producer = self.broker.producer()
        deliveries = [producer.send_nowait(record_of(i, e)) for i, e in batch]
        assert producer.flush() == 0
        for (index, event), delivery in zip(batch, deliveries, strict=True):
            assert delivery.result(0).offset == len(self.written[index])
            self._note(index, event)

    @rule()
    def reopen(self) -> None:
        self.broker.close()
        self.broker = Broker.open(self.root)

    @rule()
    def crash_and_reopen(self) -> None:
        """As after kill -9: nothing is told to the disk, and nothing acknowledged is lost."""
        crash(self.broker)
        self.broker = Broker.open(self.root)

    @rule(limit=st.one_of(st.none(), st.integers(1, 8)))
    def alter_retention(self, limit: int | None) -> None:
        self.starts = [self._start(index) for index in range(PARTITIONS)]
        self.limit = limit
        self.broker.topic("t").alter(retention=RetentionConfig(max_records=limit))

    @rule()
    def apply_retention(self) -> None:
        self.broker.apply_retention()

    @rule(index=st.integers(0, PARTITIONS - 1))
    def compact(self, index: int) -> None:
        self.broker.topic("t").partition(index).compact()

    @precondition(lambda self: self.erasable and any(self.written))
    @rule(index=st.integers(0, PARTITIONS - 1), chosen=st.lists(numbers, max_size=3))
    def erase(self, index: int, chosen: list[int]) -> None:
        """Also what retention took, and what is erased already."""
        count = len(self.written[index])
        offsets = sorted({one % count for one in chosen}) if count else []
        found = self.broker.topic("t").partition(index).erase(*offsets)
        assert found == [one for one in offsets if one not in self.erased[index]]
        self.erased[index].update(offsets)

    @precondition(lambda self: self.erasable)
    @rule(key=keys)
    def erase_key(self, key: bytes | None) -> None:
        """All that is there, whether or not it is shown; what is on disk no more keeps its salt."""
        if key is None:
            return
        found = self.broker.topic("t").erase_key(key)
        for index in range(PARTITIONS):
            of_key = {n for n, event in enumerate(self.written[index]) if event.key == key}
            now = set(found.get(index, []))
            shown = {n for n in of_key if n >= self._start(index)}
            assert shown - self.erased[index] <= now <= of_key - self.erased[index]
            self.erased[index] |= now

    @rule(index=st.integers(0, PARTITIONS - 1), offset=numbers, size=numbers)
    def prove(self, index: int, offset: int, size: int) -> None:
        """Any record in any tree of the past; the entry only while the record is here."""
        count = len(self.written[index])
        if not count:
            return
        partition = self.broker.topic("t").partition(index)
        size = 1 + size % count
        offset %= size
        proof = partition.proof(offset, size)
        tree = NaiveTree(self.leaves[index])
        assert proof.leaf_hash == self.leaves[index][offset]
        assert list(proof.path) == tree.inclusion(offset, 0, size)
        assert proof.root == tree.root(0, size)
        if offset >= self._start(index):
            if offset in self.erased[index]:
                assert proof.entry is not None
                proof.check_leaf(tree.root(0, size))
            else:
                assert proof.verify(partition.read(offset), tree.root(0, size))
        consistency = partition.consistency_proof(size)
        assert consistency.verify(tree.root(0, size), tree.root(0, count))

    @rule(most=st.integers(1, 20))
    def consume_and_commit(self, most: int) -> None:
        """The group goes on where it committed, or at the start that overtook it."""
        with self.broker.consumer("g", auto_commit=False) as consumer:
            consumer.assign([("t", index) for index in range(PARTITIONS)])
            records = consumer.poll(max_records=most)
            for record in records:
                index = record.partition
                expected = max(self.committed[index], self._start(index))
                assert record.offset == expected
                assert event_of(record) == self._event(index, expected)
                self.committed[index] = expected + 1
            consumer.commit_sync()
            for index in range(PARTITIONS):
                self.committed[index] = consumer.position(("t", index))
        left = sum(
            len(self.written[i]) - max(self.committed[i], self._start(i)) for i in range(PARTITIONS)
        )
        assert records or not left

    @rule(index=st.integers(0, PARTITIONS - 1), when=times)
    def find_by_time(self, index: int, when: int) -> None:
        start = self._start(index)
        found = self.broker.topic("t").partition(index).offset_for_timestamp(when)
        wanted = (
            n
            for n in range(start, len(self.written[index]))
            if self.written[index][n].timestamp_ms >= when
        )
        assert found == next(wanted, None)

    @rule(index=st.integers(0, PARTITIONS - 1))
    def verify(self, index: int) -> None:
        report = self.broker.topic("t").partition(index).verify()
        assert report.end_offset == len(self.written[index])
        here = {n for n in self.erased[index] if n >= report.first_offset}
        assert set(report.erased) == here

    @precondition(lambda self: any(self.leaves))
    @rule(index=st.integers(0, PARTITIONS - 1), number=numbers)
    def find_leaf(self, index: int, number: int) -> None:
        if self.leaves[index]:
            leaf = self.leaves[index][number % len(self.leaves[index])]
            assert self.broker.topic("t").partition(index).find(leaf) == self.leaves[index].index(
                leaf
            )

    @invariant()
    def holds_what_was_written(self) -> None:
        if "t" not in self.broker.topics():
            return
        for index in range(PARTITIONS):
            partition = self.broker.topic("t").partition(index)
            end, start = len(self.written[index]), self._start(index)
            assert partition.end_offset == end
            assert partition.start_offset == start
            records = partition.read_range(start, end)
            assert [record.offset for record in records] == list(range(start, end))
            assert [event_of(r) for r in records] == [
                self._event(index, offset) for offset in range(start, end)
            ]
            assert partition.root() == self._root(index, end)
            for outside in (start - 1, end):
                if outside >= 0:
                    with pytest.raises(OffsetOutOfRangeError):
                        partition.read(outside)

    def teardown(self) -> None:
        self.broker.close()
        shutil.rmtree(self.root)

    def _note(self, index: int, event: Event) -> None:
        offset = len(self.written[index])
        salt = self.broker.topic("t").partition(index).salts(offset, offset + 1)
        self.leaves[index].append(event.leaf(offset, salt))
        self.written[index].append(event)

    def _event(self, index: int, offset: int) -> Event | None:
        """What is to be read there; None for a record that is erased."""
        return None if offset in self.erased[index] else self.written[index][offset]

    def _start(self, index: int) -> int:
        end = len(self.written[index])
        return max(self.starts[index], 0 if self.limit is None else end - self.limit)

    def _root(self, index: int, size: int) -> bytes:
        if (index, size) not in self.roots:
            self.roots[index, size] = NaiveTree(self.leaves[index]).root(0, size)
        return self.roots[index, size]


def record_of(index: int, event: Event) -> ProducerRecord:
    return ProducerRecord(
        "t",
        event.value,
        event.key,
        event.headers,
        partition=index,
        timestamp_ms=event.timestamp_ms,
    )


def event_of(record: Record) -> Event | None:
    if record.erased:
        assert (record.value, record.key, record.headers) == (None, None, ())
        return None
    return Event(record.value, record.key, record.timestamp_ms, record.headers)


@pytest.fixture(autouse=True)
def quiet() -> object:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_any_sequence_of_calls_matches_a_list_in_memory() -> None:
    run_state_machine_as_test(
        LogMachine,
        settings=settings(
            max_examples=120,
            stateful_step_count=30,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # the slow one below shrinks
            suppress_health_check=[HealthCheck.too_slow],
            deadline=None,
        ),
    )


@pytest.mark.slow
def test_any_long_sequence_of_calls_matches_a_list_in_memory() -> None:
    run_state_machine_as_test(
        LogMachine,
        settings=settings(
            max_examples=400,
            stateful_step_count=80,
            suppress_health_check=[HealthCheck.too_slow],
            deadline=None,
        ),
    )
