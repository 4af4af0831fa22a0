"""Fresh directories on a real disk, and what the bare system calls cost there: the floor.

The floor frames nothing, checks nothing and recovers nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

BASE = Path.cwd()  # where directories are made; the table's --dir replaces it
PAGE_BYTES = 4096
FILE_BYTES = 64 << 20  # of the floor's file; smaller where only running matters


def fresh_directory(label: str) -> str:
    """An empty directory below BASE; its name tells which benchmark left it, if one did."""
    return tempfile.mkdtemp(prefix=f"merkql-bench-{label}-", dir=BASE)


def remove_directory(path: str) -> None:
    """Remove what a benchmark wrote."""
    shutil.rmtree(path, ignore_errors=True)


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`, as /proc/mounts has it ("" elsewhere)."""
    best, kind = "", ""
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    for line in mounts:
        point, found = line.split()[1:3]
        inside = str(path.resolve()).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    return kind


def directory_bytes(path: str) -> int:
    """The blocks that every file below `path` holds on the disk, in bytes."""
    return sum(
        os.lstat(os.path.join(folder, name)).st_blocks * 512
        for folder, _, names in os.walk(path)
        for name in names
    )


class Overwrite:
    """Write over blocks of written zeros, then fdatasync: the cheapest durable write there is."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(os.path.join(path, "floor"), os.O_RDWR | os.O_CREAT, 0o600)
        self._size_bytes = FILE_BYTES
        self._position = 0
        zeros = bytes(64 << 10)  # in small pieces: a file zeroed in one large write syncs slower
        for _ in range(FILE_BYTES // len(zeros)):
            os.write(self._fd, zeros)
        os.fsync(self._fd)

    def write(self, data: bytes) -> None:
        """Overwrite `data` at the next page boundary (as a log's groups lie) and sync it."""
        if self._position + len(data) > self._size_bytes:
            self._position = 0
        os.pwrite(self._fd, data, self._position)
        os.fdatasync(self._fd)
        self._position += -(-len(data) // PAGE_BYTES) * PAGE_BYTES

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
