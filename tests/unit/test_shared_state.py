"""The shared state file and its successors: damaged, missing, busy, failed, of another session."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from merkql import Broker, BrokerConfig, WriterFailedError
from merkql.storage import layout, shared_state
from merkql.storage.files import Files
from merkql.storage.shared_state import SharedState, SharedStateFile, WalFileState, encode
from support.crashes import crash
from support.faulty_files import FaultyFiles

Pair = tuple[Broker, Broker]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Two brokers of one directory; the first wrote offset 0 and the second offset 1."""
    with Broker(BrokerConfig(tmp_path), Files()) as one:
        one.create_topic("t")
        with Broker(BrokerConfig(tmp_path), Files()) as other:
            assert send(one) == 0
            assert send(other) == 1
            yield one, other


def send(broker: Broker) -> int:
    return broker.producer().send("t", b"x" * 100).offset


def state_path(broker: Broker) -> Path:
    return Path(layout.shared_state(broker._engine.root))


def restate(broker: Broker, **changes: object) -> None:
    """Write the state as somebody would who died or failed."""
    path = state_path(broker)
    content = path.read_bytes()
    state = shared_state.decode(content)
    assert state is not None
    changed = shared_state.encode(replace(state, version=state.version + 1, **changes))
    path.write_bytes(changed + content[len(changed) :])


def check(pair: Pair, count: int) -> None:
    for broker in pair:
        partition = broker.topic("t").partition(0)
        assert partition.verify().end_offset == count
        assert [r.offset for r in partition.read_range(0, count)] == list(range(count))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(4096)),
        lambda path: os.truncate(path, 100),
        lambda path: path.write_bytes(path.read_bytes()[:40] + b"\1" + path.read_bytes()[41:]),
        lambda path: path.write_bytes(path.read_bytes()[:90] + b"\xff" * 6),
    ],
    ids=["empty", "zeros", "cut", "flipped in the news", "flipped behind them"],
)
def test_a_spoilt_state_is_recovered_from(
    pair: Pair, spoil: object, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    spoil(state_path(one))  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        assert send(one) == 2
    assert send(other) == 3
    check(pair, 4)
    assert "recovering" in caplog.text


@pytest.mark.parametrize("flag", ["busy", "failed"])
def test_who_finds_the_flag_recovers_and_the_others_follow(
    pair: Pair, flag: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    before = one._engine.turn.session
    restate(one, **{flag: True})
    with caplog.at_level(logging.WARNING):
        assert send(other) == 2
        assert other._engine.turn.session != before
        assert send(one) == 3
    assert one._engine.turn.session == other._engine.turn.session
    assert caplog.text.count("recovering") == 1
    check(pair, 4)


def test_a_state_of_another_start_of_the_machine_is_not_joined(pair: Pair) -> None:
    one, other = pair
    restate(one, boot_id=bytes(range(16)), position=1 << 30, next_sequence=9999)
    with Broker(BrokerConfig(one._engine.root), Files()) as third:
        assert send(third) == 2
        assert send(one) == 3
        assert send(other) == 4
        check(pair, 5)


def test_a_removed_state_does_not_keep_the_open_ones_from_writing(pair: Pair) -> None:
    one, _ = pair
    state_path(one).unlink()
    with Broker(BrokerConfig(one._engine.root), Files()) as third:
        assert send(third) == 2


def test_a_wal_file_that_somebody_removed_is_a_crash_not_the_end(pair: Pair) -> None:
    one, other = pair
    for _ in range(40):
        one.producer().send("t", bytes(10_000))  # on to files the second has not open
    for path in (Path(one._engine.root) / "wal").iterdir():
        path.unlink()
    assert send(other) == 42
    assert send(one) == 43
    check(pair, 44)


def test_a_failed_sync_poisons_its_process_and_another_goes_on(tmp_path: Path) -> None:
    files = FaultyFiles(("sync",))
    with Broker(BrokerConfig(tmp_path), Files()) as other:
        other.create_topic("t")
        broken = Broker(BrokerConfig(tmp_path), files)
        assert send(broken) == 0
        files.arm(0)
        with pytest.raises((OSError, WriterFailedError)):
            send(broken)
        with pytest.raises(WriterFailedError):
            send(broken)
        end = send(other)
        assert end in (1, 2)  # what was not acknowledged may be there
        session = other._engine.turn.session
        broken.close()
        assert send(other) == end + 1
        assert other._engine.turn.session == session, "the broken one spoke after the recovery"
        other.topic("t").partition(0).verify()


@pytest.mark.parametrize("at", range(3))
def test_a_full_disk_while_a_dead_ones_group_is_finished_loses_nothing(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frame counted as read, and the next group was given the same offsets."""
    files = FaultyFiles(("write",))
    files.error = errno.ENOSPC
    with Broker(BrokerConfig(tmp_path), files) as other:
        other.create_topic("t")
        assert send(other) == 0
        dying = Broker(BrokerConfig(tmp_path), Files())
        assert send(dying) == 1
        monkeypatch.setattr(dying._engine.turn, "publish", lambda **_: None)
        monkeypatch.setattr(dying._engine.logs()[0], "apply", killed)
        with pytest.raises(MemoryError):
            send(dying)
        crash(dying)
        files.arm(at)
        with pytest.raises(OSError, match="No space"):
            send(other)
        files.heal()
        assert send(other) == 3
        assert other.topic("t").partition(0).verify().end_offset == 4


def killed(prepared: object) -> None:
    raise MemoryError("stands for a kill")


def test_what_is_stated_is_read_back(tmp_path: Path) -> None:
    file = SharedStateFile(Files(), str(tmp_path), write=True)
    assert file.read() is None
    flags, numbers = [True] * 6, range(11, 18)
    files = [WalFileState(1, 2, 3, 4, 5)] * shared_state.FILES_MAX
    stated = SharedState(bytes(range(16)), 7, 8, 9, *flags, *numbers, 2, 3, files)
    assert file.write(encode(stated)) == file.news()
    assert file.read() == stated
    live = [(bytes([number]) * 16, number) for number in range(2)]
    for number, partition in enumerate(live):
        file.append_live(number, partition)
    assert file.live(0, 2) == live
    assert file.live(1, 3) is None
    file.close()
