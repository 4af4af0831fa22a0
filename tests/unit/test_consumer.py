"""One consumer on a real broker: what poll hands out, positions, commits, gaps, errors, threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from merkql import (
    Broker,
    ClosedError,
    Consumer,
    CorruptionError,
    NoOffsetError,
    OffsetOutOfRangeError,
    Record,
    RetentionConfig,
    TopicPartition,
    UnknownPartitionError,
    UnknownTopicError,
)
from merkql.storage.partition import Partition

ORDERS = TopicPartition("orders", 0)
DEADLINE_S = 10.0  # no test waits that long unless it fails


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker.temporary() as broker:
        broker.create_topic("orders")
        yield broker


def send(broker: Broker, count: int, topic: str = "orders", partition: int = 0) -> None:
    broker.producer().send_values(topic, [b"%d" % i for i in range(count)], partition=partition)


def offsets(records: list[Record]) -> list[int]:
    return [record.offset for record in records]


def subscribed(broker: Broker, group: str = "g", **options: object) -> Consumer:
    consumer: Consumer = broker.consumer(group, **options)
    consumer.subscribe(["orders"])
    return consumer


def in_thread(function: object) -> threading.Thread:
    assert callable(function)
    thread = threading.Thread(target=function)
    thread.start()
    return thread


# What poll hands out


def test_poll_drains_then_follows_the_tail(broker: Broker) -> None:
    consumer = subscribed(broker)
    assert consumer.poll() == []
    send(broker, 3)
    assert offsets(consumer.poll()) == [0, 1, 2]
    assert consumer.poll() == []
    send(broker, 2)
    assert offsets(consumer.poll()) == [3, 4]


def test_poll_hands_out_at_most_max_records(broker: Broker) -> None:
    send(broker, 10)
    consumer = subscribed(broker, max_records=4)
    assert offsets(consumer.poll()) == [0, 1, 2, 3]
    assert offsets(consumer.poll(max_records=1)) == [4]
    assert offsets(consumer.poll(max_records=100)) == [5, 6, 7, 8, 9]


def test_poll_reads_a_bounded_number_of_bytes(broker: Broker) -> None:
    broker.producer().send_values("orders", [b"x" * 1000] * 1000)
    consumer = subscribed(broker, fetch_max_bytes=100_000)
    first = consumer.poll()
    assert 50 <= len(first) <= 120
    assert consumer.poll()[0].offset == first[-1].offset + 1


def test_a_record_larger_than_the_bound_is_handed_out(broker: Broker) -> None:
    broker.producer().send("orders", b"x" * 1_000_000)
    (record,) = subscribed(broker, fetch_max_bytes=1).poll()
    assert record.value == b"x" * 1_000_000


def test_partitions_are_served_fairly(broker: Broker) -> None:
    broker.create_topic("ticks", partitions=3)
    for partition in range(3):
        send(broker, 1000, "ticks", partition)
    consumer = broker.consumer("g", max_records=100)
    consumer.subscribe(["ticks"])
    seen = [{record.partition for record in consumer.poll()} for _ in range(6)]
    assert all(len(one) == 1 for one in seen)
    assert set.union(*seen[:3]) == set.union(*seen[3:]) == {0, 1, 2}


def test_one_poll_serves_all_partitions_that_have_records(broker: Broker) -> None:
    broker.create_topic("ticks", partitions=4)
    for partition in range(3):
        broker.producer().send_values("ticks", [b"x" * 1000] * 1000, partition=partition)
    consumer = broker.consumer("g", fetch_max_bytes=300_000)
    consumer.subscribe(["ticks"])
    records = consumer.poll()
    assert {record.partition for record in records} == {0, 1, 2}
    assert len(records) < 400
    for partition in range(3):
        own = [record.offset for record in records if record.partition == partition]
        assert own == list(range(len(own)))


def test_poll_wakes_as_soon_as_a_record_is_there(broker: Broker) -> None:
    consumer = subscribed(broker)
    consumer.poll()
    thread = in_thread(lambda: send(broker, 1))
    assert len(consumer.poll(timeout=DEADLINE_S)) == 1
    thread.join()


def test_poll_comes_back_empty_after_its_timeout(broker: Broker) -> None:
    assert subscribed(broker).poll(timeout=0.01) == []


def test_iteration_goes_on_until_close(broker: Broker) -> None:
    send(broker, 5)
    consumer = subscribed(broker)
    closer = threading.Thread(target=consumer.close)
    seen = []
    for record in consumer:
        seen.append(record.offset)
        if len(seen) == 5:
            send(broker, 5)
        if len(seen) == 10:
            closer.start()
    closer.join()
    assert seen == list(range(10))
    assert consumer.closed


def test_iteration_ends_on_wakeup_and_can_go_on(broker: Broker) -> None:
    send(broker, 2)
    consumer = subscribed(broker)
    seen = []
    for record in consumer:
        seen.append(record.offset)
        if record.offset == 1:
            in_thread(consumer.wakeup)
    send(broker, 1)
    for record in consumer:
        seen.append(record.offset)
        break
    assert seen == [0, 1, 2]


def test_wakeup_ends_a_poll_that_waits(broker: Broker) -> None:
    consumer = subscribed(broker)
    thread = in_thread(consumer.wakeup)
    assert consumer.poll(timeout=DEADLINE_S) == []
    thread.join()
    assert consumer.poll(timeout=0.01) == []  # and is over then


def test_a_loop_that_is_left_leaves_the_position_behind_its_last_record(broker: Broker) -> None:
    send(broker, 10)
    consumer = subscribed(broker)
    for record in consumer:
        if record.offset == 3:
            break
    assert consumer.position(ORDERS) == 4
    assert offsets(consumer.poll()) == [4, 5, 6, 7, 8, 9]


def test_seek_inside_a_loop_takes_effect_with_the_next_record(broker: Broker) -> None:
    send(broker, 10)
    consumer = subscribed(broker)
    seen = []
    for record in consumer:
        seen.append(record.offset)
        if record.offset == 1 and len(seen) == 2:
            consumer.seek(ORDERS, 8)
        if record.offset == 9:
            break
    assert seen == [0, 1, 8, 9]


# Committing


def test_a_commit_is_where_the_next_one_begins(broker: Broker) -> None:
    send(broker, 5)
    with subscribed(broker, auto_commit=False) as consumer:
        consumer.poll(max_records=3)
        consumer.commit_sync()
    with subscribed(broker, auto_commit=False) as consumer:
        assert offsets(consumer.poll()) == [3, 4]
        assert consumer.committed(ORDERS) == 3


def test_positions_that_were_not_committed_are_forgotten(broker: Broker) -> None:
    send(broker, 3)
    for _ in range(2):
        with subscribed(broker, auto_commit=False) as consumer:
            assert offsets(consumer.poll()) == [0, 1, 2]


def test_auto_commit_commits_at_the_next_poll_what_the_one_before_handed_out(
    broker: Broker,
) -> None:
    send(broker, 6)
    consumer = subscribed(broker, max_records=2)
    assert consumer.committed(ORDERS) is None
    consumer.poll()
    assert consumer.committed(ORDERS) is None
    consumer.poll()
    assert consumer.committed(ORDERS) == 2
    consumer.close()
    with subscribed(broker) as consumer:
        assert offsets(consumer.poll()) == [4, 5]


def test_auto_commit_in_a_loop_counts_what_the_loop_got(broker: Broker) -> None:
    send(broker, 6)
    with subscribed(broker) as consumer:
        for record in consumer:
            if record.offset == 2:
                break
    with subscribed(broker) as consumer:
        assert offsets(consumer.poll()) == [3, 4, 5]


def test_a_block_left_by_an_exception_commits_nothing_more(broker: Broker) -> None:
    send(broker, 6)
    with pytest.raises(ZeroDivisionError), subscribed(broker, max_records=2) as consumer:
        consumer.poll()
        consumer.poll()
        raise ZeroDivisionError
    with subscribed(broker) as consumer:
        assert offsets(consumer.poll()) == [2, 3, 4, 5]


def test_explicit_offsets_are_committed(broker: Broker) -> None:
    send(broker, 5)
    consumer = subscribed(broker, auto_commit=False)
    consumer.commit_sync({("orders", 0): 2})
    assert consumer.committed(("orders", 0)) == 2
    consumer.commit_sync({ORDERS: 5})
    assert consumer.committed(ORDERS) == 5


def test_groups_do_not_know_of_each_other(broker: Broker) -> None:
    send(broker, 3)
    with subscribed(broker, "one") as consumer:
        consumer.poll()
    with subscribed(broker, "two") as consumer:
        assert offsets(consumer.poll()) == [0, 1, 2]
    assert broker.groups() == ["one", "two"]


def test_a_topic_made_anew_begins_anew(broker: Broker) -> None:
    send(broker, 3)
    with subscribed(broker) as consumer:
        consumer.poll()
    broker.delete_topic("orders")
    broker.create_topic("orders")
    send(broker, 2)
    with subscribed(broker) as consumer:
        assert consumer.committed(ORDERS) is None
        assert offsets(consumer.poll()) == [0, 1]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({ORDERS: 4}, OffsetOutOfRangeError),
        ({ORDERS: -1}, ValueError),
        ({ORDERS: True}, TypeError),
        ({ORDERS: "1"}, TypeError),
        ({ORDERS: None}, TypeError),
        ({("orders", 1): 0}, UnknownPartitionError),
        ({("orders", -1): 0}, ValueError),
        ({("nowhere", 0): 0}, UnknownTopicError),
        ({"orders": 0}, TypeError),
        ({("orders", "0"): 0}, TypeError),
    ],
)
def test_commits_of_what_is_not_there_are_refused(
    broker: Broker, given: dict[tuple[str, int], int], error: type[Exception]
) -> None:
    send(broker, 3)
    consumer = subscribed(broker, auto_commit=False)
    with pytest.raises(error):
        consumer.commit_sync({ORDERS: 1} | given)
    assert consumer.committed(ORDERS) is None


def test_nothing_read_nothing_committed(broker: Broker) -> None:
    consumer = broker.consumer("g")
    consumer.commit_sync()
    consumer.commit_sync({})
    assert broker.groups() == []


# Positions


def test_positions_can_be_moved(broker: Broker) -> None:
    send(broker, 10)
    consumer = subscribed(broker, auto_commit=False)
    consumer.poll()
    assert consumer.position(ORDERS) == 10
    consumer.seek(ORDERS, 4)
    assert offsets(consumer.poll()) == [4, 5, 6, 7, 8, 9]
    consumer.seek_to_beginning(ORDERS)
    assert consumer.position(ORDERS) == 0
    consumer.seek_to_end()
    assert consumer.poll() == []
    assert consumer.committed(ORDERS) is None


def test_seek_to_a_time(broker: Broker) -> None:
    producer = broker.producer()
    for hour in range(5):
        producer.send("orders", b"", timestamp_ms=hour * 3_600_000)
    consumer = subscribed(broker)
    consumer.poll()
    consumer.seek_to_time(3_600_001)
    assert offsets(consumer.poll()) == [2, 3, 4]
    consumer.seek_to_time(1 << 60, ORDERS)
    assert consumer.poll() == []


@pytest.mark.parametrize("offset", [11, 1 << 70])
def test_a_seek_past_the_end_is_refused(broker: Broker, offset: int) -> None:
    send(broker, 10)
    consumer = subscribed(broker)
    consumer.poll()
    with pytest.raises(OffsetOutOfRangeError):
        consumer.seek(ORDERS, offset)
    with pytest.raises(ValueError, match="negative"):
        consumer.seek(ORDERS, -1)
    assert consumer.position(ORDERS) == 10


def test_a_seek_back_is_not_undone_by_the_automatic_commit(broker: Broker) -> None:
    send(broker, 10)
    with subscribed(broker) as consumer:
        consumer.poll()
        consumer.seek(ORDERS, 3)
    with subscribed(broker) as consumer:
        assert len(consumer.poll()) == 10


def test_what_is_not_read_here_has_no_position(broker: Broker) -> None:
    consumer = subscribed(broker)
    with pytest.raises(ValueError, match="subscribe and poll"):
        consumer.position(ORDERS)
    with pytest.raises(ValueError, match="'elsewhere' partition 0"):
        consumer.seek(("elsewhere", 0), 0)


def test_paused_partitions_wait(broker: Broker) -> None:
    broker.create_topic("ticks")
    send(broker, 2)
    send(broker, 2, "ticks")
    consumer = broker.consumer("g")
    consumer.assign([("orders", 0), ("ticks", 0)])
    consumer.pause(ORDERS)
    assert consumer.paused == {ORDERS}
    assert {record.topic for record in consumer.poll()} == {"ticks"}
    consumer.resume()
    assert {record.topic for record in consumer.poll()} == {"orders"}


def test_lag_counts_what_is_left(broker: Broker) -> None:
    send(broker, 10)
    consumer = subscribed(broker)
    assert consumer.lag() == {}
    consumer.poll(max_records=4)
    assert consumer.lag() == {ORDERS: 6}


# Where to begin, and gaps


def test_latest_begins_at_subscribe(broker: Broker) -> None:
    send(broker, 3)
    consumer = subscribed(broker, offset_reset="latest")
    send(broker, 2)
    assert offsets(consumer.poll()) == [3, 4]


def test_latest_reads_what_was_created_later_from_its_beginning(broker: Broker) -> None:
    consumer = broker.consumer("g", offset_reset="latest")
    consumer.subscribe(["orders", "later"])
    consumer.poll()
    broker.create_topic("later", partitions=2)
    send(broker, 2, "later", partition=1)
    assert offsets(consumer.poll()) == [0, 1]


def test_latest_without_records_is_committed_so_that_the_group_goes_on_there(
    broker: Broker,
) -> None:
    send(broker, 3)
    with subscribed(broker, offset_reset="latest") as consumer:
        assert consumer.poll() == []
    send(broker, 2)
    with subscribed(broker, offset_reset="latest") as consumer:
        assert offsets(consumer.poll()) == [3, 4]


def test_a_committed_offset_wins_over_the_reset(broker: Broker) -> None:
    send(broker, 3)
    with subscribed(broker) as consumer:
        consumer.poll()
    send(broker, 2)
    with subscribed(broker, offset_reset="latest") as consumer:
        assert offsets(consumer.poll()) == [3, 4]


def test_none_raises_again_and_again_until_there_is_a_position(broker: Broker) -> None:
    send(broker, 3)
    consumer = subscribed(broker, offset_reset="none")
    for _ in range(2):
        with pytest.raises(NoOffsetError, match="no committed offset for 'orders' partition 0"):
            consumer.poll()
    consumer.seek(ORDERS, 1)
    assert offsets(consumer.poll()) == [1, 2]


def retained(broker: Broker, reset: str, gaps: list[object]) -> Consumer:
    """A consumer at offset 5 of a topic that now begins at 95 and ends at 105."""
    broker.create_topic("ticks", retention=RetentionConfig(max_records=10))
    send(broker, 5, "ticks")
    consumer = broker.consumer(
        "slow", offset_reset=reset, on_gap=lambda *gap: gaps.append(gap), auto_commit=False
    )
    consumer.subscribe(["ticks"])
    if reset == "none":
        consumer.commit_sync({("ticks", 0): 5})
    else:
        consumer.poll()
        consumer.commit_sync({("ticks", 0): 5})
    send(broker, 100, "ticks")
    broker.apply_retention()
    return consumer


def test_a_position_below_the_start_goes_to_the_start_and_tells(broker: Broker) -> None:
    gaps: list[object] = []
    consumer = retained(broker, "earliest", gaps)
    assert offsets(consumer.poll()) == list(range(95, 105))
    assert gaps == [(TopicPartition("ticks", 0), 5, 95)]


def test_a_position_below_the_start_goes_to_the_end_with_latest(broker: Broker) -> None:
    gaps: list[object] = []
    consumer = retained(broker, "latest", gaps)
    assert consumer.poll() == []
    assert gaps == [(TopicPartition("ticks", 0), 5, 105)]
    send(broker, 1, "ticks")
    assert offsets(consumer.poll()) == [105]


def test_a_position_below_the_start_raises_with_none(broker: Broker) -> None:
    gaps: list[object] = []
    consumer = retained(broker, "none", gaps)
    for _ in range(2):
        with pytest.raises(NoOffsetError, match="stands at offset 5"):
            consumer.poll()
    assert gaps == []


def test_a_position_past_the_end_goes_back_to_the_end_and_tells(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power failed: records of durability "disk" are gone, the commit is not."""
    send(broker, 10)
    gaps: list[object] = []
    consumer = subscribed(broker, on_gap=lambda *gap: gaps.append(gap), auto_commit=False)
    with monkeypatch.context() as patch:
        patch.setattr(Partition, "end_offset", property(lambda _: 20))
        consumer.commit_sync({ORDERS: 20})
    assert consumer.poll() == []
    assert gaps == [(ORDERS, 20, 10)]
    send(broker, 1)
    assert offsets(consumer.poll()) == [10]


