"""How merkql is used, for mypy --strict to judge; never run. test_uses.py checks this file.

A line with `type: ignore[code]` is a wrong use that must be refused: an ignore that is not needed
is an error too.
"""

from __future__ import annotations

import datetime

from typing_extensions import assert_type

from merkql import (
    Broker,
    BrokerConfig,
    Consumer,
    Delivery,
    Producer,
    ProducerRecord,
    Proof,
    Record,
    RecordMetadata,
    RetentionConfig,
    Topic,
    TopicPartition,
)


def write(broker: Broker) -> None:
    producer = broker.producer()
    assert_type(producer, Producer)
    assert_type(producer.send("orders", b"value", key=b"key"), RecordMetadata)
    assert_type(producer.send("orders", "text", headers=[("origin", b"JFK")]), RecordMetadata)
    record = ProducerRecord("orders", b"value", key="order-42", partition=0, timestamp_ms=1)
    assert_type(producer.send(record), RecordMetadata)
    assert_type(producer.send_batch([record, record]), list[RecordMetadata])
    delivery = producer.send_nowait("orders", b"value")
    assert_type(delivery, Delivery)
    assert_type(delivery.result(timeout=1.0), RecordMetadata)
    assert_type(delivery.done(), bool)
    assert_type(producer.flush(timeout=1.0), int)
    assert_type(producer.send_nowait(record), Delivery)
    producer.send("orders", None, key=b"tombstone")
    producer.send("orders", 42)  # type: ignore[call-overload]
    producer.send("orders")  # type: ignore[call-overload]
    producer.send("orders", b"value", keys=b"key")  # type: ignore[call-overload]
    producer.send(record, b"value")  # type: ignore[call-overload]
    producer.send_nowait("orders")  # type: ignore[call-overload]
    producer.send_nowait(record, key=b"key")  # type: ignore[call-overload]
    producer.send_batch([b"value"])  # type: ignore[list-item]


async def write_from_a_coroutine(producer: Producer) -> RecordMetadata:
    return await producer.send_nowait("orders", b"value")


def read(consumer: Consumer) -> None:
    consumer.subscribe(["orders"])
    for record in consumer.poll(timeout=0.1, max_records=10):
        assert_type(record, Record)
    for record in consumer:
        assert_type(record.topic, str)
        assert_type(record.partition, int)
        assert_type(record.offset, int)
        assert_type(record.timestamp_ms, int)
        assert_type(record.key, bytes | None)
        assert_type(record.value, bytes | None)
        assert_type(record.headers, tuple[tuple[str, bytes | None], ...])
        assert_type(record.datetime, datetime.datetime)
        record.offset = 7  # type: ignore[misc]
    consumer.commit_sync()
    consumer.subscribe([1])  # type: ignore[list-item]


def prove(topic: Topic, record: Record) -> None:
    partition = topic.partition(0)
    assert_type(partition.read(record.offset), Record)
    assert_type(partition.read_range(0, 10), list[Record])
    assert_type(partition.root(), bytes)
    proof = partition.proof(record.offset, 10)
    assert_type(proof, Proof)
    assert_type(proof.verify(record, root=b""), bool)
    partition.proof("7")  # type: ignore[arg-type]


def consume(broker: Broker) -> None:
    def say(partition: TopicPartition, first: int, next_offset: int) -> None: ...

    consumer = broker.consumer("g", auto_commit=False, offset_reset="latest", max_records=10)
    assert_type(consumer, Consumer)
    broker.consumer("g", on_gap=say, rebalance_timeout=1, max_poll_interval=0.5)
    broker.consumer("g", auto_comit=False)  # type: ignore[call-arg]
    broker.consumer("g", max_records="10")  # type: ignore[arg-type]
    broker.consumer("g", on_gap=print, fetch_max_bytes=1.5)  # type: ignore[arg-type]
    broker.consumer()  # type: ignore[call-arg]


def configure() -> None:
    retention = RetentionConfig(max_records=500, max_bytes=1 << 30, max_age_ms=86_400_000)
    config = BrokerConfig("events", default_partitions=4, default_retention=retention)
    with Broker.open(config) as broker:
        assert_type(broker, Broker)
        assert_type(broker.topics(), list[str])
        broker.create_topic("orders", partitions=4, retention=retention, durability="disk")
        broker.create_topic("orders", partitions="4")  # type: ignore[arg-type]
    with Broker.open("events", default_partitions=4, read_only=True) as broker:
        assert_type(broker, Broker)
    with Broker.temporary(default_durability="fsync") as broker:
        assert_type(broker, Broker)
    Broker.open("events", defualt_partitions=3)  # type: ignore[call-arg]
    Broker.open("events", default_partitions="3")  # type: ignore[arg-type]
    Broker.open(b"events")  # type: ignore[arg-type]
    Broker.temporary(defualt_partitions=3)  # type: ignore[call-arg]
    Broker.temporary(path="events")  # type: ignore[call-arg]
    BrokerConfig("events", defualt_partitions=3)  # type: ignore[call-arg]
    RetentionConfig(max_records="many")  # type: ignore[arg-type]
