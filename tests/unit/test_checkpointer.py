"""Checkpoints of a broker: when they are made, what is checked first, and what stops a second past.

Each way to a second history is a test: a backup put back, a copy used beside its original, a file
of checkpoints removed or replaced, records cut away or changed.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from merkql import (
    Broker,
    CheckpointSchedule,
    CorruptionError,
    HistoryError,
    KeptCheckpoint,
    NoSigningKeyError,
)
from merkql.storage.checkpoint_file import CHECKPOINT, CheckpointFile, Frame
from merkql.storage.file_pool import FilePool
from merkql.storage.files import Files
from merkql.storage.partition import Partition
from merkql.transparency.checkpoint import parse_checkpoint
from merkql.transparency.checkpointer import Signer
from merkql.transparency.key_file import read_key, write_key
from merkql.transparency.note import SigningKey, parse_note, verified_by

NAME = "example.com/log"


@pytest.fixture
def key(tmp_path: Path) -> str:
    """The file of a new key."""
    path = tmp_path / "keys" / "log.key"
    path.parent.mkdir()
    write_key(path, SigningKey.generate(NAME))
    return str(path)


def partition_of(broker: Broker) -> Partition:
    return broker.topic("t").partition(0)


def send(broker: Broker, count: int, word: str = "record") -> None:
    producer = broker.producer()
    start = 0
    if "t" in broker.topics():
        start = partition_of(broker).end_offset
    values = [f"{word} {start + n}" for n in range(count)]
    producer.send_values("t", values, timestamps_ms=[1000 + start + n for n in range(count)])


def fill(path: Path, key: str | None, count: int, word: str = "record") -> None:
    with Broker.open(path, signing_key=key) as broker:
        send(broker, count, word)


def test_a_checkpoint_names_the_log_and_signs_its_root(tmp_path: Path, key: str) -> None:
    with Broker.open(tmp_path / "data", signing_key=key) as broker:
        send(broker, 10)
        partition = partition_of(broker)
        kept = partition.checkpoint()
        note = parse_note(kept.note)
        checkpoint = parse_checkpoint(note.text)
        assert (checkpoint.size, checkpoint.root) == (10, partition.root())
        assert (kept.size, kept.root) == (10, partition.root())
        assert checkpoint.origin.startswith(f"{NAME}/")
        assert checkpoint.origin.endswith("/t/0")
        verifier = read_key(key).verifier
        assert list(verified_by(note, [verifier.named(checkpoint.origin)]))
        assert partition.checkpoint() == kept == partition.newest_checkpoint()
        assert partition.checkpoints() == [kept]


def test_each_is_kept_and_each_leads_to_the_next(tmp_path: Path, key: str) -> None:
    with Broker.open(tmp_path / "data", signing_key=key) as broker:
        for count in (1, 2, 30, 400):
            send(broker, count)
            partition_of(broker).checkpoint()
    with Broker.open(tmp_path / "data", read_only=True) as broker:
        partition = partition_of(broker)
        kept = partition.checkpoints()
        assert [one.size for one in kept] == [1, 3, 33, 433]
        for old, new in itertools.pairwise(kept):
            proof = partition.consistency_proof(old.size, new.size)
            assert proof.verify(old.root, new.root)
        partition.verify()


def test_closing_signs_what_was_not_signed(tmp_path: Path, key: str) -> None:
    fill(tmp_path / "data", key, 7)
    fill(tmp_path / "data", key, 3)
    with Broker.open(tmp_path / "data", read_only=True) as broker:
        assert [one.size for one in partition_of(broker).checkpoints()] == [7, 10]


def test_an_empty_log_is_signed_when_asked(tmp_path: Path, key: str) -> None:
    with Broker.open(tmp_path / "data", signing_key=key) as broker:
        partition = broker.create_topic("t").partition(0)
        assert partition.checkpoint().size == 0
        send(broker, 1)
        assert partition.checkpoint().size == 1


def test_without_a_key_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with Broker.open(tmp_path / "data") as broker:
        send(broker, 1)
        with pytest.raises(NoSigningKeyError, match="merkql keygen"):
            partition_of(broker).checkpoint()
        assert partition_of(broker).newest_checkpoint() is None


@pytest.mark.parametrize("option", [{"checkpoint_records": 5}, {"checkpoint_seconds": 0.01}])
def test_checkpoints_make_themselves(tmp_path: Path, key: str, option: dict[str, float]) -> None:
    with Broker.open(tmp_path / "data", signing_key=key, **option) as broker:  # type: ignore[arg-type]
        (thread,) = [t for t in broker.threads if t.name == "merkql-checkpoints"]
        version = broker._engine.arrivals.version
        send(broker, 6)
        partition = partition_of(broker)
        for _ in range(2000):
            if partition.newest_checkpoint() is not None:
                break
            version = broker._engine.arrivals.wait(version, 0.01)
        newest = partition.newest_checkpoint()
        assert newest is not None
        assert newest.size == 6
    assert not thread.is_alive()


def signed_size(broker: Broker, size: int) -> int:
    """The size of the newest checkpoint of ``t``, once it is that, or a while later."""
    version, partition, found = broker._engine.arrivals.version, partition_of(broker), -1
    deadline = time.monotonic() + 20
    while found != size and time.monotonic() < deadline:
        newest = partition.newest_checkpoint()
        found = newest.size if newest is not None else -1
        version = broker._engine.arrivals.wait(version, 0.01)
    return found


def test_a_topic_has_checkpoints_of_its_own(tmp_path: Path, key: str) -> None:
    path = tmp_path / "data"
    each_five, now = CheckpointSchedule(records=5), CheckpointSchedule(seconds=0.01)
    with Broker.open(path, signing_key=key) as broker:
        broker.create_topic("t", checkpoints=each_five)
        assert "merkql-checkpoints" not in [thread.name for thread in broker.threads]
        send(broker, 6)
        assert signed_size(broker, 6) == 6
    with Broker.open(path, signing_key=key) as broker:  # which finds it in the topic's file
        assert broker.topic("t").config.checkpoints == each_five
        send(broker, 3)
        broker.topic("t").alter(checkpoints=now)
        assert signed_size(broker, 9) == 9
        broker.topic("t").alter(checkpoints=CheckpointSchedule())
        send(broker, 2)
    with Broker.open(path, read_only=True) as broker:
        assert [one.size for one in partition_of(broker).checkpoints()] == [6, 9, 11]


def test_a_topics_schedule_comes_before_the_brokers(tmp_path: Path, key: str) -> None:
    with Broker.open(tmp_path / "data", signing_key=key, checkpoint_records=1) as broker:
        broker.create_topic("t", checkpoints=CheckpointSchedule(records=1000))
        broker.create_topic("other")
        for topic in ("t", "other"):
            broker.producer().send_values(topic, [b"x"] * 10)
        other = broker.topic("other").partition(0)
        deadline = time.monotonic() + 20
        while other.newest_checkpoint() is None and time.monotonic() < deadline:
            broker._engine.arrivals.wait(broker._engine.arrivals.version, 0.01)
        assert other.newest_checkpoint() is not None
        assert partition_of(broker).newest_checkpoint() is None


def test_a_schedule_without_a_key_signs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Broker.open(tmp_path / "data", checkpoint_records=1) as broker:
        broker.create_topic("t", checkpoints=CheckpointSchedule(seconds=0.001))
        send(broker, 3)
        assert "merkql-checkpoints" not in [thread.name for thread in broker.threads]
    assert not caplog.records


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"records": 0}, ValueError),
        ({"records": 1.5}, TypeError),
        ({"records": True}, TypeError),
        ({"seconds": -1}, ValueError),
        ({"seconds": float("nan")}, ValueError),
        ({"seconds": "1"}, TypeError),
    ],
)
def test_what_is_no_schedule_is_refused(fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"is more than 0|is a number or None"):
        CheckpointSchedule(**fields)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it is not closed
def test_a_dropped_broker_ends_its_thread(tmp_path: Path, key: str) -> None:
    broker = Broker.open(tmp_path / "data", signing_key=key, checkpoint_seconds=60)
    (thread,) = [t for t in broker.threads if t.name == "merkql-checkpoints"]
    del broker
    thread.join(timeout=20)
    assert not thread.is_alive()


def test_a_backup_put_back_is_not_written(tmp_path: Path, key: str) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    fill(data, key, 5)
    shutil.copytree(data, backup)
    fill(data, key, 5)
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    with Broker.open(data, signing_key=key) as broker:
        with pytest.raises(HistoryError, match=r"over 10 records .* holds only 5 records"):
            send(broker, 5, "another")
        with pytest.raises(HistoryError):
            partition_of(broker).checkpoint()
        assert isinstance(partition_of(broker).damage, HistoryError)
        assert [r.value for r in partition_of(broker).read_range(0, 5)]  # reading works


def test_two_copies_cannot_both_go_on(tmp_path: Path, key: str) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    fill(data, key, 5)
    shutil.copytree(data, copy)
    with Broker.open(data, signing_key=key) as one, Broker.open(copy, signing_key=key) as other:
        send(one, 3)
        send(other, 3, "another")
        partition_of(one).checkpoint()
        with pytest.raises(HistoryError, match="another root"):
            partition_of(other).checkpoint()
        with pytest.raises(HistoryError, match="another root"):
            send(other, 1)
        send(one, 1)
        assert partition_of(one).checkpoint().size == 9


def test_a_copy_with_the_same_records_may_go_on(tmp_path: Path, key: str) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    fill(data, key, 5)
    shutil.copytree(data, copy)
    fill(data, key, 3)
    fill(copy, None, 3)
    with Broker.open(copy, signing_key=key) as broker:
        assert partition_of(broker).checkpoint().size == 8


def test_a_removed_file_of_checkpoints_does_not_free_the_log(tmp_path: Path, key: str) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    fill(data, None, 5)
    shutil.copytree(data, backup)
    fill(data, key, 5)
    with Broker.open(backup, signing_key=key) as broker, pytest.raises(HistoryError):
        send(broker, 1)
    os.remove(data / "topics/t/0/checkpoints")
    with Broker.open(data, signing_key=key) as broker:
        assert partition_of(broker).checkpoint().size == 10
        assert len(partition_of(broker).checkpoints()) == 1


def test_records_changed_below_a_checkpoint_stop_the_log(tmp_path: Path, key: str) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    fill(data, key, 5)
    fill(other, None, 9, "forged")
    shutil.copy(data / "topics/t/0/checkpoints", other / "topics/t/0/checkpoints")
    with Broker.open(other) as broker:  # no key is needed to see it
        with pytest.raises(HistoryError, match="another root"):
            send(broker, 1)
        with pytest.raises(HistoryError, match="agrees with none"):
            partition_of(broker).verify()


def test_verify_says_since_when_they_disagree(tmp_path: Path, key: str) -> None:
    data = tmp_path / "data"
    for count in (3, 4):
        fill(data, key, count)
    file = CheckpointFile(FilePool(Files()), str(data / "topics/t/0"))
    with Broker.open(data, read_only=True) as broker:
        first, second = partition_of(broker).checkpoints()
        forged = second.note.replace(b"\n7\n", b"\n9\n")
        file.append(Frame(CHECKPOINT, 9, 1_700_000_000_000, forged))
        with pytest.raises(HistoryError) as caught:
            partition_of(broker).verify()
    assert "agrees up to the checkpoint over 7 records" in str(caught.value)
    assert "over 9 records of 2023-11-14 22:13:20 UTC" in str(caught.value)
    assert first.size == 3


def test_a_damaged_checkpoint_is_told(tmp_path: Path, key: str) -> None:
    data = tmp_path / "data"
    for count in (3, 4):
        fill(data, key, count)
    path = data / "topics/t/0/checkpoints"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with Broker.open(data) as broker:
        with pytest.raises(CorruptionError, match="a kept checkpoint is damaged"):
            partition_of(broker).verify()
        send(broker, 1)  # the newest is sound, and it is what binds
    content[40] ^= 1
    content[len(content.rstrip(b"\0")) - 20] ^= 1
    path.write_bytes(content)
    # After a clean close nothing can be torn.
    with Broker.open(data) as broker, pytest.raises(CorruptionError, match="newest checkpoint is"):
        send(broker, 1)


def test_stored_hashes_are_made_again_rather_than_judged(tmp_path: Path, key: str) -> None:
    data = tmp_path / "data"
    fill(data, key, 40)
    fill(data, None, 10)
    shutil.rmtree(data / "topics/t/0/tree")
    (data / "topics/t/0/tree").mkdir()
    fill(data, key, 1)
    with Broker.open(data, read_only=True) as broker:
        assert [one.size for one in partition_of(broker).checkpoints()] == [40, 51]


@pytest.mark.parametrize("level", ["h00", "h04", "h08"])
def test_a_rotten_hash_file_stopped_signing_though_it_can_be_made_again(
    tmp_path: Path, key: str, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    for count in (300, 10):
        fill(data, key, count)
    path = data / "topics/t/0/tree" / level
    with Broker.open(data, signing_key=key) as broker:
        send(broker, 1)
        with path.open("r+b") as file:
            file.write(b"\xff")
        assert partition_of(broker).checkpoint().size == 311
        partition_of(broker).verify()
    assert "rebuilding the tree" in caplog.text


def test_verify_left_a_cut_hash_file_as_it_was(
    tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "data", key, 300)
    with Broker.open(tmp_path / "data") as broker:
        assert partition_of(broker).end_offset == 300
        os.truncate(tmp_path / "data/topics/t/0/tree/h04", 100)
        partition_of(broker).verify()
    assert "tree hashes are missing at the end of the file" in caplog.text
    assert os.path.getsize(tmp_path / "data/topics/t/0/tree/h04") == 300 // 16 * 32


def test_a_partitions_files_in_the_place_of_anothers_are_told(tmp_path: Path, key: str) -> None:
    data = tmp_path / "data"
    with Broker.open(data, signing_key=key) as broker:
        broker.create_topic("t", partitions=2)
        for part in (0, 1):
            broker.producer().send("t", b"%d" % part, partition=part)
    zero, one, aside = (data / "topics/t" / name for name in ("0", "1", "aside"))
    for source, target in ((zero, aside), (one, zero), (aside, one)):
        source.rename(target)
    with Broker.open(data) as broker:
        with pytest.raises(HistoryError, match="the directory is that of t/0: files were moved"):
            broker.producer().send("t", b"more", partition=0)
        with pytest.raises(HistoryError, match="files were moved; put each back"):
            partition_of(broker).verify()


def test_keys_change_hands_with_an_overlap(tmp_path: Path, key: str) -> None:
    new = tmp_path / "keys" / "new.key"
    write_key(new, SigningKey.generate(NAME))
    old_key, new_key = read_key(key).verifier, read_key(new).verifier
    signers = []
    for keys in (key, [key, new], new):
        with Broker.open(tmp_path / "data", signing_key=keys) as broker:  # type: ignore[arg-type]
            send(broker, 2)
            kept = partition_of(broker).checkpoint()
            both = [old_key.named(kept.origin), new_key.named(kept.origin)]
            signers.append([both.index(one) for one in verified_by(parse_note(kept.note), both)])
    assert signers == [[0], [0, 1], [1]]


def test_a_new_key_signs_a_checkpoint_that_is_there_too(tmp_path: Path, key: str) -> None:
    fill(tmp_path / "data", key, 2)
    new = tmp_path / "keys" / "new.key"
    write_key(new, SigningKey.generate(NAME))
    with Broker.open(tmp_path / "data", signing_key=[key, new]) as broker:  # type: ignore[list-item]
        kept = partition_of(broker).checkpoint()
        assert len(parse_note(kept.note).signatures) == 2
        assert [one.note for one in partition_of(broker).checkpoints()] == [kept.note]


def test_a_log_keeps_its_origin(tmp_path: Path, key: str) -> None:
    fill(tmp_path / "data", key, 2)
    other = Signer(SigningKey.generate("another.example"))
    with Broker.open(tmp_path / "data", signing_key=other) as broker:
        with pytest.raises(ValueError, match="a log keeps its origin"):
            partition_of(broker).checkpoint()
        send(broker, 1)
        with pytest.raises(ValueError, match="a log keeps its origin"):
            broker.close()
    with pytest.raises(ValueError, match="one name"):
        Broker.open(tmp_path / "data", signing_key=[Signer(read_key(key)), other])


def test_a_topic_made_anew_is_another_log(tmp_path: Path, key: str) -> None:
    with Broker.open(tmp_path / "data", signing_key=key) as broker:
        send(broker, 5)
        first = partition_of(broker).checkpoint()
        broker.delete_topic("t")
        send(broker, 2)
        second = partition_of(broker).checkpoint()
    assert first.origin != second.origin
    assert second.size == 2


def test_keys_stay_out_of_data_directories_and_away_from_others(tmp_path: Path, key: str) -> None:
    fill(tmp_path / "data", key, 1)
    inside = tmp_path / "data" / "topics" / "k"
    with pytest.raises(ValueError, match="does not belong in a data directory"):
        write_key(inside, SigningKey.generate(NAME))
    shutil.copy(key, inside)
    with pytest.raises(ValueError, match="does not belong in a data directory"):
        Broker.open(tmp_path / "data", signing_key=str(inside))
    assert os.stat(key).st_mode & 0o777 == 0o600
    os.chmod(key, 0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        Broker.open(tmp_path / "data", signing_key=key)
    fill(tmp_path / "data", None, 1)  # the role was given back


def test_a_key_file_is_never_replaced(tmp_path: Path, key: str) -> None:
    before = Path(key).read_text()
    with pytest.raises(FileExistsError):
        write_key(key, SigningKey.generate(NAME))
    assert Path(key).read_text() == before
    assert sorted(os.listdir(tmp_path / "keys")) == ["log.key"]


def test_the_key_is_in_no_log_line_and_no_repr(
    tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = Path(key).read_text().strip().split("+", 4)[4]  # which may hold a + itself
    caplog.set_level(logging.DEBUG)
    fill(tmp_path / "data", key, 2)
    with Broker.open(tmp_path / "data", signing_key=Signer.load(key)) as broker:
        text = repr(broker) + repr(broker.config) + repr(Signer.load(key))
    Path(key).write_text(Path(key).read_text()[:-3])
    with pytest.raises(ValueError, match="not a signing key") as caught:
        Broker.open(tmp_path / "data", signing_key=key)
    with pytest.raises(ValueError, match="path of a key's file") as other:
        Broker.open(tmp_path / "data", signing_key=f"PRIVATE+KEY+x+{secret}")
    text += str(caught.value) + str(other.value) + caplog.text
    assert secret[:10] not in text
    everything = b"".join(p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file())
    assert secret.encode()[:10] not in everything


def test_what_came_to_a_checkpoint_is_kept_with_it(tmp_path: Path, key: str) -> None:
    from dataclasses import replace

    witness = SigningKey.generate("w.example", witness=True)
    with Broker.open(tmp_path / "data", signing_key=key) as broker:
        send(broker, 2)
        partition = partition_of(broker)
        kept = partition.checkpoint()
        note = parse_note(kept.note)
        cosigned = note.with_signatures([witness.sign(note.text, 1_700_000_000)]).encode()
        partition.keep(replace(kept, note=cosigned, timestamps=(b"a token",)))
        partition.keep(replace(kept, note=cosigned, timestamps=(b"a token",)))
        send(broker, 1)
        partition.checkpoint()
        with pytest.raises(ValueError, match="not among those kept"):
            partition.keep(replace(kept, size=1))
        first, second = partition.checkpoints()
    assert (first.note, first.timestamps) == (cosigned, (b"a token",))
    assert second.size == 3
    frames = CheckpointFile(FilePool(Files()), str(tmp_path / "data/topics/t/0")).frames()
    assert [frame.kind for frame in frames] == [1, 2, 3, 1]


def test_a_hundred_signatures_more_made_a_kept_checkpoint_unreadable(
    tmp_path: Path, key: str
) -> None:
    with Broker.open(tmp_path / "data", signing_key=key) as broker:
        send(broker, 5)
        partition = partition_of(broker)
        kept = partition.checkpoint()
        stranger = SigningKey.generate("s")
        lines = [stranger.named(f"s{at}").sign(kept.text) for at in range(100)]
        crowded = parse_note(kept.note).with_signatures(lines[1:])
        partition.keep(KeptCheckpoint.of_note(crowded.encode(), kept.time_ms))
        more = parse_note(kept.note).with_signatures(lines[:1])
        with pytest.raises(ValueError, match="more than 100 signatures"):
            partition.keep(KeptCheckpoint.of_note(more.encode(), kept.time_ms))
        send(broker, 1)
        assert partition.checkpoint().size == 6


def test_records_of_topics_that_do_not_sync_are_synced_first(tmp_path: Path, key: str) -> None:
    synced = []

    class Watching(Files):
        def sync(self, descriptor: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            super().sync(descriptor)

    from merkql.broker_config import BrokerConfig

    config = BrokerConfig(tmp_path / "data", signing_key=key, default_durability="disk")
    with Broker(config, Watching()) as broker:
        send(broker, 3)
        synced.clear()
        partition_of(broker).checkpoint()
        names = [os.path.basename(path) for path in synced]
        assert names.index("checkpoints") > names.index("00000001.wal")
