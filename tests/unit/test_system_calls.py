"""System calls made without giving the GIL away: as those of `os` and `fcntl` are."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from merkql._core.system_calls import (
    BRIEF_SIZE_MAX,
    lock_briefly,
    read_briefly,
    start_write_out,
    write_briefly,
)


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def test_what_is_written_is_read(descriptor: int) -> None:
    content = bytes(range(256)) * (BRIEF_SIZE_MAX // 256)
    assert write_briefly(descriptor, content, 100) == BRIEF_SIZE_MAX
    assert os.pread(descriptor, 1 << 20, 0) == bytes(100) + content
    assert read_briefly(descriptor, BRIEF_SIZE_MAX, 100) == content
    assert read_briefly(descriptor, 10, 100 + BRIEF_SIZE_MAX - 3) == content[-3:]
    assert read_briefly(descriptor, 10, 1 << 20) == b""
    assert read_briefly(descriptor, 0, 0) == b""
    start_write_out(descriptor, 0, BRIEF_SIZE_MAX)
    assert read_briefly(descriptor, 4, 0) == bytes(4)


@pytest.mark.parametrize("size", [-1, BRIEF_SIZE_MAX + 1])
def test_more_than_a_page_is_refused(descriptor: int, size: int) -> None:
    with pytest.raises(ValueError, match="not read briefly"):
        read_briefly(descriptor, size, 0)


def test_errors_are_those_of_the_system(descriptor: int, tmp_path: Path) -> None:
    read_only = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with pytest.raises(OSError) as refused:
            write_briefly(read_only, b"x", 0)
        assert refused.value.errno == errno.EBADF
    finally:
        os.close(read_only)
    for call in (
        lambda: read_briefly(-1, 1, 0),
        lambda: write_briefly(-1, b"x", 0),
        lambda: lock_briefly(-1, fcntl.LOCK_EX | fcntl.LOCK_NB),
    ):
        with pytest.raises(OSError) as closed:
            call()
        assert closed.value.errno == errno.EBADF
    start_write_out(-1, 0, 1)  # advice: the sync that follows says what is wrong
    with pytest.raises(OverflowError):
        write_briefly(descriptor, b"x", 1 << 64)


def test_a_lock_that_another_has_is_not_waited_for(descriptor: int, tmp_path: Path) -> None:
    other = os.open(tmp_path / "file", os.O_RDWR)
    try:
        assert lock_briefly(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not lock_briefly(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert lock_briefly(descriptor, fcntl.LOCK_UN)
        assert lock_briefly(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(other)
