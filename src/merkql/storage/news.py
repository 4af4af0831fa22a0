"""Tells whether another process wrote, from the shared state file of the directory.

Where that file cannot be trusted (written before the last boot, or missing because an older version
wrote the directory), each partition's tail page is checked instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from merkql.storage import layout
from merkql.storage.shared_state import SharedStateFile, version_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from merkql.storage.files import Files
    from merkql.storage.reader_log import ReaderLog


class News:
    """What changed in one directory, for the broker that has it open."""

    def __init__(self, files: Files, root: str, boot_id: bytes) -> None:
        self.file: SharedStateFile | None = None
        self.on_topics: Callable[[], None] = lambda: None  # topics or partitions came or went
        self._files = files
        self._root = root
        self._boot_id = boot_id
        self._told = (0, 0)
        self._readers: list[ReaderLog] = []
        self._ends: dict[ReaderLog, int] = {}

    def open(self) -> SharedStateFile:
        """Open the shared state file for writing."""
        self.file = SharedStateFile(self._files, self._root, write=True)
        return self.file

    def close(self) -> None:
        file, self.file = self.file, None
        if file is not None:
            file.close()

    def add_reader(self, reader: ReaderLog) -> None:
        """Register a partition that is read here and written elsewhere."""
        self._readers.append(reader)

    def version(self) -> tuple[int, int] | None:
        """The record and topic versions; None where the shared state cannot be trusted."""
        if self.file is None:
            try:
                self.file = SharedStateFile(self._files, self._root, write=False)
            except FileNotFoundError:
                return None
        return version_of(self.file.news(), self._boot_id)

    def paths(self) -> list[str]:
        """The files that are written whenever something changes."""
        if self.version() is not None:
            return [layout.shared_state(self._root)]
        for reader in [one for one in self._readers if one.retired]:
            self._readers.remove(reader)
        return [layout.tail_page(reader.directory) for reader in self._readers]

    def has_any(self) -> bool:
        """Whether something changed since the last call."""
        version = self.version()
        if version is not None:
            before, self._told = self._told, version
            if version[1] != before[1]:
                self.on_topics()
            return version != before
        readers = [one for one in self._readers if not one.retired]
        for reader in readers:
            reader.refresh()
        known, self._ends = self._ends, {one: one.end_offset for one in readers}
        return known != self._ends
