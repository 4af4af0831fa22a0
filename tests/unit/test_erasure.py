"""Erased records: what is left of them, what still holds, who notices a mark that is not true."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from merkql import (
    Broker,
    CorruptionError,
    NotErasableError,
    OffsetOutOfRangeError,
    Partition,
    ProducerRecord,
    ReadOnlyError,
    Record,
    RetentionConfig,
    Signer,
    UnknownTopicError,
)
from merkql.proof import ProofError
from merkql.storage import erasure, layout
from merkql.transparency.monitor import Monitor
from merkql.transparency.note import SigningKey
from merkql.transparency.policy import Policy
from merkql.transparency.sources import PathSource
from support.crash_oracle import find_bytes
from support.crashes import crash
from support.damage import append_garbage, flip_byte

LOG = "__erasures"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker.open(tmp_path / "log") as opened:
        yield opened


def fill(broker: Broker, count: int = 30, *, topic: str = "t", **options: object) -> Partition:
    """Records whose every part is told apart from the others'; three share a key."""
    options = {"erasable": True, "segment_bytes": 4096} | options
    if topic not in broker.topics():
        broker.create_topic(topic, **options)  # type: ignore[arg-type]
    send(broker, 0, count, topic=topic)
    return broker.topic(topic).partition(0)


def send(broker: Broker, first: int, stop: int, *, topic: str = "t") -> None:
    for begin in range(first, stop, 5):
        broker.producer().send_batch(
            [
                ProducerRecord(
                    topic,
                    b"value-%04d-" % n + b"." * 300,
                    b"key-%04d" % (n % 10),
                    [(f"header-{n:04}", b"content-%04d" % n)],
                )
                for n in range(begin, min(begin + 5, stop))
            ]
        )


def parts_of(record: Record, salt: bytes) -> list[bytes]:
    """What must be nowhere: of value and header content the part that no other record has."""
    assert record.value is not None
    name, content = record.headers[0]
    assert content is not None
    return [record.value[:11], name.encode(), content, salt]


def root_path(broker: Broker) -> str:
    return broker._directory


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_an_erased_record_is_read_as_erased_and_its_neighbours_as_they_were(
    broker: Broker, compression: str
) -> None:
    partition = fill(broker, compression=compression)
    before = partition.read_range(0, 30)
    assert partition.erase(7, 29, 0) == [0, 7, 29]
    after = partition.read_range(0, 30)
    assert [record.offset for record in after if record.erased] == [0, 7, 29]
    for old, new in zip(before, after, strict=True):
        if new.erased:
            assert (new.key, new.value, new.headers) == (None, None, ())
            assert (new.offset, new.timestamp_ms) == (old.offset, old.timestamp_ms)
        else:
            assert new == old
    assert partition.read(7) == after[7]
    assert partition.salvage(5, 9).records == after[5:9]
    with broker.consumer("g") as consumer:
        consumer.subscribe(["t"])
        assert consumer.poll() == after
        assert consumer.position(("t", 0)) == 30


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_no_byte_of_an_erased_record_is_in_any_file(broker: Broker, compression: str) -> None:
    partition = fill(broker, compression=compression)
    erased = [partition.read(offset) for offset in (3, 12, 29)]
    needles = [part for one in erased for part in parts_of(one, partition.proof(one.offset).salt)]
    assert find_bytes(root_path(broker), needles)
    partition.erase(3, 12, 29)
    assert not find_bytes(root_path(broker), needles)
    send(broker, 30, 60)  # whatever files are used again
    partition.compact()
    assert not find_bytes(root_path(broker), needles)
    root = root_path(broker)
    broker.close()
    assert not find_bytes(root, needles)


def test_every_root_and_proof_stays_valid_and_the_salt_alone_proves_a_copy(
    broker: Broker,
) -> None:
    partition = fill(broker)
    roots = [partition.root(size) for size in range(1, 31)]
    copy, old = partition.read(11), partition.proof(11, 20)
    old_range = partition.prove_range(5, 15, 20)
    partition.erase(11)
    assert roots == [partition.root(size) for size in range(1, 31)]
    assert old.verify(copy, roots[19])
    new = partition.proof(11, 20)
    assert (new.leaf_hash, new.path, new.entry) == (old.leaf_hash, old.path, old.entry)
    new.check_leaf(roots[19])
    assert new.salt == b""
    assert not new.verify(copy, roots[19])  # the salt is gone from here
    with pytest.raises(ProofError):
        new.check(partition.read(11), roots[19])
    assert partition.prove_range(5, 15, 20) == old_range
    assert partition.find(old.leaf_hash) == 11
    assert partition.consistency_proof(10, 30).verify(roots[9], roots[29])


