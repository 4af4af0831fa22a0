"""Consumers of one group on a real broker: sharing, callbacks, joining late, being put out."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from merkql import (
    Broker,
    ClosedError,
    Consumer,
    Record,
    StaleGenerationError,
    TopicPartition,
)
from merkql.assignment import decode_state


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Journal:
    """Writes down what the callbacks of some members are told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, list[int]]] = []

    def of(self, name: str) -> dict[str, Callable[[list[TopicPartition]], object]]:
        def note(what: str) -> Callable[[list[TopicPartition]], object]:
            return lambda partitions: self.lines.append(
                (name, what, [one.partition for one in partitions])
            )

        return {"on_assign": note("gets"), "on_revoke": note("gives")}

    def take(self) -> list[tuple[str, str, list[int]]]:
        lines, self.lines = self.lines, []
        return lines


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker.temporary() as broker:
        broker.create_topic("orders", partitions=4)
        yield broker


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def join(broker: Broker, clock: Clock, journal: Journal) -> Callable[..., Consumer]:
    def join(name: str = "?", **options: object) -> Consumer:
        consumer = broker.consumer("g", clock=clock, **options)
        consumer.subscribe(["orders"], **journal.of(name))
        return consumer

    return join


def fill(broker: Broker, count: int = 10, topic: str = "orders") -> None:
    producer = broker.producer()
    for partition in range(len(broker.topic(topic).partitions())):
        producer.send_values(topic, [b"%d" % i for i in range(count)], partition=partition)


def numbers(consumer: Consumer) -> list[int]:
    return sorted(one.partition for one in consumer.assignment)


def places(records: list[Record]) -> set[tuple[int, int]]:
    return {(record.partition, record.offset) for record in records}


def test_members_share_all_records_and_none_twice(
    broker: Broker, join: Callable[..., Consumer]
) -> None:
    fill(broker)
    members = [join() for _ in range(3)]
    records = [record for member in members for record in member.poll()]
    assert len(records) == 40
    assert places(records) == {(p, o) for p in range(4) for o in range(10)}
    assert [numbers(member) for member in members] == [[0, 1], [2], [3]]


def test_more_members_than_partitions_leave_some_idle(join: Callable[..., Consumer]) -> None:
    members = [join() for _ in range(6)]
    for member in members:
        member.poll()
    assert [len(member.assignment) for member in members] == [1, 1, 1, 1, 0, 0]


def test_who_joins_late_begins_where_the_first_one_stopped(
    broker: Broker, join: Callable[..., Consumer], journal: Journal
) -> None:
    fill(broker)
    first = join("a")
    first.poll()
    assert journal.take() == [("a", "gets", [0, 1, 2, 3])]
    second = join("b")
    assert second.poll() == []
    assert journal.take() == []
    first.poll()
    assert journal.take() == [("a", "gives", [2, 3])]
    assert second.poll() == []  # all of it was committed before it changed hands
    assert journal.take() == [("b", "gets", [2, 3])]
    fill(broker, 1)
    assert places(first.poll()) == {(0, 10), (1, 10)}
    assert places(second.poll()) == {(2, 10), (3, 10)}
    second.close()
    first.poll()
    assert journal.take() == [("b", "gives", [2, 3]), ("a", "gets", [2, 3])]


def test_on_revoke_may_commit_what_is_done(broker: Broker, clock: Clock) -> None:
    fill(broker)
    first = broker.consumer("g", auto_commit=False, clock=clock)

    def on_revoke(partitions: list[TopicPartition]) -> None:
        first.commit_sync({one: first.position(one) - 1 for one in partitions})

    first.subscribe(["orders"], on_revoke=on_revoke)
    first.poll()
    second = broker.consumer("g", auto_commit=False, clock=clock)
    second.subscribe(["orders"])
    first.poll()
    assert places(second.poll()) == {(2, 9), (3, 9)}


def test_on_assign_may_choose_the_position(broker: Broker, clock: Clock) -> None:
    fill(broker)
    consumer = broker.consumer("g", clock=clock)

    def on_assign(partitions: list[TopicPartition]) -> None:
        for one in partitions:
            consumer.seek(one, 10 - one.partition)

    consumer.subscribe(["orders"], on_assign=on_assign)
    assert places(consumer.poll()) == {(1, 9), (2, 8), (2, 9), (3, 7), (3, 8), (3, 9)}


def test_an_error_in_on_assign_is_raised_and_it_is_called_again(
    broker: Broker, clock: Clock
) -> None:
    fill(broker)
    consumer = broker.consumer("g", clock=clock)
    told: list[int] = []

    def on_assign(partitions: list[TopicPartition]) -> None:
        told.append(len(partitions))
        if len(told) == 1:
            raise ZeroDivisionError

    consumer.subscribe(["orders"], on_assign=on_assign)
    with pytest.raises(ZeroDivisionError):
        consumer.poll()
    assert len(consumer.poll()) == 40
    assert told == [4, 4]


