"""What tells that a file was written to: this system's own way, a fake kqueue, and none."""

from __future__ import annotations

import errno
import os
import select
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from merkql.storage import file_watch
from merkql.storage.file_watch import FileWatch, InotifyWatch, KqueueWatch, open_watch

DEADLINE_S = 20.0  # of a machine that is busy


@pytest.fixture
def watch() -> Iterator[FileWatch]:
    watch = open_watch()
    if type(watch) is FileWatch:
        pytest.skip("nothing tells of writes on this system")
    yield watch
    watch.close()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page"
    path.write_bytes(b"0")
    return path


def write(path: Path, content: bytes = b"1") -> None:
    with path.open("r+b") as file:
        file.write(content)


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def drain(watch: FileWatch) -> None:
    while watch.wait(0):
        pass


def test_a_write_ends_the_wait(watch: FileWatch, page: Path) -> None:
    watch.follow([str(page)])
    assert watch.is_complete
    assert not watch.wait(0)
    write(page)
    assert watch.wait(DEADLINE_S)
    assert not watch.wait(0)


def test_a_write_during_the_wait_ends_it(watch: FileWatch, page: Path) -> None:
    watch.follow([str(page)])
    thread = threading.Thread(target=write, args=[page])
    thread.start()
    assert watch.wait(DEADLINE_S)
    thread.join()


def test_wake_ends_the_wait_that_is_or_comes(watch: FileWatch) -> None:
    for _ in range(3):
        watch.wake()
    assert not watch.wait(DEADLINE_S)
    thread = threading.Thread(target=watch.wake)
    thread.start()
    assert not watch.wait(DEADLINE_S)
    thread.join()


def test_paths_come_and_go(watch: FileWatch, page: Path) -> None:
    other = page.with_name("other")
    other.write_bytes(b"0")
    watch.follow([str(page)])
    watch.follow([str(other)])
    drain(watch)
    write(page)
    assert not watch.wait(0)
    write(other)
    assert watch.wait(DEADLINE_S)


def test_a_file_that_comes_later_is_watched_when_it_is_there(watch: FileWatch, page: Path) -> None:
    missing = page.with_name("missing")
    watch.follow([str(page), str(missing)])
    assert not watch.is_complete
    write(page)
    assert watch.wait(DEADLINE_S)
    missing.write_bytes(b"0")
    watch.follow([str(page), str(missing)])
    assert watch.is_complete
    write(missing)
    assert watch.wait(DEADLINE_S)


@pytest.mark.parametrize("replace", [os.rename, lambda old, new: os.unlink(new)])
def test_a_name_that_leads_elsewhere_is_not_taken_for_watched(
    watch: FileWatch, page: Path, replace: Callable[[str, str], None]
) -> None:
    watch.follow([str(page)])
    newer = page.with_name("newer")
    newer.write_bytes(b"0")
    replace(str(newer), str(page))
    assert watch.wait(DEADLINE_S)
    assert not watch.is_complete
    page.touch()
    watch.follow([str(page)])
    drain(watch)
    assert watch.is_complete
    write(page)
    assert watch.wait(DEADLINE_S)


def test_closing_gives_the_descriptors_back(page: Path) -> None:
    before = descriptors()
    watch = open_watch()
    watch.follow([str(page)])
    watch.close()
    assert descriptors() == before


def test_without_the_kernel_only_wake_ends_a_wait() -> None:
    watch = FileWatch()
    watch.follow(["/nowhere"])
    assert not watch.is_complete
    assert not watch.wait(0.001)
    watch.wake()
    watch.wake()
    assert not watch.wait(DEADLINE_S)
    watch.close()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOSYS])
def test_where_a_limit_is_reached_it_is_done_without(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse() -> None:
        raise OSError(code, os.strerror(code))

    for name in ("InotifyWatch", "KqueueWatch"):
        monkeypatch.setattr(file_watch, name, refuse)
    assert type(open_watch()) is FileWatch


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="inotify is Linux's")
def test_a_limit_on_watches_is_told(watch: FileWatch, page: Path) -> None:
    assert isinstance(watch, InotifyWatch)
    watch._library = types.SimpleNamespace(
        inotify_add_watch=lambda *_: -1, inotify_rm_watch=lambda *_: -1
    )
    watch.follow([str(page)])
    assert not watch.is_complete


class FakeKernel(types.ModuleType):
    """The names of a BSD's ``select`` that are used, with events that a test puts in."""

    KQ_FILTER_READ, KQ_FILTER_VNODE = -1, -4
    KQ_EV_ADD, KQ_EV_CLEAR = 1, 0x20
    KQ_NOTE_DELETE, KQ_NOTE_WRITE, KQ_NOTE_EXTEND, KQ_NOTE_RENAME = 1, 2, 4, 0x20

    def __init__(self) -> None:
        super().__init__("select")
        self.added: list[types.SimpleNamespace] = []
        self.coming: list[types.SimpleNamespace] = []

    def kqueue(self) -> FakeKernel:
        return self

    def kevent(self, ident: int, filter: int, flags: int, fflags: int) -> types.SimpleNamespace:  # noqa: A002
        return types.SimpleNamespace(ident=ident, filter=filter, fflags=fflags)

    def control(
        self, changes: list[types.SimpleNamespace] | None, count: int, timeout: float
    ) -> list[types.SimpleNamespace]:
        self.added += changes or []
        events, self.coming = self.coming[:count], self.coming[count:]
        return events

    def close(self) -> None:
        self.added.clear()


def test_on_a_kqueue(monkeypatch: pytest.MonkeyPatch, page: Path) -> None:
    kernel = FakeKernel()
    monkeypatch.setattr(file_watch, "select", kernel)
    before = descriptors()
    watch = KqueueWatch()
    watch.follow([str(page), "/nowhere"])
    assert not watch.is_complete
    watch.follow([str(page)])
    assert watch.is_complete
    pipe, file = kernel.added
    kernel.coming = [types.SimpleNamespace(ident=file.ident, fflags=kernel.KQ_NOTE_WRITE)]
    assert watch.wait(0)
    watch.wake()
    kernel.coming = [types.SimpleNamespace(ident=pipe.ident, fflags=0)]
    assert not watch.wait(0)
    kernel.coming = [types.SimpleNamespace(ident=file.ident, fflags=kernel.KQ_NOTE_RENAME)]
    assert watch.wait(0)
    assert not watch.is_complete
    watch.follow([str(page)])
    assert watch.is_complete
    watch.close()
    assert descriptors() == before


def test_a_file_that_a_kqueue_refused_was_taken_for_watched(
    monkeypatch: pytest.MonkeyPatch, page: Path
) -> None:
    kernel = FakeKernel()
    monkeypatch.setattr(file_watch, "select", kernel)
    before = descriptors()
    watch = KqueueWatch()
    control = kernel.control

    def refuse(code: int) -> None:
        def refused(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(kernel, "control", refused)

    refuse(errno.ENOMEM)
    for _ in range(2):
        watch.follow([str(page)])
        assert not watch.is_complete
    refuse(errno.EBADF)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        watch.follow([str(page)])
    monkeypatch.setattr(kernel, "control", control)
    watch.follow([str(page)])
    assert watch.is_complete
    watch.close()
    assert descriptors() == before
