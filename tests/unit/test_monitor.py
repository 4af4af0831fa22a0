"""A monitor: follows, resumes, and says which of the things a log may do wrong it did."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merkql import Broker, CorruptionError, RetentionConfig
from merkql.transparency.checkpoint import Checkpoint
from merkql.transparency.checkpointer import Signer
from merkql.transparency.monitor import Monitor, Status, prometheus
from merkql.transparency.note import Note, SigningKey, parse_note
from merkql.transparency.policy import Policy
from merkql.transparency.sources import PartitionSource, PathSource, Source, WebSource
from support.naive_tree import NaiveTree, leaf
from support.web_servers import server_at

LOG = SigningKey("log.example", bytes(range(32)))
WITNESS = SigningKey("w.example", b"\x05" * 32, 4)
POLICY = Policy.of_keys([LOG.verifier])


class Log:
    """A log that publishes into ``public``, and a monitor that follows it there."""

    def __init__(self, path: Path) -> None:
        self.data, self.public, self.state = path / "data", path / "public", path / "state"

    def grow(self, count: int, word: bytes = b"x", **options: Any) -> None:
        with Broker.open(
            self.data, signing_key=Signer(LOG), default_durability="disk", **options
        ) as broker:
            broker.producer().send_values("t", [word] * count)
            partition = broker.topic("t").partition(0)
            partition.checkpoint()
            partition.publish(self.public)

    def look(self, policy: Policy = POLICY, source: Source | None = None) -> Status:
        monitor = Monitor(policy, self.state, now_s=lambda: 1_700_000_000.0)
        return monitor.look(source or PathSource(str(self.public)))

    def change(self, name: str, change: Callable[[bytes], bytes]) -> None:
        path = self.public / name
        path.write_bytes(change(path.read_bytes()))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_it_follows_and_resumes(log: Log) -> None:
    seen = 0
    for count in (1, 255, 1, 300, 66_000, 3):
        log.grow(count)
        status = log.look()
        assert (status.alarm, status.size_before, status.size) == ("", seen, seen + count)
        seen += count
    status = log.look()
    assert (status.size_before, status.size, status.checked_s) == (seen, seen, 1_700_000_000.0)


def test_it_reads_only_what_is_new(log: Log) -> None:
    log.grow(5000)
    log.look()
    log.grow(10)
    asked = []

    class Counted(PathSource):
        def _read(self, path: str) -> bytes:
            asked.append(path)
            return super()._read(path)

    assert log.look(source=Counted(str(log.public))).size == 5010
    assert len(asked) == 4  # checkpoint, a tile, a bundle, the tile above


@pytest.mark.parametrize("name", ["tile/0/000", "tile/entries/001", "tile/1/000.p/2"])
def test_a_missing_tile_is_named(log: Log, name: str) -> None:
    log.grow(600)
    saved = (log.public / name).read_bytes()
    os.remove(log.public / name)
    status = log.look()
    assert (status.alarm, status.size) == ("missing", 0)
    assert name.removesuffix(".p/2") in status.message
    (log.public / name).write_bytes(saved)
    assert (log.look().alarm, log.look().size) == ("", 600)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("tile/entries/001", flipped(51 * 44 + 20), "entry 300 is not the leaf"),
        ("tile/0/001", flipped(32 * 44), "entry 300 is not the leaf"),
        ("tile/1/000.p/2", flipped(40), "tile/1/000.p/2 is not made of the leaves"),
        ("tile/0/001", lambda data: data[:-1], "cut short"),
        ("tile/entries/001", lambda data: data[:-1], "cut short"),
        ("tile/1/000.p/2", lambda data: data[:40], "cut short"),
        ("checkpoint", lambda data: data.replace(b"\n600\n", b"\n601\n"), "is wrong"),
        ("checkpoint", lambda data: data[:50], "not a signed note"),
    ],
)
def test_what_is_wrong_is_named(
    log: Log, name: str, change: Callable[[bytes], bytes], words: str
) -> None:
    log.grow(600)
    log.change(name, change)
    status = log.look()
    assert status.alarm == ("unsigned" if name == "checkpoint" else "wrong")
    assert words in status.message
    assert status.size == 0


def test_tiles_that_agree_with_each_other_and_not_with_the_root(log: Log) -> None:
    log.grow(100)
    log.look()
    log.grow(50)
    log.change("tile/entries/000.p/150", flipped(51 * 120 + 30))
    entry = (log.public / "tile/entries/000.p/150").read_bytes()[51 * 120 + 2 : 51 * 121]
    log.change("tile/0/000.p/150", lambda d: d[: 120 * 32] + leaf(entry) + d[121 * 32 :])
    status = log.look()
    assert (status.alarm, status.size) == ("wrong", 100)
    assert "do not lead to the signed root" in status.message


def signed(log: Log, leaves: list[bytes]) -> None:
    """Publish, under the log's key, a tree of these leaves, as a log would that lies."""
    origin = (log.public / "checkpoint").read_text().split("\n")[0]
    text = Checkpoint(origin, len(leaves), NaiveTree(leaves).root(0, len(leaves))).text()
    note = Note(text, (LOG.named(origin).sign(text),)).encode()
    (log.public / "checkpoint").write_bytes(note)
    (log.public / f"tile/0/000.p/{len(leaves)}").write_bytes(b"".join(leaves))


def entries_of(log: Log, size: int) -> list[bytes]:
    data = (log.public / f"tile/entries/000.p/{size}").read_bytes()
    return [data[at + 2 : at + 51] for at in range(0, len(data), 51)]


