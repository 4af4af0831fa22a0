"""Forks at any moment: parent and child both go on, and neither harms the other."""

from __future__ import annotations

import faulthandler
import gc
import os
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from merkql import Broker, BrokerConfig, ClosedError
from merkql.storage.files import Files
from support.command import wait_until

# From Python 3.12 on a fork beside threads warns: what it warns of is what is tried here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture
def forked() -> Iterator[list[int]]:
    """Children to wait for."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        assert status == 0


def test_a_forked_child_leaves_the_log_to_its_parent(tmp_path: Path, forked: list[int]) -> None:
    """It closes, drops, even tries to send: nothing of that touches the parent's files."""
    broker = Broker.open(tmp_path)
    producer = broker.producer()
    for _ in range(10):
        producer.send("t", b"before")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            producer.send("t", b"child")
        except ClosedError:
            broker.close()
            code = 0
        os._exit(code)
    forked.append(pid)
    for _ in range(10):
        producer.send("t", b"after")
    os.waitpid(forked.pop(), 0)
    assert producer.send("t", b"last").offset == 20
    broker.close()
    with Broker.open(tmp_path) as again:
        assert len(again.topic("t").partition(0).read_range(0, 21)) == 21


def test_a_forked_child_removes_no_temporary_directory(forked: list[int]) -> None:
    with Broker.temporary() as broker:
        broker.producer().send("t", b"x")
        pid = os.fork()
        if pid == 0:
            broker.close()
            del broker
            os._exit(0)
        forked.append(pid)
        os.waitpid(forked.pop(), 0)
        assert broker.producer().send("t", b"y").offset == 1


def test_a_forked_child_can_open_the_directory_once_it_is_free(
    tmp_path: Path, forked: list[int]
) -> None:
    with Broker.open(tmp_path) as broker:
        broker.producer().send("t", b"x")
        gate, opened = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(gate, 1)
            with Broker.open(tmp_path) as own:
                offset = own.producer().send("t", b"child").offset
            os._exit(0 if offset == 1 else 1)
        forked.append(pid)
    os.write(opened, b"x")
    _, status = os.waitpid(forked.pop(), 0)
    assert status == 0
    os.close(gate)
    os.close(opened)


def test_a_fork_while_threads_write_hangs_nobody(tmp_path: Path, forked: list[int]) -> None:
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        done = threading.Event()

        def work() -> None:
            while not done.is_set():
                producer.send("t", b"x")

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                broker.close()
                os._exit(0)
            forked.append(pid)
            os.waitpid(forked.pop(), 0)
        done.set()
        for thread in threads:
            thread.join()
        broker.topic("t").partition(0).verify()


def in_child(work: Callable[[], object]) -> int:
    """Fork; the child does the work and is gone: with status 0 if it neither raised nor hung."""
    pid = os.fork()
    if pid == 0:
        faulthandler.dump_traceback_later(60, exit=True, file=sys.__stderr__)
        try:
            work()
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        os._exit(0)
    return pid


def test_parent_and_children_write_at_once_whenever_it_forks(tmp_path: Path) -> None:
    """Threads of the parent write, queue and wait in poll while it forks; children write beside."""
    said: list[str] = []

    def write_beside(number: int) -> None:
        with pytest.raises(ClosedError):
            producer.send("t", b"inherited")
        with Broker.open(tmp_path) as own:
            for i in range(5):
                own.producer().send("t", f"child {number}/{i}", partition=i % 2)

    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", partitions=2)
        producer = broker.producer()
        done = threading.Event()

        def send(name: str) -> None:
            turn = 0
            while not done.is_set():
                producer.send("t", f"{name} {turn}", partition=turn % 2)
                said.append(f"{name} {turn}")
                turn += 1

        def queue() -> None:
            turn = 0
            while not done.is_set():
                producer.send_nowait("t", f"queued {turn}").result()
                said.append(f"queued {turn}")
                turn += 1

        def follow() -> None:
            with broker.consumer("g") as consumer:
                consumer.subscribe(["t"])
                while not done.is_set():
                    consumer.poll(timeout=0.05)

        work = [lambda: send("a"), lambda: send("b"), queue, follow]
        threads = [threading.Thread(target=one) for one in work]
        for thread in threads:
            thread.start()
        pids = [in_child(lambda number=n: write_beside(number)) for n in range(6)]  # type: ignore[misc]
        statuses = [os.waitpid(pid, 0)[1] for pid in pids]
        done.set()
        for thread in threads:
            thread.join()
        assert statuses == [0] * 6
        held = [
            (record.value or b"").decode()
            for partition in broker.topic("t").partitions()
            for record in partition.read_range(0, partition.end_offset)
        ]
        said += [f"child {number}/{i}" for number in range(6) for i in range(5)]
        assert sorted(held) == sorted(said)


