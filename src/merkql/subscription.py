"""What a consumer reads and how that changes: assignments, rebalances, commits.

For one thread at a time; never waits. A rebalance runs in this order: automatic commit,
``on_revoke``, partitions given up, partitions taken up, ``on_assign``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from merkql import consumer_arguments as arguments
from merkql.assignment import Share, Subscription, TopicShape
from merkql.consumer_arguments import OnChange
from merkql.errors import (
    OffsetOutOfRangeError,
    StaleGenerationError,
    UnknownPartitionError,
    UnknownTopicError,
)
from merkql.groups import CommittedOffset, Group, PartitionKey
from merkql.membership import Membership
from merkql.positions import Positions, TopicPartition

if TYPE_CHECKING:
    from merkql.storage.arrivals import Arrivals
    from merkql.storage.file_pool import FilePool
    from merkql.storage.partition import Partition
    from merkql.topic import Topic

logger = logging.getLogger("merkql.consumer")


TOPICS_INTERVAL_MS = 1000  # between checks for topics that other processes changed


class ConsumerOwner(Protocol):
    """What a consumer needs of its broker."""

    def topic(self, name: str) -> Topic:
        """The topic of that name; ``UnknownTopicError`` if there is none."""

    def topics(self, *, internal: bool = False) -> list[str]:
        """The names of all topics; ``internal`` includes merkql's own."""

    def topic_ids(self) -> Collection[bytes] | None:
        """The ids of all topics; None if one is damaged."""

    @property
    def files(self) -> FilePool:
        """The pool through which the group's files are reached."""

    @property
    def arrivals(self) -> Arrivals:
        """Announces new records, and is told of changes in a group."""

    @property
    def groups_directory(self) -> str:
        """The directory of all groups."""

    def sync_records(self) -> None:
        """Make the records before a commit durable; else the group could skip new ones."""

    def unregister(self, closeable: Any) -> None:
        """The consumer is closed."""


