"""What is mended, cut or refused when a partition is opened, and that it is said."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from merkql import Broker, BrokerConfig, CorruptionError, RetentionConfig
from merkql.storage import maintenance
from merkql.storage.files import Files
from support.crashes import crash
from support.damage import append_garbage, flip_byte, shorten

PARTITION = Path("topics/t/0")
SEGMENT = PARTITION / "00000000000000000000.log"


@pytest.fixture(autouse=True)
def no_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance.Maintenance, "wake", lambda self: None)


def write(root: Path, values: list[bytes], *, close: bool = False, **options: object) -> None:
    broker = Broker.open(root)
    broker.create_topic("t", **options)
    for value in values:
        broker.producer().send("t", value)
    broker.producer().send("other", b"untouched")
    if close:
        broker.close()
    else:
        crash(broker)


def values_of(root: Path, topic: str = "t") -> list[bytes | None]:
    with Broker.open(root) as broker:
        partition = broker.topic(topic).partition(0)
        return [r.value for r in partition.read_range(partition.start_offset, partition.end_offset)]


def state_of(root: Path) -> dict[str, bytes]:
    files = (path for path in (root / "topics").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


VALUES = [b"value %d" % i for i in range(20)]


def test_recovery_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", VALUES, segment_bytes=4096)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    Broker.open(tmp_path / "a").close()
    crash(Broker.open(tmp_path / "b"))
    crash(Broker.open(tmp_path / "b"))
    Broker.open(tmp_path / "b").close()
    assert state_of(tmp_path / "a") == state_of(tmp_path / "b")
    assert values_of(tmp_path / "a") == VALUES


def test_a_segment_that_was_not_written_comes_from_the_wal(tmp_path: Path) -> None:
    write(tmp_path, VALUES)
    (tmp_path / PARTITION / "tail").unlink()  # as after a power cut: nothing tells how far it was
    (tmp_path / SEGMENT).write_bytes(b"")
    assert values_of(tmp_path) == VALUES


def test_a_torn_tail_is_cut_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, VALUES, close=True)
    size = (tmp_path / SEGMENT).stat().st_size
    append_garbage(tmp_path / SEGMENT, b"torn " * 7)
    with caplog.at_level(logging.WARNING):
        assert values_of(tmp_path) == VALUES
    assert f"{tmp_path / SEGMENT}: torn write at byte {size} cut, 35 bytes" in caplog.text


def test_a_rebuilt_tree_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, VALUES, close=True)
    shutil.rmtree(tmp_path / PARTITION / "tree")
    with caplog.at_level(logging.INFO):
        assert values_of(tmp_path) == VALUES
    assert f"{tmp_path / PARTITION}: index or tree do not reach" in caplog.text


@pytest.mark.parametrize("hurt", ["start", "directory", "topic", "segment"])
def test_one_damaged_partition_leaves_the_others(tmp_path: Path, hurt: str) -> None:
    """A damaged start file of one partition kept the whole directory from opening."""
    write(tmp_path, VALUES)
    if hurt == "start":
        (tmp_path / PARTITION / "start").write_bytes(b"garbage")
        (tmp_path / PARTITION / "tail").unlink()
    elif hurt == "directory":
        shutil.rmtree(tmp_path / PARTITION)
    elif hurt == "topic":
        flip_byte(tmp_path / "topics/t/topic.json", 5)
    else:
        for path in (tmp_path / "wal").iterdir():
            path.unlink()
        (tmp_path / SEGMENT).unlink()
    for _ in range(2):
        with Broker.open(tmp_path) as broker:
            with pytest.raises(CorruptionError):
                broker.producer().send("t", b"x")
            with pytest.raises(CorruptionError):
                broker.topic("t").partition(0).read(19 if hurt != "start" else 20)
            assert broker.topic("other").partition(0).read(0).value == b"untouched"
            broker.producer().send("other", b"more")


def test_records_of_a_damaged_partition_stay_in_the_wal(tmp_path: Path) -> None:
    """What the WAL holds and cannot be put back is kept aside, not overwritten."""
    write(tmp_path, VALUES)
    shutil.rmtree(tmp_path / PARTITION)
    Broker.open(tmp_path).close()
    kept = list((tmp_path / "wal").glob("*.kept"))
    assert kept
    assert any(b"value 19" in path.read_bytes() for path in kept)


def test_a_damaged_start_file_is_taken_from_the_tail_page(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        topic = broker.create_topic("t", retention=RetentionConfig(max_records=5))
        for value in VALUES:
            broker.producer().send("t", value)
        topic.alter(retention=RetentionConfig(max_records=100))
    (tmp_path / PARTITION / "start").write_bytes(b"garbage")
    assert values_of(tmp_path) == VALUES[15:]
    assert values_of(tmp_path) == VALUES[15:]


def test_lost_salts_are_damage_and_the_records_stay_readable(tmp_path: Path) -> None:
    write(tmp_path, VALUES, erasable=True, close=True)
    (tmp_path / PARTITION / "tree/salts").unlink()
    (tmp_path / PARTITION / "tree/h00").unlink()
    with Broker.open(tmp_path) as broker:
        partition = broker.topic("t").partition(0)
        assert [r.value for r in partition.read_range(0, 20)] == VALUES
        with pytest.raises(CorruptionError, match="salts"):
            broker.producer().send("t", b"x")


def test_hashes_of_records_that_are_gone_cannot_be_made_again(tmp_path: Path) -> None:
    """Then this is said, and what is here stays readable."""
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", segment_bytes=4096, retention=RetentionConfig(max_records=3))
        for _ in range(20):
            broker.producer().send("t", b"x" * 900)
        broker.apply_retention()
    shutil.rmtree(tmp_path / PARTITION / "tree")
    with Broker.open(tmp_path) as broker:
        partition = broker.topic("t").partition(0)
        assert len(partition.read_range(partition.start_offset, 20)) == 3
        with pytest.raises(CorruptionError, match="which are gone, are missing"):
            broker.producer().send("t", b"x")


def test_an_interrupted_compaction_is_finished(tmp_path: Path) -> None:
    """The old segment beside the new one made the partition look damaged."""
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", segment_bytes=4096)
        for value in VALUES:
            broker.producer().send("t", value * 30)
        before = shutil.copytree(tmp_path / PARTITION, tmp_path / "copy")
        broker.topic("t").alter(retention=RetentionConfig(max_records=18))
        partition = broker.topic("t").partition(0)
        partition.compact()
        start, root = partition.start_offset, partition.root()
    (tmp_path / "clean").unlink()
    for name in (SEGMENT.name, SEGMENT.with_suffix(".index").name):
        shutil.copy(Path(before) / name, tmp_path / PARTITION / name)
    with Broker.open(tmp_path) as broker:
        partition = broker.topic("t").partition(0)
        assert (partition.start_offset, partition.root()) == (start, root)
        partition.verify()
    assert not (tmp_path / SEGMENT).exists()


def test_a_segment_removed_in_part_is_removed_after_a_clean_close_too(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", segment_bytes=4096, retention=RetentionConfig(max_records=3))
        for _ in range(12):
            broker.producer().send("t", b"x" * 900)
        kept = (tmp_path / SEGMENT).read_bytes()
        broker.apply_retention()
    (tmp_path / SEGMENT).write_bytes(kept)
    with Broker.open(tmp_path) as broker:
        broker.topic("t").partition(0).verify()
    assert not (tmp_path / SEGMENT).exists()


def test_leftovers_are_removed(tmp_path: Path) -> None:
    write(tmp_path, VALUES)
    (tmp_path / PARTITION / "start.tmp").write_bytes(b"half")
    half_made = tmp_path / f"topics/.new-{bytes(16).hex()}"
    half_made.mkdir()
    assert values_of(tmp_path) == VALUES
    assert not (tmp_path / PARTITION / "start.tmp").exists()
    assert not half_made.exists()


def test_a_tail_cut_below_what_was_promised_is_refused_twice(tmp_path: Path) -> None:
    """The refusal does not forget what it knows: it is the same after another opening."""
    write(tmp_path, VALUES, close=True)
    shorten(tmp_path / SEGMENT, 200)
    for _ in range(2):
        with Broker.open(tmp_path) as broker, pytest.raises(CorruptionError, match="had ended at"):
            broker.producer().send("t", b"x")


def test_a_record_of_a_failed_sync_behind_lost_ones_is_not_damage(tmp_path: Path) -> None:
    """After a failed sync the next open writes what only the page cache has; then a power cut.

    The last batch is on the disk, those before it are in the WAL alone, and no frame has the last.
    """
    write(tmp_path, VALUES[:3])
    segment, wal = tmp_path / SEGMENT, next((tmp_path / "wal").iterdir())
    batches = segment.read_bytes()
    third = batches.index(b"value 2") // 2
    begin = batches.index((2).to_bytes(8, "big"), third)
    segment.write_bytes(bytes(begin) + batches[begin:])
    frames = bytearray(wal.read_bytes())
    frames[2 * 4096 : 4 * 4096] = bytes(2 * 4096)
    wal.write_bytes(frames)
    (tmp_path / PARTITION / "tail").unlink()
    assert values_of(tmp_path) == VALUES[:3]


def test_an_interrupted_recovery_forgets_a_deleted_topic_in_the_wal(tmp_path: Path) -> None:
    """Once its directory is gone nothing says that the records the WAL holds are nobody's."""
    write(tmp_path, VALUES)
    topics = tmp_path / "topics"
    topic_id = json.loads((topics / "t" / "topic.json").read_bytes())["id"]
    (topics / "t").rename(topics / f".deleted-{topic_id}")
    crash(Broker.open(tmp_path))
    with Broker.open(tmp_path) as broker:
        assert broker.topics() == ["other"]
    assert list((tmp_path / "wal").iterdir()) == []
    assert [path.name for path in topics.iterdir()] == ["other"]


