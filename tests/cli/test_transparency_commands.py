"""keygen, checkpoint, publish, witness, monitor: from a key to an alarm, as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import merkql as command
from support.command import refused
from support.tampering import forge, replacing


@pytest.fixture
def log(tmp_path: Path) -> Path:
    command(tmp_path / "log", "produce", "t", stdin=b"1\n2\n3\n")
    return tmp_path / "log"


@pytest.fixture
def key(log: Path, tmp_path: Path) -> tuple[str, str]:
    """A key's file and its public text."""
    path = str(tmp_path / "log.key")
    return path, command(log, "keygen", "--name", "example.com/log", path).lines[0]


def test_a_key_is_made_once_and_shown_again(log: Path, key: tuple[str, str]) -> None:
    path, public = key
    assert public.startswith("example.com/log+")
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert command(log, "keygen", "--show", path).lines == [public]
    again = refused(log, "keygen", path).err
    assert f"{path}: there is something already, and it is kept" in again
    assert ".tmp" not in again, "keygen named a file of its own that nobody knows"
    assert "'' cannot be a file" in refused(log, "keygen", "").err
    assert "'' cannot be a directory" in refused(log, "publish", "").err
    assert "does not belong in a data directory" in refused(log, "keygen", log / "key").err
    secret = Path(path).read_text().strip().rpartition("+")[2]
    shown = command(log, "checkpoint", "--key", path)
    assert secret[:12].encode() not in shown.out


def test_checkpoints_are_made_and_listed(log: Path, key: tuple[str, str]) -> None:
    note = command(log, "checkpoint", "-k", key[0]).out
    assert note.split(b"\n")[0].endswith(b"/t/0")
    assert command(log, "checkpoint", "-t", "t", "-p", 0).out == note
    command(log, "produce", "t", stdin=b"4\n")
    command(log, "checkpoint", "-k", key[0])
    rows = [json.loads(line) for line in command(log, "checkpoint", "--list", "-J").lines]
    assert [(row["size"], row["signatures"]) for row in rows] == [(3, 1), (4, 1)]
    assert rows[0]["note"].encode() == note
    assert "give --key" in refused(log, "checkpoint", "--stamp", "http://127.0.0.1:9").err


def test_publish_and_monitor(log: Path, key: tuple[str, str], tmp_path: Path) -> None:
    public, state, metrics = tmp_path / "public", tmp_path / "state", tmp_path / "m.prom"
    assert "3 records, 3 new" in command(log, "publish", "-k", key[0], public).lines[0]
    watch = ("monitor", "--log", key[1], "--state", state, "--prometheus", metrics)
    assert command(log, *watch, public / "t" / "0", log).status == 0
    command(log, "produce", "t", stdin=b"4\n")
    row = json.loads(command(log, "publish", "-k", key[0], "-J", public).out)
    assert (row["size_before"], row["size"]) == (3, 4)
    assert command(log, *watch, "--quiet", public / "t" / "0").out == b""
    os.remove(public / "t/0/tile/entries/000.p/4")
    os.remove(next(state.glob("*.json")))
    done = command(log, *watch, public / "t" / "0")
    assert done.status == 3
    assert done.lines[0].startswith("ALARM missing")
    assert 'kind="missing"} 1' in metrics.read_text()


def test_consume_prints_what_is_proved_and_nothing_else(
    log: Path, key: tuple[str, str], tmp_path: Path
) -> None:
    policy = tmp_path / "policy"
    policy.write_text(f"log {key[1]}\nquorum none\n")
    command(log, "checkpoint", "-k", key[0])
    command(log, "produce", "t", stdin=b"4\n5\n")
    done = command(log, "consume", "t", "--verify", policy)
    assert done.out == b"1\n2\n3\n"
    assert "2 records not under a checkpoint yet" in done.err
    assert command(log, "consume", "t", "--verify", policy, "-g", "g").out == b"1\n2\n3\n"
    (segment,) = (log / "topics/t/0").glob("*.log")
    forge(segment, replacing(b"\x023\x00", b"\x029\x00"))
    done = refused(log, "consume", "t", "--verify", policy)
    assert (done.status, done.out) == (3, b"1\n2\n")
    assert "'t' partition 0 offset 2 is not proved" in done.err


def test_a_monitor_that_reaches_nothing_says_so(log: Path, key: tuple[str, str]) -> None:
    watch = ("monitor", "--log", key[1], "--state", log.parent / "state")
    assert command(log, *watch, "http://127.0.0.1:9/").status == 1
    assert "whose signature?" in refused(log, "monitor", "--state", "x", "y").err


def test_a_witness_signs_for_a_log(log: Path, key: tuple[str, str], tmp_path: Path) -> None:
    path = str(tmp_path / "w.key")
    public = command(log, "keygen", "--witness", "--name", "w.example", path).lines[0]
    words = ["--key", path, "--state", str(tmp_path / "w"), "--log", key[1]]
    process = subprocess.Popen(
        [sys.executable, "-m", "merkql", "witness", *words, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == public
        url = process.stdout.readline().split()[-1]
        policy = tmp_path / "policy"
        policy.write_text(f"log {key[1]}\nwitness w {public} {url}\nquorum w\n")
        note = command(log, "checkpoint", "-k", key[0], "--policy", policy).out
        assert "\u2014 w.example ".encode() in note
        command(log, "publish", tmp_path / "public")
        watch = ("monitor", "--policy", policy, "--state", tmp_path / "s")
        assert command(log, *watch, tmp_path / "public/t/0").status == 0
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    command(log, "produce", "t", stdin=b"5\n")
    assert command(log, "checkpoint", "-k", key[0], "--policy", policy).status == 1
    assert (
        "a key of its own"
        in refused(log, "witness", "--key", key[0], "--state", "x", "--log", key[1]).err
    )


def test_verify_checks_signatures_where_the_key_is_given(
    log: Path, key: tuple[str, str], tmp_path: Path
) -> None:
    command(log, "checkpoint", "-k", key[0])
    assert command(log, "verify", "--log", key[1]).status == 0
    other = command(log, "keygen", "--name", "example.com/log", tmp_path / "other").lines[0]
    done = command(log, "verify", "--log", other)
    assert done.status == 3
    assert b"no trusted log signed this" in done.out


def test_dump_shows_every_checkpoint_and_what_is_not_one(log: Path, key: tuple[str, str]) -> None:
    for _ in range(3):
        command(log, "produce", "t", stdin=b"x\n")
        command(log, "checkpoint", "-k", key[0])
    path = log / "topics/t/0/checkpoints"

    def dumped(*words: str) -> list[dict[str, object]]:
        done = command(".", "dump", "--json", *words, path)
        rows = [json.loads(line) for line in done.lines]
        assert done.status == (3 if any(row["problem"] for row in rows) else 0)
        return rows

    rows = dumped()
    assert [row["what"] for row in rows] == ["checkpoint"] * 3 + ["end"]
    assert [row["size"] for row in rows[:3]] == [4, 5, 6]
    assert "\u2014 example.com/log" in str(dumped("-r")[0]["note"])
    content = bytearray(path.read_bytes())
    second = rows[1]["position"]
    assert isinstance(second, int)
    content[second + 40] ^= 1
    path.write_bytes(content)
    assert [bool(row["problem"]) for row in dumped()] == [False, True, False, False]
    assert command(log, "verify").status == 3
