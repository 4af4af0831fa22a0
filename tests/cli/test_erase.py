"""erase: what is asked, what is said, what is gone."""

from __future__ import annotations

import json
from pathlib import Path

from merkql import Broker
from support.command import InTerminal, merkql, refused


def fill(log: Path) -> None:
    merkql(log, "create", "users", "-n", 2, "--erasable")
    for partition in (0, 1):
        lines = b"".join(b"user-%d:secret-%d\n" % (n % 3, n) for n in range(6))
        merkql(log, "produce", "users", "-p", partition, "-K", ":", stdin=lines)


def test_offsets_and_ranges_are_erased_and_counted(tmp_path: Path) -> None:
    fill(tmp_path)
    done = merkql(tmp_path, "erase", "users", 0, 1, "3..4", "--yes", "--by", "alice")
    assert (done.status, done.out) == (0, b"")
    assert done.err == "merkql: erased 3 records of topic 'users'\n"
    done = merkql(tmp_path, "erase", "users", 0, "1..2", "--yes", "--json")
    assert json.loads(done.out) == {"topic": "users", "partition": 0, "erased": [2]}
    assert "erased 1 record of topic 'users'; 1 record had been erased before" in done.err
    with Broker.open(tmp_path, read_only=True) as broker:
        records = broker.topic("users").partition(0).read_range(0, 6)
        log = broker.topic("__erasures").partition(0)
        assert json.loads(log.read(0).value or b"")["by"] == "alice"
    assert [record.offset for record in records if record.erased] == [1, 2, 3, 4]


def test_a_key_is_erased_in_every_partition(tmp_path: Path) -> None:
    fill(tmp_path)
    done = merkql(tmp_path, "erase", "users", "--key", "user-1", "-y", "-J", "--reason", "asked")
    assert [json.loads(line) for line in done.lines] == [
        {"topic": "users", "partition": 0, "erased": [1, 4]},
        {"topic": "users", "partition": 1, "erased": [1, 4]},
    ]
    done = merkql(tmp_path, "verify")
    assert done.status == 0
    assert [line.split()[1:5] for line in done.lines[1:]] == [
        ["users/0", "6", "records", "(2"],
        ["users/1", "6", "records", "(2"],
    ]


def test_it_asks_first(tmp_path: Path) -> None:
    fill(tmp_path)
    person = InTerminal(tmp_path, "erase", "users", 0, 2)
    person.wait_for(b"erase the record at offset 2 of topic 'users', for good? [y/N] ")
    person.type("n\n")
    assert person.end() == 1
    person = InTerminal(tmp_path, "erase", "users", "-k", "user-2")
    person.wait_for(b"erase every record with the key 'user-2' of topic 'users', for good?")
    person.type("y\n")
    assert person.end() == 0
    with Broker.open(tmp_path, read_only=True) as broker:
        records = broker.topic("users").partition(0).read_range(0, 6)
    assert [record.offset for record in records if record.erased] == [2, 5]


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    merkql(tmp_path, "create", "plain")
    for words, text in (
        ((), "which topic?"),
        (("users",), "a partition and offsets, or --key"),
        (("users", 0, 1, "--key", "user-1"), "a partition and offsets, or --key"),
        (("users", 0), "which offsets of partition 0?"),
        (("users", "x", 1), "'x' is not the number of a partition"),
        (("users", 0, "4..2"), "'4..2' is no offset, and no range"),
        (("users", 0, 1), "nobody can be asked"),
        (("users", 0, 6, "-y"), "offset 6 is out of range"),
        (("users", 7, 1, "-y"), "has no partition 7"),
        (("nobody", 0, 1, "-y"), "no topic 'nobody'"),
        (("plain", 0, 0, "-y"), "was not created with erasable=True"),
    ):
        assert text in refused(tmp_path, "erase", *words).err


def test_an_erased_record_is_shown_as_one_and_is_not_produced_again(tmp_path: Path) -> None:
    fill(tmp_path)
    merkql(tmp_path, "erase", "users", 0, 1, "-y")
    lines = merkql(tmp_path, "consume", "users", "-p", 0, "-o", 0, "-c", 3, "-J", "-e").lines
    assert [json.loads(line).get("erased", False) for line in lines] == [False, True, False]
    assert json.loads(lines[1])["value"] is None
    line = lines[1].encode() + b"\n"
    done = merkql(tmp_path, "produce", "users", "--json", stdin=line, MERKQL_TRACEBACK="")
    assert done.status
    assert "line 1 of the input: an erased record: there is nothing to write" in done.err
    segment = tmp_path / "topics" / "users" / "0" / f"{0:020}.log"
    assert b'"erased": true' in merkql(tmp_path, "dump", segment, "--records", "-J").out.replace(
        b'"erased":true', b'"erased": true'
    )