def test_a_salt_is_gone_and_the_others_stay(broker: Broker) -> None:
    partition = fill(broker)
    path = Path(root_path(broker), "topics", "t", "0", "tree", "salts")
    before = path.read_bytes()
    partition.erase(4, 5, 9)
    after = path.read_bytes()
    for offset in range(30):
        salt = after[offset * 16 : offset * 16 + 16]
        wanted = bytes(16) if offset in (4, 5, 9) else before[offset * 16 : offset * 16 + 16]
        assert salt == wanted


def test_erasing_by_key_finds_every_record_of_it_in_every_partition(broker: Broker) -> None:
    broker.create_topic("t", partitions=3, erasable=True)
    records = [
        ProducerRecord("t", b"value-%04d" % n, b"user-%d" % (n % 4), partition=n % 3)
        for n in range(24)
    ]
    broker.producer().send_batch(records)
    erased = broker.topic("t").erase_key("user-1", by="alice", reason="she asked")
    assert erased == {0: [3, 7], 1: [0, 4], 2: [1, 5]}
    for partition in broker.topic("t").partitions():
        for record in partition.read_range(0, 8):
            assert record.erased == (record.offset in erased[partition.index])
            assert record.erased or record.key != b"user-1"
    assert broker.topic("t").erase_key(b"user-1") == {}
    assert broker.topic("t").erase_key(b"nobody") == {}
    assert not find_bytes(root_path(broker), [b"user-1"])


def test_the_log_of_erasures_says_who_erased_what_and_not_what_it_was(broker: Broker) -> None:
    partition = fill(broker)
    partition.erase(1, 2, 3, 8, by="alice", reason="ticket 77")
    broker.topic("t").erase_key("key-0004")
    first, second = [json.loads(r.value or b"") for r in erasures(broker)]
    assert first["offsets"] == [[1, 3], [8, 8]]
    assert (first["topic"], first["partition"]) == ("t", 0)
    assert first["topic_id"] == broker.topic("t").id.hex()
    assert (first["by"], first["reason"]) == ("alice", "ticket 77")
    assert first["pid"] > 0
    assert first["user"]
    assert second["offsets"] == [[4, 4], [14, 14], [24, 24]]
    assert "key-0004" not in json.dumps(second)
    assert broker.topic(LOG).partition(0).verify().end_offset == 2


def erasures(broker: Broker) -> list[Record]:
    partition = broker.topic(LOG).partition(0)
    return partition.read_range(0, partition.end_offset)


def test_erasing_twice_changes_nothing_and_is_told_once(broker: Broker) -> None:
    partition = fill(broker)
    assert partition.erase(5) == [5]
    root = partition.root()
    assert partition.erase(5) == []
    assert partition.erase(5, 6) == [6]
    assert partition.erase() == []
    assert partition.root() == root
    assert [json.loads(r.value or b"")["offsets"] for r in erasures(broker)] == [[[5, 5]], [[6, 6]]]


def test_what_cannot_be_erased_says_why_and_erases_nothing(broker: Broker, tmp_path: Path) -> None:
    partition = fill(broker)
    with pytest.raises(OffsetOutOfRangeError, match="30"):
        partition.erase(3, 30)
    assert not partition.read(3).erased
    with pytest.raises(ValueError, match="-1"):
        partition.erase(-1)
    with pytest.raises(TypeError, match="offset"):
        partition.erase("3")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="by is a str"):
        partition.erase(3, by=b"x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a key is bytes or str"):
        broker.topic("t").erase_key(None)  # type: ignore[arg-type]
    other = fill(broker, topic="plain", erasable=False)
    with pytest.raises(NotErasableError, match="'plain' cannot be erased"):
        other.erase(0)
    with pytest.raises(NotErasableError):
        broker.topic("plain").erase_key("key-0001")
    assert erasures(broker) == []
    with Broker.open(tmp_path / "log", read_only=True) as reader:
        with pytest.raises(ReadOnlyError):
            reader.topic("t").partition(0).erase(0)
        with pytest.raises(ReadOnlyError):
            reader.topic("t").erase_key("key-0001")


