"""Somebody puts other things in the place of our files: FIFOs, directories, devices, giants.

Goal: never a hang, never a traceback of our own making, never a byte read or written elsewhere.
What is damaged is an error that names it; the rest of the log is served.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import stat
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from merkql import Broker, CorruptionError, MerkqlError, RetentionConfig

GIANT = 1 << 40


def fifo(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def unix_socket(path: Path) -> None:
    where = os.getcwd()
    os.chdir(path.parent)  # the names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(where)


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("devices need root")


def link_outside(path: Path) -> None:
    outside = Path(os.environ["HOSTILE_OUTSIDE"])
    outside.write_bytes(b"not yours")
    path.symlink_to(outside)


def giant(path: Path) -> None:
    path.touch()
    os.truncate(path, GIANT)


@pytest.fixture(autouse=True)
def bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Twenty seconds, four GiB more than there are, and a file outside that stays as it is."""
    monkeypatch.setenv("HOSTILE_OUTSIDE", str(tmp_path / "outside"))
    logging.disable(logging.CRITICAL)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (4 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    before = signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    resource.setrlimit(resource.RLIMIT_AS, limits)
    logging.disable(logging.NOTSET)
    outside = tmp_path / "outside"
    assert not outside.exists() or outside.read_bytes() == b"not yours"


def _out_of_time(number: int, frame: object) -> None:
    raise TimeoutError("it hangs")


def build(root: Path, *, clean: bool) -> None:
    broker = Broker.open(root)
    broker.create_topic("t", segment_bytes=4096, retention=RetentionConfig(max_records=1000))
    broker.create_topic("fine")
    for number in range(20):
        broker.producer().send("t", b"%d" % number + bytes(500))
        broker.producer().send("fine", b"%d" % number)
    with broker.consumer("g", auto_commit=False) as consumer:
        consumer.assign([("t", 0)])
        consumer.commit_sync({("t", 0): 5})
    if clean:
        broker.close()
    else:
        broker._engine.abandon()
        broker.closed = True


FILES = [
    "merkql.json",
    "lock",
    "clean",
    "wal/00000001.wal",
    "topics/t/topic.json",
    "topics/t/0/tail",
    "topics/t/0/start",
    "topics/t/0/00000000000000000000.log",
    "topics/t/0/00000000000000000000.index",
    "topics/t/0/last.log",
    "topics/t/0/last.index",
    "topics/t/0/tree/h00",
    "topics/t/0/tree/h04",
    "groups/g/offsets",
    "groups/g/lock",
]


def use(root: Path, *, read_only: bool) -> int:
    """Everything one does with a log; how many of the calls raised what they should raise."""
    refused = 0
    try:
        broker = Broker.open(root, read_only=read_only)
    except (MerkqlError, OSError):
        return 1
    calls: list[Callable[[], object]] = [
        lambda: broker.topic("t").partition(0).read_range(0, 20),
        lambda: broker.topic("t").partition(0).verify(),
        lambda: broker.topic("t").partition(0).proof(3),
        lambda: broker.topic("fine").partition(0).read_range(0, 20),
        lambda: broker.consumer("g").committed(("t", 0)),
    ]
    if not read_only:
        calls += [
            lambda: broker.producer().send("t", b"x"),
            lambda: broker.producer().send("fine", b"x"),
            broker.apply_retention,
            broker.close,
        ]
    for call in calls:
        try:
            call()
        except (MerkqlError, OSError):
            refused += 1
    try:
        broker.close()
    except (MerkqlError, OSError):
        refused += 1
    return refused


OTHERS = [directory, unix_socket, device, link_outside, giant]


@pytest.mark.parametrize("name", FILES)
def test_a_fifo_in_the_place_of_a_file(tmp_path: Path, name: str) -> None:
    replaced(tmp_path / "data", name, fifo, clean=False)


@pytest.mark.parametrize("name", ["topics/t/0/last.log", "wal/00000001.wal"])
def test_a_giant_full_of_holes_was_read_through(tmp_path: Path, name: str) -> None:
    replaced(tmp_path / "data", name, giant, clean=False)


def test_a_segment_of_zeros_was_an_error_of_our_own_making_to_readers(tmp_path: Path) -> None:
    build(tmp_path, clean=True)
    path = min((tmp_path / "topics/t/0").glob("*.log"))
    path.write_bytes(bytes(path.stat().st_size))
    for read_only in (True, False):
        with (
            Broker.open(tmp_path, read_only=read_only) as broker,
            pytest.raises(CorruptionError, match=path.name),
        ):
            broker.topic("t").partition(0).read(0)


@pytest.mark.parametrize("what", ["segment", "write-ahead log"])
def test_recovery_read_a_large_tail_into_memory_at_once(tmp_path: Path, what: str) -> None:
    build(tmp_path, clean=False)
    path = max((tmp_path / "topics/t/0").glob("*.log"))
    if what != "segment":
        path = min((tmp_path / "wal").iterdir())
    with path.open("ab") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with Broker.open(tmp_path) as broker:
            assert broker.topic("t").partition(0).end_offset == 20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20


@pytest.mark.slow
@pytest.mark.parametrize("clean", [True, False], ids=["closed", "crashed"])
@pytest.mark.parametrize("hostile", OTHERS)
@pytest.mark.parametrize("name", FILES)
def test_something_else_in_the_place_of_a_file(
    tmp_path: Path, name: str, hostile: Callable[[Path], None], clean: bool
) -> None:
    replaced(tmp_path / "data", name, hostile, clean=clean)


def replaced(root: Path, name: str, hostile: Callable[[Path], None], *, clean: bool) -> None:
    """Put something else in the place of one file and use the log."""
    build(root, clean=clean)
    path = root / name
    if path.name.startswith("last."):
        path = max(path.parent.glob(f"*{path.suffix}"))
    path.unlink(missing_ok=True)
    hostile(path)
    for read_only in (True, False):
        use(root, read_only=read_only)