def test_an_error_in_on_gap_loses_no_record_of_others(broker: Broker) -> None:
    told: list[object] = []

    def on_gap(*gap: object) -> None:
        told.append(gap)
        if len(told) == 1:
            raise ZeroDivisionError

    broker.create_topic("ticks", retention=RetentionConfig(max_records=10))
    send(broker, 100, "ticks")
    broker.apply_retention()
    send(broker, 3)
    consumer = broker.consumer("g", on_gap=on_gap, auto_commit=False)
    consumer.commit_sync({("ticks", 0): 5})
    consumer.subscribe(["orders", "ticks"])
    with pytest.raises(ZeroDivisionError):
        consumer.poll()
    assert {(record.topic, record.offset) for record in consumer.poll()} == {
        *(("orders", i) for i in range(3)),
        *(("ticks", i) for i in range(90, 100)),
    }
    assert told == [(("ticks", 0), 5, 90)] * 2  # until it was heard


# Errors in one partition


@pytest.fixture
def damaged(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Partition 1 of ``ticks`` cannot be read; both of its partitions have ten records."""
    broker.create_topic("ticks", partitions=2)
    for partition in range(2):
        send(broker, 10, "ticks", partition)
    real = Partition.fetch

    def fetch(self: Partition, offset: int, **limits: int) -> list[Record]:
        if self.index == 1:
            raise CorruptionError("the.log", 17, "injected")
        return real(self, offset, **limits)

    monkeypatch.setattr(Partition, "fetch", fetch)
    return monkeypatch


@pytest.mark.usefixtures("damaged")
def test_damage_keeps_no_record_of_others_back_and_is_told_at_the_next_poll(
    broker: Broker,
) -> None:
    consumer = broker.consumer("g")
    consumer.assign([("ticks", 0), ("ticks", 1)])
    assert [(one.partition, one.offset) for one in consumer.poll()] == [(0, i) for i in range(10)]
    for _ in range(3):
        with pytest.raises(CorruptionError, match="injected"):
            consumer.poll()
    send(broker, 1, "ticks", 0)
    assert offsets(consumer.poll()) == [10]
    assert consumer.position(("ticks", 1)) == 0
    consumer.pause(("ticks", 1))
    assert consumer.poll() == []


def test_damage_that_was_mended_costs_nothing(broker: Broker, damaged: pytest.MonkeyPatch) -> None:
    consumer = broker.consumer("g")
    consumer.assign([("ticks", 1)])
    with pytest.raises(CorruptionError):
        consumer.poll()
    damaged.undo()
    assert len(consumer.poll()) == 10


# Choosing by hand


def test_assigned_partitions_are_read_without_membership(broker: Broker) -> None:
    send(broker, 5)
    member, by_hand = subscribed(broker), broker.consumer("g")
    by_hand.assign([ORDERS])
    assert offsets(by_hand.poll()) == offsets(member.poll()) == [0, 1, 2, 3, 4]
    assert by_hand.assignment == member.assignment == {ORDERS}
    by_hand.close()
    assert member.committed(ORDERS) == 5


@pytest.mark.parametrize(
    ("partitions", "error"),
    [
        ([("nowhere", 0)], UnknownTopicError),
        ([("orders", 7)], UnknownPartitionError),
        (["orders"], TypeError),
        ([("orders", -1)], ValueError),
        ([("or/ders", 0)], ValueError),
        (3, TypeError),
    ],
)
def test_what_is_not_there_cannot_be_assigned(
    broker: Broker, partitions: object, error: type[Exception]
) -> None:
    consumer = broker.consumer("g")
    consumer.assign([ORDERS])
    with pytest.raises(error):
        consumer.assign(partitions)  # type: ignore[arg-type]
    assert consumer.assignment == {ORDERS}


def test_unsubscribed_reads_nothing(broker: Broker) -> None:
    send(broker, 5)
    consumer = subscribed(broker)
    consumer.poll()
    consumer.unsubscribe()
    assert consumer.assignment == frozenset()
    assert consumer.poll(timeout=0.01) == []
    assert consumer.committed(ORDERS) == 5
    consumer.unsubscribe()
    consumer.subscribe(["orders"])
    send(broker, 1)
    assert offsets(consumer.poll()) == [5]


def test_waiting_without_end_for_nothing_is_refused(broker: Broker) -> None:
    consumer = broker.consumer("g")
    with pytest.raises(RuntimeError, match="subscribe"):
        consumer.poll(timeout=None)
    with pytest.raises(RuntimeError, match="subscribe"):
        next(iter(consumer))
    consumer.subscribe(["orders"])
    send(broker, 1)
    assert offsets(consumer.poll(timeout=None)) == [0]


def test_commit_of_something_else_than_a_mapping_is_refused(broker: Broker) -> None:
    with pytest.raises(TypeError, match="mapping"):
        subscribed(broker).commit_sync([1])  # type: ignore[arg-type]


# Closing, threads


def test_a_closed_consumer_says_so(broker: Broker) -> None:
    consumer = subscribed(broker)
    consumer.close()
    consumer.close()
    consumer.wakeup()
    assert consumer.closed
    for call in (
        consumer.poll,
        consumer.commit_sync,
        consumer.unsubscribe,
        consumer.lag,
        consumer.seek_to_end,
        lambda: consumer.subscribe(["orders"]),
        lambda: consumer.assign([ORDERS]),
        lambda: consumer.assignment,
        lambda: next(iter(consumer)),
    ):
        with pytest.raises(ClosedError, match="consumer of group 'g'"):
            call()


def test_closing_the_broker_closes_and_commits(broker: Broker) -> None:
    send(broker, 3)
    consumer = subscribed(broker)
    consumer.poll()
    broker.close()
    assert consumer.closed


def test_close_from_another_thread_ends_a_poll_that_waits(broker: Broker) -> None:
    consumer = subscribed(broker)
    thread = in_thread(consumer.close)
    try:
        assert consumer.poll(timeout=DEADLINE_S) == []
    except ClosedError:
        pass  # the close came first
    thread.join()
    assert consumer.closed


def test_a_second_thread_is_told_so(broker: Broker) -> None:
    consumer = subscribed(broker)
    inside = threading.Event()

    def on_assign(_: object) -> None:
        inside.set()
        leave.wait(DEADLINE_S)

    leave = threading.Event()
    consumer.subscribe(["orders"], on_assign=on_assign)
    thread = in_thread(consumer.poll)
    assert inside.wait(DEADLINE_S)
    try:
        for call in (consumer.poll, consumer.commit_sync, lambda: consumer.assignment):
            with pytest.raises(RuntimeError, match="in use by another thread"):
                call()
        consumer.wakeup()
    finally:
        leave.set()
        thread.join()
    assert consumer.poll() == []  # from this thread now: one at a time is enough


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"offset_reset": "newest"}, ValueError),
        ({"offset_reset": None}, ValueError),
        ({"auto_commit": 1}, TypeError),
        ({"max_records": 0}, ValueError),
        ({"max_records": 1.5}, TypeError),
        ({"fetch_max_bytes": 0}, ValueError),
        ({"on_gap": "print"}, TypeError),
        ({"rebalance_timeout": 0}, ValueError),
        ({"rebalance_timeout": "3"}, TypeError),
        ({"max_poll_interval": float("nan")}, ValueError),
        ({"max_poll_interval": -1}, ValueError),
        ({"no_such_option": 1}, TypeError),
    ],
)
def test_wrong_options_are_refused(
    broker: Broker, options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(options))):
        broker.consumer("g", **options)


@pytest.mark.parametrize("group", ["", "..", "a/b", "x" * 250, "\0", None, b"g", 3])
def test_illegal_group_names_are_refused(broker: Broker, group: str) -> None:
    with pytest.raises((TypeError, ValueError), match="group"):
        broker.consumer(group)


@pytest.mark.parametrize(
    ("timeout", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)]
)
def test_wrong_timeouts_are_refused(broker: Broker, timeout: float, error: type[Exception]) -> None:
    with pytest.raises(error, match="timeout"):
        subscribed(broker).poll(timeout)


@pytest.mark.parametrize("topics", ["orders", b"orders", [], [3], ["a/b"], None, 7])
def test_wrong_topics_are_refused(broker: Broker, topics: list[str]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"topic|list"):
        broker.consumer("g").subscribe(topics)