def test_half_a_replacement_of_a_topic_file_is_removed(tmp_path: Path) -> None:
    write(tmp_path, VALUES)
    leftover = tmp_path / "topics" / "t" / "topic.json.tmp"
    leftover.write_bytes(b'{"form')
    Broker.open(tmp_path, read_only=True).close()
    assert leftover.exists()
    Broker.open(tmp_path).close()
    assert not leftover.exists()


def test_a_reader_before_recovery_is_shown_no_start_behind_the_end(tmp_path: Path) -> None:
    write(tmp_path, VALUES, retention=RetentionConfig(max_records=5))
    with Broker.open(tmp_path) as broker:
        broker.topic("t").alter(retention=RetentionConfig(max_records=100))
        crash(broker)
    (tmp_path / PARTITION / "tail").unlink()
    (tmp_path / SEGMENT).write_bytes(b"")
    with Broker.open(tmp_path, read_only=True) as reader:
        partition = reader.topic("t").partition(0)
        assert partition.read_range(partition.start_offset, partition.end_offset) == []


@pytest.mark.parametrize("removed", [1, 2])
def test_a_close_cut_off_between_wal_files_and_a_crash_at_the_next_write(
    tmp_path: Path, removed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark of the clean close was gone again, and a WAL file asked for groups of another."""

    class CutOff(Files):
        left = removed

        def remove(self, path: str) -> None:
            if path.endswith(".wal"):
                if not self.left:
                    raise OSError(5, "the power is gone")
                self.left -= 1
            super().remove(path)

    monkeypatch.setattr("merkql.storage.wal.FILE_SIZE_MIN", 16 << 10)
    monkeypatch.setattr("merkql.storage.wal.FILE_SIZE_MAX", 16 << 10)
    broker = Broker(BrokerConfig(tmp_path), CutOff())
    for _ in range(9):
        broker.producer().send("t", b"x")
    with pytest.raises(OSError, match="the power is gone"):
        broker.close()
    assert len(list((tmp_path / "wal").iterdir())) == 3 - removed
    (tmp_path / "clean").unlink()
    assert values_of(tmp_path) == [b"x"] * 9
