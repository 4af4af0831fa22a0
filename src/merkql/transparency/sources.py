"""The logs a monitor can read: published tiles in a directory or at a URL, or a partition."""

from __future__ import annotations

import os
from typing import Protocol

from merkql.storage.checkpoint_file import CheckpointFile
from merkql.storage.entry_runs import entry_runs
from merkql.storage.files import Files, read_file
from merkql.storage.history import newest_kept
from merkql.storage.index_repair import AnyLog
from merkql.transparency.tiles import CHECKPOINT, ENTRIES, TILE_WIDTH, Tile
from merkql.transparency.web import Web, WebError

TILE_SIZE_MAX = TILE_WIDTH * (2 + 65_535)


class MissingError(Exception):
    """The log claims to have something that is missing: the message names it."""


class Source(Protocol):
    """A log as outsiders see it."""

    name: str
    entries_from: int  # records below it may be gone, which is no fault

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint; ``MissingError`` if there is none."""

    def tile(self, tile: Tile) -> bytes:
        """A tile or a bundle of entries; ``MissingError`` if it is missing."""


class _Published:
    """Published tiles, wherever they are."""

    name: str
    entries_from = 0

    def checkpoint(self) -> bytes:
        return self._read(CHECKPOINT)

    def tile(self, tile: Tile) -> bytes:
        try:
            return self._read(tile.path)
        except MissingError:
            if tile.width == TILE_WIDTH:
                raise
        return self._read(Tile(tile.level, tile.index).path)  # a partial tile, full meanwhile

    def _read(self, path: str) -> bytes:
        raise NotImplementedError


class PathSource(_Published):
    """Published tiles in a local directory."""

    def __init__(self, directory: str, files: Files | None = None) -> None:
        self.name = directory
        self._files = files or Files()

    def _read(self, path: str) -> bytes:
        try:
            return read_file(self._files, os.path.join(self.name, path), TILE_SIZE_MAX)
        except FileNotFoundError:
            raise MissingError(f"{self.name} has no {path}") from None


class WebSource(_Published):
    """Published tiles at a URL."""

    def __init__(self, url: str, web: Web | None = None) -> None:
        self.name = url.rstrip("/")
        self._web = web or Web()

    def _read(self, path: str) -> bytes:
        url = f"{self.name}/{path}"
        answer = self._web.request("GET", url, size_max=TILE_SIZE_MAX)
        if answer.status in (404, 410):
            raise MissingError(f"{self.name} has no {path}")
        if answer.status != 200:
            raise WebError(f"{url}: status {answer.status}")
        return answer.body


class PartitionSource:
    """A partition of a data directory: its records and stored hashes."""

    def __init__(self, log: AnyLog) -> None:
        self.name = f"{log.id.topic}/{log.id.index}"
        self._log = log
        self.entries_from = log.all_segments[0].first_offset

    def checkpoint(self) -> bytes:
        newest = newest_kept(CheckpointFile(self._log.pool, self._log.directory))
        if newest is None:
            raise MissingError(f"{self.name} has signed nothing yet")
        return newest.note

    def tile(self, tile: Tile) -> bytes:
        first, stop = tile.first, tile.first + tile.width
        if tile.level == ENTRIES:
            if stop > self._log.end_offset or first < self.entries_from:
                raise MissingError(f"{self.name} has no record of offsets {first} to {stop - 1}")
            return b"".join(run.bundled for run in entry_runs(self._log, first, stop))
        if stop > self._log.end_offset >> 8 * tile.level:
            raise MissingError(f"{self.name} has no hashes {first} to {stop - 1}")
        return self._log.tree.read([(8 * tile.level, first, tile.width)])[0]
