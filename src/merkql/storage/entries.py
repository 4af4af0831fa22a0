"""Tells our own directory entries from foreign files and symbolic links.

Links are not followed: through one, two brokers could write one topic at once. Foreign entries are
ignored, with a warning when the directory is opened. Names: merkql.storage.layout.
"""

from __future__ import annotations

import logging
import os
import stat

from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.files import Files

logger = logging.getLogger("merkql.recovery")


def is_directory(files: Files, path: str) -> bool:
    """Whether ``path`` is a directory; ``CorruptionError`` for a link or a file there."""
    status = files.status(path)
    if status is None:
        return False
    if stat.S_ISLNK(status.st_mode):
        raise _link(path)
    if not stat.S_ISDIR(status.st_mode):
        raise CorruptionError(path, 0, "a file in the place of a directory; move it elsewhere")
    return True


def topic_entries(files: Files, topics: str) -> list[str]:
    """The names in ``topics/`` that may be ours: directories, and links named like a topic."""
    entries = sorted(files.list_directory(topics))
    return [entry for entry in entries if _is_topic(files, topics, entry)]


def group_entries(files: Files, groups: str) -> list[str]:
    """The names in ``groups/`` that may be ours: directories."""
    entries = sorted(files.list_directory(groups))
    return [entry for entry in entries if _is_group(files, groups, entry)]


def wal_files(files: Files, wal: str) -> list[tuple[int, str]]:
    """Number and path of the write-ahead log's files; ``CorruptionError`` for a link among them."""
    found = []
    for entry in sorted(files.list_directory(wal)):
        number = layout.parse_wal_file(entry)
        path = os.path.join(wal, entry)
        mode = _mode(files, path) if number is not None else 0
        if number is not None and stat.S_ISREG(mode):
            found.append((number, path))
        elif stat.S_ISLNK(mode):
            raise _link(path)
    return found


def warn_of_foreign_entries(files: Files, root: str) -> None:
    """Log a warning for each foreign entry in ``topics/``, ``groups/`` and ``wal/``."""
    for directory, is_ours in (
        (layout.topics_directory(root), _is_topic),
        (layout.groups_directory(root), _is_group),
        (layout.wal_directory(root), _is_wal),
    ):
        entries = files.list_directory(directory) if is_directory(files, directory) else []
        for entry in sorted(entries):
            path = os.path.join(directory, entry)
            if not is_ours(files, directory, entry) and files.status(path) is not None:
                logger.warning("%s: not written by merkql, ignored", path)


def _is_topic(files: Files, directory: str, entry: str) -> bool:
    mode = _mode(files, os.path.join(directory, entry))
    if layout.is_encoded_name(entry):
        return stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
    prefixes = (layout.NEW_PREFIX, layout.DELETED_PREFIX)
    named = any(layout.parse_topic_id(entry, prefix) is not None for prefix in prefixes)
    return named and stat.S_ISDIR(mode)


def _is_group(files: Files, directory: str, entry: str) -> bool:
    return layout.is_encoded_name(entry) and stat.S_ISDIR(
        _mode(files, os.path.join(directory, entry))
    )


def _is_wal(files: Files, directory: str, entry: str) -> bool:
    mode = _mode(files, os.path.join(directory, entry))
    number = layout.parse_wal_file(entry.removesuffix(layout.KEPT_SUFFIX))
    return number is not None and stat.S_ISREG(mode)


def _mode(files: Files, path: str) -> int:
    status = files.status(path)
    return status.st_mode if status is not None else 0


def _link(path: str) -> CorruptionError:
    return CorruptionError(
        path, 0, "a symbolic link, and links are not followed: move what it leads to here"
    )
