"""One member of a consumer group: joins, leaves, notices changes, detects dead members.

A member holds the lock of a file of its own; a lock that is free belongs to a dead member. Whoever
notices a change writes the group's next state, under the group's lock. There is no thread:
everything happens within the consumer's calls. Formats: docs/formats/group-members.md.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from merkql.assignment import (
    GroupState,
    Member,
    Share,
    Subscription,
    Topics,
    decode_state,
    encode_state,
    hand_over,
    overdue,
    rebalance,
    shapes_differ,
)
from merkql.errors import StaleGenerationError
from merkql.group_lock import HeldLock
from merkql.groups import STATE_SIZE_MAX, CommittedOffset, Group, PartitionKey
from merkql.member_file import HeldDescriptor, MemberFile, last_poll_ms, remove_dead
from merkql.storage import layout
from merkql.storage.files import Files, read_file, replace_file

logger = logging.getLogger("merkql.groups")

PROBE_INTERVAL_MS = 100
PROBE_ROUNDS = 5  # all others are probed once in so many intervals
HEARTBEAT_INTERVAL_MS_MAX = 1000
T = TypeVar("T")

_living: weakref.WeakSet[Membership] = weakref.WeakSet()


class Membership:
    """This consumer's membership in its group. For one thread at a time."""

    def __init__(
        self,
        group: Group,
        topics: Callable[[], Topics],
        *,
        rebalance_timeout_ms: int,
        max_poll_interval_ms: int,
        clock_ms: Callable[[], int],
        on_change: Callable[[], None],
    ) -> None:
        self.group = group
        self.id = f"{time.time_ns() // 1000:014x}-{os.urandom(4).hex()}"
        self.generation = 0
        self.held: dict[PartitionKey, Share] = {}  # the partitions taken up
        self.forgotten = False  # after a fork: the membership is the parent's
        self._files: Files = group.files
        self._topics = topics
        self._rebalance_timeout_ms = rebalance_timeout_ms
        self._max_poll_interval_ms = max_poll_interval_ms
        self._clock_ms = clock_ms
        self._on_change = on_change
        self._subscription = Subscription()
        self._own: MemberFile | None = None
        self._state = GroupState()
        self._state_file: HeldDescriptor | None = None
        self._state_inode = 0
        self._next_probe_ms = 0
        self._next_heartbeat_ms = 0
        self._probed = 0
        self._deadline_ms: int | None = None
        self._behind = False  # the state asks this member for something
        self._reviewed = -1  # the generation ``review`` last reported
        _living.add(self)

    # For the consumer

    def join(self, subscription: Subscription) -> None:
        """Become a member, or change the subscription; partitions are taken up later."""
        self._subscription = subscription
        self.group.make_directory()
        self._under_lock(lambda _, state: self._enter(state))

    def leave(self) -> None:
        """Give everything up and leave the group; does nothing when not a member."""
        if self._own is None:
            return
        try:
            self._under_lock(lambda _, state: self._go(state))
            self._files.remove(layout.group_member(self.group.directory, self.id))
        except FileNotFoundError:
            if self._files.status(self.group.directory) is not None:
                raise
            # The whole group was removed: nobody is left to be told.
        finally:
            self.held = {}
            self._close()

    def changed(self) -> bool:
        """Whether ``review`` has something to report. Mostly costs a clock read and a ``stat``."""
        now_ms = self._clock_ms()
        if now_ms >= self._next_heartbeat_ms:
            self._beat(now_ms)
        if self._deadline_ms is not None and now_ms >= self._deadline_ms:
            self._maintain()
        elif now_ms >= self._next_probe_ms:
            self._next_probe_ms = now_ms + PROBE_INTERVAL_MS
            if self._somebody_is_gone(now_ms):
                self._maintain()
        status = self._files.status(self.group.assignment_path)
        return status is None or status.st_ino != self._state_inode or self._behind

    def refresh_topics(self) -> None:
        """Begin a new generation if topics or partitions were added or removed."""
        if shapes_differ(self._state, self._topics()):
            self._maintain()

    def review(self) -> tuple[set[PartitionKey], set[PartitionKey]]:
        """Which of the ``held`` partitions to give up now, and which are lost already."""
        asked, lost, is_out = self._under_lock(lambda _, state: self._review(state))
        if is_out:
            logger.info(
                "group %r: %s was removed from the group and joins again", self.group.name, self.id
            )
            self.held = {}
        self._reviewed = self._state.generation
        return asked, lost

    def take_up(self, given_up: Collection[PartitionKey]) -> None:
        """Give up what ``review`` reported and take this generation's share into ``held``.

        Nothing is taken up from a generation that began since ``review``: it may ask for more to be
        given up, whose records would otherwise be handed out by this member and again by the next.
        """
        gained, generation = self._under_lock(lambda _, state: self._take_up(state, given_up))
        self.held.update(gained)
        self.generation = generation
        self._compare()

    def commit(self, offsets: Mapping[PartitionKey, int]) -> None:
        """Commit as a member of the generation taken up last; durable when it returns.

        Raises ``StaleGenerationError`` if a partition belongs to another member now; nothing is
        committed then.
        """
        generation = self.generation
        entries = {key: CommittedOffset(offset, generation) for key, offset in offsets.items()}

        def commit(lock: HeldLock, state: GroupState) -> None:
            if self._lost_of(state, offsets):
                raise StaleGenerationError(self.group.name, generation, state.generation)
            self.group.commit_locked(lock, entries)

        self._under_lock(commit)

    def lost(self, keys: Collection[PartitionKey]) -> set[PartitionKey]:
        """Those of ``keys`` that belong to another member now."""
        return self._under_lock(lambda _, state: self._lost_of(state, keys))

    def _lost_of(self, state: GroupState, keys: Iterable[PartitionKey]) -> set[PartitionKey]:
        if self.id not in state.members:
            return set(keys)  # removed from the group, whoever has them now
        lost = set()
        for key in keys:
            share, taken = state.shares.get(key), self.held.get(key)
            if share is not None and (
                share.holder != self.id or (taken is not None and taken.since != share.since)
            ):
                lost.add(key)
        return lost

    def forget(self) -> None:
        """In a forked child: drop the descriptors without telling the group."""
        self.forgotten = True
        self._close()

    # The state on disk

    def _under_lock(self, work: Callable[[HeldLock, GroupState], T]) -> T:
        """Call ``work`` with the lock held and the current state, which it may change and store.

        It may be called again with a newer state (``Group.under_lock``), so it must not change
        anything else of this member that a second call would not set anew.
        """

        def work_on_state(lock: HeldLock) -> T:
            try:
                return work(lock, self._load())
            except BaseException:
                self._state_inode = 0  # perhaps half changed: the next call rereads the file
                raise

        return self.group.under_lock(work_on_state)

    def _load(self) -> GroupState:
        """The current state on disk; the cached one if it was not replaced."""
        path = self.group.assignment_path
        status = self._files.status(path)
        if status is not None and status.st_ino == self._state_inode:
            return self._state
        state = GroupState(self.generation)
        if status is not None:
            try:
                state = decode_state(read_file(self._files, path, STATE_SIZE_MAX))
            except ValueError as error:
                # A power cut tore it: all its members are dead, and no live one wrote it.
                logger.warning("%s: %s; the group is assembled anew", path, error)
        self._remember(state)
        return state

    def _remember(self, state: GroupState) -> None:
        """Cache the state and keep its file open, so that no later file has the same inode."""
        if self._state_file is not None:
            self._state_file.close()
            self._state_file = None
        self._state, self._state_inode = state, 0
        self._deadline_ms = state.next_deadline_ms()
        self._compare()
        try:
            self._state_file = HeldDescriptor(self, self._files, self.group.assignment_path)
        except FileNotFoundError:
            return
        status = self._files.status(self.group.assignment_path)
        self._state_inode = status.st_ino if status is not None else 0

    def _compare(self) -> None:
        """Note whether the state asks this member for something it has not done yet."""
        ours = self._state.held_by(self.id)
        self._behind = (
            self.id not in self._state.members
            or self.generation != self._state.generation
            or any(share.next_holder is not None for share in ours.values())
            or {key: share.since for key, share in ours.items()}
            != {key: share.since for key, share in self.held.items()}
        )

    def _store(self, state: GroupState) -> None:
        """Replace the state. Not synced: after a power cut every member is dead anyway."""
        replace_file(self._files, self.group.assignment_path, encode_state(state), durable=False)
        self._remember(state)
        self._on_change()

    def _enter(self, state: GroupState) -> None:
        """Add this member and begin a generation."""
        if self._own is not None and not self._own.is_there:
            self._own.close()
            self._own = None
        if self._own is None:
            self._own = MemberFile(self._files, self.group.directory, self.id)
        old = state.members.get(self.id)
        # A lost state starts again above every generation this member knows.
        state.generation = max(state.generation, self.generation)
        state.members[self.id] = Member(
            self._subscription,
            self._rebalance_timeout_ms,
            self._max_poll_interval_ms,
            old.seen if old is not None else 0,
        )
        state.members = dict(sorted(state.members.items()))
        self._beat(self._clock_ms())
        self._remove_dead(state)
        rebalance(state, self._topics(), self._clock_ms())
        self._store(state)

    def _go(self, state: GroupState) -> None:
        if state.members.pop(self.id, None) is not None:
            self._remove_dead(state)
            rebalance(state, self._topics(), self._clock_ms())
            self._store(state)

    def _review(self, state: GroupState) -> tuple[set[PartitionKey], set[PartitionKey], bool]:
        """What to give up, what is lost, and whether this member had been removed."""
        if self.id not in state.members:
            self._enter(state)
            return set(), set(self.held), True
        asked, lost = set(), set()
        for key, taken in self.held.items():
            share = state.shares.get(key)
            if share is not None and (share.holder, share.since) != (self.id, taken.since):
                lost.add(key)
            elif share is None or share.next_holder is not None:
                asked.add(key)
        return asked, lost, False

    def _take_up(
        self, state: GroupState, given_up: Collection[PartitionKey]
    ) -> tuple[dict[PartitionKey, Share], int]:
        """What this member gains, and the generation it is in then."""
        for key in given_up:
            self.held.pop(key, None)
        me = state.members.get(self.id)
        if me is None:
            return {}, self.generation  # just removed from the group: the next review says so
        leaving = [
            key
            for key, share in state.held_by(self.id).items()
            if share.next_holder is not None and key not in self.held
        ]
        hand_over(state, leaving)
        gained, generation = {}, self.generation
        if state.generation == self._reviewed:
            ours = state.held_by(self.id)
            gained = {key: share for key, share in ours.items() if key not in self.held}
            generation = state.generation
        if leaving or any(share.since > me.seen for share in gained.values()):
            me.seen = generation
            self._store(state)
        return gained, generation

    def _maintain(self) -> None:
        """Remove dead and silent members, hand over what is overdue, notice new partitions."""
        self._under_lock(lambda _, state: self._maintain_state(state))

    def _maintain_state(self, state: GroupState) -> None:
        if self.id not in state.members:
            return  # the next review joins again
        topics, now_ms = self._topics(), self._clock_ms()
        changed = self._remove_dead(state) or shapes_differ(state, topics)
        if changed:
            rebalance(state, topics, now_ms)
        # Our own overdue partitions are given up in order by the next review.
        due = [key for key in overdue(state, now_ms) if state.shares[key].holder != self.id]
        hand_over(state, due)
        if changed or due:
            self._store(state)

    # Liveness

    def _remove_dead(self, state: GroupState) -> bool:
        """Remove dead and silent members from the state, and the files of the dead."""
        now_ms = self._clock_ms()
        removed = False
        for name in list(state.members):
            if name != self.id and self._is_gone(name, state.members[name], now_ms):
                del state.members[name]
                removed = True
        remove_dead(self._files, self.group.directory, {self.id, *state.members})
        return removed

    def _somebody_is_gone(self, now_ms: int) -> bool:
        """Probe the next few of the other members."""
        others = [name for name in self._state.members if name != self.id]
        if not others:
            return False
        for _ in range(-(-len(others) // PROBE_ROUNDS)):
            self._probed = (self._probed + 1) % len(others)
            name = others[self._probed]
            if self._is_gone(name, self._state.members[name], now_ms):
                return True
        return False

    def _is_gone(self, name: str, member: Member, now_ms: int) -> bool:
        """Whether a member is dead, or has not polled for too long."""
        polled_ms = last_poll_ms(self._files, self.group.directory, name)
        return polled_ms is None or now_ms - polled_ms > member.max_poll_interval_ms

    def _beat(self, now_ms: int) -> None:
        """Record a heartbeat; others read it to tell whether this member is stuck."""
        self._next_heartbeat_ms = now_ms + min(
            HEARTBEAT_INTERVAL_MS_MAX, max(1, self._max_poll_interval_ms // 10)
        )
        if self._own is not None:
            self._own.beat(now_ms)

    def _close(self) -> None:
        for held in (self._own, self._state_file):
            if held is not None:
                held.close()
        self._own = self._state_file = None
        self._state, self._state_inode, self._deadline_ms = GroupState(), 0, None


def _forget_in_child() -> None:
    for membership in list(_living):
        membership.forget()


os.register_at_fork(after_in_child=_forget_in_child)
