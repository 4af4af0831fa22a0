"""A consumer that trusts a checkpoint from elsewhere, and nothing that is in the directory."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from merkql import Broker, Record, Signer, UnprovenRecordError
from merkql.proved_reading import Verify
from merkql.storage.history import KeptCheckpoint
from merkql.storage.partition import Partition
from merkql.transparency.checkpoint import parse_checkpoint
from merkql.transparency.note import SigningKey, parse_note
from merkql.transparency.policy import Policy
from support.tampering import forge, replacing

LOG = SigningKey("log.example", bytes(range(32)))
WITNESS = SigningKey("w1.example", bytes(range(32, 64)), 4)
POLICY = Policy.of_keys([LOG.verifier])
COUNT = 300


def fill(path: Path, count: int = COUNT, word: str = "value", **options: Any) -> None:
    with Broker.open(path, signing_key=Signer(LOG)) as broker:
        if "t" not in broker.topics():
            broker.create_topic("t", **options)
        start = broker.topic("t").partition(0).end_offset
        values = [f"{word} {at:04}" for at in range(start, start + count)]
        times = list(range(start, start + count))
        broker.producer().send_values("t", values, timestamps_ms=times)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory whose first ``COUNT`` records are under a checkpoint."""
    fill(tmp_path / "data")
    return tmp_path / "data"


def segment(data: Path) -> Path:
    (path,) = (data / "topics/t/0").glob("*.log")
    return path


def held(data: Path, size: int | None = None) -> tuple[int, bytes]:
    """What an outsider has written down: a size, and the root over so many."""
    with Broker.open(data, read_only=True) as broker:
        partition = broker.topic("t").partition(0)
        size = partition.end_offset if size is None else size
        return size, partition.root(size)


def drained(data: Path, verify: Verify, *, writes: bool = False) -> tuple[list[Record], str]:
    """All that a consumer is handed, in steps of 64, and the error it ends with."""
    records: list[Record] = []
    with (
        Broker.open(data, read_only=not writes) as broker,
        broker.consumer("g", auto_commit=False, verify=verify, max_records=64) as consumer,
    ):
        consumer.assign([("t", 0)])
        try:
            while some := consumer.poll():
                records += some
        except UnprovenRecordError as error:
            place = (error.topic, error.partition, error.offset)
            return records, str(error) if place == ("t", 0, len(records)) else repr(place)
    return records, ""


def test_what_a_checkpoint_covers_is_handed_out_and_the_rest_waits(data: Path) -> None:
    for size in (0, 1, 2, 129, COUNT):
        records, error = drained(data, {("t", 0): held(data, size)})
        assert ([one.offset for one in records], error) == (list(range(size)), "")


def test_a_later_checkpoint_frees_what_waited_without_a_record_coming(data: Path) -> None:
    trusted = {("t", 0): held(data, 100)}
    with (
        Broker.open(data, read_only=True) as broker,
        broker.consumer("g", auto_commit=False, verify=trusted) as consumer,
    ):
        consumer.subscribe(["t"])
        assert len(consumer.poll(1)) == 100
        assert consumer.poll() == []
        later = threading.Timer(0.05, trusted.update, [{("t", 0): held(data)}])
        later.start()
        assert [one.offset for one in consumer.poll(30)] == list(range(100, COUNT))
        later.join()


def test_a_policy_finds_the_newest_checkpoint_it_accepts(data: Path) -> None:
    fill(data, 10)  # signed at close
    with Broker.open(data) as broker:
        broker.producer().send_values("t", ["not signed"])
        assert broker.topic("t").partition(0).end_offset == COUNT + 11
    assert len(drained(data, POLICY)[0]) == COUNT + 10
    fill(data, 1)
    assert len(drained(data, POLICY)[0]) == COUNT + 12


def test_a_quorum_that_only_an_older_checkpoint_has(data: Path) -> None:
    policy = Policy.of_keys([LOG.verifier], [WITNESS.verifier], 1)
    records, error = drained(data, policy)
    assert (records, "its newest checkpoint is not accepted" in error) == ([], True)
    with Broker.open(data, signing_key=Signer(LOG)) as broker:
        partition = broker.topic("t").partition(0)
        kept = partition.newest_checkpoint()
        assert kept is not None
        note = parse_note(kept.note).with_signatures([WITNESS.sign(kept.text, 1_700_000_000)])
        partition.keep(KeptCheckpoint.of_note(note.encode(), kept.time_ms))
    fill(data, 10)
    assert drained(data, policy) == (drained(data, {("t", 0): held(data, COUNT)})[0], "")


def test_the_checkpoint_of_a_note_is_one_to_trust(data: Path) -> None:
    with Broker.open(data, read_only=True) as broker:
        kept = broker.topic("t").partition(0).newest_checkpoint()
        assert kept is not None
    for checkpoint in (kept, parse_checkpoint(kept.text), POLICY.check(parse_note(kept.note))):
        assert len(drained(data, {("t", 0): checkpoint})[0]) == COUNT


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("at", [0, 63, 64, 129, COUNT - 1])
def test_a_forged_record_is_named_and_never_handed_out(data: Path, at: int, writes: bool) -> None:
    root = held(data)
    forge(segment(data), replacing(b"value %04d" % at, b"VALUE %04d" % at))
    for verify in ({("t", 0): root}, POLICY):
        records, error = drained(data, verify, writes=writes)
        assert [one.offset for one in records] == list(range(at))
        assert error.startswith(f"topic 't' partition 0 offset {at} is not proved: it is not the")
    assert b"VALUE" in b"".join(one.value or b"" for one in read_unproved(data))


