"""The writer role: who has it, who waits, who is refused, and what is said of the holder."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from merkql import Broker, BrokerConfig, DirectoryLockedError, WriterFailedError, WriterTimeoutError
from merkql.storage import layout, turn
from merkql.storage.files import Files
from merkql.storage.role import (
    LOOK_INTERVAL_S,
    REPLACED_S,
    STOPPED_S,
    WriterRole,
    program_name,
)
from support import children

DEADLINE_S = 30.0
HOLDS = """
import sys
from merkql import Broker
broker = Broker.open(sys.argv[1], exclusive=sys.argv[2] == "exclusive")
broker.create_topic("t")
if sys.argv[2] == "turn":
    broker._engine.turn.take()  # in the middle of a group, for all that others see
print("has it", flush=True)
sys.stdin.readline()
broker.close()
"""


def role_of(path: Path, *, exclusive: bool = False) -> WriterRole:
    role = WriterRole(Files(), str(path))
    try:
        role.enter(exclusive=exclusive, timeout_s=5)
    except DirectoryLockedError:
        role.close()
        raise
    return role


def has_begun(child: subprocess.Popen[str]) -> bool:
    assert child.stdout is not None
    return child.stdout.readline() == "has it\n"


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not happens():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def test_the_first_to_enter_is_told_so_and_the_next_not(tmp_path: Path) -> None:
    roles = [WriterRole(Files(), str(tmp_path)) for _ in range(3)]
    firsts = []
    for role in roles:
        firsts.append(role.enter(exclusive=False, timeout_s=5))
        role.give()
    assert firsts == [True, False, False]
    for number, role in enumerate(roles):
        assert role.wait(5)
        assert role.is_last() == (number == 2)
        role.close()


def test_who_had_the_role_last_stands_behind_who_waits(tmp_path: Path) -> None:
    one = role_of(tmp_path)
    one.give()
    other = role_of(tmp_path)
    order: list[str] = []

    def waits() -> None:
        assert one.take()
        order.append("one")
        one.give()

    thread = threading.Thread(target=waits)
    thread.start()
    until(lambda: other.wanted)
    assert other.is_due
    other.give()
    assert other.take()
    order.append("other")
    other.give()
    thread.join(DEADLINE_S)
    assert order == ["one", "other"]
    for role in (one, other):
        role.close()


def test_a_role_that_is_closed_while_it_waits_does_not_get_it(tmp_path: Path) -> None:
    one = role_of(tmp_path)
    one.give()
    other = role_of(tmp_path)
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(one.take()))
    thread.start()
    until(lambda: other.wanted)
    one.close()
    other.give()
    thread.join(DEADLINE_S)
    assert got == [False]
    assert other.wait(DEADLINE_S)  # nobody has it: the closed one let go
    other.close()


@pytest.mark.parametrize("second", [False, True])
def test_an_exclusive_holder_refuses_everybody_at_once(tmp_path: Path, second: bool) -> None:
    one = role_of(tmp_path, exclusive=True)
    one.give()  # it does not
    assert one.held
    with pytest.raises(DirectoryLockedError, match=f"process {os.getpid()} .*read_only=True"):
        role_of(tmp_path, exclusive=second)
    one.close()
    role_of(tmp_path, exclusive=second).close()


def test_an_exclusive_one_is_refused_while_anybody_is_there(tmp_path: Path) -> None:
    one = role_of(tmp_path)
    one.give()
    with pytest.raises(DirectoryLockedError, match=f"process {os.getpid()} "):
        role_of(tmp_path, exclusive=True)
    again = role_of(tmp_path)  # and says no longer that it has it for life
    again.give()
    for role in (one, again):
        role.close()


def test_the_refusal_names_who_is_there_not_who_wrote_last(tmp_path: Path) -> None:
    with children.start(HOLDS, tmp_path, "shared") as child:
        assert has_begun(child)
        with Broker.open(tmp_path) as broker:  # it signs the lock file, and goes
            broker.producer().send("t", b"x")
        with pytest.raises(DirectoryLockedError, match=rf"process {child.pid} \(python"):
            Broker.open(tmp_path, exclusive=True)
        child.communicate("\n", timeout=DEADLINE_S)


def test_opening_hung_where_the_lock_file_of_an_exclusive_writer_was_removed(
    tmp_path: Path,
) -> None:
    one = role_of(tmp_path, exclusive=True)
    os.remove(layout.writer_lock(str(tmp_path)))
    with pytest.raises(DirectoryLockedError, match=f"process {os.getpid()} "):
        role_of(tmp_path)
    one.close()


def test_a_removed_lock_file_is_noticed_with_the_next_turn(tmp_path: Path) -> None:
    one = role_of(tmp_path)
    one.give()
    path = layout.writer_lock(str(tmp_path))
    os.replace(path, path + ".old")
    other = role_of(tmp_path)  # of the file that stands there now
    one._looked_at = 0.0
    assert not one.try_take()
    assert not one.try_take()  # it asks for the new one
    other.give()
    assert one.try_take()
    assert one.is_in_place
    for role in (one, other):
        role.close()


def test_a_writer_whose_lock_file_was_replaced_while_it_stood_still_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "STOPPED_S", -1.0)  # every moment is long
    one = Broker.open(tmp_path)
    one.create_topic("t")
    sync = one._engine.writer.wal.sync
    path = layout.writer_lock(str(tmp_path))

    def stands_still() -> None:
        sync()
        os.replace(path, path + ".old")

    monkeypatch.setattr(one._engine.writer.wal, "sync", stands_still)
    with pytest.raises(WriterFailedError, match="lock file was removed or replaced"):
        one.producer().send("t", b"not told")
    with Broker.open(tmp_path) as other:
        assert other.producer().send("t", b"other").offset in (0, 1)  # it was in the WAL
        one.close()
        end = other.topic("t").partition(0).end_offset
        assert other.producer().send("t", b"goes on").offset == end
        other.topic("t").partition(0).verify()


def test_a_stopped_holder_is_named_and_others_go_on_after_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Broker.open(tmp_path, writer_timeout=1.5) as broker:
        with children.start(HOLDS, tmp_path, "turn") as child:
            assert has_begun(child)
            os.kill(child.pid, signal.SIGSTOP)
            with (
                caplog.at_level(logging.WARNING),
                pytest.raises(WriterTimeoutError, match=rf"process {child.pid} \("),
            ):
                broker.producer().send("t", b"x")
            assert re.search(rf"waiting for process {child.pid} \(", caplog.text)
            os.kill(child.pid, signal.SIGCONT)
            child.communicate("\n", timeout=DEADLINE_S)
        assert broker.producer().send("t", b"y").offset == 0


def test_who_waits_has_the_role_once_its_holder_is_killed(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        with children.start(HOLDS, tmp_path, "turn") as child:
            assert has_begun(child)
            offsets: list[int] = []
            thread = threading.Thread(
                target=lambda: offsets.append(broker.producer().send("t", b"x").offset)
            )
            thread.start()
            until(lambda: any(t.name == "merkql-commit" for t in broker.threads))
            assert offsets == []
            child.kill()
            thread.join(DEADLINE_S)
        assert offsets == [0]
        assert broker.topic("t").partition(0).verify().end_offset == 1


def test_the_holder_is_a_process_and_its_program(tmp_path: Path) -> None:
    role = role_of(tmp_path)
    assert role.holder() == f"process {os.getpid()} ({program_name()})"
    os.truncate(layout.writer_lock(str(tmp_path)), 0)
    assert role.holder() == "another process"
    role.close()


STOPS = """
import os, signal, sys
from merkql.storage.files import Files
from merkql.storage.role import WriterRole

