"""Sending: where records go, what is queued, what a failure reaches."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from merkql import (
    Broker,
    BrokerConfig,
    ClosedError,
    ProducerRecord,
    RecordTooLargeError,
    WriterFailedError,
)
from support.faulty_files import FaultyFiles


@pytest.fixture
def broker() -> Broker:
    with Broker.temporary(default_partitions=4) as broker:
        yield broker


def test_records_without_a_key_take_turns(broker: Broker) -> None:
    producer = broker.producer()
    assert [producer.send("t", b"v").partition for _ in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_an_empty_key_is_a_key(broker: Broker) -> None:
    producer = broker.producer()
    assert len({producer.send("t", b"v", key=b"").partition for _ in range(8)}) == 1


def test_a_partitioner_decides_for_keys(broker: Broker) -> None:
    producer = broker.producer(partitioner=lambda key, count: len(key) % count)
    assert producer.send("t", b"v", key=b"abc").partition == 3
    assert producer.send("t", b"v", key=b"abc", partition=1).partition == 1


def test_metadata_says_where_and_when(broker: Broker) -> None:
    metadata = broker.producer().send("t", b"v", timestamp_ms=5, partition=2)
    assert (metadata.topic, metadata.partition, metadata.offset) == ("t", 2, 0)
    assert metadata.timestamp_ms == 5


def test_batch_metadata_is_in_the_order_given(broker: Broker) -> None:
    records = [ProducerRecord("t", b"%d" % i, partition=(7 * i) % 4) for i in range(20)]
    places = broker.producer().send_batch(records)
    for record, place in zip(records, places, strict=True):
        found = broker.topic("t").partition(place.partition).read(place.offset)
        assert (found.value, place.partition) == (record.value, record.partition)


def test_an_empty_batch_is_nothing(broker: Broker) -> None:
    assert broker.producer().send_batch([]) == []
    assert list(broker.producer().send_values("t", [])) == []


def test_values_go_to_one_partition_or_where_their_keys_belong(broker: Broker) -> None:
    producer = broker.producer()
    assert list(producer.send_values("t", [b"a"] * 3)) == [0, 1, 2]
    producer.send_values("k", [b"v"] * 40, keys=[b"%d" % i for i in range(40)])
    sizes = [partition.end_offset for partition in broker.topic("k").partitions()]
    assert sum(sizes) == 40
    assert all(sizes)


def test_a_tombstone_is_a_null_value(broker: Broker) -> None:
    broker.producer().send("t", None, key=b"k", partition=0)
    assert broker.topic("t").partition(0).read(0).value is None


def test_a_batch_with_one_record_too_large_writes_nothing(broker: Broker) -> None:
    broker.create_topic("small", segment_bytes=4096)
    records = [ProducerRecord("small", b"x"), ProducerRecord("small", bytes(5000))]
    with pytest.raises(RecordTooLargeError, match="larger than the limit of 4096"):
        broker.producer().send_batch(records)
    assert broker.topic("small").partition(0).end_offset == 0


def test_deliveries_tell_when_and_where(broker: Broker) -> None:
    producer = broker.producer()
    deliveries = [producer.send_nowait("t", b"%d" % i, partition=1) for i in range(100)]
    assert producer.flush() == 0
    assert all(delivery.done() for delivery in deliveries)
    assert [delivery.result().offset for delivery in deliveries] == list(range(100))


def test_a_delivery_can_be_awaited(broker: Broker) -> None:
    async def send() -> list[int]:
        deliveries = [broker.producer().send_nowait("t", b"x", partition=0) for _ in range(3)]
        return [(await delivery).offset for delivery in deliveries]

    assert asyncio.run(send()) == [0, 1, 2]


def test_flush_tells_how_many_are_left(broker: Broker) -> None:
    producer = broker.producer()
    producer.send("t", b"x", partition=0)
    with broker._engine.exclusive():  # nothing is committed meanwhile
        deliveries = [producer.send_nowait("t", b"x", partition=0) for _ in range(5)]
        assert producer.flush(0) == 5
        with pytest.raises(TimeoutError):
            deliveries[0].result(0)
    assert producer.flush() == 0
    assert deliveries[4].result(0).offset == 5


def test_too_many_bytes_in_the_queue_hold_the_sender(broker: Broker) -> None:
    producer = broker.producer()
    producer.send("t", b"opens the partition", partition=0)
    sent = []
    full = threading.Event()

    def send() -> None:
        for number in range(20):
            producer.send_nowait("t", bytes(4 << 20), partition=0)
            sent.append(number)
            if number == 7:
                full.set()

    with broker._engine.exclusive():
        thread = threading.Thread(target=send)
        thread.start()
        assert full.wait(20)
        assert not broker._engine.writing().wait_for_room(0)
        assert len(sent) < 20
    thread.join()
    assert producer.flush() == 0
    assert broker.topic("t").partition(0).end_offset == 1 + 20


def test_a_failed_delivery_raises_from_its_result(tmp_path: Path) -> None:
    files = FaultyFiles(("sync",))
    broker = Broker(BrokerConfig(tmp_path), files)
    producer = broker.producer()
    producer.send("t", b"kept")
    files.arm(0)
    delivery = producer.send_nowait("t", b"lost")
    producer.flush()
    with pytest.raises((OSError, WriterFailedError)):
        delivery.result()
    with pytest.raises(WriterFailedError):
        producer.send("t", b"refused")
    assert broker.topic("t").partition(0).end_offset == 1
    broker.close()


def test_close_flushes_and_ends_the_producer(broker: Broker) -> None:
    producer = broker.producer()
    delivery = producer.send_nowait("t", b"x", partition=0)
    producer.close()
    producer.close()
    assert delivery.result(0).offset == 0
    for send in (producer.send, producer.send_nowait):
        with pytest.raises(ClosedError, match="producer is closed"):
            send("t", b"x")
