"""Topics: what is kept with them, how they change, what their names become on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from merkql import Broker, BrokerConfig, RetentionConfig
from support.faulty_files import FullDisk


def test_its_configuration_survives(tmp_path: Path) -> None:
    retention = RetentionConfig(max_records=5, max_bytes=6, max_age_ms=7)
    with Broker.open(tmp_path) as broker:
        made = broker.create_topic(
            "t",
            partitions=3,
            retention=retention,
            durability="disk",
            compression="lz4",
            segment_bytes=8192,
            erasable=True,
        )
        config, topic_id = made.config, made.id
    with Broker.open(tmp_path) as broker:
        assert (broker.topic("t").config, broker.topic("t").id) == (config, topic_id)
        assert broker.topic("t").config.retention == retention


def test_what_is_not_given_is_the_brokers(tmp_path: Path) -> None:
    with Broker.open(
        tmp_path,
        default_partitions=2,
        compression="lz4",
        default_durability="disk",
        default_retention=RetentionConfig(max_records=9),
    ) as broker:
        broker.producer().send("auto", b"x")
        for config in (broker.topic("auto").config, broker.create_topic("made").config):
            assert (config.partitions, config.compression) == (2, "lz4")
            assert (config.durability, config.retention.max_records) == ("disk", 9)


def test_partitions_are_added_under_a_sender(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        assert producer.send("t", b"x").partition == 0
        broker.topic("t").add_partitions(3)
        assert sorted(producer.send("t", b"x").partition for _ in range(3)) == [0, 1, 2]
    with Broker.open(tmp_path) as broker:
        assert [p.end_offset for p in broker.topic("t").partitions()] == [2, 1, 1]


def test_compression_is_altered_for_new_records(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        producer.send("t", b"x" * 1000)
        root = broker.topic("t").partition(0).root()
        broker.topic("t").alter(compression="lz4")
        producer.send("t", b"x" * 1000)
        partition = broker.topic("t").partition(0)
        assert partition.root(1) == root
        assert {r.value for r in partition.read_range(0, 2)} == {b"x" * 1000}
    sizes = (tmp_path / "topics/t/0/00000000000000000000.log").stat().st_size
    assert 1000 < sizes < 1500


@pytest.mark.parametrize(
    "name", ["a", ".hidden", "a:b", "x" * 249, ":" * 249, "CON", "..a", "a.", "-", "_", "A.b_c-9"]
)
def test_any_allowed_name_works_and_comes_back(tmp_path: Path, name: str) -> None:
    with Broker.open(tmp_path) as broker:
        broker.producer().send(name, b"x")
    with Broker.open(tmp_path) as broker:
        assert broker.topics() == [name]
        assert broker.topic(name).partition(0).read(0).topic == name
        broker.delete_topic(name)
    assert list((tmp_path / "topics").iterdir()) == []


def test_long_names_that_begin_alike_are_two_topics(tmp_path: Path) -> None:
    names = [":" * 248 + end for end in "ab"]
    with Broker.open(tmp_path) as broker:
        for name in names:
            broker.producer().send(name, name)
    with Broker.open(tmp_path) as broker:
        found = [broker.topic(name).partition(0).read(0).value for name in names]
    assert found == [name.encode() for name in names]


@pytest.mark.parametrize("killed", [False, True])
def test_deleting_a_small_topic_on_a_full_disk_raised_although_it_was_deleted(
    tmp_path: Path, killed: bool
) -> None:
    """It frees less than the empty file takes with which the write-ahead log begins anew."""
    files = FullDisk()
    broker = Broker(BrokerConfig(tmp_path), files)
    broker.producer().send("t", b"x")
    broker.producer().send("other", b"kept")
    files.arm(0)
    broker.delete_topic("t")
    assert files.refused
    assert broker.topics() == ["other"]
    if killed:
        broker._engine.abandon()
        broker.closed = True
    files.heal()
    broker.close()
    with Broker.open(tmp_path) as broker:
        assert broker.topics() == ["other"]
        assert broker.topic("other").partition(0).read(0).value == b"kept"
        assert broker.producer().send("t", b"y").offset == 0
    with Broker.open(tmp_path) as broker:
        assert sorted(os.listdir(tmp_path / "topics")) == ["other", "t"]
