"""The data directory as people leave it: not writable, copied, with junk and links in it."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from merkql import (
    Broker,
    BrokerConfig,
    CorruptionError,
    UnknownTopicError,
)
from merkql.storage import directory
from merkql.storage.files import Files
from support.crashes import crash as crash_broker


class Unwritable(Files):
    """What a user meets who may read only: no file is opened to be written, none is made."""

    def __init__(self, code: int) -> None:
        self.code = code

    def open(self, path: str, *, write: bool = False, create: bool = False) -> int:
        if write:
            self.check_writable(path)
        return super().open(path, write=write, create=create)

    def make_directory(self, path: str) -> None:
        if not os.path.lexists(path):
            self.check_writable(path)
        super().make_directory(path)

    def make_directories(self, path: str) -> None:
        self.check_writable(path)

    def check_writable(self, path: str) -> None:
        raise OSError(self.code, os.strerror(self.code), path)


class OpenedBefore(Unwritable):
    """The lock file is still ours to write, the directory no longer is."""

    def open(self, path: str, *, write: bool = False, create: bool = False) -> int:
        return Files.open(self, path, write=write, create=create)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with a topic of three partitions, one of them written to, and a group."""
    path = tmp_path / "data"
    with Broker.open(path) as broker:
        broker.create_topic("t", partitions=3)
        for number in range(3):
            broker.producer().send("t", b"%d" % number, partition=1)
        consumer = broker.consumer("g")
        consumer.subscribe(["t"])
        assert len(consumer.poll()) == 3
        consumer.commit_sync()
    return path


def values(broker: Broker) -> list[bytes | None]:
    return [record.value for record in broker.topic("t").partition(1).read_range(0, 3)]


LOCKS = ("lock", "lock.queue", "lock.sharers")


def drop_empty_directories(path: Path) -> None:
    """As git, zip and object stores do."""
    for folder, _, _ in os.walk(path, topdown=False):
        if not os.listdir(folder):
            os.rmdir(folder)


def crash(path: Path, count: int = 1) -> None:
    """Leave records in the write-ahead log that the segments may lack."""
    broker = Broker.open(path)
    for _ in range(count):
        broker.producer().send("t", b"late", partition=1)
    crash_broker(broker)


REFUSALS = [(errno.EACCES, PermissionError), (errno.EPERM, PermissionError), (errno.EROFS, OSError)]


@pytest.mark.parametrize("kind", [Unwritable, OpenedBefore])
@pytest.mark.parametrize(("code", "error"), REFUSALS)
def test_a_directory_one_may_only_read_named_its_lock_file(
    data: Path, kind: type[Unwritable], code: int, error: type[OSError]
) -> None:
    with pytest.raises(error, match=r"cannot be written; open with read_only=True") as raised:
        Broker(BrokerConfig(data), kind(code))
    assert type(raised.value) is error
    assert (raised.value.errno, raised.value.filename) == (code, str(data))
    with Broker(BrokerConfig(data, read_only=True), kind(code)) as broker:
        assert values(broker) == [b"0", b"1", b"2"]


@pytest.mark.parametrize(("code", "error"), REFUSALS)
def test_a_new_directory_that_cannot_be_made_advised_to_read_it(
    tmp_path: Path, code: int, error: type[OSError]
) -> None:
    with pytest.raises(error, match="cannot be written; choose another") as raised:
        Broker(BrokerConfig(tmp_path / "new"), Unwritable(code))
    assert raised.value.errno == code


def test_other_errors_of_opening_were_not_touched(data: Path) -> None:
    with pytest.raises(OSError, match="No space") as raised:
        Broker(BrokerConfig(data), Unwritable(errno.ENOSPC))
    assert "read_only" not in str(raised.value)


