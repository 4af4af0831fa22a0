"""Waiting for what other processes write: who watches, who is woken, and what is left behind."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from merkql.storage import arrivals as module
from merkql.storage.arrivals import WATCHED_INTERVAL_S, WatchedArrivals
from merkql.storage.file_watch import FileWatch

DEADLINE_S = 20.0  # of a machine that is busy


class Page:
    """A file of one number, and whether it changed since somebody asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = 0
        self.asked = 0
        path.write_bytes(b"0")

    def write(self, number: int) -> None:
        with self.path.open("r+b") as file:
            file.write(b"%d" % number)

    def paths(self) -> list[str]:
        return [str(self.path)]

    def has_news(self) -> bool:
        self.asked += 1
        before, self.known = self.known, int(self.path.read_bytes() or b"0")
        return self.known != before


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path / "page")


@pytest.fixture(params=["the system's", "none"])
def arrivals(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, page: Page
) -> Iterator[WatchedArrivals]:
    if request.param == "none":
        monkeypatch.setattr(module, "open_watch", FileWatch)
    arrivals = WatchedArrivals(page.paths, page.has_news)
    yield arrivals
    arrivals.close()


def wait_for(condition: object) -> None:
    """Until ``condition()`` holds; the checks of these tests say what is wrong if it never does."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition() and time.monotonic() < deadline:  # type: ignore[operator]
        threading.Event().wait(0.001)


def test_news_end_the_wait_and_no_news_do_not(arrivals: WatchedArrivals, page: Page) -> None:
    assert arrivals.wait(0, 0.01) == 0
    page.write(1)
    assert arrivals.wait(0, DEADLINE_S) == 1
    page.write(1)
    assert arrivals.wait(1, 0.01) == 1


def test_a_write_during_the_wait_ends_it(arrivals: WatchedArrivals, page: Page) -> None:
    thread = threading.Thread(target=page.write, args=[1])
    thread.start()
    assert arrivals.wait(0, DEADLINE_S) == 1
    thread.join()


def test_an_announcement_of_this_process_ends_the_wait(arrivals: WatchedArrivals) -> None:
    thread = threading.Thread(target=lambda: wait_for(lambda: arrivals._watcher))
    thread.start()
    announcer = threading.Thread(target=lambda: (thread.join(), arrivals.announce()))
    announcer.start()
    assert arrivals.wait(0, DEADLINE_S) == 1
    announcer.join()


def test_all_who_wait_are_told_by_the_one_who_watches(
    arrivals: WatchedArrivals, page: Page
) -> None:
    seen: list[int] = []
    threads = [
        threading.Thread(target=lambda: seen.append(arrivals.wait(0, DEADLINE_S))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: arrivals._watcher and arrivals._waiting == 4)
    page.write(1)
    for thread in threads:
        thread.join()
    assert seen == [1] * 5


def test_another_takes_over_from_one_whose_time_is_up(
    arrivals: WatchedArrivals, page: Page
) -> None:
    seen: list[int] = []
    short = threading.Thread(target=lambda: arrivals.wait(0, 0.2))
    short.start()
    wait_for(lambda: arrivals._watcher)
    long = threading.Thread(target=lambda: seen.append(arrivals.wait(0, DEADLINE_S)))
    long.start()
    short.join()
    page.write(1)
    long.join()
    assert seen == [1]


def test_files_that_come_later_are_watched(arrivals: WatchedArrivals, page: Page) -> None:
    page.path.unlink()
    arrivals._has_news = page.path.exists
    thread = threading.Thread(target=page.path.touch)
    thread.start()
    assert arrivals.wait(0, DEADLINE_S) == 1
    thread.join()
    arrivals.follow_anew()
    assert arrivals.wait(1, DEADLINE_S) == 2


def test_follow_anew_is_heard_by_the_one_who_waits(tmp_path: Path) -> None:
    first, second = Page(tmp_path / "first"), Page(tmp_path / "second")
    paths = first.paths()
    arrivals = WatchedArrivals(lambda: paths, lambda: first.has_news() or second.has_news())
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(arrivals.wait(0, DEADLINE_S)))
    thread.start()
    wait_for(lambda: arrivals._watcher)
    paths = second.paths()
    arrivals.follow_anew()
    second.write(1)
    thread.join()
    assert seen == [1]
    arrivals.close()


def test_close_ends_nothing_but_gives_the_descriptors_back(
    arrivals: WatchedArrivals, page: Page
) -> None:
    before = len(os.listdir("/dev/fd"))
    assert arrivals.wait(0, 0.001) == 0
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(arrivals.wait(0, DEADLINE_S)))
    thread.start()
    wait_for(lambda: arrivals._watcher)
    arrivals.close()
    wait_for(lambda: arrivals._watcher is None)
    assert len(os.listdir("/dev/fd")) == before
    arrivals.announce()
    thread.join()
    assert seen == [1]
    assert arrivals.wait(1, 0.001) == 1
    assert len(os.listdir("/dev/fd")) == before


def test_one_that_is_dropped_gives_the_descriptors_back(page: Page) -> None:
    before = len(os.listdir("/dev/fd"))
    arrivals = WatchedArrivals(page.paths, page.has_news)
    arrivals.wait(0, 0.001)
    del arrivals
    assert len(os.listdir("/dev/fd")) == before


def test_a_forked_child_and_its_parent_both_hear_of_news(
    arrivals: WatchedArrivals, page: Page
) -> None:
    arrivals.wait(0, 0.001)
    waiting = threading.Thread(target=lambda: arrivals.wait(0, DEADLINE_S))
    waiting.start()
    wait_for(lambda: arrivals._watcher)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            page.write(1)
            if arrivals.wait(0, DEADLINE_S) == 1:
                arrivals.close()
                status = 0
        finally:
            os._exit(status)
    waiting.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert arrivals.version == 1


def test_who_is_told_looks_seldom(page: Page) -> None:
    arrivals = WatchedArrivals(page.paths, page.has_news)
    arrivals.wait(0, 0.001)
    if type(arrivals._watch) is FileWatch:
        pytest.skip("nothing tells of writes on this system")
    page.asked = 0
    begin = time.monotonic()
    for _ in range(20):
        arrivals.wait(0, 0.001)
    assert page.asked <= 1 + (time.monotonic() - begin) / WATCHED_INTERVAL_S
    arrivals.close()
