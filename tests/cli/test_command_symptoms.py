"""What went wrong for somebody at the command line, each under the name of its symptom."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
from pathlib import Path

import pytest

from merkql.cli.dump import KINDS
from merkql.cli.explaining import in_words
from merkql.cli.running import Remarks
from merkql.cli.terminal import Terminal
from support.command import merkql, refused


@pytest.fixture
def log(tmp_path: Path) -> Path:
    merkql(tmp_path / "log", "produce", "-q", "t", stdin=b"1\n2\n3\n")
    return tmp_path / "log"


def test_a_blank_line_ended_the_json_that_was_produced(log: Path) -> None:
    lines = b'{"value":1}\n\n \t\n{"value":2}\n\r\n{"value":3}\n\n'
    done = merkql(log, "produce", "-J", "-T", "j", stdin=lines)
    assert done.lines == ['{"value":1}', '{"value":2}', '{"value":3}']
    assert "3 records written" in done.err
    assert merkql(log, "consume", "j").lines == ["1", "2", "3"]
    done = refused(log, "produce", "-qJ", "j", stdin=b'\n\n{"value":4}\n{\n"value": 5}\n')
    assert "line 4 of the input: not JSON" in done.err  # blank lines count
    assert merkql(log, "consume", "j", "-o", -1).lines == ["4"]


@pytest.mark.parametrize("words", [("produce",), ("create",), ("create", "--if-not-exists")])
def test_a_topic_whose_configuration_is_damaged_was_said_to_exist_already(
    log: Path, words: tuple[str, ...]
) -> None:
    (log / "topics/t/topic.json").write_text('{"format": 1}')
    done = refused(log, *words, "t")
    assert done.status == 3
    assert "topics/t/topic.json: at byte 0: not a topic's configuration: no 'name'" in done.err


@pytest.mark.parametrize("words", [("topics",), ("topics", "t"), ("consume", "t")], ids=str)
def test_damage_was_told_twice(log: Path, words: tuple[str, ...]) -> None:
    (log / "topics/t/topic.json").write_text("{}")
    assert refused(log, *words).status == 3


def test_what_the_library_says_of_other_things_is_still_said(log: Path) -> None:
    merkql(log, "produce", "-q", "u", stdin=b"1\n")
    (log / "topics/t/topic.json").write_text("{}")
    done = merkql(log, "consume", "u")
    assert (done.status, done.lines) == (0, ["1"])
    assert done.err.startswith("merkql: warning: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"x" * 5000, bytes(range(256)) * 40])
@pytest.mark.parametrize("kind", KINDS)
def test_dump_of_a_file_that_is_something_else_was_a_raw_error(
    tmp_path: Path, kind: str, content: bytes
) -> None:
    file = tmp_path / "something"
    file.write_bytes(content)
    for words in ((), ("--records",)):
        done = merkql(tmp_path, "dump", "--as", kind, *words, file)
        assert done.status in (0, 3)
        assert done.err == ""
    if content.strip(b"\0"):
        assert done.status == 3 or kind in ("tree", "salts"), done.out  # hashes are any bytes


def test_verify_printed_the_number_of_an_error(log: Path) -> None:
    merkql(log, "consume", "t", "-g", "g")
    (log / "groups/g/assignment").unlink()
    os.symlink("assignment", log / "groups/g/assignment")  # a loop
    done = merkql(log, "verify", MERKQL_TRACEBACK="")
    assert done.status == 3
    assert b"Errno" not in done.out
    (row,) = [
        row
        for row in map(json.loads, merkql(log, "verify", "--json").lines)
        if row["damage"] is not None
    ]
    assert "Errno" not in row["damage"]
    assert "groups/g/assignment" in row["damage"] + row.get("path", "")


def test_a_group_without_its_lock_was_not_listed(log: Path) -> None:
    merkql(log, "consume", "t", "-g", "g", "-c", 2)
    (log / "groups/g/lock").unlink()
    (row,) = map(json.loads, merkql(log, "groups", "--json").lines)
    assert (row["group"], row["committed"], row["lag"]) == ("g", 2, 1)
    assert merkql(log, "verify").status == 0
    long = "x" * 249
    merkql(log, "consume", "t", "-g", long)
    (lock,) = log.glob("groups/xx*/lock")
    lock.unlink()
    for words in (("groups",), ("verify", "-q")):
        done = merkql(log, *words)
        assert done.status == 3
        assert "the name of this group is lost" in done.err + done.out.decode()


def test_create_alter_delete_and_keygen_had_no_json(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def printed(*words: object, status: int = 0) -> dict[str, object]:
        done = merkql(log, *words, "--json", "-q")
        assert (done.status, done.err) == (status, "")
        made: dict[str, object] = json.loads(done.out)
        return made

    made = printed("create", "t", "-n", 2, "--max-age", "7d")
    assert (made["topic"], made["created"], made["partitions"]) == ("t", True, 2)
    assert made["retention"] == {"max_records": None, "max_bytes": None, "max_age_ms": 604_800_000}
    assert printed("create", "t", "--if-not-exists")["created"] is False
    changed = printed("alter", "t", "-n", 3, "--max-age", "none", "--apply")
    assert (changed["partitions"], changed["freed_bytes"]) == (3, 0)
    assert changed["durability"] == "fsync"
    assert printed("delete", "t", "--yes") == {"topic": "t", "deleted": True}


def test_keygen_as_json(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    file = tmp_path / "key"
    done = merkql(tmp_path, "keygen", "--json", "--name", "example.com/log", file)
    made = json.loads(done.out)
    assert (made["file"], made["name"]) == (str(file), "example.com/log")
    assert merkql(tmp_path, "keygen", "--show", file).lines == [made["public_key"]]


def test_a_full_disk_said_twice_to_free_space_and_with_a_number() -> None:
    full = OSError(errno.ENOSPC, "No space left on device: free space, and try again", "/log/wal")
    assert in_words(full).count("free") == 1
    assert in_words(OSError(errno.ENOSPC, "No space left on device")).endswith("and go on")
    err = io.BytesIO()
    terminal = Terminal({}, None, io.BytesIO(), err)
    remarks = Remarks(terminal)
    remarks.handle(logging.makeLogRecord({"msg": "it failed: %s", "args": (full,), "levelno": 30}))
    terminal.say_remarks()
    assert err.getvalue().startswith(b"merkql: warning: it failed: /log/wal: No space left")


def test_a_header_typed_where_the_locale_is_not_utf_8_was_refused(log: Path) -> None:
    typed = "ö=ü".encode().decode("ascii", "surrogateescape")
    merkql(log, "produce", "-q", "h", "-H", typed, stdin=b"1\n")
    (row,) = map(json.loads, merkql(log, "consume", "h", "-J").lines)
    assert row["headers"] == [{"name": "ö", "value": "ü"}]
    assert "is UTF-8" in refused(log, "produce", "h", "-H", "\udcff=1", stdin=b"1\n").err
