"""One thread at most, however often its start is struck."""

from __future__ import annotations

import threading

import pytest

from merkql.storage.worker import Worker


def gated() -> tuple[Worker, threading.Semaphore, list[int]]:
    gate, runs = threading.Semaphore(0), list[int]()

    def work() -> None:
        runs.append(threading.get_ident())
        gate.acquire()

    return Worker("worker", work, lambda thread: None), gate, runs


def test_work_begins_once_and_join_waits_for_its_end() -> None:
    worker, gate, runs = gated()
    for _ in range(3):
        worker.start()
    gate.release()
    worker.join()
    assert len(runs) <= 1


def test_a_start_that_was_struck_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread may run all the same, or not: in both cases one works, and `join` returns."""
    start = threading.Thread.start
    for runs_all_the_same in (False, True):
        worker, gate, runs = gated()

        def struck(thread: threading.Thread, runs: bool = runs_all_the_same) -> None:
            if runs:
                start(thread)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", struck)
            with pytest.raises(KeyboardInterrupt):
                worker.start()
        worker.start()
        gate.release()
        gate.release()
        worker.join()
        assert len(set(runs)) <= 1


def test_join_before_any_start_returns_and_nothing_begins_later() -> None:
    worker, _, runs = gated()
    worker.join()
    worker.start()
    worker.join()
    assert runs == []


def test_a_struck_start_says_keyboard_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def struck(thread: threading.Thread) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("release unlocked lock")

    monkeypatch.setattr(threading.Thread, "start", struck)
    worker, _, _ = gated()
    with pytest.raises(KeyboardInterrupt):
        worker.start()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_of_an_error_is_followed_by_another() -> None:
    gate = threading.Semaphore(0)
    errors: list[BaseException] = [MemoryError()]

    def work() -> None:
        if errors:
            raise errors.pop()
        gate.release()

    threads: list[threading.Thread] = []
    worker = Worker("worker", work, threads.append)
    worker.start()
    threads[0].join()
    worker.start()
    assert gate.acquire(timeout=10)