def test_an_error_in_on_revoke_is_raised_and_the_partitions_are_given_up(
    broker: Broker, join: Callable[..., Consumer], clock: Clock
) -> None:
    def on_revoke(_: object) -> None:
        raise ZeroDivisionError

    first = broker.consumer("g", clock=clock)
    first.subscribe(["orders"], on_revoke=on_revoke)
    first.poll()
    second = join()
    with pytest.raises(ZeroDivisionError):
        first.poll()
    second.poll()
    assert (numbers(first), numbers(second)) == ([0, 1], [2, 3])
    with pytest.raises(ZeroDivisionError):
        first.close()
    assert first.closed
    second.poll()
    assert numbers(second) == [0, 1, 2, 3]


def test_poll_in_a_callback_is_refused(broker: Broker, clock: Clock) -> None:
    consumer = broker.consumer("g", clock=clock)
    consumer.subscribe(["orders"], on_assign=lambda _: consumer.poll())
    with pytest.raises(RuntimeError, match="by a callback"):
        consumer.poll()


def test_one_that_was_put_out_is_told_and_joins_again(
    broker: Broker, join: Callable[..., Consumer], clock: Clock, journal: Journal
) -> None:
    fill(broker)
    first = join("a", max_poll_interval=60, auto_commit=False)
    second = join("b", auto_commit=False)
    assert len(first.poll()) == len(second.poll()) == 20
    journal.take()
    for _ in range(62):
        clock.seconds += 1
        second.poll()
    assert numbers(second) == [0, 1, 2, 3]
    with pytest.raises(StaleGenerationError, match="group 'g' is at generation 3"):
        first.commit_sync()
    assert journal.take() == [("b", "gets", [0, 1])]
    first.poll()
    assert ("a", "gives", [0, 1]) in journal.take()
    second.poll()
    first.poll()
    assert (numbers(first), numbers(second)) == ([0, 1], [2, 3])


def test_the_automatic_commit_of_what_was_lost_is_dropped(
    broker: Broker, join: Callable[..., Consumer], clock: Clock
) -> None:
    fill(broker)
    first, second = join("a", rebalance_timeout=2), None
    assert len(first.poll()) == 40
    second = join("b", auto_commit=False)
    clock.seconds += 2.1
    assert places(second.poll()) == {(p, o) for p in (2, 3) for o in range(10)}
    first.close()
    second.poll()
    assert second.committed(("orders", 0)) == 10
    assert second.committed(("orders", 2)) is None


def test_a_topic_that_is_created_later_is_picked_up(broker: Broker, clock: Clock) -> None:
    consumer = broker.consumer("g", clock=clock)
    consumer.subscribe(["later"])
    assert consumer.poll() == []
    broker.create_topic("later", partitions=2)
    fill(broker, 3, "later")
    assert len(consumer.poll()) == 6


def test_a_pattern_picks_up_topics_as_they_come_and_go(
    broker: Broker, clock: Clock, journal: Journal
) -> None:
    consumer = broker.consumer("g", clock=clock)
    consumer.subscribe(re.compile(r"sensor-\d+"), **journal.of("a"))
    for name in ("sensor-1", "sensor-2", "sensor-x", "my-sensor-3"):
        broker.create_topic(name)
        fill(broker, 2, name)
    assert {record.topic for record in consumer.poll()} == {"sensor-1", "sensor-2"}
    broker.create_topic("sensor-3")
    fill(broker, 2, "sensor-3")
    assert {record.topic for record in consumer.poll()} == {"sensor-3"}
    broker.delete_topic("sensor-1")
    consumer.poll()
    assert {one.topic for one in consumer.assignment} == {"sensor-2", "sensor-3"}
    assert journal.take()[-1] == ("a", "gives", [0])


def test_added_partitions_are_picked_up_and_shared(
    broker: Broker, join: Callable[..., Consumer]
) -> None:
    first, second = join("a"), join("b")
    first.poll()
    second.poll()
    broker.topic("orders").add_partitions(6)
    fill(broker, 1)
    records = []
    for member in (first, second, first, second):
        records += member.poll()
    assert places(records) == {(p, 0) for p in range(6)}
    assert (numbers(first), numbers(second)) == ([0, 1, 2], [3, 4, 5])


def test_a_poll_that_waits_wakes_for_a_topic_that_comes(broker: Broker) -> None:
    consumer = broker.consumer("g")
    consumer.subscribe(["later"])
    consumer.poll()
    thread = Thread(target=lambda: broker.producer().send("later", b"x"))
    thread.start()
    assert len(consumer.poll(timeout=10)) == 1
    thread.join()


def test_a_loop_that_works_slowly_does_not_keep_the_group_waiting(
    broker: Broker, join: Callable[..., Consumer], clock: Clock
) -> None:
    fill(broker, 100)
    first, second = join("a"), join("b")
    second.close()
    seen = []
    for record in first:
        seen.append((record.partition, record.offset))
        clock.seconds += 1
        if len(seen) == 5:
            second = join("b")
        if len(seen) == 10:
            break
    taken = places(second.poll())
    assert len(taken) > 150
    assert not taken & set(seen)
    assert sorted(numbers(first) + numbers(second)) == [0, 1, 2, 3]