@pytest.mark.parametrize("size", [100, 120])
def test_a_fork_is_an_alarm_that_stays_with_its_evidence(log: Log, size: int) -> None:
    log.grow(100)
    log.look()
    honest = (log.public / "checkpoint").read_bytes()
    entries = entries_of(log, 100)
    entries[7] = b"\x01" + b"\x09" * 48
    entries += [b"\x01" + bytes([n]) * 48 for n in range(size - 100)]
    bundle = b"".join(b"\0\x31" + entry for entry in entries)
    signed(log, [leaf(entry) for entry in entries])
    forged = (log.public / "checkpoint").read_bytes()
    (log.public / f"tile/entries/000.p/{size}").write_bytes(bundle)
    status = log.look()
    assert (status.alarm, status.size) == ("fork", 100)
    (before,) = log.state.glob("fork-*.signed-before")
    (now,) = log.state.glob("fork-*.signed-now")
    assert (before.read_bytes(), now.read_bytes()) == (honest, forged)
    (log.public / "checkpoint").write_bytes(honest)
    assert log.look().alarm == "fork"  # it was signed: nothing later takes that back


def test_a_rollback_is_told_while_it_lasts(log: Log) -> None:
    log.grow(100)
    older = (log.public / "checkpoint").read_bytes()
    log.grow(10)
    log.look()
    newer = (log.public / "checkpoint").read_bytes()
    (log.public / "checkpoint").write_bytes(older)
    status = log.look()
    assert (status.alarm, status.size) == ("rollback", 110)
    assert "had 110 records and says it has 100" in status.message
    (log.public / "checkpoint").write_bytes(newer)
    assert log.look().alarm == ""


def test_another_log_at_the_same_place_is_told(log: Log, tmp_path: Path) -> None:
    log.grow(5)
    log.look()
    other = Log(tmp_path / "other")
    other.grow(5)
    shutil.rmtree(log.public)
    shutil.copytree(other.public, log.public)
    status = log.look()
    assert status.alarm == "fork"
    assert "and is log.example/" in status.message


def test_a_quorum_is_asked_for(log: Log) -> None:
    policy = Policy.of_keys([LOG.verifier], [WITNESS.verifier], 1)
    log.grow(5)
    status = log.look(policy)
    assert (status.alarm, status.message) == (
        "unsigned",
        "0 witnesses saw the newest checkpoint: too few",
    )
    note = parse_note((log.public / "checkpoint").read_bytes())
    cosigned = note.with_signatures([WITNESS.sign(note.text, 1_700_000_000)])
    (log.public / "checkpoint").write_bytes(cosigned.encode())
    status = log.look(policy)
    assert (status.alarm, status.witnesses) == ("", 1)


def test_over_http_as_from_a_directory(log: Log) -> None:
    log.grow(700)

    def answer(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        file = log.public / path.removeprefix("/log/")
        if not file.is_file():
            return 404, "text/plain", b"no"
        return 200, "application/octet-stream", file.read_bytes()

    with server_at(answer) as url:
        status = log.look(source=WebSource(f"{url}/log/"))
        assert (status.alarm, status.size) == ("", 700)
        log.grow(80)
        os.remove(log.public / "tile/entries/003.p/12")
        status = log.look(source=WebSource(f"{url}/log"))
        assert (status.alarm, status.size) == ("missing", 700)
    with pytest.raises(OSError, match="http"):
        log.look(source=WebSource(url))


def follow(log: Log) -> Status:
    with Broker.open(log.data, read_only=True) as broker:
        return log.look(source=PartitionSource(broker.topic("t")._open_log(0)))


def test_a_data_directory_is_followed_from_its_records(log: Log) -> None:
    log.grow(300, default_retention=RetentionConfig(max_records=50))
    assert (follow(log).size, follow(log).alarm) == (300, "")
    log.grow(300)
    with Broker.open(log.data, signing_key=Signer(LOG)) as broker:
        broker.topic("t").partition(0).compact()
    status = follow(log)
    assert (status.size, status.alarm) == (600, "")


def test_a_record_changed_on_disk_is_told(log: Log) -> None:
    log.grow(300)
    path = log.data / "topics/t/0/tree/h00"
    path.write_bytes(flipped(32 * 100)(path.read_bytes()))
    status = follow(log)
    assert (status.alarm, status.size) == ("wrong", 0)
    assert "entry 100 is not the leaf" in status.message


def test_a_state_that_is_damaged_is_not_taken_for_none(log: Log) -> None:
    log.grow(5)
    log.look()
    (path,) = log.state.glob("*.json")
    path.write_text(path.read_text()[:40])
    with pytest.raises(CorruptionError, match="not a monitor's state"):
        log.look()


def test_a_pointer_that_is_damaged_is_told(log: Log) -> None:
    log.grow(5)
    log.look()
    (path,) = log.state.glob("*.source")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CorruptionError, match="not the origin of a log"):
        log.look()


def test_metrics_for_prometheus(log: Log) -> None:
    log.grow(5)
    text = prometheus([log.look()])
    origin = json.loads(next(log.state.glob("*.json")).read_text())["origin"]
    label = f'origin="{origin}",source="{log.public}"'
    assert f"merkql_monitor_size_records{{{label}}} 5\n" in text
    assert f'merkql_monitor_alarm{{{label},kind="fork"}} 0\n' in text
    assert f"merkql_monitor_checked_timestamp_seconds{{{label}}} 1700000000.0" in text
    assert f'merkql_monitor_up{{source="{log.public}"}} 1\n' in text
