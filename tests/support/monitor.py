"""A file seam that holds the engine to its ordering rules while it works.

Each rule is checked at the operation that would break it, in the thread that does, so the failure
shows where it came from. Cheap enough for any test: a set look-up an operation. The rules are
those of docs/durability.md; what a crash leaves when one is broken: tests/crash.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from merkql.storage.files import Files


class MonitorFiles(Files):
    """Real operations; ``AssertionError`` where an order is broken. Counts syncs by kind."""

    def __init__(self) -> None:
        self.syncs: Counter[str] = Counter()
        self.broken: list[str] = []
        self._lock = threading.Lock()
        self._path: dict[int, str] = {}
        self._dirty: set[str] = set()
        self._new_names: set[str] = set()  # that a power cut may take
        self._filled: dict[str, int] = {}  # files not only reserved: the first frame of theirs
        self._frames = 0  # written to WAL files so far
        self._last_frame: dict[str, int] = {}  # of each of these files; or as it was opened
        self._first_frame: dict[str, int] = {}  # whose records a dirty file may hold
        self._failed: set[str] = set()
        self._relaxed: set[str] = set()  # directories of topics that do not wait for the disk
        self._strict: set[str] = set()  # and of those that do

    def open(self, path: str, *, write: bool = False, create: bool = False) -> int:
        is_new = create and kind_of(path) in ("log", "salts") and not os.path.exists(path)
        descriptor = super().open(path, write=write, create=create)
        with self._lock:
            self._path[descriptor] = path
            if write and path.endswith(".wal"):
                self._last_frame[path] = self._frames
            if is_new:
                self._new_names.add(path)
        return descriptor

    def write(self, descriptor: int, data: Any, position: int) -> None:
        path = self._path[descriptor]
        if path.endswith(".log") and len(data):
            self._check_wal_is_synced(path)
        if "/topic.json" in path:
            self._note_durability(path, bytes(data))
        if len(data):  # else it only makes the file
            with self._lock:
                self._dirty.add(path)  # before the call: a sync after it covers it
                self._filled.setdefault(path, self._frames)
                self._first_frame.setdefault(path, self._frames)
        super().write(descriptor, data, position)

    def write_parts(self, descriptor: int, parts: Sequence[bytes], position: int) -> None:
        path = self._path[descriptor]
        with self._lock:
            if path.endswith(".wal"):
                self._frames += 1
                self._last_frame[path] = self._frames
            self._dirty.add(path)
            self._filled.setdefault(path, self._frames)
            self._first_frame.setdefault(path, self._frames)
        super().write_parts(descriptor, parts, position)

    def truncate(self, descriptor: int, size: int) -> None:
        with self._lock:
            self._dirty.add(self._path[descriptor])
        super().truncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        path = self._path[descriptor]
        if path in self._failed and not path.endswith(".tmp"):
            self._break(f"{path} is synced again after a failed sync")
        with self._lock:
            self._dirty.discard(path)  # before the call: a write during it is not covered
            self._first_frame.pop(path, None)
            self.syncs[kind_of(path)] += 1
        try:
            super().sync(descriptor)
        except OSError:
            self._failed.add(path)
            raise

    def sync_directory(self, path: str) -> None:
        with self._lock:
            self.syncs["directory"] += 1
            self._new_names = {one for one in self._new_names if os.path.dirname(one) != path}
        super().sync_directory(path)

    def rename(self, source: str, target: str) -> None:
        # A group's assignment is of living members: after a power cut there are none.
        if source in self._dirty and not target.endswith("/assignment"):
            self._break(f"{source} is renamed before it was synced")
        if target.endswith("/clean"):
            unsynced = [
                path for path in tuple(self._dirty) if kind_of(path) in ("log", "salts", "tree")
            ]
            if unsynced:
                self._break(f"the clean mark is set before {unsynced} were synced")
        super().rename(source, target)
        with self._lock:
            below = source + "/"
            self._dirty = {
                target + path[len(source) :] if path.startswith(below) else path
                for path in tuple(self._dirty)
            }

    def remove(self, path: str) -> None:
        if path.endswith(".wal") and self._is_used(path):
            last = self._last_frame.get(path, self._frames)
            unsynced = [
                one
                for one in tuple(self._dirty)
                if kind_of(one) in ("log", "salts") and self._first_frame.get(one, 0) <= last
            ]
            # Else they are gone again, or hold no record of it, and can be made again.
            unsynced += [
                one
                for one in tuple(self._new_names)
                if _size(one) and self._filled.get(one, last + 1) <= last
            ]
            if unsynced:
                self._break(f"{path} is removed before {unsynced} were synced")
        if path.endswith(".log") and "/.deleted-" not in path:
            tree = os.path.join(os.path.dirname(path), "tree", "")
            # Salts of later records stand in the WAL; its own were synced as it was sealed.
            unsynced = [
                one
                for one in tuple(self._dirty)
                if one.startswith(tree) and kind_of(one) != "salts"
            ]
            if unsynced:
                self._break(f"{path} is removed before {unsynced} were synced")
        super().remove(path)
        with self._lock:
            self._dirty.discard(path)
            self._filled.pop(path, None)
            self._first_frame.pop(path, None)

    def _check_wal_is_synced(self, path: str) -> None:
        """Nobody may see a record of such a topic before it is durable."""
        if self._is_relaxed(os.path.dirname(os.path.dirname(path))):
            return
        unsynced = [
            one for one in tuple(self._dirty) if one.endswith(".wal") and self._is_used(one)
        ]
        if unsynced:
            self._break(f"{path} is written before {unsynced} were synced")

    def _is_relaxed(self, topic: str) -> bool:
        """Whether the topic of that directory does not wait for the disk."""
        if topic not in self._relaxed and topic not in self._strict:
            try:
                with open(os.path.join(topic, "topic.json"), "rb") as file:
                    durable = json.load(file)["durability"] == "fsync"
            except OSError:  # no descriptor is left, which is not the engine's mistake
                return True
            (self._strict if durable else self._relaxed).add(topic)
        return topic in self._relaxed

    def _is_used(self, path: str) -> bool:
        """Whether a WAL file holds frames; one of zeros is made ahead, in a thread of its own."""
        try:
            with open(path, "rb") as file:
                return file.read(4) == b"MKWF"
        except FileNotFoundError:  # that thread found the disk full, and took it away again
            return False

    def _note_durability(self, path: str, content: bytes) -> None:
        directory = os.path.dirname(path)
        config = json.loads(content)
        if config["durability"] != "fsync":
            final = os.path.join(os.path.dirname(directory), config["name"])
            self._relaxed |= {directory, final}
            self._strict -= {directory, final}

    def _break(self, rule: str) -> None:
        self.broken.append(rule)
        raise AssertionError(rule)


def kind_of(path: str) -> str:
    """What a file is for, by its name."""
    name = os.path.basename(path)
    if os.path.basename(os.path.dirname(path)) == "tree":
        return "salts" if name == "salts" else "tree"
    for ending in (".log", ".index", ".wal", ".tmp"):
        if name.endswith(ending):
            return ending[1:]
    return name


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0
