"""Everything below one open data directory: files, WAL, group commit, background work, recovery.

Knows partitions by topic id and number, and nothing of names, keys or groups.
"""

from __future__ import annotations

import logging
import os
import resource
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from merkql._core.frame import Section
from merkql.errors import ClosedError, CorruptionError, ReadOnlyError
from merkql.storage import layout
from merkql.storage.arrivals import Arrivals, WatchedArrivals
from merkql.storage.boot import boot_id
from merkql.storage.committer import Committer
from merkql.storage.directory import (
    WriterLock,
    open_directory,
    read_clean_mark,
    remove_clean_mark,
    write_clean_mark,
)
from merkql.storage.entries import is_directory, wal_files
from merkql.storage.file_pool import FilePool
from merkql.storage.files import Files
from merkql.storage.hasher import Hasher
from merkql.storage.history import CheckpointMaker
from merkql.storage.maintenance import Maintenance, sync_segments
from merkql.storage.mounts import warn_of_network
from merkql.storage.partition_log import PartitionId, PartitionLog
from merkql.storage.reader_log import ReaderLog
from merkql.storage.recovery import open_log
from merkql.storage.wal import Wal
from merkql.storage.wal_reader import read_wal
from merkql.storage.writer import Writer

logger = logging.getLogger("merkql.recovery")
OPEN_FILES_MAX = 512
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """One data directory, opened to write or to read."""

    def __init__(
        self, files: Files, root: str, *, read_only: bool, apply_retention: Callable[[], None]
    ) -> None:
        self.root = root
        self.read_only = read_only
        self.pool = FilePool(files, _open_files_limit())
        self._readers: list[ReaderLog] = []
        self.arrivals = (
            WatchedArrivals(self._watched_paths, self._has_news) if read_only else Arrivals()
        )
        self._known_ends: dict[ReaderLog, int] = {}
        self.threads: list[threading.Thread] = []
        self.info = open_directory(files, root, read_only=read_only)
        warn_of_network(root)
        self.closed_reason = ""
        self.discards = False  # the directory is removed after the close
        self.checkpointer: CheckpointMaker  # set by the broker, which knows the keys
        self.disowned = False  # by a fork: the parent has what this describes
        self._boot_id = boot_id()
        self._lock: WriterLock | None = None
        self._logs: dict[str, PartitionLog] = {}
        self._sections: dict[tuple[bytes, int], list[Section]] = {}
        self._clean = False
        self._writer_id = int.from_bytes(os.urandom(8), "little")
        self.maintenance = Maintenance(apply_retention, self.shrink_wal, self._add_thread)
        self.committer: Committer | None = None
        if not read_only:
            self._lock = WriterLock(files, root)
            try:
                self._read_wal()
            except BaseException:
                self._lock.release()
                raise
        _engines.add(self)

    def start_writing(self, deleted_topics: set[bytes]) -> None:
        """After every partition named in the WAL was opened: make it this session's."""
        files, directory = self.pool.files, layout.wal_directory(self.root)
        placed = {
            (log.id.topic_id, log.id.index) for log in self._logs.values() if log.damage is None
        }
        if any(key not in placed and key[0] not in deleted_topics for key in self._sections):
            _keep_wal(files, directory)
        self._sections.clear()
        wal = Wal(files, directory, seed=self.info.seed, next_sequence=self._last_sequence + 1)
        wal.adopt_files()
        self._hasher = Hasher(self._add_thread)
        self.writer = Writer(wal, self.arrivals, self.maintenance.wake, self._hasher)
        self.pool.on_failed_sync = self.writer.fail
        if self._clean:
            self.writer.before_first_write = self._remove_clean_mark
        self.committer = Committer(self.writer, self._add_thread)
        self.maintenance.serve(self.writer)

    def partitions_in_wal(self) -> Iterable[tuple[bytes, int]]:
        """Topic id and number of each partition that the WAL holds records of."""
        return list(self._sections)

    def open_log(self, log: PartitionLog) -> PartitionLog:
        """Fill the state of one partition, mending it after a crash."""
        log.writer, log.boot_id = self._writer_id, self._boot_id
        sections = self._sections.get((log.id.topic_id, log.id.index), [])
        try:
            self._check_place(log.directory)
        except CorruptionError as damage:
            logger.error("%s", damage)
            log.give_up(damage)
        else:
            open_log(log, clean=self._clean, sections=sections, boot_id=self._boot_id)
            if log.damage is None:
                self.checkpointer.check_opened(log, clean=self._clean)
        # By directory: a Ctrl-C before the topic keeps it has the partition opened once more.
        self._logs[log.directory] = log
        return log

    def logs(self) -> list[PartitionLog]:
        """The partitions that were opened to be written."""
        return list(self._logs.values())

    def open_reader(self, directory: str, identity: PartitionId) -> ReaderLog:
        """The state of one partition for who only reads."""
        self._check_place(directory)
        reader = ReaderLog(self.pool, directory, identity, self._boot_id)
        self._readers.append(reader)
        self.arrivals.follow_anew()
        return reader

    def _check_place(self, partition_directory: str) -> None:
        """Refuse links in the place of a partition's directories; missing ones are for recovery."""
        for path in (partition_directory, layout.tree_directory(partition_directory)):
            is_directory(self.pool.files, path)

    def _watched_paths(self) -> list[str]:
        """The files that the writer changes when the end of a partition that is read here moves."""
        for reader in [one for one in self._readers if one.retired]:
            self._readers.remove(reader)
        return [layout.tail_page(reader.directory) for reader in self._readers]

    def _has_news(self) -> bool:
        """Whether the writer moved the end of a partition that is read here since the last call."""
        readers = [one for one in self._readers if not one.retired]
        for reader in readers:
            reader.refresh()
        known, self._known_ends = self._known_ends, {one: one.end_offset for one in readers}
        return known != self._known_ends

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the writer still: no group is committed meanwhile.

        ``WriterFailedError`` once a sync has failed: then nothing on the disk is changed any more.
        """
        with self.writing().exclusive():
            self.writer.check()
            yield

    def check_writable(self) -> None:
        """Raise what keeps this directory from being written, if anything does."""
        self.writing()
        self.writer.check()

    def watch_retention(self) -> None:
        """Apply retention in the background from now on."""
        self.maintenance.watch_retention()

    def writing(self) -> Committer:
        """The group commit; ``ReadOnlyError`` or ``ClosedError`` where there is none."""
        self.check_open()
        if self.committer is None:
            raise ReadOnlyError(f"{self.root} was opened with read_only=True")
        return self.committer

    def check_open(self) -> None:
        if self.closed_reason:
            raise ClosedError(self.closed_reason)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def announce(self) -> None:
        self.arrivals.announce_topics()

    def forget(self, log: PartitionLog) -> None:
        """The partition is deleted; by the leader only."""
        log.retire()
        self.writer.forget(log)
        del self._logs[log.directory]
        self.pool.forget(log.directory, below=True)

    def sync_records(self) -> None:
        """Make what was sent to topics of durability ``disk`` so far survive power loss too."""
        if self.committer is None or not self.writer.wal.has_unsynced:
            return
        with self.exclusive():
            self.sync_wal()

    def unsay_clean(self) -> None:
        """Before a file changes outside of a group of records: a crash is one from here on."""
        if self.writer.before_first_write is not None:
            self.writer.before_first_write()
            self.writer.before_first_write = None

    def sync_wal(self) -> None:
        """Make durable what is visible; by the leader only."""
        if not self.writer.wal.has_unsynced:
            return
        try:
            self.writer.wal.sync()
        except OSError as error:
            self.writer.fail(error)
            raise

    def shrink_wal(self) -> None:
        """Begin the WAL anew with a small file; for a log that has been quiet for long."""
        with self.exclusive():
            self.forget_wal()

    def forget_wal(self) -> None:
        """Remove what the WAL holds, once it is durable elsewhere; by the leader only."""
        sync_segments(self.writer)
        self.writer.wal.discard()

    def close(self) -> None:
        """Make everything durable and say so, give the role back; the caller closed the rest."""
        if self.disowned:
            return
        self.closed_reason = f"the broker of {self.root} is closed"
        if self.committer is not None:
            self.committer.close()
        self.maintenance.close()
        try:
            if self.committer is not None:
                self._close_writer()
        finally:
            self.abandon()
            self.threads.clear()

    def abandon(self) -> None:
        """Let go of everything without a word to the disk, as a crash would."""
        self.closed_reason = self.closed_reason or f"the broker of {self.root} is closed"
        self.maintenance.stop()
        if self.committer is not None:
            self.committer.stop()
            self._hasher.close()
            self.writer.wal.close(clean=False)
        self.pool.close()
        self.arrivals.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def warn_unclosed(self) -> None:
        """Say that nobody closed it, and what is lost by that, if it was not closed."""
        if self.closed_reason:
            return
        count = self.committer.queued_records if self.committer is not None else 0
        warnings.warn(
            f"the broker of {self.root} was not closed"
            f"{f', with {count} records of send_nowait on their way' if count else ''}; "
            "close it, or use it in a with block",
            ResourceWarning,
            stacklevel=2,
        )

    def disown(self) -> None:
        """In a forked child: leave the role, the threads and the files to the parent."""
        self.closed_reason = (
            f"the broker of {self.root} was opened before this process was forked; "
            "open the directory again here"
        )
        self.disowned = True
        if self.committer is not None:
            self.committer.disown(self.closed_reason)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _close_writer(self) -> None:
        writer = self.writer
        writer.complete_pending()
        if self.discards:
            writer.wal.close(clean=False)
            return
        clean = False
        try:
            if writer.failure is None:
                for log in list(self._logs.values()):
                    if log.damage is None:
                        log.close()
                clean = not any(log.damage is not None for log in self._logs.values())
            if clean and not self._clean_still():
                write_clean_mark(self.pool.files, self.root, writer.wal.last_sequence)
        except OSError:
            clean = False
            raise
        finally:
            writer.wal.close(clean=clean)

    def _clean_still(self) -> bool:
        return self._clean and self.writer.before_first_write is not None

    def _read_wal(self) -> None:
        files = self.pool.files
        sequence = read_clean_mark(files, self.root)
        if sequence is not None:
            self._clean, self._last_sequence = True, sequence
            return
        content = read_wal(files, layout.wal_directory(self.root), self.info.seed)
        self._last_sequence = content.last_sequence
        for frame in content.frames:
            for section in frame.sections:
                key = (section.topic_id, section.partition)
                self._sections.setdefault(key, []).append(section)

    def _remove_clean_mark(self) -> None:
        remove_clean_mark(self.pool.files, self.root)

    def _add_thread(self, thread: threading.Thread) -> None:
        self.threads.append(thread)


def _keep_wal(files: Files, directory: str) -> None:
    """Put WAL files aside whose records could not be put where they belong."""
    for _, path in wal_files(files, directory):
        files.rename(path, path + layout.KEPT_SUFFIX)
        logger.error("%s: kept aside, not all of its records could be put back", path)
    files.sync_directory(directory)


def _open_files_limit() -> int:
    """How many files the pool keeps open: a quarter of what the process may."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return OPEN_FILES_MAX
    return max(16, min(OPEN_FILES_MAX, soft // 4))


def _disown_all() -> None:
    for engine in list(_engines):
        engine.disown()


os.register_at_fork(after_in_child=_disown_all)
