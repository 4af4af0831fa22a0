"""Committed offsets: slots in turn, torn slots, growth, merging, what a failed sync leaves."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql.errors import CorruptionError
from merkql.groups import (
    ENTRY_SIZE,
    HEADER_SIZE,
    SLOT_SIZE_MIN,
    CommittedOffset,
    Group,
    Offsets,
    PartitionKey,
    decode_slot,
    encode_slot,
)
from merkql.storage.files import Files

TOPIC = bytes(range(16))
ONE_SLOT = (SLOT_SIZE_MIN - HEADER_SIZE) // ENTRY_SIZE  # entries that fit the smallest slot


class CountingFiles(Files):
    """Counts what a commit asks of the disk; fails the next sync, or write, when told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail_next: str | None = None

    def _count(self, call: str) -> None:
        self.calls.append(call)
        if self.fail_next == call:
            self.fail_next = None
            raise OSError(errno.EIO, "injected")

    def sync(self, descriptor: int) -> None:
        self._count("sync")

    def sync_directory(self, path: str) -> None:
        self._count("sync_directory")

    def rename(self, source: str, target: str) -> None:
        self._count("rename")
        super().rename(source, target)


@pytest.fixture
def files() -> CountingFiles:
    return CountingFiles()


@pytest.fixture
def group(tmp_path: Path, files: CountingFiles) -> Group:
    group = Group(files, str(tmp_path / "groups"), "billing")
    group.make_directory()
    files.calls.clear()
    return group


@pytest.fixture
def path(group: Group) -> Path:
    return Path(group.directory) / "offsets"


def commit(group: Group, offsets: dict[int, int], generation: int = 0) -> None:
    with group.locked() as lock:
        group.commit_locked(
            lock,
            {
                PartitionKey(TOPIC, partition): CommittedOffset(offset, generation)
                for partition, offset in offsets.items()
            },
        )


def committed(group: Group) -> dict[int, int]:
    return {key.partition: one.offset for key, one in group.read_offsets().items()}


def corrupt_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_nothing_is_committed_at_first(group: Group) -> None:
    assert group.read_offsets() == {}


def test_reading_makes_nothing(tmp_path: Path, files: CountingFiles) -> None:
    assert Group(files, str(tmp_path / "groups"), "unheard-of").read_offsets() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_commit_is_read_back_by_another(tmp_path: Path, group: Group) -> None:
    commit(group, {0: 5, 3: 1 << 60}, generation=7)
    other = Group(Files(), str(tmp_path / "groups"), "billing")
    assert other.read_offsets() == {
        PartitionKey(TOPIC, 0): CommittedOffset(5, 7),
        PartitionKey(TOPIC, 3): CommittedOffset(1 << 60, 7),
    }


def test_the_first_commit_makes_file_and_names_durable(group: Group, files: CountingFiles) -> None:
    commit(group, {0: 1})
    assert files.calls == ["sync", "rename", "sync_directory", "sync_directory"]


def test_every_further_commit_is_one_sync_and_no_rename(group: Group, files: CountingFiles) -> None:
    commit(group, {0: 1})
    for offset in range(2, 12):
        files.calls.clear()
        commit(group, {0: offset})
        assert files.calls == ["sync"]
        assert committed(group) == {0: offset}


def test_what_is_committed_already_costs_nothing(group: Group, files: CountingFiles) -> None:
    commit(group, {0: 1})
    files.calls.clear()
    commit(group, {0: 1})
    assert files.calls == []


def test_commits_overwrite_the_slots_in_turn(group: Group, path: Path) -> None:
    commit(group, {0: 1})
    images = [path.read_bytes()]
    for offset in (2, 3):
        commit(group, {0: offset})
        images.append(path.read_bytes())
    first, second, third = images
    half = SLOT_SIZE_MIN
    assert len(first) == len(second) == len(third) == 2 * half
    assert first[half:] == bytes(half)
    assert second[:half] == first[:half]
    assert second[half:] != first[half:]
    assert third[half:] == second[half:]
    assert third[:half] != second[:half]


def test_commits_may_go_back(group: Group) -> None:
    commit(group, {0: 9})
    commit(group, {0: 3})
    assert committed(group) == {0: 3}


def test_two_handles_merge_their_commits(tmp_path: Path, group: Group) -> None:
    other = Group(Files(), str(tmp_path / "groups"), "billing")
    commit(group, {0: 1})
    commit(other, {1: 2})
    commit(group, {2: 3})
    assert committed(group) == committed(other) == {0: 1, 1: 2, 2: 3}


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("position", [0, 5, 9, 17, 25, HEADER_SIZE, HEADER_SIZE + ENTRY_SIZE - 1])
def test_a_torn_slot_leaves_the_other(
    group: Group, path: Path, slot: int, position: int, caplog: pytest.LogCaptureFixture
) -> None:
    commit(group, {0: 1})
    commit(group, {0: 2})
    corrupt_byte(path, slot * SLOT_SIZE_MIN + position)
    assert committed(group) == {0: 2 if slot == 0 else 1}
    assert "torn" in caplog.text
    commit(group, {0: 3})
    caplog.clear()
    assert committed(group) == {0: 3}
    assert not caplog.text  # the torn slot was the one to overwrite


