"""Members in processes of their own: shares across them, one killed, one stopped.

The processes say what they do on their standard output and act on lines of their standard input, so
nothing here waits for a time to pass.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from merkql import Broker, StaleGenerationError
from merkql.groups import Group
from merkql.storage.files import Files
from support import children

DEADLINE_S = 20.0  # of a machine that is busy; a member that died is noticed in half a second

MEMBER = """
import json, sys
from merkql import Broker

def say(**what):
    print(json.dumps(what), flush=True)

changes = []
with Broker.open(sys.argv[1], read_only=True) as broker:
    consumer = broker.consumer(
        "g",
        auto_commit=False,
        rebalance_timeout=float(sys.argv[2]),
        max_poll_interval=float(sys.argv[3]),
    )
    consumer.subscribe(
        ["orders"],
        on_assign=lambda names: changes.append(["assign", sorted(one.partition for one in names)]),
        on_revoke=lambda names: changes.append(["revoke", sorted(one.partition for one in names)]),
    )
    for line in sys.stdin:
        if line == "poll\\n":
            records = consumer.poll(timeout=0.05)
            say(
                records=[[one.partition, one.offset] for one in records],
                held=sorted(one.partition for one in consumer.assignment),
            )
        elif line == "commit\\n":
            try:
                consumer.commit_sync()
                say(error=None)
            except Exception as error:
                say(error=type(error).__name__)
        elif line == "changes\\n":
            say(changes=changes)
"""


class Member:
    """A consumer in a process of its own."""

    def __init__(
        self, directory: Path, rebalance_timeout: float = 60, max_poll_interval: float = 60
    ) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", MEMBER, str(directory)),
                *(str(rebalance_timeout), str(max_poll_interval)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def ask(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
        assert readable, "the member does not answer"
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def poll(self) -> tuple[list[tuple[int, int]], list[int]]:
        """What one poll hands out, and the partitions held after it."""
        self.ask("poll")
        answer = self.answer()
        return [tuple(one) for one in answer["records"]], answer["held"]

    def end(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(DEADLINE_S)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker.open(tmp_path / "data") as broker:
        broker.create_topic("orders", partitions=4)
        for partition in range(4):
            broker.producer().send_values("orders", [b"x"] * 5, partition=partition)
        yield broker


@pytest.fixture
def members(tmp_path: Path, broker: Broker) -> Iterator[list[Member]]:
    members = [Member(tmp_path / "data") for _ in range(2)]
    yield members
    for member in members:
        member.end()


def settle(members: list[Member]) -> list[tuple[int, int]]:
    """Poll in turn until the members hold all four partitions, each its half."""
    seen = []
    shares: list[list[int]] = []
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        shares = []
        for member in members:
            records, held = member.poll()
            seen += records
            shares.append(held)
        if sorted(shares) == [[0, 1], [2, 3]]:
            return seen
    raise AssertionError(f"not settled: {shares}")


def test_processes_share_and_a_killed_one_is_inherited_from(
    broker: Broker, members: list[Member]
) -> None:
    first, second = members
    settle(members)
    for member in members:
        member.ask("commit")
        assert member.answer() == {"error": None}
    first.process.kill()
    first.process.wait()
    killed = time.monotonic()
    held: list[int] = []
    while held != [0, 1, 2, 3] and time.monotonic() < killed + DEADLINE_S:
        _, held = second.poll()
    assert held == [0, 1, 2, 3]
    with broker.consumer("g") as late:
        late.subscribe(["orders"])
        late.poll()
        second.poll()
        late.poll()
        assert len(late.assignment) == 2


def test_records_of_a_member_that_was_killed_come_to_the_other(
    broker: Broker, members: list[Member]
) -> None:
    first, second = members
    settle(members)
    second.ask("commit")
    second.answer()
    first.process.kill()
    first.process.wait()
    seen: set[tuple[int, int]] = set()
    deadline = time.monotonic() + DEADLINE_S
    while len(seen) < 10 and time.monotonic() < deadline:
        records, _ = second.poll()
        seen.update(records)
    # The first one committed nothing: its half is handed out again, the other is not.
    assert len({partition for partition, _ in seen}) == 2
    assert {offset for _, offset in seen} == set(range(5))


def test_a_stopped_member_is_waited_for_only_so_long(tmp_path: Path, broker: Broker) -> None:
    stopped = Member(tmp_path / "data", rebalance_timeout=0.2)
    try:
        held: list[int] = []
        while held != [0, 1, 2, 3]:
            _, held = stopped.poll()
        stopped.process.send_signal(signal.SIGSTOP)
        with broker.consumer("g") as consumer:
            consumer.subscribe(["orders"])
            seen: set[tuple[int, int]] = set()
            deadline = time.monotonic() + DEADLINE_S
            while len(seen) < 10 and time.monotonic() < deadline:
                seen |= {(one.partition, one.offset) for one in consumer.poll(timeout=0.1)}
            assert len(seen) == 10
            stopped.ask("commit")
            stopped.process.send_signal(signal.SIGCONT)
            assert stopped.answer() == {"error": StaleGenerationError.__name__}
            _, held = stopped.poll()
            assert len(held) == 2
    finally:
        stopped.end()


def test_one_that_does_not_poll_is_put_out_and_both_learn_it_at_their_next_call(
    tmp_path: Path, broker: Broker
) -> None:
    """It lives, and waits for its standard input: as a handler does that takes for ever."""
    slow = Member(tmp_path / "data", rebalance_timeout=60, max_poll_interval=0.3)
    try:
        held: list[int] = []
        while held != [0, 1, 2, 3]:
            _, held = slow.poll()
        with broker.consumer("g", auto_commit=False) as consumer:
            consumer.subscribe(["orders"])
            seen: set[tuple[int, int]] = set()
            deadline = time.monotonic() + DEADLINE_S
            while len(seen) < 20 and time.monotonic() < deadline:
                seen |= {(one.partition, one.offset) for one in consumer.poll(timeout=0.1)}
            assert len(seen) == 20  # all, though the slow one gave nothing up
            assert len(consumer.assignment) == 4
            slow.ask("commit")
            assert slow.answer() == {"error": StaleGenerationError.__name__}
            slow.ask("changes")
            assert slow.answer() == {"changes": [["assign", [0, 1, 2, 3]]]}
            held = []
            while len(held) != 2 and time.monotonic() < deadline:
                _, held = slow.poll()
                consumer.poll()
            assert len(consumer.assignment) == 2
        slow.ask("changes")
        changes = slow.answer()["changes"]
        assert changes[:3] == [["assign", [0, 1, 2, 3]], ["revoke", [0, 1, 2, 3]], ["assign", held]]
    finally:
        slow.end()


HOLDER = """
import os, signal, sys
from merkql import Broker
from merkql.storage.files import Files

