"""Published tiles: read back by a reader of our own making, after each step, at every moment."""

from __future__ import annotations

import base64
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merkql import Broker, CorruptionError, HistoryError, RetentionConfig
from merkql.storage.files import Files
from merkql.storage.partition import Partition
from merkql.transparency.checkpointer import Signer
from merkql.transparency.note import SigningKey
from merkql.transparency.publisher import publish
from support.naive_tree import NaiveTree, leaf

SIGNER = Signer(SigningKey("example.com/log", bytes(32)))


def open_log(path: Path, **options: Any) -> Broker:
    return Broker.open(path, signing_key=SIGNER, default_durability="disk", **options)


def send(broker: Broker, count: int) -> Partition:
    broker.producer().send_values("t", [b"value"] * count)
    partition = broker.topic("t").partition(0)
    partition.checkpoint()
    return partition


def path_of(kind: str, index: int, width: int) -> str:
    groups = f"{index:03d}" if index < 1000 else f"x{index // 1000:03d}/{index % 1000:03d}"
    return f"tile/{kind}/{groups}" + (f".p/{width}" if width < 256 else "")


def read_log(directory: Path, note: bytes | None = None, first: int = 0) -> int:
    """Read all that the checkpoint speaks of and recompute its root; the size.

    Only what c2sp.org/tlog-tiles says is used; a partial tile is not looked for in the full one.
    """
    note = note or (directory / "checkpoint").read_bytes()
    size, root = int(note.split(b"\n")[1]), base64.b64decode(note.split(b"\n")[2])
    leaves, hashes = [], []
    for index in range(-(-size // 256)):
        width = min(256, size - 256 * index)
        tile = (directory / path_of("0", index, width)).read_bytes()
        assert len(tile) == 32 * width
        hashes += [tile[at : at + 32] for at in range(0, len(tile), 32)]
        if 256 * index < first:
            leaves += hashes[len(leaves) :]
            continue
        bundle = (directory / path_of("entries", index, width)).read_bytes()
        assert len(bundle) == 51 * width
        for at in range(0, len(bundle), 51):
            count, kind, offset = struct.unpack_from(">HBQ", bundle, at)
            assert (count, kind, offset) == (49, 1, len(leaves))
            leaves.append(leaf(bundle[at + 2 : at + 51]))
    assert leaves == hashes
    tree = NaiveTree(leaves)
    assert tree.root(0, size) == root
    for level in (1, 2):
        count = size >> 8 * level
        for index in range(-(-count // 256)):
            width = min(256, count - 256 * index)
            tile = (directory / path_of(str(level), index, width)).read_bytes()
            span = 256**level
            for number in range(width):
                begin = (256 * index + number) * span
                assert tile[32 * number :][:32] == tree.root(begin, begin + span)
    return size


def test_each_publication_is_whole_and_brings_what_is_new(tmp_path: Path) -> None:
    public = tmp_path / "public"
    sizes = []
    with open_log(tmp_path / "data") as broker:
        for count in (1, 1, 253, 1, 1, 255, 256, 300, 1, 66_000):
            partition = send(broker, count)
            report = partition.publish(public)
            assert report.size - report.size_before == count
            assert report.entries_missing == 0
            sizes.append(read_log(public))
        assert partition.publish(public).file_count == 0
        again = partition.publish(tmp_path / "anew")
        assert (again.size_before, again.size) == (0, sizes[-1])
    assert read_log(tmp_path / "anew") == sizes[-1] == 67_069
    files = {p.relative_to(tmp_path / "anew") for p in (tmp_path / "anew").rglob("*")}
    more = {p.relative_to(public) for p in public.rglob("*") if p.is_file()} - files
    assert all(".p/" in str(path) for path in more)
    assert len(more) <= 8  # partial forms of tiles that are full since the last time, or not yet


def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_log(tmp_path / "data") as broker:
        partition = send(broker, 50_000)
        partition.publish(tmp_path / "public")
        send(broker, 10)
        read = []
        pool_read = broker._engine.pool.read

        def counted(path: str, size: int, position: int) -> bytes:
            data = pool_read(path, size, position)
            read.append(len(data))
            return data

        monkeypatch.setattr(broker._engine.pool, "read", counted)
        partition.publish(tmp_path / "public")
    assert sum(read) < 400_000


class Interrupted(BaseException):
    """Stands for a SIGKILL: nothing runs after it."""


class StoppingFiles(Files):
    """Counts what changes a file, looks each time, and stops at the n-th."""

    def __init__(self, stop: int, look: Callable[[], None]) -> None:
        self.count = 0
        self._stop = stop
        self._look = look

    def _step(self) -> None:
        self._look()
        self.count += 1
        if self.count == self._stop:
            raise Interrupted

    def write(self, *arguments: Any) -> None:
        self._step()
        super().write(*arguments)

    def rename(self, source: str, target: str) -> None:
        self._step()
        super().rename(source, target)

    def remove(self, path: str) -> None:
        self._step()
        super().remove(path)

    def remove_directory(self, path: str) -> None:
        self._step()
        super().remove_directory(path)


def test_a_reader_finds_a_whole_log_at_every_moment(tmp_path: Path) -> None:
    """Also one that still has the checkpoint of before, and after a death at every step."""
    public = tmp_path / "public"
    with open_log(tmp_path / "data") as broker:
        partition = send(broker, 200)
        partition.publish(public)
        send(broker, 100)
        partition.publish(public)  # leaves something to remove
        before = (public / "checkpoint").read_bytes()
        send(broker, 400)
        log = broker.topic("t")._open_log(0)

        def look() -> None:
            read_log(public)
            read_log(public, before)

        saved = tmp_path / "saved"
        shutil.copytree(public, saved)
        stop = 0
        while True:
            stop += 1
            shutil.rmtree(public)
            shutil.copytree(saved, public)
            try:
                publish(log, str(public), StoppingFiles(stop, look))
            except Interrupted:
                look()
                partition.publish(public)
                assert read_log(public) == 700
            else:
                break
        assert stop > 15
        assert read_log(public) == 700


def test_partial_tiles_go_once_nobody_needs_them(tmp_path: Path) -> None:
    public = tmp_path / "public"
    with open_log(tmp_path / "data") as broker:
        for count in (100, 200, 300):
            partition = send(broker, count)
            partition.publish(public)
    assert not (public / "tile/0/000.p").exists()
    assert (public / "tile/0/001.p").exists()  # of 300 records, the checkpoint of before
    assert (public / "tile/0/002.p").exists()


def test_published_entries_of_records_that_are_gone_are_kept(tmp_path: Path) -> None:
    public = tmp_path / "public"
    with open_log(tmp_path / "data", default_retention=RetentionConfig(max_records=50)) as broker:
        partition = send(broker, 100)
        partition.publish(public)
        send(broker, 100)
        partition.compact()
        assert partition.start_offset == 150
        send(broker, 200)
        assert partition.publish(public).entries_missing == 256  # 100 to 149 are gone
        assert read_log(public, first=256) == 400
        assert not (public / "tile/entries/000").exists()
        partition.compact()
        send(broker, 40)
        assert partition.publish(public).entries_missing == 0  # taken from what was published
        assert read_log(public, first=256) == 440


def test_another_log_is_not_published_over(tmp_path: Path) -> None:
    public = tmp_path / "public"
    with open_log(tmp_path / "a") as one, open_log(tmp_path / "b") as other:
        send(one, 5).publish(public)
        with pytest.raises(ValueError, match=r"publishes example\.com/log/"):
            send(other, 5).publish(public)
        assert read_log(public) == 5


def test_nothing_is_published_that_was_not_signed(tmp_path: Path) -> None:
    with Broker.open(tmp_path / "data") as broker:
        broker.producer().send("t", b"x")
        with pytest.raises(ValueError, match="nothing was signed yet"):
            broker.topic("t").partition(0).publish(tmp_path / "public")
    assert not (tmp_path / "public").exists()


def test_a_past_is_not_published_over_the_present(tmp_path: Path) -> None:
    public, data = tmp_path / "public", tmp_path / "data"
    with open_log(data) as broker:
        send(broker, 5)
    shutil.copytree(data, tmp_path / "old")
    with open_log(data) as broker:
        send(broker, 5).publish(public)
    with (
        Broker.open(tmp_path / "old", read_only=True) as broker,
        pytest.raises(HistoryError, match="speaks of 10 records, the log of 5"),
    ):
        broker.topic("t").partition(0).publish(public)


def test_a_wrong_stored_hash_is_not_published(tmp_path: Path) -> None:
    with open_log(tmp_path / "data") as broker:
        send(broker, 300)
    path = tmp_path / "data/topics/t/0/tree/h00"
    content = bytearray(path.read_bytes())
    content[40 * 32] ^= 1
    path.write_bytes(content)
    with (
        Broker.open(tmp_path / "data", read_only=True) as broker,
        pytest.raises(CorruptionError, match="not those of the records"),
    ):
        broker.topic("t").partition(0).publish(tmp_path / "public")
    assert not (tmp_path / "public/checkpoint").exists()


def test_salted_and_compressed_records_are_published(tmp_path: Path) -> None:
    with open_log(tmp_path / "data") as broker:
        broker.create_topic("t", erasable=True, compression="lz4", segment_bytes=16_384)
        for _ in range(5):
            partition = send(broker, 300)
            partition.publish(tmp_path / "public")
        assert read_log(tmp_path / "public") == 1500
