"""One directory, opened: closing, opening again, topics that come and go, readers beside it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from merkql import (
    Broker,
    BrokerConfig,
    ClosedError,
    DirectoryLockedError,
    UnknownTopicError,
)
from merkql.storage.files import Files
from support.crashes import crash


def test_closing_names_what_is_closed(tmp_path: Path) -> None:
    broker = Broker.open(tmp_path)
    broker.close()
    broker.close()
    assert broker.closed
    with pytest.raises(ClosedError, match=str(tmp_path)):
        broker.topics()


def test_the_directory_can_be_opened_again_at_once(tmp_path: Path) -> None:
    """The Rust merkql refuses while an old producer lives."""
    for turn in range(5):
        broker = Broker.open(tmp_path)
        producer = broker.producer()
        assert producer.send("t", b"x").offset == turn
        broker.close()


def test_a_second_writer_is_refused_by_an_exclusive_one_that_goes_on(tmp_path: Path) -> None:
    with Broker.open(tmp_path, exclusive=True) as broker:
        with pytest.raises(DirectoryLockedError, match="close that broker first"):
            Broker.open(tmp_path)
        assert broker.producer().send("t", b"x").offset == 0


def test_close_while_threads_send(tmp_path: Path) -> None:
    """Each send returns its offset or says that the broker is closed; what returned is there."""
    for _ in range(5):
        broker = Broker.open(tmp_path)
        producer = broker.producer()
        taken: list[int] = []
        started = threading.Barrier(5)

        def work() -> None:
            started.wait()  # noqa: B023
            while True:
                try:
                    taken.append(producer.send("t", b"x").offset)  # noqa: B023
                except ClosedError:
                    return

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        broker.close()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        with Broker.open(tmp_path) as again:
            again.ensure_topic("t")
            assert set(taken) <= set(range(again.topic("t").partition(0).end_offset))


def test_many_threads_create_the_same_topics(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()

        def work() -> None:
            for number in range(10):
                producer.send(f"t{number}", b"x")

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ends = [broker.topic(name).partition(0).end_offset for name in broker.topics()]
        assert ends == [6] * 10


def test_a_deleted_topic_is_gone_with_its_bytes(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        broker.producer().send("t", b"secret")
        partition = broker.topic("t").partition(0)
        broker.delete_topic("t")
        assert broker.topics() == []
        with pytest.raises(UnknownTopicError):
            broker.topic("t")
        with pytest.raises(UnknownTopicError):
            partition.read(0)
        everything = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
        assert b"secret" not in everything


def test_a_topic_of_the_same_name_is_another(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        broker.producer().send("t", b"old", timestamp_ms=1)
        old, root = broker.topic("t"), broker.topic("t").partition(0).root()
        broker.delete_topic("t")
        broker.producer().send("t", b"new", timestamp_ms=1)
        assert broker.topic("t").id != old.id
        assert broker.topic("t").partition(0).root() != root
        assert broker.topic("t").partition(0).read(0).value == b"new"
        with pytest.raises(UnknownTopicError):
            old.partition(0).read(0)


def test_a_reader_follows_a_writer_and_writes_nothing(tmp_path: Path) -> None:
    class NoWrites(Files):
        def open(self, path: str, *, write: bool = False, create: bool = False) -> int:
            assert not write or "/groups/" in path
            return super().open(path, write=write, create=create)

    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", segment_bytes=4096)
        reader = Broker(BrokerConfig(tmp_path, read_only=True), NoWrites())
        partition = reader.topic("t").partition(0)
        for turn in range(30):
            broker.producer().send("t", b"%d" % turn * 400)
            assert partition.end_offset == turn + 1
            assert partition.read(turn).value == b"%d" % turn * 400
            assert partition.root() == broker.topic("t").partition(0).root()
        partition.verify()
        broker.create_topic("later")
        assert reader.topics() == ["later", "t"]
        broker.delete_topic("later")
        assert reader.topics() == ["t"]
        reader.close()


def test_a_reader_of_a_crashed_writers_directory_sees_what_was_durable(tmp_path: Path) -> None:
    broker = Broker.open(tmp_path)
    for turn in range(10):
        broker.producer().send("t", b"%d" % turn)
    crash(broker)
    with Broker.open(tmp_path, read_only=True) as reader:
        assert len(reader.topic("t").partition(0).read_range(0, 10)) == 10


def test_missing_parents_are_made(tmp_path: Path) -> None:
    with Broker.open(tmp_path / "a" / "b" / "c") as broker:
        broker.producer().send("t", b"x")
    with Broker.open(tmp_path / "a/b/c") as broker:
        assert broker.topics() == ["t"]
