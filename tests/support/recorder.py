"""A file seam that performs every operation and writes down what it did, for crash tests.

The journal is a list of tuples ``(operation, …)``; files are numbered by ``node``, so that a name
that is removed and made again is another file. ``mark`` puts a line of the test's own between them.
What a crash may leave of a journal: ``support.disk_model``.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Sequence
from typing import Any

from merkql.storage.files import Files

Entry = tuple[Any, ...]


class RecordingFiles(Files):
    """Real operations below ``root``, each one written to ``journal`` in the order it happened."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.journal: list[Entry] = []
        self.failing_syncs = 0  # so many of the next syncs of files fail, and lose what they cover
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._node_of_name: dict[str, int] = {}
        self._node_of_descriptor: dict[int, int] = {}
        for directory, _, names in os.walk(root):
            for name in names:
                self._node_of_name[os.path.join(directory, name)] = next(self._numbers)

    def names(self) -> dict[str, int]:
        """The files there are now, by path below the root."""
        return {os.path.relpath(path, self.root): n for path, n in self._node_of_name.items()}

    def mark(self, *what: Any) -> None:
        with self._lock:
            self.journal.append(("mark", *what))

    def open(self, path: str, *, write: bool = False, create: bool = False) -> int:
        with self._lock:
            descriptor = super().open(path, write=write, create=create)
            node = self._node_of_name.get(path)
            if node is None:
                node = self._node_of_name[path] = next(self._numbers)
                self._note("create", self._name(path), node)
            self._node_of_descriptor[descriptor] = node
            return descriptor

    def write(self, descriptor: int, data: Any, position: int) -> None:
        with self._lock:
            super().write(descriptor, data, position)
            content = bytes(memoryview(data).cast("B")) if len(data) else b""
            self._note("write", self._node_of_descriptor[descriptor], position, content)

    def write_parts(self, descriptor: int, parts: Sequence[bytes], position: int) -> None:
        self.write(descriptor, b"".join(parts), position)

    def allocate(self, descriptor: int, position: int, size: int) -> None:
        with self._lock:
            super().allocate(descriptor, position, size)
            self._note("grow", self._node_of_descriptor[descriptor], position + size)

    def truncate(self, descriptor: int, size: int) -> None:
        with self._lock:
            super().truncate(descriptor, size)
            self._note("truncate", self._node_of_descriptor[descriptor], size)

    def sync(self, descriptor: int) -> None:
        with self._lock:
            node = self._node_of_descriptor[descriptor]
            if self.failing_syncs:
                self.failing_syncs -= 1
                self._note("failed sync", node)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._note("sync", node)

    def rename(self, source: str, target: str) -> None:
        with self._lock:
            super().rename(source, target)
            for path in [p for p in self._node_of_name if p.startswith(source + "/")]:
                self._node_of_name[target + path[len(source) :]] = self._node_of_name.pop(path)
            if source in self._node_of_name:
                self._node_of_name[target] = self._node_of_name.pop(source)
            self._note("rename", self._name(source), self._name(target))

    def link(self, source: str, target: str) -> None:
        with self._lock:
            super().link(source, target)
            self._node_of_name[target] = self._node_of_name[source]
            self._note("link", self._name(source), self._name(target))

    def remove(self, path: str) -> None:
        with self._lock:
            super().remove(path)
            del self._node_of_name[path]
            self._note("remove", self._name(path))

    def make_directory(self, path: str) -> None:
        with self._lock:
            super().make_directory(path)
            self._note("mkdir", self._name(path))

    def remove_directory(self, path: str) -> None:
        with self._lock:
            super().remove_directory(path)
            self._note("remove", self._name(path))

    def sync_directory(self, path: str) -> None:
        with self._lock:
            if self._name(path) != "..":  # the root itself is taken to be there
                self._note("syncdir", self._name(path))

    def _name(self, path: str) -> str:
        name = os.path.relpath(path, self.root)
        return "" if name == "." else name

    def _note(self, *entry: Any) -> None:
        self.journal.append(entry)
