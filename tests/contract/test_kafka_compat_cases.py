"""The seven cases in which the Rust merkql is used as a consumer of Kafka's would use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from merkql import Broker, Consumer, ProducerRecord, Record

TABLES = ["customers", "orders", "items", "payments"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def polled(consumer: Consumer, empty: int = 3) -> Iterator[Record]:
    """What comes until so many polls in a row were empty."""
    left = empty
    while left:
        records = consumer.poll(0.0, max_records=7)
        left = empty if records else left - 1
        yield from records


def change(table: str, number: int) -> bytes:
    """A change as Debezium writes it; spaces, order and escapes are its own."""
    row = {"id": number, "name": "Zoë \u2603", "note": None, "price": 12.50}
    payload = {"before": None, "after": row, "source": {"table": table, "lsn": number}, "op": "c"}
    return json.dumps({"schema": None, "payload": payload}, indent=number % 3 or None).encode()


def test_1_multi_phase_cdc(root: Path) -> None:
    """Changes of 4 tables, 5 each: phases of 10, 10, and then exactly 0, over reopenings."""
    with Broker.open(root) as broker:
        records = [ProducerRecord(t, change(t, n), key=b"%d" % n) for n in range(5) for t in TABLES]
        broker.producer().send_batch(records)
    seen: list[tuple[str, bytes | None]] = []
    for wanted in (10, 10, 0):
        with Broker.open(root) as broker, broker.consumer("cdc", auto_commit=False) as consumer:
            consumer.subscribe(TABLES)
            phase = 0
            while phase < wanted:
                records_read = consumer.poll(1.0, max_records=wanted - phase)
                assert records_read
                phase += len(records_read)
                seen += [(record.topic, record.value) for record in records_read]
            if not wanted:
                assert list(polled(consumer)) == []
            consumer.commit_sync()
    for table in TABLES:
        values = [value for topic, value in seen if topic == table]
        assert values == [change(table, n) for n in range(5)]


def test_2_drain_until_three_empty_polls(root: Path) -> None:
    with Broker.open(root, default_partitions=3) as broker:
        broker.producer().send_batch(
            [ProducerRecord("t", b"%d" % n, key=b"%d" % n) for n in range(20)]
        )
        with broker.consumer("g") as consumer:
            consumer.subscribe(["t"])
            drained = [int(record.value or b"") for record in polled(consumer)]
    assert sorted(drained) == list(range(20))


def test_3_two_groups_get_all_five_each(root: Path) -> None:
    with Broker.open(root) as broker:
        broker.producer().send_values("t", [b"%d" % n for n in range(5)])
        with broker.consumer("one") as one, broker.consumer("two") as two:
            one.subscribe(["t"])
            two.subscribe(["t"])
            first = [record.value for record in polled(one)]
            second = [record.value for record in polled(two)]
    assert first == second == [b"0", b"1", b"2", b"3", b"4"]


def test_4_restart_goes_on_exactly_behind_what_was_committed(root: Path) -> None:
    with Broker.open(root) as broker, broker.consumer("g", auto_commit=False) as consumer:
        broker.producer().send_values("t", [b"v%d" % n for n in range(10)])
        consumer.subscribe(["t"])
        assert len(list(polled(consumer))) == 10
        consumer.commit_sync()
    with Broker.open(root) as broker:
        broker.producer().send_values("t", [b"v%d" % n for n in range(10, 15)])
        with broker.consumer("g") as consumer:
            consumer.subscribe(["t"])
            again = [record.value for record in polled(consumer)]
    assert again == [b"v10", b"v11", b"v12", b"v13", b"v14"]


def test_5_debezium_events_come_back_byte_for_byte(root: Path) -> None:
    sent = [change("orders", number) for number in range(9)]
    assert len({event.count(b"\n") for event in sent}) > 1  # several spellings of JSON
    with Broker.open(root, compression="lz4") as broker:
        for event in sent:
            broker.producer().send("server.public.orders", event)
    with Broker.open(root) as broker, broker.consumer("g") as consumer:
        consumer.subscribe(["server.public.orders"])
        assert [record.value for record in polled(consumer)] == sent


def test_6_a_topic_is_created_by_its_first_record_which_has_offset_0(root: Path) -> None:
    with Broker.open(root) as broker:
        assert broker.topics() == []
        assert broker.producer().send("new", b"first").offset == 0
        assert broker.topics() == ["new"]
        assert broker.topic("new").partition_count == 1


def test_7_latest_passes_what_was_there_and_gets_what_comes(root: Path) -> None:
    with Broker.open(root) as broker:
        broker.producer().send_values("t", [b"old"] * 5)
        with broker.consumer("g", offset_reset="latest") as consumer:
            consumer.subscribe(["t"])
            assert list(polled(consumer)) == []
            broker.producer().send("t", b"new")
            assert [record.value for record in polled(consumer)] == [b"new"]
