"""The data directory as a whole: whether it is ours, and whether it was closed cleanly.

Format: docs/formats/data-directory.md.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import struct
import time
from dataclasses import dataclass

import xxhash

from merkql.errors import CorruptionError, FormatError
from merkql.storage import layout
from merkql.storage.entries import is_directory, topic_entries, warn_of_foreign_entries
from merkql.storage.files import (
    READ_INSTEAD,
    Files,
    explaining_unwritable,
    read_file,
    replace_file,
)

logger = logging.getLogger("merkql.recovery")
LOOK_INTERVAL_S = 0.001
FORMAT = 1
_OURS = {
    *("lock", "lock.queue", "lock.sharers", "lock.alone", "state", "wal", "topics", "groups"),
    *("merkql.json", "merkql.json.tmp", "clean", "clean.tmp", "erasing", "erasing.tmp"),
}
_CLEAN = struct.Struct("<4sQ")
_CLEAN_MAGIC = b"MKC1"
_SEQUENCE_MAX = 1 << 62


@dataclass(frozen=True, slots=True)
class DirectoryInfo:
    """What ``merkql.json`` says."""

    log_id: bytes  # sixteen random bytes
    created_ms: int

    @property
    def seed(self) -> int:
        """What the checksums of WAL frames are seeded with."""
        return int.from_bytes(self.log_id[:8], "little")


def open_directory(files: Files, root: str, *, read_only: bool) -> DirectoryInfo:
    """Check that ``root`` is a data directory; create one if it is empty or missing.

    Raises ``FormatError`` for a directory that is not ours or has a newer format,
    ``NotADirectoryError`` for a file, and ``OSError`` if it must be written and cannot be.
    """
    mark = layout.directory_mark(root)
    status = files.status(root)
    if status is not None and not stat.S_ISDIR(os.stat(root).st_mode):
        raise NotADirectoryError(
            errno.ENOTDIR, "a data directory is needed and this is a file; choose another", root
        )
    if files.status(mark) is None:
        if read_only:
            raise FormatError(f"{root} is not a merkql data directory (it has no merkql.json)")
        with explaining_unwritable(root, "choose another, or have it made writable"):
            return _create(files, root)
    info = read_mark(files, root)
    with explaining_unwritable(root, READ_INSTEAD):
        _check_directories(files, root, read_only=read_only)
    warn_of_foreign_entries(files, root)
    return info


def read_mark(files: Files, root: str) -> DirectoryInfo:
    """The content of ``merkql.json``; ``CorruptionError`` or ``FormatError`` if it is invalid."""
    mark = layout.directory_mark(root)
    try:
        content = json.loads(read_file(files, mark))
        stated, log_id, created_ms = content["format"], content["id"], content["created_ms"]
        if not isinstance(stated, int) or not isinstance(created_ms, int):
            raise TypeError("format and created_ms are numbers")
        if stated > FORMAT:
            raise FormatError(
                f"{root} has format {stated}; this version of merkql knows formats up to {FORMAT}: "
                "install a newer one"
            )
        info = DirectoryInfo(bytes.fromhex(log_id), created_ms)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptionError(mark, 0, f"not what merkql wrote there: {error!r}") from None
    if len(info.log_id) != 16:
        raise CorruptionError(mark, 0, "the log id is not 16 bytes")
    return info


def _check_directories(files: Files, root: str, *, read_only: bool) -> None:
    """Recreate ``wal/``, ``topics/`` and ``groups/`` if a copy left them out as empty.

    ``CorruptionError`` for one that held something, or may have.
    """
    wal, topics, groups = _directories(root)
    missing = [path for path in (wal, topics, groups) if not is_directory(files, path)]
    sequence = read_clean_mark(files, root) if missing else 0
    if topics in missing and sequence != 0:
        raise CorruptionError(
            topics,
            0,
            "missing, and records were written: restore it; if every topic was deleted, make it, "
            "empty",
        )
    if wal in missing and sequence is None and not read_only and topic_entries(files, topics):
        raise CorruptionError(
            wal,
            0,
            "the write-ahead log is missing, and the broker was not closed: restore it, or open "
            "with read_only=True to read what the segments hold; make it, empty, to go on without",
        )
    if read_only:
        return
    for path in (root, *(one for one in (wal, topics, groups) if one not in missing)):
        files.check_writable(path)
    for path in missing:
        logger.warning("%s: missing, made again", path)
        files.make_directory(path)
    if missing:
        files.sync_directory(root)


def _directories(root: str) -> tuple[str, str, str]:
    return (
        layout.wal_directory(root),
        layout.topics_directory(root),
        layout.groups_directory(root),
    )


def _create(files: Files, root: str) -> DirectoryInfo:
    """Create the directory, or read it if another process creates it meanwhile.

    Under the writer lock: of two that create it at once, the later would change the id of a log
    that is already written, and recovery would then ignore that log's WAL frames.
    """
    files.make_directories(root)
    _refuse_foreign(files, root)
    descriptor = files.open(layout.writer_lock(root), write=True, create=True)
    try:
        while not files.lock(descriptor, wait=False):  # another process is creating it
            if files.status(layout.directory_mark(root)) is not None:
                break
            time.sleep(LOOK_INTERVAL_S)
        if files.status(layout.directory_mark(root)) is not None:
            return read_mark(files, root)
        return _fill(files, root)
    finally:
        files.release(descriptor)


def _refuse_foreign(files: Files, root: str) -> None:
    foreign = sorted(set(files.list_directory(root)) - _OURS)
    if foreign:
        raise FormatError(
            f"{root} is not a merkql data directory: it holds {foreign[0]!r}"
            f"{' and more' if len(foreign) > 1 else ''}; choose an empty or a new one"
        )


def _fill(files: Files, root: str) -> DirectoryInfo:
    wal, topics, groups = _directories(root)
    for path in (wal, topics, groups):
        if not is_directory(files, path):
            files.make_directory(path)
        elif path != groups and files.list_directory(path):
            raise CorruptionError(
                layout.directory_mark(root),
                0,
                f"missing, and {path} is not empty: restore it from a copy of the directory",
            )
    info = DirectoryInfo(os.urandom(16), time.time_ns() // 1_000_000)
    content = {"format": FORMAT, "id": info.log_id.hex(), "created_ms": info.created_ms}
    replace_file(files, layout.directory_mark(root), json.dumps(content).encode() + b"\n")
    files.sync_directory(os.path.dirname(os.path.abspath(root)))
    return info


def read_clean_mark(files: Files, root: str) -> int | None:
    """The last group of the session that closed cleanly, or None after a crash.

    A mark that fails its checksum counts as none, so recovery runs.
    """
    try:
        content = read_file(files, layout.clean_mark(root))
    except FileNotFoundError:
        return None
    if len(content) != 20 or content != encode_clean(_CLEAN.unpack_from(content)[1]):
        return None
    sequence: int = _CLEAN.unpack_from(content)[1]
    return sequence if sequence <= _SEQUENCE_MAX else None


def write_clean_mark(files: Files, root: str, sequence: int) -> None:
    replace_file(files, layout.clean_mark(root), encode_clean(sequence))


def remove_clean_mark(files: Files, root: str) -> None:
    """Remove the mark, durably: from now on a crash needs recovery."""
    if files.status(layout.clean_mark(root)) is not None:  # gone if its sync failed
        files.remove(layout.clean_mark(root))
    files.sync_directory(root)


def encode_clean(sequence: int) -> bytes:
    content = _CLEAN.pack(_CLEAN_MAGIC, sequence)
    return content + xxhash.xxh3_64_intdigest(content).to_bytes(8, "little")
