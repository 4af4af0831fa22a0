"""Each file of a log is hurt in many ways: all is served, or an error says why not.

Goal: what is raised is ours or the system's, nothing hangs, no record is another one, none is
missing without a word, and no offset is given twice.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from merkql import Broker, MerkqlError
from merkql.storage.files import Files

EARLIER, COUNT = 40, 90
TOPICS = ("plain", "salty", "packed")
OPTIONS = {"plain": {}, "salty": {"erasable": True}, "packed": {"compression": "lz4"}}
ERASED = 3
SHARE = 32  # of the cases, one in so many is tried by default


def value(topic: str, offset: int) -> bytes:
    return b"%s %05d" % (topic.encode(), offset) * 8


def write(path: Path, begin: int, end: int) -> Broker:
    broker = Broker.open(path)
    for topic in TOPICS:
        if begin == 0:
            broker.create_topic(topic, segment_bytes=4096, **OPTIONS[topic])  # type: ignore[arg-type]
        for offset in range(begin, end):
            broker.producer().send(topic, value(topic, offset))
    if begin == 0:
        broker.topic("salty").partition(0).erase(ERASED)
    with broker.consumer("g") as consumer:
        consumer.subscribe(TOPICS)
        consumer.poll(max_records=30)
        consumer.commit_sync()
    return broker


class World:
    """A log that was closed, the same cut off later on, and both as they were earlier."""

    def __init__(self, path: Path) -> None:
        self.earlier, self.closed, self.killed = path / "earlier", path / "closed", path / "killed"
        write(self.earlier, 0, EARLIER).close()
        shutil.copytree(self.earlier, self.closed)
        write(self.closed, EARLIER, COUNT).close()
        shutil.copytree(self.earlier, path / "open")
        broker = write(path / "open", EARLIER, COUNT)
        shutil.copytree(path / "open", self.killed)
        broker.close()


def removed(path: Path, earlier: Path) -> None:
    path.unlink()


def emptied(path: Path, earlier: Path) -> None:
    os.truncate(path, 0)


def one_byte_short(path: Path, earlier: Path) -> None:
    os.truncate(path, max(0, path.stat().st_size - 1))


def halved(path: Path, earlier: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def with_junk_behind(path: Path, earlier: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\xde\xad\xbe\xef" * 25)


def zeros(path: Path, earlier: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def noise(path: Path, earlier: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


def older(path: Path, earlier: Path) -> None:
    if earlier.exists():
        shutil.copyfile(earlier, path)


def directory(path: Path, earlier: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path, earlier: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path, earlier: Path) -> None:
    target = path.parents[len(path.parts) - path.parts.index("copy") - 1].with_name("target")
    shutil.move(path, target)
    path.symlink_to(target)


WAYS: list[Callable[[Path, Path], None]] = [
    removed, emptied, one_byte_short, halved, with_junk_behind, zeros, noise, older, directory,
    fifo, link,
]  # fmt: skip


class Look:
    """What a broker was seen to serve, and what it raised."""

    def __init__(self) -> None:
        self.raised: list[str] = []
        self.sent = dict.fromkeys(TOPICS, 0)

    def attempt(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (MerkqlError, OSError) as error:
            self.raised.append(repr(error))

    def session(self, path: Path, *, read_only: bool) -> None:
        with Broker.open(path, read_only=read_only) as broker:
            for topic in TOPICS:
                self.attempt(lambda name=topic: self.read(broker, name))  # type: ignore[misc]
                self.attempt(lambda name=topic: broker.topic(name).partition(0).verify())  # type: ignore[misc]
            self.attempt(lambda: self.consume(broker))
            if not read_only:
                for topic in TOPICS:
                    self.attempt(lambda name=topic: self.send(broker, name))  # type: ignore[misc]
                self.attempt(broker.apply_retention)

    def read(self, broker: Broker, topic: str) -> None:
        partition = broker.topic(topic).partition(0)
        records = partition.read_range(partition.start_offset, partition.end_offset)
        for record in records:
            if record.offset >= COUNT:
                assert record.value == b"new"
            elif topic == "salty" and record.offset == ERASED:
                assert record.erased
            else:
                assert record.value == value(topic, record.offset), record.offset
        partition.fetch(partition.end_offset)  # says so where the end is damaged
        assert [one.offset for one in records] == list(range(COUNT + self.sent[topic]))

    def consume(self, broker: Broker) -> None:
        with broker.consumer("g") as consumer:
            consumer.subscribe(TOPICS)
            consumer.poll()

    def send(self, broker: Broker, topic: str) -> None:
        offset = broker.producer().send(topic, b"new").offset
        assert offset == COUNT + self.sent[topic], "an offset was given twice"
        self.sent[topic] += 1


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing may hang for ever.

    The monitor is left out: it takes a segment's trimming for a write, also where its partition
    could then not be opened, and nobody syncs it.
    """
    monkeypatch.setattr("merkql.broker.Files", Files)

    def out_of_time(number: int, frame: object) -> None:
        raise AssertionError("it hangs")

    logging.disable(logging.CRITICAL)
    before = signal.signal(signal.SIGALRM, out_of_time)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    logging.disable(logging.NOTSET)


def hurt_each(world: World, scratch: Path, share: int) -> None:
    number = 0
    for root in (world.closed, world.killed):
        files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
        for name in files:
            for way in WAYS:
                for read_only in (False, True):
                    number += 1
                    if number % share == 0:
                        hurt(world, root, scratch, (name, way, read_only))


def hurt(
    world: World,
    root: Path,
    scratch: Path,
    case: tuple[Path, Callable[[Path, Path], None], bool],
) -> None:
    name, way, read_only = case
    copy = scratch / "copy"
    shutil.copytree(root, copy)
    way(copy / name, world.earlier / name)
    look = Look()
    signal.alarm(60)
    try:
        for _ in range(2):
            look.attempt(lambda: look.session(copy, read_only=read_only))
    except Exception as error:
        where = f"{root.name}: {name} {way.__name__}, {'reading' if read_only else 'writing'}"
        raise AssertionError(f"{where}: {error!r}; raised before: {look.raised}") from error
    signal.alarm(0)
    for path in scratch.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def test_some_files_hurt_in_some_ways(world: World, tmp_path: Path) -> None:
    hurt_each(world, tmp_path, SHARE)


@pytest.mark.exhaustive
def test_every_file_hurt_in_every_way(world: World, tmp_path: Path) -> None:
    hurt_each(world, tmp_path, 1)
