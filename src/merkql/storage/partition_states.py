"""What this process knows of each partition, kept up to date with other writers.

A partition that some process of this session wrote is opened from its tail page; any other goes
through recovery, under the lead. Others may write between our turns, so each use of a partition
first checks whether anything is new.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from merkql.errors import ClosedError, CorruptionError, UnknownTopicError
from merkql.storage import layout
from merkql.storage.entries import is_directory
from merkql.storage.following import catch_up
from merkql.storage.partition_identity import PartitionId
from merkql.storage.partition_log import PartitionLog
from merkql.storage.reader_log import ReaderLog
from merkql.storage.recovery import open_log

if TYPE_CHECKING:
    from merkql._core.frame import Section
    from merkql.storage.file_pool import FilePool
    from merkql.storage.news import News
    from merkql.storage.shared_state import LivePartition
    from merkql.storage.turn import Turn

logger = logging.getLogger("merkql.recovery")


class PartitionStates:
    """The partitions of one broker. ``turn`` is None in one that only reads."""

    def __init__(
        self,
        pool: FilePool,
        news: News,
        boot_id: bytes,
        leading: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.turn: Turn | None = None
        self.logs: dict[str, PartitionLog] = {}  # by directory
        self.sections: dict[LivePartition, list[Section]] = {}  # what the WAL held at the start
        self.on_reader: Callable[[], None] = lambda: None
        self.check_opened: Callable[..., None] = lambda log, clean: None  # against its checkpoints
        self.refresh_topics: Callable[[], None] = lambda: None
        self.disowned = ""  # after a fork: the message of the ClosedError
        self._topics = -1  # the topics version last seen
        self._pool = pool
        self._news = news
        self._boot_id = boot_id
        self._leading = leading

    @property
    def writing(self) -> Turn:
        """This broker's turns."""
        assert self.turn is not None  # asked of brokers that write
        return self.turn

    def is_live(self, partition: LivePartition) -> bool:
        """Whether, as far as known here, the partition was written to in this session."""
        return partition in self.writing.live

    def opening(self) -> AbstractContextManager[None]:
        """Hold the lead while a partition is opened; does nothing for the leader."""
        return self._leading()

    def open_beside(self, log: PartitionLog) -> bool:
        """Open a partition without the lead, if it needs no recovery; else False."""
        self._check_process()
        log.boot_id = self._boot_id
        if log.pool.exists(layout.checkpoints(log.directory)):
            return False  # its checkpoints are compared first, and that needs the lead
        version, _ = self.writing.versions()
        if not catch_up(log, self.writing.session):
            return False
        log.seen = version
        self.logs[log.directory] = log
        return True

    def open_log(self, log: PartitionLog) -> PartitionLog:
        """Open a partition, recovering it after a crash; for a holder of ``opening``."""
        turn = self.writing
        log.boot_id = self._boot_id
        try:
            self._check_place(log.directory)
        except CorruptionError as damage:
            logger.error("%s", damage)
            log.give_up(damage)
        else:
            if not catch_up(log, turn.session):
                log.writer = turn.session
                sections = self.sections.get(log.key, [])
                open_log(log, clean=turn.began_clean, sections=sections, boot_id=self._boot_id)
            if log.damage is None:
                self.check_opened(log, clean=turn.mark_there)
        # By directory: after a Ctrl-C before the topic stores it, the partition is opened again.
        self.logs[log.directory] = log
        log.seen, _ = turn.versions()
        if log.damage is not None:
            turn.damaged = True
        elif log.is_live:
            turn.note_live(log)
        return log

    def open_reader(self, directory: str, identity: PartitionId) -> ReaderLog:
        """The state of a partition in a broker that only reads."""
        self._check_process()
        self._check_place(directory)
        reader = ReaderLog(self._pool, directory, identity, self._boot_id)
        self._news.add_reader(reader)
        self.on_reader()
        return reader

    def reopen(self, log: PartitionLog) -> None:
        """Open a partition anew, as recovery finds it; for a holder of ``opening``."""
        fresh = log.blank()
        self._pool.forget(log.directory, below=True)
        self.open_log(fresh)
        with log.state_lock:
            log.become(fresh)
            self.logs[log.directory] = log

    def refresh(self, log: PartitionLog | ReaderLog) -> None:
        """Catch up with what other processes wrote. Cost: mostly one small read."""
        if isinstance(log, ReaderLog):
            found = self._news.version()
            if found is not None:
                self._follow_topics(found[1])
            if found is None or log.seen != found[0]:
                log.refresh()
                log.seen = found[0] if found is not None else -1
            return
        turn = self.writing
        if turn.role.held and turn.is_mine():
            turn.lead(log)  # this thread may change it now
        elif not (log.led or turn.role.exclusive or turn.failed):
            version, topics = turn.versions()
            self._follow_topics(topics)
            if log.seen != version:
                self.bring_up_to_date(log, version)

    def _follow_topics(self, version: int) -> None:
        """Refresh the topics if they, or their configuration, changed."""
        if version != self._topics:
            self._topics = version
            self.refresh_topics()

    def bring_up_to_date(self, log: PartitionLog, version: int, *, lead: bool = False) -> None:
        """Bring a partition up to date; with ``lead`` it stays ours until published."""
        if log.retired:
            raise UnknownTopicError(log.id.topic, "it was deleted")
        with log.state_lock:
            if log.led:
                return
            if log.damage is not None or self._is_known(log, version):
                log.seen, log.led = version, lead
                return
        with self.opening():  # its tail page is from an earlier session, or missing
            self.reopen(log)
            log.seen, log.led = version, lead

    def _check_process(self) -> None:
        """``ClosedError`` in a forked child: the open files are the parent's."""
        if self.disowned:
            raise ClosedError(self.disowned)

    def _is_known(self, log: PartitionLog, version: int) -> bool:
        session = self.writing.session
        return (log.seen == version and log.writer == session) or catch_up(log, session)

    def _check_place(self, partition_directory: str) -> None:
        """Refuse links in place of a partition's directories; recovery handles missing ones."""
        for path in (partition_directory, layout.tree_directory(partition_directory)):
            is_directory(self._pool.files, path)
