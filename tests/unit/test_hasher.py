"""Leaves of large groups are hashed beside the sync, or else by the leader."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from merkql import Broker
from merkql.storage import hasher, partition_log

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
def test_the_tree_is_the_same_whoever_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, erasable: bool
) -> None:
    monkeypatch.setattr(partition_log.os, "urandom", lambda size: b"\x01" * size)  # salts
    write(tmp_path / "beside", erasable=erasable)
    monkeypatch.setattr(hasher.Hasher, "put", lambda self, prepared: None)
    write(tmp_path / "by the leader", erasable=erasable)
    monkeypatch.setattr(partition_log, "HASH_LATER_BYTES", 1 << 40)
    write(tmp_path / "while it is encoded", erasable=erasable)
    roots = {root_of(path) for path in tmp_path.iterdir()}
    assert len(roots) == 1


def test_its_thread_begins_with_the_first_large_group_and_ends_with_the_broker(
    tmp_path: Path,
) -> None:
    with Broker.open(tmp_path) as broker:
        broker.producer().send("t", b"small")
        assert not any(thread.name == "merkql-hasher" for thread in broker.threads)
        broker.producer().send_values("t", VALUES)
        assert any(thread.name == "merkql-hasher" for thread in broker.threads)
    assert not broker.threads


def test_a_program_that_never_closed_its_broker_hung_at_its_end(tmp_path: Path) -> None:
    program = (
        "import sys; from merkql import Broker; broker = Broker.open(sys.argv[1]);"
        "broker.producer().send_values('t', [bytes(300)] * 700)"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
    with Broker.open(tmp_path) as broker:
        assert broker.topic("t").partition(0).end_offset == 700


def test_what_could_not_be_hashed_beside_is_hashed_by_the_leader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = partition_log.leaf_hashes

    def fails_in_the_hasher(*arguments: object, **options: object) -> bytes:
        if threading.current_thread().name == "merkql-hasher":
            raise MemoryError
        return original(*arguments, **options)

    monkeypatch.setattr(partition_log, "leaf_hashes", fails_in_the_hasher)
    write(tmp_path)
    monkeypatch.undo()
    root_of(tmp_path)