where, real = sys.argv[2], None

def stop(*arguments, **options):
    setattr(Files, where, real)
    os.kill(os.getpid(), signal.SIGSTOP)
    return real(*arguments, **options)

with Broker.open(sys.argv[1], read_only=True) as broker:
    consumer = broker.consumer("g", auto_commit=False, rebalance_timeout=0.2)
    consumer.subscribe(["orders"])
    while len(consumer.assignment) < 4:
        consumer.poll(timeout=0.1)
    real = getattr(Files, where)
    setattr(Files, where, stop)
    try:
        consumer.commit_sync({("orders", 3): 1})
    except Exception as error:
        print(type(error).__name__, flush=True)
    while len(consumer.assignment) != 2:
        consumer.poll(timeout=0.1)
    print("shares", flush=True)
"""


@pytest.mark.parametrize("where", ["write", "sync", "release"])
def test_one_stopped_with_the_groups_lock_is_not_waited_for(
    where: str, tmp_path: Path, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    # Stopped as it gives the lock back, it has committed already.
    expected, refused = (9, "") if where == "release" else (10, "StaleGenerationError\n")
    with children.start(HOLDER, tmp_path / "data", where) as holder:
        try:
            _, status = os.waitpid(holder.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            with broker.consumer("g", auto_commit=False, rebalance_timeout=0.2) as consumer:
                consumer.subscribe(["orders"])
                seen: set[tuple[int, int]] = set()
                deadline = time.monotonic() + DEADLINE_S
                while len(seen) < expected and time.monotonic() < deadline:
                    seen |= {(one.partition, one.offset) for one in consumer.poll(timeout=0.1)}
                assert len(seen) == expected
                consumer.commit_sync({("orders", 3): 5})
                holder.send_signal(signal.SIGCONT)
                while holder.poll() is None and time.monotonic() < deadline:
                    consumer.poll(timeout=0.05)
                assert holder.stdout is not None
                assert holder.stdout.read() == f"{refused}shares\n"
                assert consumer.committed(("orders", 3)) == 5
        finally:
            holder.kill()
    if sys.platform == "linux":
        assert f"by process {holder.pid} (" in caplog.text
        assert ", stopped); the group goes on without it" in caplog.text


def test_a_forked_child_does_not_keep_the_groups_lock(broker: Broker) -> None:
    group = Group(Files(), broker._groups_directory, "g")
    group.make_directory()
    reading, writing = os.pipe()
    with group.locked(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        child = os.fork()
        if child == 0:
            os.read(reading, 1)
            os._exit(0)
    try:
        with group.locked() as lock:  # the child lives, and has nothing of it
            assert lock.synced_sequence == 0
    finally:
        os.write(writing, b"x")
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
