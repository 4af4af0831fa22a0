"""One open data directory: owns the WAL, group commit, background work and recovery.

Knows partitions by topic id and number; nothing of topic names, keys or consumer groups.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from merkql._core.frame import Frame
from merkql.errors import ClosedError, CorruptionError, ReadOnlyError, WriterTimeoutError
from merkql.storage import layout
from merkql.storage.access import Access, TopicSource, open_files_limit
from merkql.storage.arrivals import Arrivals, WatchedArrivals
from merkql.storage.boot import boot_id
from merkql.storage.committer import Committer
from merkql.storage.directory import (
    open_directory,
    read_clean_mark,
    remove_clean_mark,
    write_clean_mark,
)
from merkql.storage.file_pool import FilePool
from merkql.storage.files import Files
from merkql.storage.maintenance import Maintenance, sync_segments
from merkql.storage.mounts import warn_of_network
from merkql.storage.news import News
from merkql.storage.partition_log import PartitionLog
from merkql.storage.partition_owner import CheckpointMaker
from merkql.storage.partition_states import PartitionStates
from merkql.storage.role import WriterRole
from merkql.storage.shared_state import LivePartition, SharedState
from merkql.storage.takeover import finish_group
from merkql.storage.turn import Turn
from merkql.storage.wal import Wal
from merkql.storage.wal_reader import keep_wal, read_wal
from merkql.storage.writer import Writer

logger = logging.getLogger("merkql.recovery")
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """One data directory, opened to write or to read."""

    def __init__(
        self, files: Files, root: str, access: Access, *, apply_retention: Callable[[], None]
    ) -> None:
        self.root = root
        self.access = access
        self.read_only = access.read_only
        self.pool = FilePool(files, open_files_limit())
        self.threads: list[threading.Thread] = []
        self.info = open_directory(files, root, read_only=access.read_only)
        warn_of_network(root)
        self.closed_reason = ""
        self.discards = False  # the directory is removed after the close
        self.checkpointer: CheckpointMaker  # set by the broker, which knows the keys
        self.disowned = False  # after a fork: the parent owns what this describes
        self.topics: TopicSource
        self._boot_id = boot_id()
        self.news = News(files, root, self._boot_id)
        self.partitions = PartitionStates(self.pool, self.news, self._boot_id, self.opening)
        self.arrivals: Arrivals = Arrivals()
        if not access.exclusive:
            self.arrivals = WatchedArrivals(self.news.paths, self.news.has_any)
        self.news.on_topics = self.arrivals.note_topics
        self.partitions.on_reader = self.arrivals.follow_anew
        self.partitions.refresh_topics = self.refresh_topics
        self.maintenance = Maintenance(apply_retention, self, self.threads.append)
        self.committer: Committer | None = None
        self._opener = 0  # the thread that opens or closes, while there is no leader
        self._joined: SharedState | None = None  # the state of the session we join
        _engines.add(self)
        if not access.read_only:
            self._enter(files)

    def _enter(self, files: Files) -> None:
        """Take the writer role and find out whether other brokers are writing already."""
        role = WriterRole(files, self.root)
        try:
            first = role.enter(exclusive=self.access.exclusive, timeout_s=self.access.timeout_s)
            turn = self.partitions.turn = Turn(
                self, role, self.news.open(), self._boot_id, self.partitions.bring_up_to_date
            )
            self._opener = threading.get_ident()
            state = turn.last_state()
            if not first and state is not None and state.is_settled(self._boot_id):
                self._joined = state
                turn.begin_session(state.session, clean=state.began_clean)
            else:
                self._read_wal(turn)
        except BaseException:
            self.news.close()
            role.close()
            raise

    def start_writing(self, deleted_topics: set[bytes]) -> None:
        """Begin a session, or join one, once every partition named in the WAL is open."""
        files, directory = self.pool.files, layout.wal_directory(self.root)
        turn, sections = self.turn, self.partitions.sections
        state, self._joined = self._joined, None
        if state is not None:
            wal = Wal(files, directory, seed=self.info.seed, next_sequence=state.next_sequence)
            turn.join(wal, state)
        else:
            logs = self.partitions.logs.values()
            placed = {log.key for log in logs if log.damage is None}
            if any(key not in placed and key[0] not in deleted_topics for key in sections):
                keep_wal(files, directory)
            wal = Wal(files, directory, seed=self.info.seed, next_sequence=self._last_sequence + 1)
            wal.adopt_files()
            turn.start(wal)
        sections.clear()
        if self.committer is None:
            work, clear = self.maintenance.wake, self.clear_clean_mark
            self.writer = Writer(turn, self.arrivals, work, clear_clean_mark=clear)
            timeout_s = self.access.timeout_s
            self.pool.on_failed_sync = self.writer.fail
            self.committer = Committer(self.writer, turn, self.threads.append, timeout_s=timeout_s)
            self.maintenance.serve(self.writer)

    def opened(self) -> None:
        """The directory is open: release the role."""
        if not self.read_only:
            self.turn.publish()
            self._opener = 0
            self.turn.give()

    @property
    def turn(self) -> Turn:
        """This broker's turns at writing; ``ReadOnlyError`` if it was opened read-only."""
        if self.partitions.turn is None:
            raise ReadOnlyError(f"{self.root} was opened with read_only=True")
        return self.partitions.turn

    def partitions_in_wal(self) -> Iterable[LivePartition]:
        """Topic id and number of each partition that the WAL holds records of."""
        return list(self.partitions.sections)

    def is_mine(self) -> bool:
        """Whether the calling thread is the leader and so holds the writer role."""
        committer = self.committer
        is_opener = self._opener == threading.get_ident()
        return is_opener or (committer is not None and committer.is_mine)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Hold the lead; does nothing in the thread that has it."""
        if self.is_mine():
            yield
            return
        with self.writing().exclusive():
            yield

    @contextmanager
    def exclusive(self, *, topics: bool = False) -> Iterator[None]:
        """Exclude all writing, in every process, until the block ends.

        ``topics``: topics or partitions change. ``WriterFailedError`` once a sync has failed.
        """
        with self.writing().exclusive():
            self.writer.check()
            self.turn.mark_busy()
            try:
                yield
            finally:
                self.turn.conclude(topics=topics)

    @property
    def topics_version(self) -> int | None:
        """Incremented when topics or partitions change, by any process; None if unknown."""
        found = self.news.version() if self.read_only else self.turn.versions()
        return found[1] if found is not None else None

    def watch_retention(self) -> None:
        """Apply retention in the background from now on."""
        self.maintenance.watch_retention()

    def check_writable(self) -> None:
        """Raise the error that a write would raise now, if any."""
        self.writing()
        self.writer.check()

    def writing(self) -> Committer:
        """The group commit; raises ``ReadOnlyError`` or ``ClosedError``."""
        self.check_open()
        if self.committer is None:
            raise ReadOnlyError(f"{self.root} was opened with read_only=True")
        return self.committer

    def check_open(self) -> None:
        if self.closed_reason and self._opener != threading.get_ident():
            raise ClosedError(self.closed_reason)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def announce(self) -> None:
        self.arrivals.announce_topics()

    def forget(self, log: PartitionLog) -> None:
        """The partition was deleted, by this or another process: drop what is open of it."""
        log.retire()
        if self.committer is not None:
            self.writer.forget(log)
        if self.partitions.logs.get(log.directory) is log:
            del self.partitions.logs[log.directory]
        self.pool.forget(log.directory, below=True)

    def sync_records(self) -> None:
        """Make what was sent to ``disk`` topics so far survive power loss too."""
        if self.committer is None or not self.turn.has_unsynced():
            return
        with self.writing().exclusive():
            self.writer.check()
            self.sync_wal()
            self.turn.publish()

    def clear_clean_mark(self) -> None:
        """Remove the clean mark before the first change: a crash from here on needs recovery."""
        if self.turn.mark_there:
            remove_clean_mark(self.pool.files, self.root)
            self.turn.mark_there = False

    def sync_wal(self) -> None:
        """Sync the WAL; for the leader alone."""
        try:
            self.writer.wal.sync()
        except OSError as error:
            self.writer.fail(error)
            raise

    def shrink_wal(self) -> None:
        """Replace the WAL's files by one small one, after a long time without writes."""
        with self.exclusive():
            self.forget_wal()

    def forget_wal(self) -> None:
        """Empty the WAL once its records are durable elsewhere; for the leader alone."""
        sync_segments(self.writer, self)
        self.writer.wal.discard()

    def logs(self) -> list[PartitionLog]:
        """The partitions opened here for writing."""
        return list(self.partitions.logs.values())

    def live_logs(self) -> list[PartitionLog]:
        """Every partition written to in this session, by any process; for the leader."""
        return self.topics.logs_of(list(self.turn.live))

    # What a turn needs (TurnOwner)

    def fail(self, error: BaseException) -> None:
        """A sync failed: nothing more is written here, and a successor has to recover."""
        self.writer.fail(error)

    def publish_failure(self) -> None:
        """Publish to the other processes that a sync failed here."""
        with self.opening():
            self.turn.publish()

    def refresh_topics(self) -> None:
        self.topics.refresh()

    def finish_group(self, frame: Frame) -> None:
        """Apply the group that a writer had put into the WAL when it died."""
        number = frame.sequence
        logger.warning("%s: its last writer died writing group %d; finishing it", self.root, number)
        self.turn.mark_busy()
        self.turn.wal.accept(frame)
        self.sync_wal()
        try:
            finish_group(frame, self.turn, self.topics.logs_of)
        except CorruptionError as damage:
            logger.error("%s", damage)
            self.recover()

    def recover(self) -> None:
        """Recover the log after another process died or failed and nobody can continue its work."""
        logger.warning("%s: its last writer died or failed while writing; recovering", self.root)
        turn = self.turn
        turn.wal.close(clean=False)
        opener, self._opener = self._opener, threading.get_ident()
        try:
            self._read_wal(turn)
            self.topics.load()
        finally:
            self._opener = opener  # its own, where it closes
        turn.publish(topics=True)

    def close(self) -> None:
        """Make everything durable, mark it clean if we are the last, release the role."""
        self.closed_reason = f"the broker of {self.root} is closed"
        try:
            if self.committer is not None:
                self.committer.close()
            self.maintenance.close()
            if self.committer is not None:
                self._leave()
        finally:
            self.abandon()
            self.threads.clear()

    def abandon(self) -> None:
        """Close without writing anything, as a crash would."""
        if self.disowned:
            return
        self.closed_reason = self.closed_reason or f"the broker of {self.root} is closed"
        self.maintenance.stop()
        if self.committer is not None:
            self.committer.stop()
            self.writer.wal.close(clean=False)
        self._opener = 0
        self.pool.close()
        self.arrivals.close()
        self._let_go()

    def disown(self) -> None:
        """In a forked child: leave the role, the threads and the files to the parent."""
        self.closed_reason = self.partitions.disowned = (
            f"the broker of {self.root} was opened before this process was forked; "
            "open the directory again here"
        )
        self.disowned = True
        self.pool.disown()
        if self.committer is not None:
            self.committer.disown(self.closed_reason)
            self.writer.wal.disown()
        self._let_go()

    def _let_go(self) -> None:
        """Close the lock files: the kernel frees the role."""
        if self.partitions.turn is not None:
            self.turn.role.close()
        self.news.close()

    def _leave(self) -> None:
        """Leave the session; the last broker to leave closes the log."""
        turn, writer = self.turn, self.writer
        if not turn.role.wait(self.access.timeout_s):
            raise WriterTimeoutError(turn.role.holder(), self.access.timeout_s)
        self._opener = threading.get_ident()
        writer.complete_pending()
        if self.discards or turn.publish_failure():
            return
        turn.begin()
        if turn.role.is_last():
            self._close_log()
        else:
            for log in self.partitions.logs.values():
                log.sync_mended()
            writer.wal.sync()
            turn.publish()

    def _close_log(self) -> None:
        """A clean close: trim and sync every file, then write the clean mark."""
        turn, wal = self.turn, self.writer.wal
        turn.mark_busy()  # a writer we missed, because a lock file was removed, must recover
        clean = False
        try:
            for log in dict.fromkeys([*self.live_logs(), *self.partitions.logs.values()]):
                turn.lead(log)
                if log.damage is None:
                    log.close()
            clean = not turn.damaged
            if clean and not turn.mark_there:
                write_clean_mark(self.pool.files, self.root, wal.last_sequence)
        finally:
            wal.close(clean=clean)

    def _read_wal(self, turn: Turn) -> None:
        """Read what a crash or a clean close left, and begin a session with it."""
        files, sections = self.pool.files, self.partitions.sections
        sections.clear()
        sequence = read_clean_mark(files, self.root)
        turn.begin_session(1 + int.from_bytes(os.urandom(7), "little"), clean=sequence is not None)
        if sequence is not None:
            self._last_sequence = sequence
            return
        content = read_wal(files, layout.wal_directory(self.root), self.info.seed)
        self._last_sequence = content.last_sequence
        for frame in content.frames:
            for section in frame.sections:
                sections.setdefault((section.topic_id, section.partition), []).append(section)


def _disown_all() -> None:
    for engine in list(_engines):
        engine.disown()


os.register_at_fork(after_in_child=_disown_all)