def test_of_a_record_that_is_retained_away_the_salt_goes(broker: Broker) -> None:
    partition = fill(broker)
    proof = partition.proof(2)
    broker.topic("t").alter(retention=RetentionConfig(max_records=10))
    partition.compact()
    assert partition.erase(2) == [2]
    assert partition.erase(2) == []
    assert not find_bytes(root_path(broker), [proof.salt])
    assert partition.proof(2).leaf_hash == proof.leaf_hash
    assert partition.verify().erased == ()


def test_what_retention_hides_is_destroyed_too(broker: Broker) -> None:
    partition = fill(broker, segment_bytes=1 << 20)
    hidden = partition.read(2)
    needles = parts_of(hidden, partition.proof(2).salt)
    broker.topic("t").alter(retention=RetentionConfig(max_records=10))
    assert partition.start_offset == 20
    assert broker.topic("t").erase_key("key-0002") == {0: [2, 12, 22]}
    assert not find_bytes(root_path(broker), needles)


def test_a_segment_that_is_compacted_keeps_what_erased_records_left(broker: Broker) -> None:
    for compression in ("none", "lz4"):
        partition = fill(broker, topic=compression, compression=compression, segment_bytes=1 << 20)
        roots = [partition.root(size) for size in range(1, 31)]
        partition.erase(11, 12, 14, 27)
        broker.topic(compression).alter(retention=RetentionConfig(max_records=18))
        assert partition.compact() > 0
        assert partition.start_offset == 12
        assert [one.offset for one in partition.read_range(12, 30) if one.erased] == [12, 14, 27]
        assert partition.verify().erased == (12, 14, 27)
        assert roots == [partition.root(size) for size in range(1, 31)]


def test_verifying_recognises_what_was_erased_and_reopening_changes_nothing(
    tmp_path: Path,
) -> None:
    with Broker.open(tmp_path / "log") as broker:
        partition = fill(broker)
        partition.erase(3, 28)
        root = partition.root()
        assert partition.verify().erased == (3, 28)
    for read_only in (True, False):
        with Broker.open(tmp_path / "log", read_only=read_only) as broker:
            partition = broker.topic("t").partition(0)
            assert partition.verify().erased == (3, 28)
            assert partition.root() == root
            assert partition.read(28).erased


def segment_with(broker: Broker, offset: int) -> Path:
    directory = Path(root_path(broker), "topics", "t", "0")
    return max(p for p in directory.glob("*.log") if int(p.stem) <= offset)


