"""More bugs that were found by using the library, each named after what one saw."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from merkql import Broker, RetentionConfig

DEADLINE_S = 10.0  # no test waits that long unless it fails


def test_a_wakeup_was_lost_when_the_next_poll_found_records() -> None:
    with Broker.temporary() as broker:
        producer = broker.producer()
        producer.send("t", b"1")
        consumer = broker.consumer("g")
        consumer.subscribe(["t"])
        consumer.wakeup()
        assert len(consumer.poll(None)) == 1
        assert consumer.poll(0) == []  # has no time to wait, and leaves it
        late = threading.Timer(DEADLINE_S, lambda: producer.send("t", b"late"))
        late.start()
        try:
            assert consumer.poll(None) == []  # without waiting for that
        finally:
            late.cancel()
            late.join()
        producer.send("t", b"2")
        assert [record.value for record in consumer.poll(None)] == [b"2"]  # and it is over


def test_lag_counted_records_that_were_gone() -> None:
    with Broker.temporary() as broker:
        broker.create_topic("t", retention=RetentionConfig(max_records=10))
        producer = broker.producer()
        producer.send_values("t", [b"x"] * 20)
        consumer = broker.consumer("g")
        consumer.subscribe(["t"])
        assert len(consumer.poll(0, 5)) == 5
        producer.send_values("t", [b"x"] * 500)
        assert consumer.lag() == {("t", 0): 10}
        assert len(consumer.poll()) == 10
        assert consumer.lag() == {("t", 0): 0}


def test_closing_a_broker_whose_directory_was_removed_closed_a_file_of_the_users(
    tmp_path: Path,
) -> None:
    """What had the writer role's file closed it, could not open the new one, and closed it again,
    when another file had the number."""
    directory = tmp_path / "log"
    broker = Broker.open(directory)
    broker.producer().send("t", b"1")
    shutil.rmtree(directory)
    broker._engine.turn.role.give()
    broker._engine.turn.role._looked_at = 0.0  # so that it looks whether its file is in its place
    with pytest.raises(OSError, match="No such file"):
        broker.create_topic("n")
    mine = [(tmp_path / f"mine{number}").open("w") for number in range(30)]
    try:
        with pytest.raises(OSError, match="No such file"):
            broker.close()
        for file in mine:
            os.fstat(file.fileno())
            file.write("x")
            file.flush()
    finally:
        for file in mine:
            file.close()


def test_one_poll_of_compressed_records_came_to_hundreds_of_megabytes() -> None:
    """The limit counted them as they are on the disk."""
    with Broker.temporary() as broker:
        broker.create_topic("t", compression="lz4")
        broker.producer().send_values("t", [b"\0" * 10_000] * 2_000)
        consumer = broker.consumer("g", fetch_max_bytes=1 << 20)
        consumer.subscribe(["t"])
        count = 0
        while records := consumer.poll():
            assert sum(len(record.value or b"") for record in records) < (1 << 20) + (128 << 10)
            assert records[0].offset == count
            count += len(records)
        assert count == 2_000
        assert len(broker.topic("t").partition(0).read_range(0, 2_000)) == 2_000
