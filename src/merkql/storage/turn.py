"""One broker's turns at writing: takes the role, catches up with other writers, publishes.

A turn is one group, or one piece of work that excludes all writing. Between turns a successor needs
nothing that only this process's memory holds: the WAL's state is in the shared state file, a
partition's end on its tail page. Taking over from a live process means reading these; from one that
died in the middle of a group, finishing that group first.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Protocol

from merkql.errors import WriterFailedError
from merkql.storage.role import STOPPED_S
from merkql.storage.shared_state import (
    NEWS,
    LivePartition,
    SharedState,
    SharedStateFile,
    decode,
    encode,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from merkql._core.frame import Frame
    from merkql.storage.partition_log import PartitionLog
    from merkql.storage.role import WriterRole
    from merkql.storage.wal import Wal


class TurnOwner(Protocol):
    """What a turn needs of the engine."""

    def fail(self, error: BaseException) -> None:
        """Stop writing for good."""

    def is_mine(self) -> bool:
        """Whether the calling thread is the leader."""

    def recover(self) -> None:
        """Recover the log after a writer died or failed and its work cannot be continued."""

    def finish_group(self, frame: Frame) -> None:
        """Apply the group that a writer had put into the WAL when it died."""

    def refresh_topics(self) -> None:
        """Pick up the topics that other processes created, changed and deleted."""


class Turn:
    """For the leader of the group commit alone, except ``versions``."""

    def __init__(
        self,
        owner: TurnOwner,
        role: WriterRole,
        file: SharedStateFile,
        boot_id: bytes,
        bring_up_to_date: Callable[..., None],
    ) -> None:
        self.role = role
        self._boot_id = boot_id
        self._bring_up_to_date = bring_up_to_date
        self.session = 0
        self.began_clean = False  # tail pages of the clean close are valid until overwritten
        self.mark_there = False  # the clean mark still exists
        self.live: dict[LivePartition, None] = {}  # written to in this session, by anybody
        self.others_wrote = False  # since the last sync point of this process
        self.failed = False  # a sync of this process failed
        self._failure_said = False  # the shared state says so
        self._failure_mended = False  # another process recovered since
        self.damaged = False  # some process found a partition damaged
        self._owner = owner
        self._file = file
        self._wal: Wal | None = None
        self._news = b""  # of the state this process knows
        self._version = time.time_ns()  # unlike any before where no state is left
        self._topics_version = 0
        self._begun = False
        self._busy = False  # in the middle of work that a successor cannot continue
        self._led: list[PartitionLog] = []
        self._parsed = (b"", (-2, -2))  # the news last read, and the versions in it
        self._live_said = 0  # how many of ``live`` the state file covers

    @property
    def wal(self) -> Wal:
        """The write-ahead log as this process has it open."""
        assert self._wal is not None  # set before the first turn
        return self._wal

    def versions(self) -> tuple[int, int]:
        """The current record and topic versions, whoever wrote last. For any thread.

        Cost: one small read.
        """
        if self.failed:  # the state of this disk is unknown now
            return self._version, self._topics_version
        news, known = self._file.news(), self._parsed
        if news != known[0]:  # else the versions parsed last still hold
            known = self._parsed = (news, version_of(news, None) or (-2, -2))  # its writers live
        return known[1]

    @property
    def next_topics_version(self) -> int:
        """The topics version once the change in progress is published."""
        return self._topics_version + 1

    def is_mine(self) -> bool:
        """Whether the calling thread is the leader."""
        return self._owner.is_mine()

    def has_unsynced(self) -> bool:
        """Whether groups of ``disk`` topics are not synced yet."""
        if self.role.exclusive:
            return self.wal.has_unsynced
        state = self._file.read()
        return state is None or state.durable_sequence < state.next_sequence - 1

    # The session

    def last_state(self) -> SharedState | None:
        """The state the last writer left, or None if it fails its checksum."""
        return self._file.read()

    def begin_session(self, session: int, *, clean: bool) -> None:
        """Open partitions for this session from now on; the role must be held."""
        self.session = session or 1  # 0 stands for no session
        self.began_clean = self.mark_there = clean
        self.live.clear()
        self._live_said = 0

    def start(self, wal: Wal) -> None:
        """Begin writing with a fresh WAL, whatever an earlier session left."""
        state = self._file.read()
        self._wal = wal
        wal.on_new_file = self._write
        self._version = max(self._version, state.version if state is not None else 0)
        self._topics_version += 1 + (state.topics_version if state is not None else 0)
        self._begun = True

    def join(self, wal: Wal, state: SharedState) -> None:
        """Join the session that other brokers write in; the role must be held."""
        self._wal = wal
        wal.on_new_file = self._write
        self._adopt(state, self._file.news())
        self._begun = True

    # One turn

    def try_take(self) -> bool:
        """Take the role if it is free and nobody queues for it."""
        return self.role.try_take()

    def take(self) -> bool:
        """Queue for the role; not interruptible. False once it is closed."""
        return self.role.take()

    def begin(self) -> None:
        """Catch up with what others wrote since our last turn; does nothing within a turn."""
        if self._begun:
            return
        if self._file.news() != self._news:
            content = self._file.content()
            state = decode(content)
            if state is None or not state.is_settled(self._boot_id):
                self._owner.recover()
            else:
                self._adopt(state, content[: NEWS.size])
        if not self.role.exclusive:
            frame = self.wal.unfinished()
            if frame is not None:
                try:
                    self._owner.finish_group(frame)
                except BaseException:
                    self.forget()  # the WAL as it is known here is ahead of the partitions
                    raise
        self._begun = True

    def lead(self, log: PartitionLog) -> None:
        """Bring a partition up to date and keep our readers from doing so until ``publish``."""
        if log.led:
            return
        self._led.append(log)  # first: a Ctrl-C must not leave one led that is not listed
        self._bring_up_to_date(log, self._version, lead=True)

    def note_live(self, log: PartitionLog) -> None:
        """Record that the partition is written to: the last broker to close closes it cleanly."""
        if log.key not in self.live:
            self._file.append_live(len(self.live), log.key)
            self.live[log.key] = None

    def check(self) -> None:
        """Raise ``WriterFailedError`` if the role was taken while this process was stopped.

        Called before each write that other processes could not undo.
        """
        if time.monotonic() - self.role.taken_at < STOPPED_S or self.role.exclusive:
            return
        if not self.role.is_in_place or self._file.news() != self._news:
            self.forget()  # stale: must not be published
            raise WriterFailedError(
                "the writer role was taken from this process while it stood still: its lock file "
                "was removed or replaced; close the broker and open it again"
            )

    def mark_busy(self) -> None:
        """From here until the next ``publish`` a successor has to recover."""
        self._busy = True
        self._write()

    def compose(self, *, synced: bool) -> bytes:
        """Encode ahead what ``publish`` writes; ``synced``: after the WAL's next sync."""
        state = self._state(synced=synced)
        state.version, state.busy = self._version + 1, False
        return encode(state)

    def publish(self, composed: bytes = b"", *, topics: bool = False) -> None:
        """Make what was written visible to every process."""
        self._version += 1
        self._topics_version += topics
        self._busy = False
        self._write(composed)
        for log in self._led:
            if log.led:  # else a Ctrl-C kept it from being brought up to date
                log.seen, log.led = self._version, False
        self._led.clear()  # last, as above: a log that stayed led would append at a stale end

    def conclude(self, *, topics: bool) -> None:
        """``publish`` after work that may have taken long; ``check`` may refuse it."""
        self.check()
        self.publish(topics=topics)

    def publish_failure(self) -> bool:
        """Publish that a sync failed here, so that the next writer recovers, unless one did."""
        if self.failed and not self._failure_mended:
            self._write()
        return self.failed

    def give(self) -> None:
        """End the turn and release the role."""
        if self._begun:
            # No group was written, but a segment may have ended, or a partition been opened.
            if self._led or len(self.live) != self._live_said:
                try:
                    self.publish()
                except OSError as error:
                    self._owner.fail(error)
            self._begun = self.role.exclusive
        self.role.give()

    def forget(self) -> None:
        """Distrust everything known of the shared state: after a fork, or a failure."""
        self._news, self._begun = b"", False
        for log in self._led:
            log.led = False
        self._led.clear()

    def close(self) -> None:
        self._file.close()

    def _write(self, composed: bytes = b"") -> None:
        if self.failed or not composed:  # a sync may have failed since
            composed = encode(self._state())
        self._news = self._file.write(composed)
        self._failure_said = self.failed
        self._live_said = len(self.live)

    def _state(self, *, synced: bool = False) -> SharedState:
        state = SharedState(
            boot_id=self._boot_id,
            session=self.session,
            version=self._version,
            topics_version=self._topics_version,
            busy=self._busy,
            failed=self.failed and not self._failure_mended,
            damaged=self.damaged,
            began_clean=self.began_clean,
            mark_there=self.mark_there,
            process=os.getpid(),
            live_count=len(self.live),
        )
        self.wal.describe(state, synced=synced)
        return state

    def _adopt(self, state: SharedState, news: bytes) -> None:
        """Continue where another process left off."""
        known = min(self._live_said, state.live_count)
        if state.session != self.session:
            self.session, known = state.session, 0
        if len(self.live) > known:
            for key in list(self.live)[known:]:
                del self.live[key]
        added = self._file.live(known, state.live_count)
        if added is None:
            self._owner.recover()
            return
        self._failure_mended = self._failure_said  # else the state would not be settled
        self.live.update(dict.fromkeys(added))
        self._live_said = state.live_count
        self.began_clean, self.mark_there = state.began_clean, state.mark_there
        self.damaged = self.damaged or state.damaged
        try:
            self.wal.restore(state)
        except FileNotFoundError:  # a WAL file was removed: treat it like a crash
            self._owner.recover()
            return
        self._version = state.version
        self.others_wrote = True
        self._news = news
        if state.process != os.getpid():
            self.role.sign()
        if state.topics_version != self._topics_version:
            self._topics_version = state.topics_version
            self._owner.refresh_topics()