def test_a_forged_mark_is_noticed(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can write the files destroys a record and leaves the right entry: nobody said so."""
    partition = fill(broker)
    partition.erase(2)
    monkeypatch.setattr("merkql.erasures.Erasures._tell", lambda self, records: None)
    partition.erase(7)
    with pytest.raises(CorruptionError, match="offset 7 is marked erased, and nobody erased it"):
        partition.verify()


def test_an_older_segment_put_back_is_noticed(broker: Broker) -> None:
    partition = fill(broker)
    path = segment_with(broker, 2)
    old, salts = path.read_bytes(), path.parent / "tree" / "salts"
    old_salts = salts.read_bytes()
    partition.erase(2)
    path.write_bytes(old)
    with pytest.raises(CorruptionError, match="offset 2 is there, and its salt was destroyed"):
        partition.verify()
    salts.write_bytes(old_salts)
    with pytest.raises(CorruptionError, match="offset 2 was erased, and is there"):
        partition.verify()
    assert partition.erase(2) == [2]
    assert partition.verify().erased == (2,)


def test_a_salt_that_is_there_again_is_noticed(broker: Broker) -> None:
    partition = fill(broker)
    salts = Path(root_path(broker), "topics", "t", "0", "tree", "salts")
    old = salts.read_bytes()
    partition.erase(2)
    salts.write_bytes(old)
    with pytest.raises(CorruptionError, match="offset 2 is erased, and its salt is there"):
        partition.verify()


def test_damage_in_what_an_erased_record_left_is_noticed(broker: Broker) -> None:
    partition = fill(broker, 30)
    partition.erase(2)
    path = segment_with(broker, 2)
    flip_byte(path, path.read_bytes().index(b"merkql.erased") + 20)
    with pytest.raises(CorruptionError, match="checksum"):
        partition.verify()
    with pytest.raises(CorruptionError, match="checksum"):
        partition.read(2)


def test_damage_is_not_made_worse_by_erasing(broker: Broker) -> None:
    """Of a record that is not what it was, the wrong entry would be left for good."""
    partition = fill(broker)
    salts = Path(root_path(broker), "topics", "t", "0", "tree", "salts")
    flip_byte(salts, 16 * 4)
    content = segment_with(broker, 4).read_bytes()
    with pytest.raises(CorruptionError, match="offset 4, or its salt, is not what it was"):
        partition.erase(3, 4)
    assert segment_with(broker, 4).read_bytes() == content
    assert not partition.read(3).erased
    assert partition.erase(3) == [3]
    assert not list(segment_with(broker, 4).parent.glob("*.tmp"))


def test_the_log_of_erasures_is_written_by_erasing_alone(broker: Broker) -> None:
    with pytest.raises(ValueError, match="audit log of erasures"):
        broker.create_topic(LOG)
    with pytest.raises(ValueError, match="audit log of erasures"):
        broker.producer().send(LOG, b"x")
    fill(broker).erase(0)
    assert broker.topics() == ["t"]
    assert broker.topics(internal=True) == [LOG, "t"]
    with pytest.raises(ValueError, match="audit log of erasures"):
        broker.producer().send_batch([ProducerRecord(LOG, b"x")])
    with pytest.raises(ValueError, match="audit log of erasures"):
        broker.delete_topic(LOG)
    with pytest.raises(NotErasableError):
        broker.topic(LOG).partition(0).erase(0)
    with pytest.raises(ValueError, match="audit log of erasures"):
        broker.topic(LOG).alter(retention=RetentionConfig(max_records=1))
    with pytest.raises(ValueError, match="audit log of erasures"):
        broker.topic(LOG).add_partitions(2)


def test_a_pattern_does_not_find_the_log_of_erasures_and_its_name_does(broker: Broker) -> None:
    import re

    fill(broker).erase(0)
    with broker.consumer("all") as consumer:
        consumer.subscribe(re.compile(".*"))
        consumer.poll()
        assert {topic for topic, _ in consumer.assignment} == {"t"}
    with broker.consumer("audit") as consumer:
        consumer.subscribe([LOG])
        assert [record.topic for record in consumer.poll()] == [LOG]


def test_a_record_object_handed_out_before_is_what_it_was(broker: Broker) -> None:
    partition = fill(broker)
    record = partition.read(3)
    partition.erase(3)
    assert record.value is not None
    assert not record.erased
    assert record != partition.read(3)


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_an_erasure_cut_short_is_finished_at_the_next_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    """It fails at its n-th file operation from when it is written down on, and the process dies.

    The next to open is who comes to the directory, or to a copy of it. Every file is searched.
    """
    for step in range(0, 100, stride):
        root = tmp_path / str(step)
        broker = Broker.open(root)
        partition = fill(broker, 30, compression="lz4" if step % 2 else "none")
        needles = [p for n in (3, 29) for p in parts_of(partition.read(n), partition.proof(n).salt)]
        cut_short(monkeypatch, broker, step)
        try:
            partition.erase(3, 29)
            finished = True
        except (OSError, CorruptionError):
            finished = False
        assert not (finished and Path(layout.erasing(str(root))).exists())
        monkeypatch.undo()
        broker._engine.abandon()
        broker.closed = True
        if not finished:
            shutil.copytree(root, f"{root}.copy")
        for place in [str(root)] + [f"{root}.copy"] * (not finished):
            check_finished(place, needles)
        if finished:
            assert step > 12
            return
    raise AssertionError("it never came to its end")


def check_finished(place: str, needles: list[bytes]) -> None:
    with Broker.open(place) as broker:
        partition = broker.topic("t").partition(0)
        assert not find_bytes(place, needles)
        assert partition.verify().erased == (3, 29)
        assert [json.loads(r.value or b"")["offsets"] for r in erasures(broker)] == [
            [[3, 3], [29, 29]]
        ]
        assert not Path(layout.erasing(place)).exists()
    assert not find_bytes(place, needles)


def cut_short(monkeypatch: pytest.MonkeyPatch, broker: Broker, step: int) -> None:
    """Let ``step`` file operations of the carrying out pass, and fail all that follow."""
    files, left = broker._engine.pool.files, [step]
    carried_out = erasure.Erasure.carry_out

    def begin(self: erasure.Erasure) -> None:
        for name in ("rename", "sync", "remove", "write", "write_parts", "sync_directory"):
            monkeypatch.setattr(files, name, counting(getattr(files, name)))
        carried_out(self)

    def counting(call):  # type: ignore[no-untyped-def]
        def counted(*arguments, **options):  # type: ignore[no-untyped-def]
            left[0] -= 1
            if left[0] < 0:
                raise OSError(5, "Input/output error")
            return call(*arguments, **options)

        return counted

    monkeypatch.setattr(erasure.Erasure, "carry_out", begin)


def leave_an_erasure_to_finish(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """A log of which record 3 is to be erased, and whose broker died before it was."""
    broker = Broker.open(directory)
    partition = fill(broker)
    cut_short(monkeypatch, broker, 0)
    with pytest.raises(OSError, match="Input/output"):
        partition.erase(3)
    monkeypatch.undo()
    crash(broker)


def test_the_next_erasure_finishes_one_that_failed(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = fill(broker)
    needles = parts_of(partition.read(3), partition.proof(3).salt)

    def fail(self: erasure.Erasure) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(erasure.Erasure, "carry_out", fail)
        with pytest.raises(OSError, match="No space"):
            partition.erase(3)
    assert not partition.read(3).erased
    assert partition.verify().erased == ()  # it is on its way, and not a record put back
    assert partition.erase(4) == [4]
    assert partition.verify().erased == (3, 4)
    assert not find_bytes(root_path(broker), needles)


def test_a_damaged_note_of_what_is_being_erased_is_told_and_reading_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_an_erasure_to_finish(monkeypatch, tmp_path / "log")
    append_garbage(tmp_path / "log" / "erasing", b"x")
    with pytest.raises(CorruptionError, match=r"erasing.*erase again"):
        Broker.open(tmp_path / "log")
    with Broker.open(tmp_path / "log", read_only=True) as reader:
        assert reader.topic("t").partition(0).read(3).value is not None
    (tmp_path / "log" / "erasing").unlink()
    with Broker.open(tmp_path / "log") as broker:
        assert broker.topic("t").partition(0).erase(3) == [3]


def test_another_broker_and_a_reader_see_at_once_what_was_erased(tmp_path: Path) -> None:
    with (
        Broker.open(tmp_path / "log") as one,
        Broker.open(tmp_path / "log") as other,
        Broker.open(tmp_path / "log", read_only=True) as reader,
    ):
        fill(one, 60)
        views = [broker.topic("t").partition(0) for broker in (one, other, reader)]
        before = [view.read_range(0, 60) for view in views]
        assert before[0] == before[1] == before[2]
        for offset, eraser in ((5, one), (40, other), (59, one), (6, other)):
            eraser.topic("t").partition(0).erase(offset)
            for view in views:
                assert view.read(offset).erased
                assert view.read_range(0, 60)[offset].erased
        send(other, 60, 70)
        for view in views:
            assert [r.offset for r in view.read_range(0, 70) if r.erased] == [5, 6, 40, 59]
            assert view.verify().erased == (5, 6, 40, 59)


def test_a_topic_deleted_with_an_erasure_to_finish_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_an_erasure_to_finish(monkeypatch, tmp_path / "log")
    shutil.rmtree(tmp_path / "log" / "topics" / "t")
    with Broker.open(tmp_path / "log") as broker:
        with pytest.raises(UnknownTopicError):
            broker.topic("t")
        assert not (tmp_path / "log" / "erasing").exists()


def test_a_reader_that_came_before_the_first_record_knew_of_no_salts(tmp_path: Path) -> None:
    with Broker.open(tmp_path / "log") as broker:
        broker.create_topic("t", erasable=True)
        with Broker.open(tmp_path / "log", read_only=True) as reader:
            assert reader.topic("t").partition(0).end_offset == 0
            send(broker, 0, 5)
            partition = reader.topic("t").partition(0)
            assert partition.proof(3).verify(
                partition.read(3), broker.topic("t").partition(0).root()
            )


@pytest.mark.parametrize("damaged", [False, True])
def test_frames_that_were_kept_aside_and_damaged_kept_erased_records(
    tmp_path: Path, damaged: bool
) -> None:
    """A sound one was overwritten; of one with a flipped bit nobody knew whose records it had."""
    root = tmp_path / "log"
    with Broker.open(root) as broker:
        partition = fill(broker, 30, segment_bytes=1 << 20)
        erased = partition.read(3)
        needles = [b"value-0003", b"header-0003", b"content-0003"]
        assert erased.value is not None
        frames = [path.read_bytes() for path in (root / "wal").glob("*.wal")]
    (whole,) = [one for one in frames if b"value-0003" in one]
    aside = root / "wal" / "00000099.wal.kept"
    aside.write_bytes(whole)
    at = whole.index(b"value-0003")
    if damaged:
        flip_byte(aside, at + 200)
    with Broker.open(root) as broker:
        assert broker.topic("t").partition(0).read(3).value == erased.value
        assert find_bytes(str(root), needles)
        broker.topic("t").partition(0).erase(3)
        assert not find_bytes(str(root), needles)
        left = aside.read_bytes()
        assert len(left) == len(whole)
        assert b"value-0029" in left  # another group's, which is sound
        assert (b"value-0001" in left) is False  # the same group's
        assert broker.topic("t").partition(0).verify().erased == (3,)


def test_a_record_that_a_compaction_cut_short_left_twice_is_nowhere(tmp_path: Path) -> None:
    root = tmp_path / "log"
    with Broker.open(root) as broker:
        partition = fill(broker, 30, segment_bytes=1 << 20)
        send(broker, 30, 60)
        needles = parts_of(partition.read(25), partition.proof(25).salt)
        partition.erase(0)  # ends the segment
        directory = root / "topics" / "t" / "0"
        old = {path.name: path.read_bytes() for path in directory.glob(f"{0:020}.*")}
        broker.topic("t").alter(retention=RetentionConfig(max_records=40))
        partition.compact()
        assert partition.start_offset == 20
    assert not any((directory / name).exists() for name in old)
    for name, content in old.items():
        (directory / name).write_bytes(content)
    (root / "clean").unlink()
    with Broker.open(root) as broker:
        partition = broker.topic("t").partition(0)
        assert partition.erase(25) == [25]
        assert not find_bytes(str(root), needles)
        assert 25 in partition.verify().erased
    assert not find_bytes(str(root), needles)


def test_tiles_published_before_across_and_after_an_erasure_are_the_same(tmp_path: Path) -> None:
    """No tile ever holds a record; entries stay; to publish again changes no byte."""

    def published(place: Path) -> dict[str, bytes]:
        files = [path for path in place.rglob("[!.]*") if path.is_file()]
        return {str(path.relative_to(place)): path.read_bytes() for path in files}

    signer = Signer(SigningKey("log.example", bytes(range(32))))
    with Broker.open(tmp_path / "log", signing_key=signer) as broker:
        partition = fill(broker, 30)
        needles = [
            part
            for n in (3, 29, 299)
            for part in (b"value-%04d" % n, b"header-%04d" % n, b"content-%04d" % n)
        ]
        partition.checkpoint()
        partition.publish(tmp_path / "across")
        partition.erase(3, 29)
        partition.publish(tmp_path / "across")
        send(broker, 30, 300)
        partition.erase(299)
        partition.checkpoint()
        for name in ("across", "after"):
            partition.publish(tmp_path / name)
            assert not find_bytes(str(tmp_path / name), needles)
        whole = published(tmp_path / "after")
        before = published(tmp_path / "across")
        assert whole.items() <= before.items()  # partial tiles of the first time are there too
        partition.erase(*range(300))
        for name in ("across", "after", "anew"):
            partition.publish(tmp_path / name)
        assert published(tmp_path / "after") == published(tmp_path / "anew") == whole
        assert published(tmp_path / "across") == before
    policy = Policy.of_keys([SigningKey("log.example", bytes(range(32))).verifier])
    status = Monitor(policy, tmp_path / "state").look(PathSource(str(tmp_path / "anew")))
    assert (status.alarm, status.message, status.size) == ("", "", 300)