@pytest.mark.parametrize(("code", "error"), REFUSALS)
@pytest.mark.parametrize("group", ["g", "new"])
def test_a_consumer_in_a_directory_one_may_only_read_named_its_lock_file(
    data: Path, group: str, code: int, error: type[OSError]
) -> None:
    with (
        Broker(BrokerConfig(data, read_only=True), Unwritable(code)) as broker,
        pytest.raises(error, match=r"commits need it writable: Partition\.fetch reads"),
    ):
        consumer = broker.consumer(group)
        consumer.subscribe(["t"])
        consumer.poll()


def test_a_directory_whose_permission_is_missing_is_told_by_the_system(data: Path) -> None:
    if os.geteuid() == 0:
        Files().check_writable(str(data))
        return
    os.chmod(data, 0o500)
    try:
        with pytest.raises(PermissionError, match="cannot be written"):
            Broker.open(data)
    finally:
        os.chmod(data, 0o700)


# Copies without empty directories


@pytest.mark.parametrize("read_only", [True, False])
def test_a_copy_without_empty_directories_did_not_open(data: Path, *, read_only: bool) -> None:
    drop_empty_directories(data)
    assert not (data / "wal").exists()
    with Broker.open(data, read_only=read_only) as broker:
        assert values(broker) == [b"0", b"1", b"2"]
        assert [broker.topic("t").partition(n).end_offset for n in range(3)] == [0, 3, 0]
    if not read_only:
        with Broker.open(data) as broker:
            assert broker.producer().send("t", b"first", partition=0).offset == 0
        assert (data / "wal").is_dir()


