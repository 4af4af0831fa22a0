"""Leaves are hashed while the disk is at work, or where nobody waits for it as they are encoded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from merkql import Broker, WriterFailedError
from merkql.storage import partition_log, prepared

VALUES = [b"%d:" % n + bytes(300) for n in range(700)]


def root_of(path: Path) -> bytes:
    with Broker.open(path) as broker:
        partition = broker.topic("t").partition(0)
        partition.verify()
        return partition.root()


def write(path: Path, **options: object) -> None:
    with Broker.open(path) as broker:
        broker.create_topic("t", **options)
        for _ in range(3):
            broker.producer().send_values("t", VALUES, timestamps_ms=range(len(VALUES)))
        broker.producer().send("t", b"last", timestamp_ms=1)


@pytest.mark.parametrize("erasable", [False, True])
def test_the_tree_is_the_same_whenever_it_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, erasable: bool
) -> None:
    monkeypatch.setattr(partition_log.os, "urandom", lambda size: b"\x01" * size)  # salts
    write(tmp_path / "while the disk is at work", erasable=erasable)
    write(tmp_path / "while it is encoded", erasable=erasable, durability="disk")
    write(tmp_path / "before it is compressed", erasable=erasable, compression="lz4")
    roots = {root_of(path) for path in tmp_path.iterdir()}
    assert len(roots) == 1


def test_a_group_that_could_not_be_hashed_is_finished_by_who_opens_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **options: object) -> bytes:
        raise MemoryError("no room for the hashes")

    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        producer.send("t", b"before")
        monkeypatch.setattr(prepared, "leaf_hashes", fails)
        with pytest.raises(MemoryError):
            producer.send("t", b"in the write-ahead log, and nowhere else")
        monkeypatch.undo()
        with pytest.raises(WriterFailedError):
            producer.send("t", b"refused")
        assert broker.topic("t").partition(0).end_offset == 1
    with Broker.open(tmp_path) as broker:
        partition = broker.topic("t").partition(0)
        assert partition.read(1).value == b"in the write-ahead log, and nowhere else"
        assert partition.end_offset == 2
        partition.verify()


def test_a_program_that_never_closed_its_broker_hung_at_its_end(tmp_path: Path) -> None:
    program = (
        "import sys; from merkql import Broker; broker = Broker.open(sys.argv[1]);"
        "broker.producer().send_values('t', [bytes(300)] * 7000);"
        "assert 'merkql-maintenance' in {thread.name for thread in broker.threads}"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
    with Broker.open(tmp_path) as broker:
        assert broker.topic("t").partition(0).end_offset == 7000