class Reading:
    """The partitions one consumer reads now, as a group member or assigned by hand."""

    def __init__(
        self,
        broker: ConsumerOwner,
        group: Group,
        membership: Membership,
        positions: Positions,
        *,
        auto_commit: bool,
    ) -> None:
        self._broker = broker
        self._group = group
        self._membership = membership
        self._positions = positions
        self._auto_commit = auto_commit
        self._subscribed = False
        self._settled = True  # the places match what the membership holds
        self._on_assign: OnChange | None = None
        self._on_revoke: OnChange | None = None
        self._unannounced: list[TopicPartition] = []  # on_assign has not returned for these yet
        self._topics_version = -1
        self._next_topics_ms = 0

    def subscribe(
        self, subscription: Subscription, on_assign: OnChange | None, on_revoke: OnChange | None
    ) -> None:
        """Join the group, or change the subscription; ``follow`` takes partitions up."""
        if not self._subscribed:
            self.leave(commit=self._auto_commit)
        self._on_assign, self._on_revoke = on_assign, on_revoke
        self._positions.remember_ends(
            (PartitionKey(topic.id, partition.index), partition)
            for topic in _topics(self._broker)
            if subscription.covers(topic.name)
            for partition in topic.partitions()
        )
        self._membership.join(subscription)
        self._subscribed = True

    def assign(self, names: Sequence[TopicPartition]) -> None:
        """Read exactly these partitions, whatever the group's members read."""
        found = [(self.key_of(name), self.partition_of(name)) for name in names]
        self.leave(commit=self._auto_commit)
        self._positions.remember_ends(found)
        for key, partition in found:
            self._positions.add(key, partition)

    def leave(self, *, commit: bool) -> None:
        """Give everything up and leave the group, if joined."""
        try:
            if commit:
                self.commit_handed_out()
            self._revoke([place.name for place in self._positions.places.values()])
        finally:
            self._positions.places.clear()
            self._unannounced.clear()
            self._subscribed = False
            self._on_assign = self._on_revoke = None
            self._membership.leave()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is subscribed to and nothing assigned."""
        return not self._subscribed and not self._positions.places

    def follow(self, now_ms: int) -> None:
        """Notice changes in the group and carry them out; then commit automatically."""
        if self._subscribed:
            self._look_for_topics(now_ms)
            if self._membership.changed() or not self._settled:
                self._change()
            if self._unannounced:
                self._announce()
        if self._auto_commit:
            self.commit_handed_out()

    def explains(self, error: Exception) -> bool:
        """Whether ``follow`` handles this error: another process deleted a subscribed topic."""
        if not self._subscribed or not isinstance(error, UnknownTopicError):
            return False
        self._next_topics_ms = 0
        return True

    def commit(self, offsets: Mapping[PartitionKey, int]) -> None:
        """Commit; durable when it returns, together with the records before it."""
        if not offsets:
            return
        self._broker.sync_records()
        if self._subscribed:
            self._membership.commit(offsets)
            return
        self._group.make_directory()
        committed = {key: CommittedOffset(offset, 0) for key, offset in offsets.items()}
        self._group.under_lock(lambda lock: self._group.commit_locked(lock, committed))

    def commit_now(self, given: Mapping[tuple[str, int], int] | None) -> None:
        """Commit the positions of all partitions, or the given offsets."""
        if given is None:
            places = self._positions.places.values()
            wanted = {one.key: one.position for one in places if one.position is not None}
        else:
            wanted = dict(
                self.check_offset(arguments.partition(name), offset)
                for name, offset in arguments.offsets(given).items()
            )
        self.commit(wanted)
        for key, offset in wanted.items():
            place = self._positions.places.get(key)
            if place is not None and place.handed_out == offset:
                place.handed_out = None

    def commit_handed_out(self, keys: Collection[PartitionKey] | None = None) -> None:
        """Commit what was handed out since the last time, of all partitions or of some.

        Nothing is committed for partitions that belong to others by now; they hand the records out
        again.
        """
        places = [
            place
            for place in self._positions.places.values()
            if place.handed_out is not None and (keys is None or place.key in keys)
        ]
        while places:
            offsets = {place.key: place.handed_out for place in places}
            try:
                self.commit({key: offset for key, offset in offsets.items() if offset is not None})
            except StaleGenerationError as error:
                logger.warning("%s; what was handed out since is not committed", error)
                lost = self._membership.lost(offsets)
                if not lost:
                    return
                places = [place for place in places if place.key not in lost]
                continue
            for place in places:
                place.handed_out = None
            return

    def key_of(self, name: TopicPartition) -> PartitionKey:
        """The key of a partition; ``UnknownTopicError``, ``UnknownPartitionError``."""
        return PartitionKey(self._broker.topic(name.topic).id, self.partition_of(name).index)

    def check_offset(self, name: TopicPartition, offset: int) -> tuple[PartitionKey, int]:
        """The key and the offset, if the offset may be committed."""
        arguments.integer("an offset", offset)
        partition = self.partition_of(name)
        if offset < 0:
            raise ValueError(
                f"an offset is not negative: {offset} for {name.topic!r} partition {name.partition}"
            )
        end = partition.end_offset
        if offset > end:
            raise OffsetOutOfRangeError(offset, partition.start_offset, end)
        return self.key_of(name), offset

    def partition_of(self, name: TopicPartition) -> Partition:
        return self._broker.topic(name.topic).partition(name.partition)

    def _look_for_topics(self, now_ms: int) -> None:
        version = self._broker.arrivals.topics_version
        if version != self._topics_version or now_ms >= self._next_topics_ms:
            self._topics_version = version
            self._next_topics_ms = now_ms + TOPICS_INTERVAL_MS
            self._membership.refresh_topics()

    def _change(self) -> None:
        """Give up what the group asks for or reassigned; take up what was assigned to us."""
        self._settled = False  # if interrupted, the next call continues
        asked, lost = self._membership.review()
        places = self._positions.places
        names = [place.name for key, place in places.items() if key in asked or key in lost]
        for key in lost:
            places.pop(key, None)  # first: `on_revoke` may commit what is still held
        try:
            if self._auto_commit:
                self.commit_handed_out(asked)
            self._revoke(names)
        finally:
            self._membership.take_up(asked | lost)
            self._adopt(self._membership.held)
        self._settled = True

    def _adopt(self, held: Mapping[PartitionKey, Share]) -> None:
        """Make the places match the partitions held; those lost in between start anew."""
        places = self._positions.places
        for key in list(places):
            if key not in held or held[key].since != places[key].since:
                del places[key]
        for key, share in held.items():
            if key in places:
                continue
            try:
                name = TopicPartition(share.topic, key.partition)
                # A recreated topic is another one: the next generation has it.
                if self.key_of(name) == key:
                    self._positions.add(key, self.partition_of(name), share.since)
                    self._unannounced.append(name)
            except (UnknownTopicError, UnknownPartitionError):
                continue

    def _announce(self) -> None:
        names = sorted(self._unannounced)
        if self._on_assign is not None:
            self._on_assign(names)
        self._unannounced.clear()

    def _revoke(self, going: Collection[TopicPartition]) -> None:
        announced = sorted(name for name in going if name not in self._unannounced)
        self._unannounced = [name for name in self._unannounced if name not in going]
        if announced and self._on_revoke is not None:
            self._on_revoke(announced)


def topic_shapes(broker: ConsumerOwner) -> dict[str, TopicShape]:
    """All topics as a group sees them."""
    return {topic.name: TopicShape(topic.id, len(topic.partitions())) for topic in _topics(broker)}


def _topics(broker: ConsumerOwner) -> list[Topic]:
    topics = []
    for name in broker.topics(internal=True):
        try:
            topics.append(broker.topic(name))
        except UnknownTopicError:
            continue  # deleted just now
    return topics