role = WriterRole(Files(), sys.argv[1])
role.enter(exclusive=False, timeout_s=30)
print("has it", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_opening_beside_a_stopped_holder_waited_mute_and_spoke_of_an_exclusive_broker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Broker.open(tmp_path).close()
    with children.start(STOPS, tmp_path) as child:
        assert has_begun(child)
        about = Path(f"/proc/{child.pid}/stat")
        until(lambda: not about.exists() or ") T " in about.read_text())
        with pytest.raises(WriterTimeoutError, match=f"process {child.pid} .*stopped"):
            Broker.open(BrokerConfig(tmp_path, writer_timeout=1.3))
        child.kill()
    assert f"waiting for process {child.pid} " in caplog.text


def test_who_opens_or_closes_waits_in_line_and_not_beside_it(tmp_path: Path) -> None:
    """It looked each millisecond, and stood there for half a second beside writers that do not."""
    holder = role_of(tmp_path)
    entering = WriterRole(Files(), str(tmp_path))
    opened: list[bool] = []
    opens = threading.Thread(
        target=lambda: opened.append(entering.enter(exclusive=False, timeout_s=DEADLINE_S))
    )
    opens.start()
    until(lambda: holder.wanted)
    holder.give()
    assert not holder.try_take()  # it stands behind, whoever is quicker
    opens.join(DEADLINE_S)
    assert opened == [False]
    left: list[bool] = []
    leaves = threading.Thread(target=lambda: left.append(holder.wait(DEADLINE_S)))
    leaves.start()
    until(lambda: entering.wanted)
    entering.give()
    leaves.join(DEADLINE_S)
    assert left == [True]
    for role in (holder, entering):
        role.close()


def test_who_waits_in_line_is_refused_once_an_exclusive_one_was_quicker(tmp_path: Path) -> None:
    late = WriterRole(Files(), str(tmp_path))
    with children.start(HOLDS, tmp_path, "turn") as child:
        assert has_begun(child)
        refused: list[DirectoryLockedError] = []

        def open_late() -> None:
            with pytest.raises(DirectoryLockedError) as caught:
                late.enter(exclusive=False, timeout_s=DEADLINE_S)
            refused.append(caught.value)

        thread = threading.Thread(target=open_late)
        thread.start()
        alone = os.open(layout.writer_alone(str(tmp_path)), os.O_RDWR | os.O_CREAT)
        fcntl.flock(alone, fcntl.LOCK_EX)  # as an exclusive broker does that has the role by then
        thread.join(DEADLINE_S)
        assert len(refused) == 1
        os.close(alone)
    late.close()


def test_to_look_who_is_there_takes_nothing_that_the_first_to_come_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look took the lock of those who share: who came in that moment joined a dead session."""
    with children.start(HOLDS, tmp_path, "exclusive") as child:
        assert has_begun(child)
        child.kill()
    looks, enters = (WriterRole(Files(), str(tmp_path)) for _ in range(2))
    sharers: list[bool] = []
    lock = Files.lock

    def watch(files: Files, descriptor: int, **how: bool) -> bool:
        if descriptor == looks._sharers:
            sharers.append(True)
        return lock(files, descriptor, **how)

    monkeypatch.setattr(Files, "lock", watch)
    assert not looks._is_held_for_life()
    assert sharers == []
    assert enters.enter(exclusive=False, timeout_s=5)
    for role in (looks, enters):
        role.close()


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_who_finds_another_lock_file_waits_until_the_holder_of_the_old_one_knows(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There were two holders for as long as the old one did not look: 50 ms, and its group."""
    waited: list[float] = []
    one = role_of(tmp_path)
    one.give()
    path = layout.writer_lock(str(tmp_path))
    os.remove(path)
    if how == "replaced":
        Path(path).touch()
    monkeypatch.setattr("merkql.storage.role.time.sleep", waited.append)
    other = role_of(tmp_path)
    assert waited == [REPLACED_S]
    assert REPLACED_S > LOOK_INTERVAL_S + STOPPED_S
    one._looked_at = 0.0
    assert not one.try_take()  # nor does who has the old one take the new one sooner
    assert waited == [REPLACED_S] * 2
    for role in (one, other):
        role.close()


def test_who_lost_the_role_in_a_long_piece_of_work_tells_nobody_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It told where the log stood when it began, over what another had written since."""
    monkeypatch.setattr(turn, "STOPPED_S", -1.0)  # every moment is long
    path = layout.writer_lock(str(tmp_path))
    with Broker.open(tmp_path) as one:
        one.create_topic("t")
        with (
            pytest.raises(WriterFailedError, match="lock file was removed or replaced"),
            one._engine.exclusive(),
        ):
            os.replace(path, path + ".old")
            with Broker.open(tmp_path) as other:
                offsets = [other.producer().send("t", b"%d" % i).offset for i in range(2)]
        assert offsets == [0, 1]
        assert one.producer().send("t", b"goes on").offset == 2
        assert one.topic("t").partition(0).verify().end_offset == 3


class GoneDisk(Files):
    """Nothing is known of a file once ``gone``: the disk under it is off."""

    gone = False

    def status(self, path: str) -> os.stat_result | None:
        if self.gone:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return super().status(path)


def test_a_disk_that_was_gone_left_who_opens_or_closes_waiting_and_a_traceback(
    tmp_path: Path,
) -> None:
    holder = role_of(tmp_path)
    holder.give()
    files = GoneDisk()
    late = WriterRole(files, str(tmp_path))
    late.enter(exclusive=False, timeout_s=5)
    late.give()
    assert holder.take()
    raised: list[BaseException] = []

    def waits() -> None:
        try:
            late.wait(100 * DEADLINE_S)
        except OSError as error:
            raised.append(error)

    thread = threading.Thread(target=waits, daemon=True)
    thread.start()
    until(lambda: holder.wanted)
    files.gone = True
    holder.give()
    thread.join(DEADLINE_S)
    assert [error.errno for error in raised if isinstance(error, OSError)] == [errno.EIO]
    for role in (holder, late):
        role.close()


class SlowToDie(Files):
    """Somebody who is being killed has still the lock of the brokers, until asked so often."""

    def __init__(self, path: Path, questions: int) -> None:
        self.questions = questions
        self.dying = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self.dying, fcntl.LOCK_EX)

    def lock(self, descriptor: int, *, exclusive: bool = True, wait: bool = True) -> bool:
        got = super().lock(descriptor, exclusive=exclusive, wait=wait)
        if not got and self.questions:
            self.questions -= 1
            if not self.questions:
                os.close(self.dying)
        return got


@pytest.mark.parametrize("questions", [1, 2, 5])
def test_who_came_as_the_last_was_killed_was_refused_or_joined_a_dead_session(
    tmp_path: Path, questions: int
) -> None:
    """The kernel frees the locks of a process that was killed one after the other."""
    files = SlowToDie(tmp_path / "lock.sharers", questions)
    role = WriterRole(files, str(tmp_path))
    assert role.enter(exclusive=False, timeout_s=5)
    assert not files.questions
    role.close()
