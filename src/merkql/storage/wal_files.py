"""Creates and opens the files of the write-ahead log, filled with real zeros."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass

from merkql.storage import layout
from merkql.storage.files import Files
from merkql.storage.shared_state import WalFileState

FILL_BURST = 1 << 20  # written back in pieces, so that the writer's syncs do not wait long
ZEROS = bytes(64 << 10)  # larger writes make later small overwrites slower (large folios)


@dataclass(slots=True)
class WalFile:
    """One file, open, and which groups it holds."""

    number: int
    path: str
    descriptor: int
    size: int
    first_sequence: int = 0
    last_sequence: int = 0

    def stated(self, kind: int) -> WalFileState:
        """The file as the shared state describes it."""
        numbers = (self.first_sequence, self.last_sequence)
        return WalFileState(self.number, kind, self.size, *numbers)


class WalFileMaker:
    """Creates and opens the files of one directory, from any thread."""

    def __init__(self, files: Files, directory: str) -> None:
        self.next_number = 1
        self._files = files
        self._directory = directory
        self._lock = threading.Lock()

    def make(self, size: int, *, synced: bool) -> WalFile:
        """A new file of zeros, its name durable; the zeros too if ``synced``."""
        number, path, descriptor = self._create()
        try:
            self._fill(descriptor, size)
            if synced:
                self._files.sync(descriptor)
            self._files.sync_directory(self._directory)
        except OSError:
            self._files.close(descriptor)
            self._files.remove(path)
            raise
        return WalFile(number, path, descriptor, size)

    def open(self, stated: WalFileState) -> WalFile:
        """Open a file that another process created; ``FileNotFoundError`` if it is missing."""
        path = layout.wal_file(self._directory, stated.number)
        return WalFile(stated.number, path, self._files.open(path, write=True), stated.size)

    def _create(self) -> tuple[int, str, int]:
        """A new empty file under the next free number."""
        while True:
            with self._lock:
                number = self.next_number
                self.next_number += 1
            path = layout.wal_file(self._directory, number)
            with contextlib.suppress(FileExistsError):
                return number, path, self._files.create(path)

    def _fill(self, descriptor: int, size: int) -> None:
        for position in range(0, size, len(ZEROS)):
            self._files.fill(descriptor, position, ZEROS[: min(len(ZEROS), size - position)])
            if position % FILL_BURST == 0 and position:
                self._files.start_writeback(descriptor, position - FILL_BURST, FILL_BURST)
