"""Publishes a partition's tree, without its records, as tiles for any static web server.

New tiles are written beside the old ones, and ``checkpoint`` is replaced last: at any moment a
reader finds all that the current checkpoint, or the one before, refers to. Format:
docs/formats/tiles.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from merkql._core.frontier import Frontier
from merkql._core.merkle import peaks_at
from merkql.errors import CorruptionError, HistoryError
from merkql.proof import ProofError
from merkql.storage.checkpoint_file import CheckpointFile
from merkql.storage.entry_runs import EntryRun, entry_runs
from merkql.storage.files import Files, read_file, replace_file
from merkql.storage.history import KeptCheckpoint, check_agrees, newest_kept
from merkql.storage.index_repair import AnyLog
from merkql.storage.tree_space import BUNDLED_SIZE
from merkql.transparency.tiles import (
    CHECKPOINT,
    ENTRIES,
    HASH_SIZE,
    TILE_WIDTH,
    Tile,
    levels_of,
    partial_tiles,
    tiles_of_level,
)

SYNCED_ONE_BY_ONE = 64  # files; the whole system is synced once for more
_LOCK, _STALE = ".lock", ".stale"


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What was written: the tree grew from ``size_before`` records to ``size``.

    ``entries_missing``: the entries in no bundle, because records of that bundle were gone already;
    their hashes are in the tiles.
    """

    size_before: int
    size: int
    file_count: int
    entries_missing: int


def publish(log: AnyLog, directory: str, files: Files | None = None) -> PublishReport:
    """Extend the tiles in ``directory`` to the newest checkpoint of ``log``; durable.

    Raises ``ValueError`` if nothing was signed yet or another log is published there, and
    ``HistoryError`` if what is published there is not a past of this log.
    """
    checkpoints = CheckpointFile(log.pool, log.directory)
    newest = newest_kept(checkpoints)
    if newest is None:
        raise ValueError("nothing was signed yet: make a checkpoint, then publish it")
    check_agrees(log, newest, checkpoints.path)
    files = files or Files()
    files.make_directories(directory)
    with _locked(files, directory):
        before = _published(files, directory)
        if before is not None:
            _check_continues(log, directory, before, newest)
        if before is not None and before.note == newest.note:
            return PublishReport(newest.size, newest.size, 0, 0)
        return _Publication(log, directory, files, newest).run(before.size if before else 0)


def _check_continues(
    log: AnyLog, directory: str, before: KeptCheckpoint, newest: KeptCheckpoint
) -> None:
    path = os.path.join(directory, CHECKPOINT)
    if before.origin != newest.origin:
        raise ValueError(
            f"{directory} publishes {before.origin}, and this is {newest.origin}: choose another"
        )
    if before.size > newest.size:
        raise HistoryError(path, 0, f"it speaks of {before.size} records, the log of {newest.size}")
    check_agrees(log, before, path)


def _published(files: Files, directory: str) -> KeptCheckpoint | None:
    path = os.path.join(directory, CHECKPOINT)
    try:
        return KeptCheckpoint.of_note(read_file(files, path), 0)
    except FileNotFoundError:
        return None
    except ProofError as error:
        raise CorruptionError(path, 0, str(error)) from None


@contextmanager
def _locked(files: Files, directory: str) -> Iterator[None]:
    """Only one process at a time publishes to a directory."""
    descriptor = files.open(os.path.join(directory, _LOCK), write=True, create=True)
    try:
        files.lock(descriptor)
        yield
    finally:
        files.release(descriptor)