def test_both_slots_bad_is_corruption_that_names_the_file(group: Group, path: Path) -> None:
    commit(group, {0: 1})
    commit(group, {0: 2})
    corrupt_byte(path, 9)
    corrupt_byte(path, SLOT_SIZE_MIN + 9)
    with pytest.raises(CorruptionError, match="billing") as caught:
        group.read_offsets()
    assert caught.value.path == str(path)
    with pytest.raises(CorruptionError):
        commit(group, {0: 3})


@pytest.mark.parametrize("size", [0, 1, SLOT_SIZE_MIN, 2 * SLOT_SIZE_MIN - 1, 4 * SLOT_SIZE_MIN])
def test_a_file_of_another_size_is_corruption(group: Group, path: Path, size: int) -> None:
    commit(group, {0: 1})
    commit(group, {0: 2})
    os.truncate(path, size)
    with pytest.raises(CorruptionError):
        group.read_offsets()


def test_a_file_grows_when_a_slot_overflows(group: Group, path: Path, files: CountingFiles) -> None:
    commit(group, {number: number for number in range(ONE_SLOT)})
    assert path.stat().st_size == 2 * SLOT_SIZE_MIN
    files.calls.clear()
    commit(group, {ONE_SLOT: 7})
    assert files.calls == ["sync", "rename", "sync_directory", "sync_directory"]
    assert path.stat().st_size == 4 * SLOT_SIZE_MIN
    assert committed(group) == {**{number: number for number in range(ONE_SLOT)}, ONE_SLOT: 7}
    files.calls.clear()
    commit(group, {0: 1000})
    assert files.calls == ["sync"]


def test_a_failed_sync_commits_nothing_for_anybody(group: Group, files: CountingFiles) -> None:
    commit(group, {0: 1})
    commit(group, {0: 2})
    files.fail_next = "sync"
    with pytest.raises(OSError, match="injected"):
        commit(group, {0: 3})
    assert committed(group) == {0: 2}
    commit(group, {1: 1})
    assert committed(group) == {0: 2, 1: 1}


def test_growth_that_failed_after_its_rename_is_made_durable_by_the_next_commit(
    group: Group, files: CountingFiles
) -> None:
    commit(group, {0: 1})
    files.fail_next = "sync_directory"
    with pytest.raises(OSError, match="injected"):
        commit(group, dict.fromkeys(range(ONE_SLOT + 1), 1))
    files.calls.clear()
    commit(group, {0: 2})
    assert files.calls == ["sync", "sync_directory", "sync_directory", "sync"]


def test_a_slot_of_a_process_that_died_before_its_sync_is_synced_first(
    group: Group, path: Path, files: CountingFiles
) -> None:
    """Else a power cut during the next commit could take both slots."""
    commit(group, {0: 1})
    slot = encode_slot(2, {PartitionKey(TOPIC, 0): CommittedOffset(2, 0)}, SLOT_SIZE_MIN)
    with path.open("r+b") as file:
        file.seek(SLOT_SIZE_MIN)
        file.write(slot)
    assert committed(group) == {0: 2}
    files.calls.clear()
    commit(group, {0: 3})
    assert files.calls[0] == files.calls[-1] == "sync"
    assert files.calls.count("sync") == 2
    files.calls.clear()
    commit(group, {0: 4})
    assert files.calls == ["sync"]


offsets_strategy = st.dictionaries(
    st.builds(PartitionKey, st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1)),
    st.builds(CommittedOffset, st.integers(0, 2**62), st.integers(0, 2**64 - 1)),
    max_size=ONE_SLOT,
)


@given(sequence=st.integers(1, 2**62), offsets=offsets_strategy)
def test_slots_round_trip(sequence: int, offsets: Offsets) -> None:
    data = encode_slot(sequence, offsets, SLOT_SIZE_MIN)
    assert len(data) <= SLOT_SIZE_MIN
    assert decode_slot(data, SLOT_SIZE_MIN) == (sequence, offsets)
    assert decode_slot(data.ljust(SLOT_SIZE_MIN, b"\xff"), SLOT_SIZE_MIN) == (sequence, offsets)
    assert decode_slot(data, 2 * SLOT_SIZE_MIN) is None


@given(offsets=offsets_strategy, data=st.data())
def test_a_slot_cut_or_changed_anywhere_is_refused(offsets: Offsets, data: st.DataObject) -> None:
    slot = encode_slot(3, offsets, SLOT_SIZE_MIN)
    cut = data.draw(st.integers(0, len(slot) - 1))
    assert decode_slot(slot[:cut], SLOT_SIZE_MIN) is None
    changed = bytearray(slot)
    changed[cut] ^= data.draw(st.integers(1, 255))
    assert decode_slot(bytes(changed), SLOT_SIZE_MIN) is None


@given(st.binary(max_size=200))
def test_no_bytes_hurt_the_decoder(data: bytes) -> None:
    assert decode_slot(data, SLOT_SIZE_MIN) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0", "x" * 250, "ä"])
def test_illegal_group_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError):
        Group(Files(), str(tmp_path), name)


def test_two_names_that_fold_to_one_directory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("merkql.groups.layout.file_name", str.lower)  # as some file systems do
    first = Group(Files(), str(tmp_path / "groups"), "Billing")
    first.make_directory()
    commit(first, {0: 1})
    with pytest.raises(ValueError, match="'billing' and 'Billing' are one directory"):
        commit(Group(Files(), str(tmp_path / "groups"), "billing"), {0: 2})
