"""The write-ahead log and its reading back: which frames are found, which files are used again."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from merkql import CorruptionError
from merkql._core import frame
from merkql.storage import wal
from merkql.storage.files import Files, VolatileFiles
from merkql.storage.wal import Wal
from merkql.storage.wal_reader import read_wal
from support.damage import flip_byte
from support.faulty_files import FaultyFiles

SEED = 7
TOPIC = bytes(range(16))


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "FILE_SIZE_MIN", 4 * frame.ALIGNMENT)
    monkeypatch.setattr(wal, "FILE_SIZE_MAX", 4 * frame.ALIGNMENT)


def open_wal(path: Path, files: Files | None = None, *, next_sequence: int = 1) -> Wal:
    path.mkdir(exist_ok=True)
    opened = Wal(files or Files(), str(path), seed=SEED, next_sequence=next_sequence)
    opened.adopt_files()
    return opened


def append(log: Wal, number: int, size: int = 100) -> None:
    section = frame.Section(TOPIC, 0, number, 1, b"%d:" % number + bytes(size))
    log.append((section,))
    log.sync()


def found(path: Path) -> list[int]:
    return [one.sequence for one in read_wal(Files(), str(path), SEED).frames]


def files_of(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    log = open_wal(tmp_path / "wal")
    for number in range(3):
        append(log, number)
    content = read_wal(Files(), str(tmp_path / "wal"), SEED)
    assert content.last_sequence == 3
    assert [bytes(one.sections[0].data[:2]) for one in content.frames] == [b"0:", b"1:", b"2:"]


def test_an_empty_directory_holds_nothing(tmp_path: Path) -> None:
    open_wal(tmp_path / "wal")
    assert found(tmp_path / "wal") == []


def test_frames_of_another_directory_are_not_ours(tmp_path: Path) -> None:
    append(open_wal(tmp_path / "wal"), 0)
    assert read_wal(Files(), str(tmp_path / "wal"), SEED + 1).frames == []


def test_a_frame_larger_than_a_file_gets_a_file_of_its_size(tmp_path: Path) -> None:
    log = open_wal(tmp_path / "wal")
    append(log, 0)
    append(log, 1, 100_000)
    assert found(tmp_path / "wal") == [1, 2]


def test_released_files_are_used_again(tmp_path: Path) -> None:
    log = open_wal(tmp_path / "wal")
    for number in range(40):
        append(log, number)
        log.release(log.last_sequence)
    assert len(files_of(tmp_path / "wal")) <= 3


def test_files_that_are_not_released_are_kept(tmp_path: Path) -> None:
    log = open_wal(tmp_path / "wal")
    for number in range(20):
        append(log, number)
    assert found(tmp_path / "wal") == list(range(1, 21))


@pytest.mark.parametrize(("seconds", "growth"), [(0.1, 4), (2.0, 1)])
def test_files_grow_with_the_rate_of_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, growth: int
) -> None:
    """One small file that was free kept larger ones from being made, and syncs from being few."""
    now = 0.0
    monkeypatch.setattr(wal, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(wal, "FILE_SIZE_MAX", 1 << 20)
    log = open_wal(tmp_path / "wal", VolatileFiles())
    sizes = []
    for number in range(200):
        append(log, number, 3000)
        now += seconds
        log.release(log.last_sequence)
        if log.claim_file():
            assert log._current is not None
            before = log._current.size
            log.prepare_file()
            sizes.append(log._made[-1].size // before)
    assert max(sizes) == growth


def test_files_of_a_log_of_few_bytes_stay_small(tmp_path: Path) -> None:
    """However fast its groups come: each is padded to a page, and nothing but padding grows."""
    log = open_wal(tmp_path / "wal", VolatileFiles())
    for number in range(300):
        append(log, number, 10)
        log.release(log.last_sequence)
        if log.claim_file():
            log.prepare_file()
    assert {file.size for file in [*log._free, *log._retired]} == {wal.FILE_SIZE_MIN}


def test_a_released_file_waits_for_a_frame_that_says_so(tmp_path: Path) -> None:
    """A crash in its first new frame left a log whose beginning was gone."""
    log = open_wal(tmp_path / "wal")
    for number in range(8):  # two files, full; every frame so far says recovery begins at 1
        append(log, number)
    log.release(4)
    append(log, 8)
    assert len(files_of(tmp_path / "wal")) == 3
    assert found(tmp_path / "wal") == list(range(5, 10))


def test_files_of_a_dead_session_wait_for_a_frame_of_the_next(tmp_path: Path) -> None:
    """A second crash, in the first write after a crash, refused to open: its frame 1 was torn."""
    log = open_wal(tmp_path / "wal")
    for number in range(3):
        append(log, number, 1000)
    files = FaultyFiles(("write_parts",))
    again = open_wal(tmp_path / "wal", files, next_sequence=4)
    before = {name: (tmp_path / "wal" / name).read_bytes() for name in files_of(tmp_path / "wal")}
    append(again, 3, 1000)
    assert all((tmp_path / "wal" / name).read_bytes() == data for name, data in before.items())
    assert found(tmp_path / "wal") == [4]


def test_files_left_by_many_crashes_do_not_pile_up(tmp_path: Path) -> None:
    for session in range(20):
        log = open_wal(tmp_path / "wal", next_sequence=session + 1)
        append(log, session)
    assert len(files_of(tmp_path / "wal")) <= wal.ADOPTED_FILES_MAX + 1


def test_discarding_leaves_one_empty_frame(tmp_path: Path) -> None:
    log = open_wal(tmp_path / "wal")
    for number in range(10):
        append(log, number)
    log.discard()
    content = read_wal(Files(), str(tmp_path / "wal"), SEED)
    assert [(one.sequence, one.sections) for one in content.frames] == [(11, ())]
    assert len(files_of(tmp_path / "wal")) == 1
    assert not any(
        b"%d:" % n in (tmp_path / "wal" / files_of(tmp_path / "wal")[0]).read_bytes()
        for n in range(10)
    )
    append(log, 11)
    assert found(tmp_path / "wal") == [11, 12]


def test_a_clean_close_removes_the_files_another_keeps_them(tmp_path: Path) -> None:
    log = open_wal(tmp_path / "wal")
    append(log, 0)
    log.close(clean=False)
    assert found(tmp_path / "wal") == [1]
    log = open_wal(tmp_path / "wal", next_sequence=2)
    append(log, 1)
    log.close(clean=True)
    assert files_of(tmp_path / "wal") == []


def test_a_failed_write_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    files = FaultyFiles(("write_parts",))
    log = open_wal(tmp_path / "wal", files)
    append(log, 0)
    files.arm(0)
    with pytest.raises(OSError, match="Input/output error"):
        append(log, 1)
    append(log, 1)
    assert found(tmp_path / "wal") == [1, 2]


def test_a_failed_sync_is_final(tmp_path: Path) -> None:
    files = FaultyFiles(("sync",))
    log = open_wal(tmp_path / "wal", files)
    append(log, 0)
    files.arm(0)
    with pytest.raises(OSError, match="Input/output error"):
        append(log, 1)
    with pytest.raises(OSError, match="Input/output error"):
        log.sync()
    assert files.count == 2  # no third try


def test_a_torn_last_frame_ends_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = open_wal(tmp_path / "wal")
    for number in range(3):
        append(log, number)
    flip_byte(tmp_path / "wal" / "00000001.wal", 2 * frame.ALIGNMENT + 120)
    assert found(tmp_path / "wal") == [1, 2]


def test_a_missing_frame_that_was_durable_is_damage(tmp_path: Path) -> None:
    log = open_wal(tmp_path / "wal")
    for number in range(3):
        append(log, number)
    path = tmp_path / "wal" / "00000001.wal"
    flip_byte(path, frame.ALIGNMENT + 120)
    with pytest.raises(CorruptionError, match="group 2 was durable") as caught:
        found(tmp_path / "wal")
    assert (caught.value.path, caught.value.position) == (str(path), frame.ALIGNMENT)