class _Publication:
    """One run: publishes what is new in one log to one directory."""

    def __init__(
        self, log: AnyLog, directory: str, files: Files, checkpoint: KeptCheckpoint
    ) -> None:
        self._log = log
        self._directory = directory
        self._files = files
        self._checkpoint = checkpoint
        self._written: list[str] = []
        self._directories: set[str] = set()

    def run(self, size_before: int) -> PublishReport:
        size = self._checkpoint.size
        missing = self._write_bundles(size_before)
        for level in levels_of(size):
            for tile in tiles_of_level(level, size, size_before):
                self._write(tile, self._hashes(tile))
        self._sync()
        replace_file(self._files, os.path.join(self._directory, CHECKPOINT), self._checkpoint.note)
        self._remove_stale(size_before)
        return PublishReport(size_before, size, len(self._written), missing)

    def _hashes(self, tile: Tile) -> bytes:
        request = (8 * tile.level, tile.first, tile.width)
        return bytes(self._log.tree.read([request])[0])

    def _write_bundles(self, size_before: int) -> int:
        """Write entries from the first bundle that was not full; returns how many are missing.

        Grows the tree from them too: nothing is published that does not lead to the root.
        """
        log, size = self._log, self._checkpoint.size
        begin = size_before // TILE_WIDTH * TILE_WIDTH
        here = min(max(begin, log.all_segments[0].first_offset), size)
        frontier = Frontier(begin, peaks_at(begin, log.tree.read))
        if here > begin:
            frontier.append(log.tree.read([(0, begin, here - begin)])[0])
        bundle = bytearray(self._published_part(begin, here, size_before))
        first = -(-here // TILE_WIDTH) * TILE_WIDTH if not bundle else begin
        for run in entry_runs(log, here, size):
            self._check(run, frontier.append(run.leaf_hashes))
            bundle += run.bundled
            offset = run.first + run.size - len(bundle) // BUNDLED_SIZE
            offset = self._write_full(bundle, offset, first)
        if frontier.root() != self._checkpoint.root:
            raise CorruptionError(log.tree.directory, 0, "the records do not lead to the root")
        rest = size % TILE_WIDTH
        if rest and len(bundle) >= rest * BUNDLED_SIZE:
            self._write(Tile(ENTRIES, size // TILE_WIDTH, rest), bytes(bundle))
        return max(0, min(first, size) - begin)

    def _write_full(self, bundle: bytearray, offset: int, first: int) -> int:
        """Write the full bundles at the front of ``bundle``, which starts at ``offset``."""
        skipped = (first - offset) * BUNDLED_SIZE if offset < first else 0
        del bundle[:skipped]
        offset = max(offset, first)
        full = len(bundle) // (TILE_WIDTH * BUNDLED_SIZE)
        size = TILE_WIDTH * BUNDLED_SIZE
        view = bytes(bundle[: full * size])
        for number in range(full):
            content = view[number * size : (number + 1) * size]
            self._write(Tile(ENTRIES, offset // TILE_WIDTH + number), content)
        del bundle[: full * size]
        return offset + full * TILE_WIDTH

    def _published_part(self, begin: int, here: int, size_before: int) -> bytes:
        """The entries [begin, here) as published before, if their records are gone."""
        if here == begin or here > size_before:
            return b""
        tile = Tile(ENTRIES, begin // TILE_WIDTH, size_before - begin)
        content = read_file(self._files, os.path.join(self._directory, tile.path))
        return content[: (here - begin) * BUNDLED_SIZE]

    def _check(self, run: EntryRun, additions: list[tuple[int, int, bytes]]) -> None:
        """Check that the stored hashes, which tiles are made of, match the records."""
        for level, index, hashes in additions:
            if level % 8 == 0:
                stored = self._log.tree.read([(level, index, len(hashes) // HASH_SIZE)])[0]
                if stored != hashes:
                    raise CorruptionError(
                        self._log.tree.directory,
                        0,
                        f"stored hashes of level {level} from {index} on are not those of the "
                        f"records around offset {run.first}",
                    )

    def _write(self, tile: Tile, content: bytes) -> None:
        path = os.path.join(self._directory, tile.path)
        parent = os.path.dirname(path)
        if parent not in self._directories:
            self._files.make_directories(parent)
            self._directories.add(parent)
        replace_file(self._files, path, content, durable=False)
        self._written.append(path)

    def _sync(self) -> None:
        files = self._files
        if len(self._written) > SYNCED_ONE_BY_ONE:
            files.sync_everything()
            return
        for path in self._written:
            descriptor = files.open(path)
            try:
                files.sync(descriptor)
            finally:
                files.close(descriptor)
        parents = {self._directory}
        for made in self._directories:
            directory = made
            while directory not in parents:
                parents.add(directory)
                directory = os.path.dirname(directory)
        for directory in sorted(parents):
            files.sync_directory(directory)

    def _remove_stale(self, size_before: int) -> None:
        """Remove partial tiles that were full in the previous checkpoint.

        Those that became full just now are removed the next time: readers of the previous
        checkpoint may still need them.
        """
        files, note = self._files, os.path.join(self._directory, _STALE)
        try:
            stale = read_file(files, note).decode().split()
        except FileNotFoundError:
            stale = []
        size = self._checkpoint.size
        partial_now = {tile.partials for tile in partial_tiles(size)}
        for name in stale:
            path = os.path.join(self._directory, name)
            if name not in partial_now and files.status(path) is not None:
                for entry in files.list_directory(path):
                    files.remove(os.path.join(path, entry))
                files.remove_directory(path)
        now_full = [tile.partials for tile in partial_tiles(size_before)]
        next_time = [name for name in now_full if name not in partial_now]
        replace_file(
            files, note, "".join(f"{name}\n" for name in next_time).encode(), durable=False
        )
