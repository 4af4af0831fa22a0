"""Who leads, who waits, who is told: group commit on its own, over a writer that is a list."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from merkql import ClosedError
from merkql.storage.committer import Committer
from merkql.storage.writer import CommitRequest


class ListWriter:
    """Takes groups; each waits at a gate where a test wants to look in between."""

    def __init__(self) -> None:
        self.groups: list[list[CommitRequest]] = []
        self.in_group = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.error: BaseException | None = None

    def write_group(self, requests: list[CommitRequest]) -> None:
        self.in_group.set()
        assert self.gate.wait(10)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.groups.append(requests)
        for request in requests:
            request.written = True

    def complete_pending(self) -> None:
        """There is never one."""


class LoneTurn:
    """The writer role where no other process wants it."""

    def __init__(self) -> None:
        self.role = self
        self.held = self.is_due = self.keeps = False

    def try_take(self) -> bool:
        self.held = True
        return True

    def take(self) -> bool:
        return self.try_take()

    def begin(self) -> None:
        """Nobody else wrote."""

    def give(self) -> None:
        self.held = False


@pytest.fixture
def writer() -> ListWriter:
    return ListWriter()


@pytest.fixture
def committer(writer: ListWriter) -> Committer:
    return Committer(writer, LoneTurn(), lambda thread: None, timeout_s=30)  # type: ignore[arg-type]


def request() -> CommitRequest:
    return CommitRequest([], durable=True)


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_until(true: Callable[[], bool]) -> None:
    """Spin: what is waited for is another thread's next step."""
    while not true():
        threading.Event().wait(0.001)


def test_a_lone_request_is_a_group(committer: Committer, writer: ListWriter) -> None:
    one = request()
    committer.commit(one)
    assert writer.groups == [[one]]
    assert one.done


def test_what_arrives_during_a_group_forms_the_next(
    committer: Committer, writer: ListWriter
) -> None:
    writer.gate.clear()
    first, *others = requests = [request() for _ in range(6)]
    threads = [started(lambda: committer.commit(first))]
    assert writer.in_group.wait(10)
    for number, one in enumerate(others, 1):
        threads.append(started(lambda one=one: committer.commit(one)))
        wait_until(lambda number=number: len(committer._queue) == number)
    writer.gate.set()
    for thread in threads:
        thread.join(10)
    assert writer.groups == [[first], others]
    assert all(one.done for one in requests)


def test_groups_are_bounded_in_bytes(committer: Committer, writer: ListWriter) -> None:
    writer.gate.clear()
    threads = [started(lambda: committer.commit(request()))]
    assert writer.in_group.wait(10)
    for number in range(3):
        one = request()
        one.size_bytes = 3 << 20
        threads.append(started(lambda one=one: committer.commit(one)))
        wait_until(lambda number=number: len(committer._queue) == number + 1)
    writer.gate.set()
    for thread in threads:
        thread.join(10)
    assert [len(group) for group in writer.groups] == [1, 2, 1]


def test_exclusive_holds_groups_back(committer: Committer, writer: ListWriter) -> None:
    one = request()
    with committer.exclusive():
        thread = started(lambda: committer.commit(one))
        wait_until(lambda: len(committer._queue) == 1)
        assert not writer.groups
    thread.join(10)
    assert writer.groups == [[one]]


def test_exclusive_waits_for_the_group_in_hand(committer: Committer, writer: ListWriter) -> None:
    writer.gate.clear()
    entered = threading.Event()

    def hold() -> None:
        with committer.exclusive():
            entered.set()

    threads = [started(lambda: committer.commit(request()))]
    assert writer.in_group.wait(10)
    threads.append(started(hold))
    wait_until(lambda: len(committer._queue) == 1)
    assert not entered.is_set()
    writer.gate.set()
    for thread in threads:
        thread.join(10)
    assert entered.is_set()


def test_close_tells_those_who_wait(committer: Committer, writer: ListWriter) -> None:
    """One that waited to have the log to itself went on as if it had it."""
    errors: list[BaseException] = []
    went_on = threading.Event()

    def hold() -> None:
        try:
            with committer.exclusive():
                went_on.set()
        except ClosedError as error:
            errors.append(error)

    def commit() -> None:
        try:
            committer.commit(request())
        except ClosedError as error:
            errors.append(error)

    with committer.exclusive():
        closing = started(committer.close)
        wait_until(lambda: len(committer._queue) == 1)
        late = [started(hold)]
        wait_until(lambda: len(committer._queue) == 2)
        late.append(started(commit))
        wait_until(lambda: len(committer._queue) == 3)
    for thread in (closing, *late):
        thread.join(10)
        assert not thread.is_alive()
    assert len(errors) == 2
    assert not went_on.is_set()
    with pytest.raises(ClosedError):
        committer.commit(request())


def test_a_queued_request_is_committed_by_the_background(
    committer: Committer, writer: ListWriter
) -> None:
    told = threading.Event()
    one = request()
    one.on_done = lambda _: told.set()
    committer.enqueue(one)
    assert told.wait(10)
    assert writer.groups == [[one]]
    committer.close()


def test_an_interrupted_leader_leaves_the_others_their_commit(
    committer: Committer, writer: ListWriter
) -> None:
    """Ctrl-C in the thread that leads: its own request is gone, the rest is the next leader's."""
    writer.gate.clear()
    writer.error = KeyboardInterrupt()
    mine, other = request(), request()
    interrupted = threading.Event()

    def lead() -> None:
        try:
            committer.commit(mine)
        except KeyboardInterrupt:
            interrupted.set()

    threads = [started(lead)]
    assert writer.in_group.wait(10)
    threads.append(started(lambda: committer.commit(other)))
    wait_until(lambda: len(committer._queue) == 1)
    writer.gate.set()
    for thread in threads:
        thread.join(10)
    assert interrupted.is_set()
    assert [other] in writer.groups
    assert other.done
