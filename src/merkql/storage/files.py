"""The only code that asks the operating system for files: the seam that tests replace.

``Files`` has one method for each system call; the functions below combine them, for example
``replace_file``. No failed sync is retried and no ``OSError`` swallowed; each error names its file
and a way out.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from merkql._core.system_calls import (
    BRIEF_SIZE_MAX,
    lock_briefly,
    read_briefly,
    start_write_out,
    write_briefly,
)
from merkql.storage import layout
from merkql.storage.file_errors import explained, explaining

if TYPE_CHECKING:
    from typing_extensions import Buffer

READ_INSTEAD = "open with read_only=True to read it, or have it made writable"
_MODE_FILE = 0o600
_MODE_DIRECTORY = 0o700
_LOAD_SIZE = 512 << 10  # in one large read the system sees no sequence, and small ones cost more
_PARTS_MAX = 16  # every system takes so many in one call
_READ_MAX = 1 << 26  # a larger read checks the file's size first
_SEEK_DATA = getattr(os, "SEEK_DATA", 0)  # not everywhere
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # NONBLOCK: opening a FIFO must not hang


class Files:
    """The file operations the engine needs, and what each makes durable."""

    @explaining
    def open(self, path: str, *, write: bool = False, create: bool = False) -> int:
        """A descriptor of a regular file; links are not followed. The name is not durable yet."""
        flags = _OPEN | (os.O_RDWR if write else os.O_RDONLY) | (os.O_CREAT if create else 0)
        descriptor = os.open(path, flags, _MODE_FILE)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return descriptor

    @explaining
    def create(self, path: str) -> int:
        """A descriptor of a file that was not there; ``FileExistsError`` if it was."""
        os.close(os.open(path, _OPEN | os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE_FILE))
        return self.open(path, write=True, create=True)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def read(self, descriptor: int, size: int, position: int) -> bytes:
        try:  # not `explaining`: its extra call costs a third of a small read
            if 0 <= size <= BRIEF_SIZE_MAX:
                return read_briefly(descriptor, size, position)
            if size <= _READ_MAX:
                return os.pread(descriptor, size, position)
            return self._read_in_parts(descriptor, size, position)
        except OSError as error:
            raise explained(error, descriptor) from None

    def _read_in_parts(self, descriptor: int, size: int, position: int) -> bytes:
        end = min(position + size, self.size(descriptor))  # a size read from disk may be wrong
        starts = range(position, end, _READ_MAX)
        ends = (min(start + _READ_MAX, end) for start in starts)
        return b"".join(os.pread(descriptor, e - s, s) for s, e in zip(starts, ends, strict=True))

    @explaining
    def read_into(self, descriptor: int, buffer: bytearray | memoryview, position: int) -> int:
        return os.preadv(descriptor, [buffer], position)

    def write(self, descriptor: int, data: Buffer, position: int) -> None:
        """Write all of ``data``; it is in the page cache afterwards, not on the disk."""
        try:  # not by `explaining`, as in `read`
            if type(data) is bytes and len(data) <= BRIEF_SIZE_MAX:
                size, written = len(data), write_briefly(descriptor, data, position)
            else:
                size, written = memoryview(data).nbytes, os.pwrite(descriptor, data, position)
            while written < size:  # a short write is not an error
                rest = memoryview(data).cast("B")[written:]
                written += os.pwrite(descriptor, rest, position + written)
        except OSError as error:
            raise explained(error, descriptor) from None

    def write_parts(
        self, descriptor: int, parts: Sequence[bytes | memoryview], position: int
    ) -> None:
        """Write ``parts`` one after the other with as few calls as the system allows."""
        if 1 < len(parts) <= _PARTS_MAX:
            try:
                written = os.pwritev(descriptor, parts, position)
            except OSError as error:
                raise explained(error, descriptor) from None
            if written == sum(map(len, parts)):
                return
        self.write(descriptor, parts[0] if len(parts) == 1 else b"".join(parts), position)

    @explaining
    def allocate(self, descriptor: int, position: int, size: int) -> None:
        """Reserve space, so that a later write there cannot run out of it; the file grows."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, position, size)
            return
        missing = position + size - self.size(descriptor)  # no such call on this system
        if missing > 0:
            self.write(descriptor, bytes(missing), position + size - missing)

    def fill(self, descriptor: int, position: int, zeros: bytes) -> None:
        """Write zeros, so that a later write there overwrites blocks that are written already."""
        self.write(descriptor, zeros, position)

    @explaining
    def load(self, descriptor: int, position: int, size: int) -> None:
        """Read preallocated space, zeros that cost no disk read, into the page cache.

        A sequential read fills it with large folios. ``POSIX_FADV_WILLNEED`` fills it with single
        pages, which take twice as long to write into now and to read again later.
        """
        if hasattr(os, "posix_fallocate"):  # else ``allocate`` wrote it, and it is cached
            window = bytearray(_LOAD_SIZE)
            for begin in range(position, position + size, _LOAD_SIZE):
                os.preadv(descriptor, [window], begin)

    @explaining
    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    @explaining
    def sync(self, descriptor: int) -> None:
        """Make the content written so far durable (and the size, where it changed)."""
        if hasattr(fcntl, "F_FULLFSYNC"):  # where fsync leaves it in the drive's cache
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(descriptor)

    def start_writeback(self, descriptor: int, position: int, size: int) -> None:
        """Start writing a range to disk without waiting for it; advice only.

        A later sync then has little left to do. A failure here is reported by that sync.
        """
        start_write_out(descriptor, position, size)

    def sync_everything(self) -> None:
        """Sync everything any process wrote: one call instead of one per file.

        Only Linux waits for the disk in this call.
        """
        os.sync()

    def size(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def identity(self, descriptor: int) -> tuple[int, int]:
        """Which file is open, whatever its name is now; compare with ``status``."""
        status = os.fstat(descriptor)
        return status.st_dev, status.st_ino

    def next_data(self, descriptor: int, position: int) -> int | None:
        """The first position at or after ``position`` that holds data; None if there is none.

        Skips holes, which read as zeros, where the file system reports them.
        """
        try:
            return os.lseek(descriptor, position, _SEEK_DATA) if _SEEK_DATA else position
        except OSError as error:
            return None if error.errno == errno.ENXIO else position

    @explaining
    def rename(self, source: str, target: str) -> None:
        """Replace ``target``; durable after ``sync_directory``."""
        os.rename(source, target)

    @explaining
    def link(self, source: str, target: str) -> None:
        """Give a file a second name; ``FileExistsError`` where something has it."""
        os.link(source, target)

    @explaining
    def remove(self, path: str) -> None:
        os.unlink(path)

    @explaining
    def make_directory(self, path: str) -> None:
        os.mkdir(path, _MODE_DIRECTORY)

    @explaining
    def make_directories(self, path: str) -> None:
        """Make ``path`` and what is missing above it; ``FileExistsError`` if a file is there."""
        os.makedirs(path, _MODE_DIRECTORY, exist_ok=True)

    @explaining
    def remove_directory(self, path: str) -> None:
        os.rmdir(path)

    @explaining
    def sync_directory(self, path: str) -> None:
        """Make the names made, renamed and removed in ``path`` durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @explaining
    def list_directory(self, path: str) -> list[str]:
        return os.listdir(path)

    def walk_directory(self, path: str) -> Iterator[tuple[str, bool]]:
        """The path of each entry, and whether it is itself a directory (links not followed)."""
        with os.scandir(path) as entries:
            for entry in entries:
                yield entry.path, entry.is_dir(follow_symlinks=False)

    def status(self, path: str) -> os.stat_result | None:
        """What stands at ``path`` itself (links not followed), or None."""
        try:
            return os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def check_writable(self, path: str) -> None:
        """Raise the ``OSError`` that creating a file in the directory ``path`` would raise."""
        effective = os.access in os.supports_effective_ids
        if not os.access(path, os.W_OK | os.X_OK, effective_ids=effective):
            is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
            code = errno.EROFS if is_read_only else errno.EACCES
            raise OSError(code, os.strerror(code), path)

    def lock(self, descriptor: int, *, exclusive: bool = True, wait: bool = True) -> bool:
        """Take the advisory lock of an open file; False when it is held and ``wait`` is False."""
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        if not wait:
            return lock_briefly(descriptor, kind | fcntl.LOCK_NB)
        fcntl.flock(descriptor, kind)
        return True

    def unlock(self, descriptor: int) -> None:
        lock_briefly(descriptor, fcntl.LOCK_UN)

    def release(self, descriptor: int) -> None:
        """Unlock and close a lock file; the unlock matters where a forked child has it open too."""
        try:
            self.unlock(descriptor)
        finally:
            self.close(descriptor)


class VolatileFiles(Files):
    """For data that need not survive the machine, as in tests: a sync does nothing.

    Space is not preallocated either: a file without blocks is quicker to create and remove.
    """

    def allocate(self, descriptor: int, position: int, size: int) -> None:
        """Grow the file; a full disk is found by whoever writes there."""
        if position + size > self.size(descriptor):
            self.truncate(descriptor, position + size)

    def fill(self, descriptor: int, position: int, zeros: bytes) -> None:
        """Grow the file; it reads as zeros all the same."""
        self.allocate(descriptor, position, len(zeros))

    def sync(self, descriptor: int) -> None:
        """Nothing: the page cache is as good as the disk while the machine runs."""

    def start_writeback(self, descriptor: int, position: int, size: int) -> None:
        """Nothing, likewise."""

    def sync_directory(self, path: str) -> None:
        """Nothing, likewise."""

    def sync_everything(self) -> None:
        """Nothing, likewise."""


@contextmanager
def explaining_unwritable(path: str, way_out: str) -> Iterator[None]:
    """Turn the errors of an unwritable ``path`` into a sentence with a way out."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        found = error.filename  # a file that is there may be what is not writable
        one = f", or not its file {os.path.basename(found)!r}" if _is_below(found, path) else ""
        text = f"{os.strerror(error.errno)}: the directory cannot be written{one}; {way_out}"
        raise OSError(error.errno, text, path) from error


def _is_below(path: object, directory: str) -> bool:
    return isinstance(path, str) and path != directory and os.path.lexists(path)


def read_file(files: Files, path: str, size_max: int = 1 << 24) -> bytes:
    """The whole of a small file; ``FileNotFoundError`` when it is not there."""
    descriptor = files.open(path)
    try:
        size = files.size(descriptor)
        if size > size_max:
            raise OSError(errno.EFBIG, f"larger than the {size_max} bytes expected", path)
        return files.read(descriptor, size, 0)
    finally:
        files.close(descriptor)


def write_file(files: Files, path: str, content: bytes, *, durable: bool = True) -> None:
    """Write a file that nobody reads yet; its name is not durable afterwards."""
    descriptor = files.open(path, write=True, create=True)
    try:
        files.truncate(descriptor, 0)
        files.write(descriptor, content, 0)
        if durable:
            files.sync(descriptor)
    finally:
        files.close(descriptor)


def replace_file(files: Files, path: str, content: bytes, *, durable: bool = True) -> None:
    """Replace the content of ``path`` atomically: readers and crashes see old or new.

    Durable when it returns, unless ``durable`` is False.
    """
    temporary = layout.temporary(path)
    write_file(files, temporary, content, durable=durable)
    files.rename(temporary, path)
    if durable:
        files.sync_directory(os.path.dirname(path))


def write_new_file(files: Files, path: str, content: bytes) -> None:
    """Create a file, whole and durable; ``FileExistsError`` if it exists already.

    Readable and writable by its owner alone.
    """
    temporary = layout.temporary(path)
    write_file(files, temporary, content)
    try:
        files.link(temporary, path)
    finally:
        files.remove(temporary)
    files.sync_directory(os.path.dirname(path))


def remove_leftover(files: Files, path: str) -> None:
    """Remove the temporary file of an interrupted ``replace_file`` of ``path``, if any."""
    temporary = layout.temporary(path)
    if files.status(temporary) is not None:
        files.remove(temporary)


def remove_tree(files: Files, path: str, *, keep: bool = False) -> None:
    """Remove one of our directories and all in it, not following links; durable.

    ``keep`` leaves the directory itself, empty.
    """
    _empty(files, path)
    if not keep:
        files.remove_directory(path)
    files.sync_directory(path if keep else os.path.dirname(path))


def _empty(files: Files, path: str) -> None:
    for entry, is_directory in list(files.walk_directory(path)):
        if is_directory:
            _empty(files, entry)
            files.remove_directory(entry)
        else:
            files.remove(entry)