def test_a_forked_child_that_dropped_its_brokers_hung(tmp_path: Path) -> None:
    """It waited for the parent's threads to end; and it kept the parent's segments open."""
    brokers = [Broker.open(tmp_path)]
    brokers[0].producer().send_values("t", [b"x" * 100] * 20_000)  # written out by a thread
    assert "merkql-maintenance" in {thread.name for thread in brokers[0].threads}

    def drop() -> None:
        brokers.clear()
        gc.collect()
        names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        paths = [os.readlink(name) for name in names if os.path.islink(name)]
        inherited = [path for path in paths if path.startswith(str(tmp_path))]
        assert not [path for path in inherited if path.endswith(".log")]

    assert os.waitpid(in_child(drop), 0)[1] == 0
    with brokers.pop() as broker:
        assert broker.producer().send("t", b"y").offset == 20_000


def test_a_forked_child_waited_for_ever_for_what_the_parent_sends(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        producer.send("t", b"first")

        def wait() -> None:
            for delivery in deliveries:
                with pytest.raises(ClosedError, match="before this process was forked"):
                    delivery.result()
            assert producer.flush() == 0
            producer.close()
            broker.close()

        with broker._engine.exclusive():  # nothing is committed until the child has its end
            deliveries = [producer.send_nowait("t", b"x") for _ in range(10)]
            assert os.waitpid(in_child(wait), 0)[1] == 0
        assert [delivery.result().offset for delivery in deliveries] == list(range(1, 11))


class Forking(Files):
    """Another thread's fork at each moment when a file was opened or locked; children stay."""

    def __init__(self) -> None:
        self.children: list[int] = []
        self.gate, self._opened = os.pipe()

    def open(self, path: str, *, write: bool = False, create: bool = False) -> int:
        descriptor = super().open(path, write=write, create=create)
        self._fork()
        return descriptor

    def lock(self, descriptor: int, *, exclusive: bool = True, wait: bool = True) -> bool:
        taken = super().lock(descriptor, exclusive=exclusive, wait=wait)
        self._fork()
        return taken

    def end(self) -> None:
        os.close(self._opened)
        for pid in self.children:
            assert os.waitpid(pid, 0)[1] == 0
        os.close(self.gate)

    def _fork(self) -> None:
        pid = os.fork()
        if pid == 0:
            os.close(self._opened)
            os.read(self.gate, 1)  # until the parent has closed it
            os._exit(0)
        self.children.append(pid)


def test_a_fork_keeps_no_lock_wherever_it_comes(tmp_path: Path) -> None:
    files = Forking()
    try:
        with Broker(BrokerConfig(tmp_path), files) as broker:
            broker.producer().send("t", b"x")
            with broker.consumer("g") as consumer:
                consumer.subscribe(["t"])
                assert len(consumer.poll(timeout=5)) == 1
                consumer.commit_sync()
        assert len(files.children) > 20
        with Broker.open(tmp_path, exclusive=True) as alone:
            assert alone.producer().send("t", b"y").offset == 1
            with alone.consumer("g") as consumer:
                consumer.subscribe(["t"])
                assert [record.offset for record in consumer.poll(timeout=5)] == [1]
    finally:
        files.end()


def test_a_fork_while_one_thread_has_the_role_and_another_waits_for_it(tmp_path: Path) -> None:
    """The child has neither the role nor the place in the line: it gets its turn as others do."""
    begun, written = os.pipe()

    def open_and_write() -> None:
        os.write(written, b"x")
        with Broker.open(tmp_path) as own:
            own.producer().send("t", b"child")

    with Broker.open(tmp_path) as broker, Broker.open(tmp_path) as other:
        broker.producer().send("t", b"first")
        waiting = threading.Thread(target=lambda: other.producer().send("t", b"other"))
        with broker._engine.exclusive():
            waiting.start()
            wait_until(lambda: broker._engine.turn.role.wanted)
            pid = in_child(open_and_write)
            os.read(begun, 1)
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it waits for its turn"
        assert os.waitpid(pid, 0)[1] == 0
        waiting.join()
        end = broker.topic("t").partition(0).end_offset
        held = {record.value for record in broker.topic("t").partition(0).read_range(0, end)}
        assert held == {b"first", b"other", b"child"}
        assert end == 3
    os.close(begun)
    os.close(written)


def test_a_child_of_a_child_and_a_fork_in_a_callback(tmp_path: Path) -> None:
    """Routing is the only code of the user's that a send runs: a fork there ends in ClosedError."""
    pids: list[int] = []

    def forking(key: bytes, count: int) -> int:
        pid = os.fork()
        if pid:
            pids.append(pid)
        return 0

    def write_and_fork_again() -> None:
        with Broker.open(tmp_path) as own:
            own.producer().send("t", b"child", partition=0)
            pid = os.fork()  # not in_child: the watchdog of faulthandler is armed, and not here
            if pid == 0:
                Broker.open(tmp_path).producer().send("t", b"x", partition=1)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            own.producer().send("t", b"child again", partition=0)

    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", partitions=2)
        parent = os.getpid()
        code = 1
        try:
            broker.producer(partitioner=forking).send("t", b"parent", key=b"k")
        except ClosedError:
            code = 0
        finally:
            if os.getpid() != parent:
                os._exit(code)
        assert os.waitpid(pids[0], 0)[1] == 0
        assert os.waitpid(in_child(write_and_fork_again), 0)[1] == 0
        ends = [partition.end_offset for partition in broker.topic("t").partitions()]
    assert ends == [3, 1]


@pytest.mark.parametrize("read_only", [False, True])
def test_a_partition_that_the_parent_had_not_opened_was_an_oserror_in_the_child(
    tmp_path: Path, *, read_only: bool
) -> None:
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", partitions=2)
    message = f"the broker of {tmp_path} was opened before this process was forked; open the"
    with Broker.open(tmp_path, read_only=read_only) as broker:
        topic = broker.topic("t")

        def ask() -> None:
            for ask in (lambda: topic.partition(1).end_offset, lambda: broker.consumer("g")):
                with pytest.raises(ClosedError, match=re.escape(message)):
                    ask()

        assert os.waitpid(in_child(ask), 0)[1] == 0


OPENS_AT_ONCE = """
import multiprocessing, sys, threading
from merkql import Broker

def write(path, number):
    with Broker.open(path) as own:
        for i in range(5):
            own.producer().send("t", f"{number}/{i}")

if __name__ == "__main__":
    path, method = sys.argv[1:]
    context = multiprocessing.get_context(method)
    with Broker.open(path) as broker:
        producer, done, sent = broker.producer(), threading.Event(), [0, 0]
        def write_on(thread):
            while not done.is_set():
                producer.send("t", "parent")
                sent[thread] += 1
        threads = [threading.Thread(target=write_on, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        children = [context.Process(target=write, args=(path, number)) for number in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0, 0]
        begun = [*sent]
        while min(now - before for now, before in zip(sent, begun)) < 2:
            pass  # the parent's threads go on as well
        done.set()
        for thread in threads:
            thread.join()
        assert broker.topic("t").partition(0).verify().end_offset == sum(sent) + 15
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_opens_at_once_while_threads_of_the_parent_write_without_end(
    tmp_path: Path, method: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(OPENS_AT_ONCE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(program), str(tmp_path / "data"), method]
    subprocess.run(command, check=True, timeout=120, env=environment)
