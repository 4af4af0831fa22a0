"""The file of kept checkpoints: appended to, read from its end, torn, damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql.errors import CorruptionError
from merkql.storage.checkpoint_file import (
    CHECKPOINT,
    TIMESTAMP,
    CheckpointFile,
    Frame,
    decode_frame,
    encode_frame,
    frame_size,
)
from merkql.storage.file_pool import FilePool
from merkql.storage.files import Files, VolatileFiles


def open_file(directory: Path) -> CheckpointFile:
    return CheckpointFile(FilePool(Files()), str(directory))


def note(number: int) -> Frame:
    return Frame(CHECKPOINT, number, 1000 + number, b"note %d" % number)


def contents(file: CheckpointFile) -> list[bytes]:
    return [frame.content for frame in file.frames()]


def corrupt_byte(path: str, position: int) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 1]))


def test_nothing_is_kept_at_first(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    assert file.newest() is None
    assert contents(file) == []
    assert file.end() == (0, False)
    assert not os.listdir(tmp_path)


def test_frames_come_back_in_order_to_everybody(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    beside = open_file(tmp_path)
    for number in range(100):
        kept = file.append(note(number))
        assert file.newest() == kept == beside.newest()
    expected = [b"note %d" % n for n in range(100)]
    assert contents(file) == contents(beside) == contents(open_file(tmp_path)) == expected
    newest = open_file(tmp_path).newest()
    assert newest is not None
    assert newest.content == b"note 99"


def test_tokens_are_not_taken_for_checkpoints(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    kept = file.append(note(1))
    file.append(Frame(TIMESTAMP, 1, 5, b"token" * 30_000))  # larger than one read
    assert file.newest() == open_file(tmp_path).newest() == kept
    assert len(contents(open_file(tmp_path))) == 2
    file.append(note(2))
    assert contents(open_file(tmp_path))[2] == b"note 2"


def test_the_file_grows_by_steps(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    sizes = set()
    for number in range(300):
        file.append(note(number))
        sizes.add(os.path.getsize(file.path))
    assert len(sizes) <= 2


@pytest.mark.parametrize("kept", range(0, frame_size(6), 7))
def test_a_torn_end_is_no_checkpoint_and_is_written_over(tmp_path: Path, kept: int) -> None:
    file = open_file(tmp_path)
    first = file.append(note(1))
    torn = encode_frame(note(2))[:kept] + b"\xa5" * (40 if kept else 0)
    with open(file.path, "r+b") as raw:
        raw.seek(first.end)
        raw.write(torn)
    again = open_file(tmp_path)
    assert again.newest() == first
    assert again.end() == (first.end, bool(kept))
    third = again.append(note(3))
    assert contents(open_file(tmp_path)) == [b"note 1", b"note 3"]
    assert open_file(tmp_path).newest() == third


def test_damage_between_two_is_told_and_the_newest_is_found(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    frames = [file.append(note(number)) for number in range(5)]
    corrupt_byte(file.path, frames[2].position + 33)
    damaged = open_file(tmp_path)
    assert damaged.newest() == frames[4]
    with pytest.raises(CorruptionError, match="damaged") as caught:
        contents(damaged)
    assert caught.value.position == frames[2].position


def test_a_file_put_back_is_read_anew(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    file.append(note(1))
    before = Path(file.path).read_bytes()
    file.append(note(2))
    assert file.newest() is not None
    Path(file.path).write_bytes(before)
    newest = file.newest()
    assert newest is not None
    assert newest.tree_size == 1


def test_every_flipped_bit_of_a_frame_is_seen() -> None:
    data = encode_frame(Frame(CHECKPOINT, 7, 9, b"some note"))
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            assert decode_frame(bytes(damaged), 0, 0) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_none(data: bytes) -> None:
    decode_frame(data, 0, 0)


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=60), st.integers(0, 2**62))
def test_what_is_appended_reads_back(
    tmp_path_factory: pytest.TempPathFactory, notes: list[bytes], size: int
) -> None:
    directory = tmp_path_factory.mktemp("p")
    file = CheckpointFile(FilePool(VolatileFiles()), str(directory))
    for one in notes:
        file.append(Frame(CHECKPOINT, size, 0, one))
    again = CheckpointFile(FilePool(VolatileFiles()), str(directory))
    newest = again.newest()
    assert (newest.content if newest else None) == (notes[-1] if notes else None)
    assert contents(again) == notes