@pytest.mark.parametrize("read_only", [True, False])
def test_a_copy_of_an_empty_log_did_not_open(tmp_path: Path, *, read_only: bool) -> None:
    Broker.open(tmp_path).close()
    drop_empty_directories(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["clean", *LOCKS, "merkql.json", "state"]
    with Broker.open(tmp_path, read_only=read_only) as broker:
        assert broker.topics() == []
        assert broker.groups() == []
    assert (tmp_path / "topics").exists() is not read_only


def test_a_missing_write_ahead_log_after_a_crash_was_a_bare_error(data: Path) -> None:
    crash(data)
    shutil.rmtree(data / "wal")
    with pytest.raises(CorruptionError, match="the write-ahead log is missing") as raised:
        Broker.open(data)
    assert raised.value.path == str(data / "wal")
    assert not (data / "wal").exists()
    with Broker.open(data, read_only=True) as broker:
        assert values(broker) == [b"0", b"1", b"2"]
    (data / "wal").mkdir()  # what the message says: go on without
    with Broker.open(data) as broker:
        assert values(broker) == [b"0", b"1", b"2"]


def test_without_topics_there_was_nothing_in_a_missing_write_ahead_log(tmp_path: Path) -> None:
    broker = Broker.open(tmp_path)
    crash_broker(broker)
    os.rmdir(tmp_path / "wal")
    with Broker.open(tmp_path) as again:
        assert again.producer().send("t", b"x").offset == 0


@pytest.mark.parametrize("crashed", [True, False])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_log_whose_topics_are_gone_was_a_bare_error(
    data: Path, *, crashed: bool, read_only: bool
) -> None:
    if crashed:
        crash(data)
    shutil.rmtree(data / "topics")
    with pytest.raises(CorruptionError, match="missing, and records were written") as raised:
        Broker.open(data, read_only=read_only)
    assert raised.value.path == str(data / "topics")
    assert not (data / "topics").exists()


def test_a_lost_partition_was_made_anew_by_adding_others(data: Path) -> None:
    shutil.rmtree(data / "topics/t/1")
    with Broker.open(data) as broker:
        broker.topic("t").add_partitions(4)
        assert broker.producer().send("t", b"x", partition=3).offset == 0
    with Broker.open(data) as broker, pytest.raises(CorruptionError, match="missing"):
        broker.producer().send("t", b"another offset 0", partition=1)


# Strangers

JUNK_FILES = [
    *("topics/.DS_Store", "topics/README", "topics/.deleted-zz", "topics/.new-zz"),
    *(f"topics/.new-{'0' * 32}", f"topics/.deleted-{'0' * 32}", "topics/a b", "topics/t.orig~"),
    *("wal/.DS_Store", "wal/1.wal", "wal/notes", "groups/.DS_Store", "groups/README"),
]
JUNK_DIRECTORIES = ["topics/lost+found", "topics/.git", "wal/00000007.wal", "groups/lost+found"]
JUNK_LINKS = ["topics/.git-link", f"topics/.deleted-{'1' * 32}", "wal/link"]


@pytest.fixture
def junk(data: Path) -> Iterator[list[str]]:
    for name in JUNK_FILES:
        (data / name).write_text("junk")
    for name in JUNK_DIRECTORIES:
        (data / name).mkdir()
    for name in JUNK_LINKS:
        (data / name).symlink_to(data.parent)
    names = [*JUNK_FILES, *JUNK_DIRECTORIES, *JUNK_LINKS]
    yield names
    assert all(os.path.lexists(data / name) for name in names)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_stray_entry_kept_the_directory_from_opening(
    data: Path, junk: list[str], caplog: pytest.LogCaptureFixture, *, read_only: bool
) -> None:
    with Broker.open(data, read_only=read_only) as broker:
        for _ in range(3):
            assert broker.topics() == ["t"]
            assert broker.groups() == ["g"]
            assert values(broker) == [b"0", b"1", b"2"]
        with pytest.raises(UnknownTopicError):
            broker.topic("README")
    told = warnings_of(caplog)
    assert sorted(told) == sorted(f"{data / name}: not written by merkql, ignored" for name in junk)


def test_stray_entries_survive_a_crash_and_a_session(data: Path, junk: list[str]) -> None:
    crash(data, 20)
    with Broker.open(data) as broker:
        assert broker.topic("t").partition(1).end_offset == 23
        broker.create_topic("u")
        broker.delete_topic("u")
        for _ in range(10):
            broker.producer().send("t", bytes(100_000), partition=1)  # the log takes new files
    with Broker.open(data) as broker:
        assert broker.topic("t").partition(1).end_offset == 33


def test_a_file_in_the_place_of_a_new_topic_was_called_another_topic(data: Path) -> None:
    (data / "topics/README").write_text("junk")
    with Broker.open(data) as broker:
        with pytest.raises(CorruptionError, match=r"README: .*move it elsewhere"):
            broker.create_topic("README")
        assert (data / "topics/README").read_text() == "junk"
        assert sorted(os.listdir(data / "topics")) == ["README", "t"]


def test_a_damaged_topic_was_logged_at_every_look(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (data / "topics/t/topic.json").write_text("{")
    with Broker.open(data, read_only=True) as broker:
        for _ in range(5):
            assert broker.topics() == []
        with pytest.raises(CorruptionError, match=r"topic\.json"):
            broker.topic("t")
        assert len(warnings_of(caplog)) == 1
        shutil.rmtree(data / "topics/t")
        with pytest.raises(UnknownTopicError):
            broker.topic("t")


def test_wal_files_kept_aside_were_overwritten_by_later_ones(data: Path) -> None:
    kept = data / "wal/00000001.wal.kept"
    kept.write_text("records of a partition that could not be opened")
    crash(data)
    assert "00000001.wal" not in os.listdir(data / "wal")
    assert kept.read_text() == "records of a partition that could not be opened"


# Links


def move_behind_link(path: Path) -> Path:
    elsewhere = Path(str(path).split("/data/", maxsplit=1)[0]) / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    return elsewhere


def content(path: Path) -> dict[str, bytes]:
    return {str(one): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


@pytest.mark.parametrize("name", ["topics", "wal", "groups"])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_directory_behind_a_link_was_followed(data: Path, name: str, *, read_only: bool) -> None:
    elsewhere = move_behind_link(data / name)
    before = content(elsewhere)
    with pytest.raises(CorruptionError, match="a symbolic link, and links") as raised:
        Broker.open(data, read_only=read_only)
    assert raised.value.path == str(data / name)
    assert content(elsewhere) == before


def send(broker: Broker) -> object:
    return broker.producer().send("t", b"x", partition=1)


def read(broker: Broker) -> object:
    return broker.topic("t").partition(1).read(0)


def consume(broker: Broker) -> object:
    consumer = broker.consumer("g")
    consumer.subscribe(["t"])
    return consumer.poll(timeout=0)


@pytest.mark.parametrize("name", ["topics/t", "topics/t/1", "topics/t/1/tree"])
@pytest.mark.parametrize(
    ("ask", "read_only"), [(send, False), (read, False), (read, True), (consume, False)]
)
@pytest.mark.parametrize("crashed", [True, False])
def test_a_topic_or_partition_behind_a_link_was_read_and_written(
    data: Path, name: str, ask: Callable[[Broker], object], *, read_only: bool, crashed: bool
) -> None:
    if crashed:
        crash(data)
    elsewhere = move_behind_link(data / name)
    before = content(elsewhere)
    with Broker.open(data, read_only=read_only) as broker:
        if ask is consume and name == "topics/t":
            assert not ask(broker)  # a topic that cannot be read is not there yet
        else:
            with pytest.raises(CorruptionError, match="a symbolic link, and links") as raised:
                ask(broker)
            assert raised.value.path == str(data / name)
        if not read_only:
            assert broker.producer().send("other", b"x").offset == 0
    assert content(elsewhere) == before
    (data / name).unlink()
    elsewhere.rename(data / name)  # what the message says
    with Broker.open(data) as broker:
        assert values(broker) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("name", ["groups/g", "groups/g/members"])
def test_a_group_behind_a_link_was_followed(data: Path, name: str) -> None:
    elsewhere = move_behind_link(data / name)
    before = content(elsewhere)
    with Broker.open(data) as broker:
        with pytest.raises(CorruptionError, match="a symbolic link, and links") as raised:
            consume(broker)
        assert raised.value.path == str(data / name)
    assert content(elsewhere) == before


def test_a_write_ahead_log_file_behind_a_link_was_a_bare_error(data: Path) -> None:
    crash(data)
    path = next((data / "wal").glob("*.wal"))
    move_behind_link(path)
    with pytest.raises(CorruptionError, match="a symbolic link, and links") as raised:
        Broker.open(data)
    assert raised.value.path == str(path)


def test_a_data_directory_reached_through_a_link_opens(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    with Broker.open(tmp_path / "link") as broker:
        assert broker.producer().send("t", b"3", partition=1).offset == 3


def test_two_processes_that_make_a_directory_at_once_make_one_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later gave the log another id: after a crash its write-ahead log was a stranger's."""

    def sleep(seconds: float) -> None:
        waits.set()  # the other found the directory in the making
        made.wait(10)

    class Overtaken(Files):
        """Another process makes the directory too, at the moment before the last."""

        overtaken = False

        def rename(self, source: str, target: str) -> None:
            if target.endswith("merkql.json") and not self.overtaken:
                Overtaken.overtaken = True
                others.append(pool.submit(Broker.open, tmp_path / "data"))
                waits.wait(10)
            super().rename(source, target)
            made.set()

    waits, made = threading.Event(), threading.Event()
    others: list[Future[Broker]] = []
    monkeypatch.setattr(directory, "time", SimpleNamespace(time_ns=time.time_ns, sleep=sleep))
    with ThreadPoolExecutor(1) as pool:
        broker = Broker(BrokerConfig(tmp_path / "data"), Overtaken())
        with others[0].result(10) as other:
            assert other._engine.info.log_id == broker._engine.info.log_id
            assert other.producer().send("t", b"the other's").offset == 0
    broker.producer().send("t", b"acknowledged")
    crash_broker(broker)
    with Broker.open(tmp_path / "data") as again:
        assert again.topic("t").partition(0).read(1).value == b"acknowledged"
