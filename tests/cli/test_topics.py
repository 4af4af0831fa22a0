"""topics, create, alter and delete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from merkql import Broker, CheckpointSchedule
from support.command import merkql, refused
from support.damage import flip_byte


def test_create_makes_the_directory_and_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = merkql(log, "create", "orders", "-n", 3, "--max-age", "7d", "--compression", "lz4")
    assert (done.status, done.out) == (0, b"")
    assert done.err == (
        f"merkql: {log}: a new data directory\nmerkql: created topic 'orders' with 3 partitions\n"
    )
    with Broker.open(log, read_only=True) as broker:
        config = broker.topic("orders").config
    assert config.partitions == 3
    assert config.retention.max_age_ms == 7 * 86_400_000
    assert config.compression == "lz4"


def test_a_topics_checkpoints_are_set_and_left_to_the_broker_again(tmp_path: Path) -> None:
    def found() -> CheckpointSchedule:
        with Broker.open(tmp_path, read_only=True) as broker:
            return broker.topic("orders").config.checkpoints

    merkql(tmp_path, "create", "orders", "--checkpoint-every", "10s")
    assert found() == CheckpointSchedule(seconds=10)
    merkql(tmp_path, "alter", "orders", "--checkpoint-records", 500)
    assert found() == CheckpointSchedule(records=500, seconds=10)
    merkql(tmp_path, "alter", "orders", "--checkpoint-every", "none")
    assert found() == CheckpointSchedule(records=500)


def test_create_twice(tmp_path: Path) -> None:
    merkql(tmp_path, "create", "orders")
    assert "exists already" in refused(tmp_path, "create", "orders").err
    assert merkql(tmp_path, "create", "orders", "--if-not-exists").status == 0


def test_topics_for_people(tmp_path: Path) -> None:
    merkql(tmp_path, "create", "orders", "-n", 2, "--max-bytes", "1GiB")
    merkql(tmp_path, "produce", "clicks", stdin=b"a\nb\nc\n")
    heading, clicks, orders = merkql(tmp_path, "topics").lines
    assert heading.split() == [
        *("TOPIC", "PARTITIONS", "RECORDS", "SIZE"),
        *("DURABILITY", "COMPRESSION", "KEEPS"),
    ]
    assert clicks.split()[:3] == ["clicks", "1", "3"]
    assert clicks.endswith("all")
    assert orders.split()[:3] == ["orders", "2", "0"]
    assert orders.endswith("1.0 GiB")


def test_partitions_for_people_and_programs(tmp_path: Path) -> None:
    merkql(tmp_path, "create", "orders", "-n", 2)
    merkql(tmp_path, "produce", "orders", "-p", 1, stdin=b"a\nb\nc\n")
    assert [line.split()[:5] for line in merkql(tmp_path, "topics", "orders").lines[1:]] == [
        ["orders", "0", "0", "0", "0"],
        ["orders", "1", "0", "3", "3"],
    ]
    rows = merkql(tmp_path, "topics", "-t", "orders", "--roots", "--json", "--at", 0).lines
    row = json.loads(rows[1])
    with Broker.open(tmp_path, read_only=True) as broker:
        root = broker.topic("orders").partition(1).root()
    assert (row["partition"], row["next"], row["at"], row["root"]) == (1, 3, 0, root.hex())
    assert json.loads(rows[0])["at"] is None


def test_names_alone(tmp_path: Path) -> None:
    for name in ("b", "a"):
        merkql(tmp_path, "create", name)
    assert merkql(tmp_path, "topics", "--names").lines == ["a", "b"]


def test_no_topics_yet(tmp_path: Path) -> None:
    merkql(tmp_path, "create", "a")
    merkql(tmp_path, "delete", "--yes", "a")
    done = merkql(tmp_path, "topics")
    assert (done.status, done.out) == (0, b"")
    assert "no topics yet" in done.err
    assert merkql(tmp_path, "topics", "--json").out == b""


def test_a_damaged_topic_is_named_and_the_others_are_listed(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        merkql(tmp_path, "produce", name, stdin=b"a\n")
    flip_byte(tmp_path / "topics/bad/topic.json", 0)
    done = merkql(tmp_path, "topics")
    assert done.status == 3
    assert [line.split()[0] for line in done.lines[1:]] == ["good"]
    assert "topics/bad/topic.json" in done.err


def test_alter_changes_what_is_given_and_leaves_the_rest(tmp_path: Path) -> None:
    merkql(tmp_path, "create", "t", "--max-records", 5, "--max-bytes", "1M")
    done = merkql(tmp_path, "alter", "t", "--max-records", "none", "--max-age", "2d", "-n", 2)
    assert done.err == "merkql: topic 't': 2 partitions, keeps 1.0 MiB, 2d\n"
    with Broker.open(tmp_path, read_only=True) as broker:
        topic = broker.topic("t")
        assert topic.partition_count == 2
        assert topic.retention.max_records is None
        assert topic.retention.max_bytes == 1 << 20
        assert topic.retention.max_age_ms == 2 * 86_400_000


def test_alter_applies_retention_at_once_when_asked(tmp_path: Path) -> None:
    merkql(tmp_path, "produce", "t", stdin=b"x\n" * 2000)
    done = merkql(tmp_path, "alter", "t", "--max-records", 10, "--apply")
    assert "given back" in done.err
    assert merkql(tmp_path, "topics", "t").lines[1].split()[2:5] == ["1,990", "2,000", "10"]


def test_alter_needs_something_to_change(tmp_path: Path) -> None:
    merkql(tmp_path, "create", "t")
    assert refused(tmp_path, "alter", "t").status == 2


def test_delete_asks_nobody_in_a_pipe(tmp_path: Path) -> None:
    merkql(tmp_path, "produce", "t", stdin=b"a\n")
    assert "add --yes" in refused(tmp_path, "delete", "t", stdin=b"y\n").err
    done = merkql(tmp_path, "delete", "t", "-y")
    assert done.err == "merkql: deleted topic 't' with 1 record\n"
    assert merkql(tmp_path, "topics", "--names").out == b""


@pytest.mark.parametrize(
    ("words", "status", "needle"),
    [
        (("topics", "nosuch"), 1, "no topic 'nosuch'"),
        (("alter", "nosuch", "-n", "2"), 1, "no topic 'nosuch'"),
        (("delete", "-y", "nosuch"), 1, "no topic 'nosuch'"),
        (("delete",), 2, "which topic?"),
        (("create",), 2, "which topic?"),
        (("create", "a", "-t", "b"), 2, "not both"),
        (("create", "a b"), 2, "cannot name a topic"),
        (("create", "a", "-n", "0"), 2, "at least 1"),
        (("create", "a", "-n", "20000"), 2, "between 1 and 10000"),
        (("create", "a", "--max-age", "soon"), 2, "not a duration"),
        (("create", "a", "--max-bytes", "much"), 2, "not a size"),
        (("create", "a", "--max-records", "0"), 2, "at least 1"),
        (("create", "a", "--durability", "none"), 2, "invalid choice"),
        (("topics", "--at", "noon"), 2, "not a time"),
        (("topic",), 2, "did you mean topics?"),
        (("--nosuch",), 2, "needs a command before it"),
        (("topics", "--nosuch"), 2, "'--nosuch'"),
        (("help", "nosuch"), 2, "no command"),
    ],
    ids=str,
)
def test_wrong_input_is_one_line(
    tmp_path: Path, words: tuple[str, ...], status: int, needle: str
) -> None:
    merkql(tmp_path, "create", "orders")
    done = refused(tmp_path, *words)
    assert (done.status, done.out) == (status, b"")
    assert needle in done.err


@pytest.mark.parametrize(
    "words", [["topics"], ["groups"], ["verify"], ["delete", "-y", "t"]], ids=str
)
def test_what_only_looks_makes_no_directory(tmp_path: Path, words: list[str]) -> None:
    log = tmp_path / "log"
    assert "not a merkql data directory" in refused(log, *words).err
    assert not log.exists()
    assert "a data directory is needed" in refused(__file__, *words).err


def test_the_directory_may_stand_before_and_after_the_command(tmp_path: Path) -> None:
    merkql(tmp_path / "a", "create", "one")
    for words in (
        ("-d", tmp_path / "a", "topics", "--names"),
        (f"-d{tmp_path}/a", "topics", "--names"),
        ("topics", "--names", "-b", tmp_path / "a"),
        (f"--directory={tmp_path}/a", "topics", "--names"),
        ("-d", tmp_path / "a", "-L", "--names"),
    ):
        assert merkql(tmp_path / "b", *words).lines == ["one"]