def test_subscribing_anew_keeps_what_both_cover(
    broker: Broker, join: Callable[..., Consumer], journal: Journal
) -> None:
    broker.create_topic("ticks")
    fill(broker)
    fill(broker, 2, "ticks")
    consumer = join("a")
    consumer.poll()
    consumer.subscribe(["orders", "ticks"], **journal.of("a"))
    assert len(consumer.poll()) == 2
    consumer.subscribe(["ticks"], **journal.of("a"))
    assert consumer.poll() == []
    assert journal.take() == [
        ("a", "gets", [0, 1, 2, 3]),
        ("a", "gets", [0]),
        ("a", "gives", [0, 1, 2, 3]),
    ]
    assert consumer.committed(("orders", 0)) == 10


def test_members_may_want_different_topics(broker: Broker, clock: Clock) -> None:
    broker.create_topic("ticks", partitions=2)
    one, two = broker.consumer("g", clock=clock), broker.consumer("g", clock=clock)
    one.subscribe(["orders"])
    two.subscribe(["ticks"])
    one.poll()
    two.poll()
    assert {name.topic for name in one.assignment} == {"orders"}
    assert {name.topic for name in two.assignment} == {"ticks"}


def test_closing_a_broker_takes_its_members_out(tmp_path: Path) -> None:
    with Broker.open(tmp_path / "data", default_partitions=2) as broker:
        fill_topic = broker.create_topic("orders")
        broker.producer().send("orders", b"x", partition=0)
        consumer = broker.consumer("g")
        consumer.subscribe(["orders"])
        assert len(consumer.poll()) == 1
        assert len(fill_topic.partitions()) == 2
    assert os.listdir(tmp_path / "data/groups/g/members") == []
    with Broker.open(tmp_path / "data") as broker, broker.consumer("g") as consumer:
        consumer.subscribe(["orders"])
        assert consumer.poll() == []


def test_readers_join_groups_and_commit(tmp_path: Path) -> None:
    with Broker.open(tmp_path / "data") as broker:
        broker.create_topic("orders", partitions=4)
        fill(broker)
        with Broker.open(tmp_path / "data", read_only=True) as reader:
            ours, theirs = broker.consumer("g"), reader.consumer("g")
            for consumer in (ours, theirs):
                consumer.subscribe(["orders"])
            assert len(ours.poll()) == len(theirs.poll()) == 20
            theirs.commit_sync()
            fill(broker, 1)
            assert len(theirs.poll(timeout=10)) == 2
        ours.poll()
        assert numbers(ours) == [0, 1, 2, 3]
        assert ours.committed(("orders", 3)) == 11


def test_a_forked_child_has_nothing_of_its_parents_membership(
    broker: Broker, join: Callable[..., Consumer]
) -> None:
    consumer = join("a")
    consumer.poll()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with pytest.raises(ClosedError, match="forked"):
                consumer.poll()
            consumer.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    fill(broker)
    assert len(consumer.poll()) == 40


def test_threads_that_join_and_leave_hand_every_record_out_once(broker: Broker) -> None:
    """Six members in threads of their own come and go under a producer; each commits what it got.

    Nobody is put out and nobody loses a partition without having committed, so at least once is
    exactly once here.
    """
    total, seen, errors = 3000, [], []
    done = Event()

    def work(polls: int) -> None:
        try:
            with broker.consumer("g", auto_commit=False, rebalance_timeout=60) as consumer:
                consumer.subscribe(["orders"])
                while polls and not done.is_set():
                    records = consumer.poll(timeout=0.02, max_records=40)
                    seen.extend((one.partition, one.offset) for one in records)
                    consumer.commit_sync()
                    polls -= 1
                    if len(seen) >= total:
                        done.set()
        except BaseException as error:
            errors.append(error)
            done.set()

    polls = [1 << 30, 7, 1 << 30, 3, 20, 1 << 30]
    threads = [Thread(target=work, args=[count]) for count in polls]
    producer = broker.producer()
    for number in range(total):
        if number % 500 == 0:
            threads[number // 500].start()
        producer.send("orders", b"x", partition=number % 4)
    for thread in threads:
        thread.join(60)
    assert not errors
    assert sorted(seen) == [(p, o) for p in range(4) for o in range(total // 4)]


def test_three_seconds_to_give_way_and_five_minutes_between_polls(broker: Broker) -> None:
    with broker.consumer("g") as consumer:
        consumer.subscribe(["orders"])
        path = Path(broker._groups_directory) / "g" / "assignment"
        (member,) = decode_state(path.read_bytes()).members.values()
    assert (member.rebalance_timeout_ms, member.max_poll_interval_ms) == (3_000, 300_000)
