"""Open descriptors by path: how many, which are synced before they go, what a failure says."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from merkql.storage.file_pool import FilePool
from merkql.storage.files import Files
from support.faulty_files import FaultyFiles
from support.monitor import MonitorFiles


def open_below(path: Path) -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if target.startswith(str(path)):
            found.append(os.path.basename(target))
    return sorted(found)


def test_reads_what_was_written(tmp_path: Path) -> None:
    pool = FilePool(Files())
    path = str(tmp_path / "file")
    pool.write(path, b"hello", 3)
    assert pool.read(path, 100, 0) == b"\0\0\0hello"
    assert pool.size(path) == 8
    buffer = bytearray(4)
    assert pool.read_into(path, buffer, 4) == 4
    assert buffer == b"ello"
    pool.close()


def test_reading_makes_no_file(tmp_path: Path) -> None:
    pool = FilePool(Files())
    for work in (pool.size, lambda path: pool.read(path, 1, 0)):
        with pytest.raises(FileNotFoundError):
            work(str(tmp_path / "nothing"))
    assert not pool.exists(str(tmp_path / "nothing"))
    assert os.listdir(tmp_path) == []


def test_no_more_are_open_than_allowed(tmp_path: Path) -> None:
    pool = FilePool(Files(), capacity=4)
    for number in range(20):
        pool.write(str(tmp_path / f"{number:02d}"), b"x", 0)
        assert len(open_below(tmp_path)) <= 4
    assert open_below(tmp_path) == ["16", "17", "18", "19"]
    pool.close()
    assert open_below(tmp_path) == []


def test_the_least_used_goes_first(tmp_path: Path) -> None:
    pool = FilePool(Files(), capacity=2)
    a, b, c = (str(tmp_path / name) for name in "abc")
    pool.write(a, b"x", 0)
    pool.write(b, b"x", 0)
    pool.read(a, 1, 0)
    pool.write(c, b"x", 0)
    assert open_below(tmp_path) == ["a", "c"]
    pool.close()


def test_critical_writes_are_synced_before_their_descriptor_goes(tmp_path: Path) -> None:
    """Else an error of the write-back would be lost with it."""
    files = MonitorFiles()
    pool = FilePool(files, capacity=1)
    pool.write(str(tmp_path / "a.log"), b"", 0, critical=True)
    pool.write(str(tmp_path / "b.index"), b"x", 0)
    assert files.syncs == {"log": 1}
    pool.write(str(tmp_path / "c"), b"x", 0)
    assert files.syncs == {"log": 1}
    pool.close()


@pytest.mark.parametrize("how", ["sync", "eviction", "names"])
def test_a_failed_sync_is_told(tmp_path: Path, how: str) -> None:
    files = FaultyFiles(("sync", "sync_directory"))
    pool = FilePool(files, capacity=1)
    told: list[OSError] = []
    pool.on_failed_sync = told.append
    path = str(tmp_path / "a")
    pool.write(path, b"x", 0, critical=True)
    files.arm(0)
    with pytest.raises(OSError, match="Input/output error") as caught:
        if how == "sync":
            pool.sync(path)
        elif how == "eviction":
            pool.write(str(tmp_path / "b"), b"x", 0)
        else:
            pool.sync_names(str(tmp_path))
    assert told == [caught.value]
    pool.close()


def test_want_of_descriptors_is_no_failed_sync(tmp_path: Path) -> None:
    files = FaultyFiles(("sync_directory",))
    files.error = errno.EMFILE
    pool = FilePool(files)
    told: list[OSError] = []
    pool.on_failed_sync = told.append
    files.arm(0)
    with pytest.raises(OSError, match="Too many open files"):
        pool.sync_names(str(tmp_path))
    assert not told


def test_a_removed_file_is_gone_for_the_next_reader(tmp_path: Path) -> None:
    pool = FilePool(Files())
    path = str(tmp_path / "a")
    pool.write(path, b"x", 0)
    pool.remove(path)
    with pytest.raises(FileNotFoundError):
        pool.read(path, 1, 0)
    assert open_below(tmp_path) == []


def test_forgetting_a_directory_closes_what_is_below(tmp_path: Path) -> None:
    pool = FilePool(Files())
    (tmp_path / "d").mkdir()
    for name in ("d/a", "d/b", "dc"):
        pool.write(str(tmp_path / name), b"x", 0)
    pool.forget(str(tmp_path / "d"), below=True)
    assert open_below(tmp_path) == ["dc"]
    pool.close()


def test_many_threads_read_and_write_few_descriptors(tmp_path: Path) -> None:
    pool = FilePool(Files(), capacity=3)
    wrong: list[bytes] = []

    def work(number: int) -> None:
        path = str(tmp_path / str(number))
        for turn in range(200):
            pool.write(path, b"%d" % turn, 0)
            found = pool.read(path, 3, 0)
            if found != b"%d" % turn:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(open_below(tmp_path)) <= 3 + 8
    pool.close()
    assert open_below(tmp_path) == []


def test_links_and_pipes_are_not_opened(tmp_path: Path) -> None:
    pool = FilePool(Files())
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=r"symbolic|not a regular file"):
            pool.read(str(tmp_path / name), 1, 0)