def read_unproved(data: Path) -> Iterator[Record]:
    with Broker.open(data, read_only=True) as broker:
        yield from broker.topic("t").partition(0).read_range(0, COUNT)


def test_another_log_with_a_sound_tree_of_its_own_is_told(data: Path, tmp_path: Path) -> None:
    fill(tmp_path / "other", word="VALUE")
    records, error = drained(tmp_path / "other", {("t", 0): held(data)})
    assert records == []
    assert "another root than the checkpoint" in error


def test_a_log_that_lost_its_end_is_told(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "old")
    fill(data, 50)
    records, error = drained(tmp_path / "old", {("t", 0): held(data)})
    assert records == []
    assert "the log holds 300 records and the checkpoint is over 350" in error


def test_a_second_history_under_the_same_key_is_told(data: Path, tmp_path: Path) -> None:
    """The fork's checkpoint is signed, and does not go on from the one that was trusted."""
    trusted = {("t", 0): held(data)}
    fork = tmp_path / "fork"
    fill(fork, COUNT + 50, word="VALUE")
    with (
        Broker.open(data, read_only=True) as broker,
        broker.consumer("g", auto_commit=False, verify=trusted) as consumer,
    ):
        consumer.assign([("t", 0)])
        assert len(consumer.poll()) == COUNT
        fill(data, 50)
        trusted["t", 0] = held(fork)
        with pytest.raises(UnprovenRecordError, match="does not go on from the one over 300"):
            consumer.poll(5)
        trusted["t", 0] = held(data)
        assert len(consumer.poll(5)) == 50


def test_a_checkpoint_of_another_partition_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """A thief of the disk swaps two partitions, checkpoints and all."""
    data = tmp_path / "data"
    with Broker.open(data, signing_key=Signer(LOG)) as broker:
        broker.create_topic("t", partitions=2)
        for part in (0, 1):
            broker.producer().send("t", b"%d" % part, partition=part)
    zero, one, aside = data / "topics/t/0", data / "topics/t/1", tmp_path / "aside"
    zero.rename(aside)
    one.rename(zero)
    aside.rename(one)
    records, error = drained(data, POLICY)
    assert records == []
    assert "is not accepted: it is one of log.example/" in error


def test_erasable_records_are_proved_with_their_salts(tmp_path: Path) -> None:
    fill(tmp_path / "data", erasable=True)
    assert len(drained(tmp_path / "data", POLICY)[0]) == COUNT
    salts = tmp_path / "data/topics/t/0/tree/salts"
    content = bytearray(salts.read_bytes())
    content[16 * 70] ^= 1
    salts.write_bytes(content)
    records, error = drained(tmp_path / "data", POLICY)
    assert (len(records), "offset 70 is not proved" in error) == (70, True)


def test_erased_records_are_handed_out_as_such(tmp_path: Path) -> None:
    fill(tmp_path / "data", erasable=True)
    with Broker.open(tmp_path / "data") as broker:
        broker.topic("t").partition(0).erase(0, 63, 64, 299)
    records, error = drained(tmp_path / "data", POLICY)
    assert error == ""
    assert [one.offset for one in records if one.erased] == [0, 63, 64, 299]
    assert [one.timestamp_ms for one in records] == list(range(COUNT))


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("call", ["fetch", "salts", "prove_range", "proof"])
def test_a_record_erased_between_two_reads_was_called_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, every: int
) -> None:
    """Its salt was read a second time, after it was destroyed."""
    fill(tmp_path / "data", 60, erasable=True, segment_bytes=4096)
    with Broker.open(tmp_path / "data") as eraser:
        partition, calls = eraser.topic("t").partition(0), 0
        partition.erase(20)
        original = getattr(Partition, call)

        def erase_before(self, offset, *more, **options):  # type: ignore[no-untyped-def]
            nonlocal calls
            if self is not partition and self.topic == "t":
                calls += 1
                if calls % every == 0:
                    partition.erase(offset, min(offset + 3, 59))
            return original(self, offset, *more, **options)

        monkeypatch.setattr(Partition, call, erase_before)
        for _ in range(3):
            records, error = drained(tmp_path / "data", POLICY)
            assert error == ""
            assert [one.offset for one in records] == list(range(60))
            assert all(one.erased or one.value == b"value %04d" % one.offset for one in records)
        assert calls > every


def test_a_partition_without_a_checkpoint_is_not_read(data: Path) -> None:
    records, error = drained(data, {("other", 0): held(data)})
    assert records == []
    assert "no checkpoint of its partition was given" in error


@pytest.mark.parametrize("wrong", [True, "policy.txt", b"", (1, bytes(32))])
def test_a_directory_cannot_vouch_for_itself(data: Path, wrong: Any) -> None:
    with (
        Broker.open(data, read_only=True) as broker,
        pytest.raises(TypeError, match=r"verify is a Policy, or a mapping"),
    ):
        broker.consumer("g", verify=wrong)


@pytest.mark.parametrize("wrong", [(1, b"short"), (-1, bytes(32)), ("1", bytes(32)), (True, b"")])
def test_what_is_no_checkpoint_is_refused(data: Path, wrong: Any) -> None:
    with (
        Broker.open(data, read_only=True) as broker,
        broker.consumer("g", verify={("t", 0): wrong}) as consumer,
    ):
        consumer.assign([("t", 0)])
        with pytest.raises(TypeError, match="a size and a root of 32 bytes"):
            consumer.poll()
