"""The consumer: reads records as a member of a group, or of partitions assigned by hand.

Positions and fetching: merkql.positions. Subscriptions, rebalances, commits: merkql.subscription.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from merkql import consumer_arguments as arguments
from merkql.consumer_arguments import OnChange, OnGap
from merkql.errors import ClosedError
from merkql.groups import Group
from merkql.membership import Membership
from merkql.positions import Chunk, Place, Positions, TopicPartition
from merkql.storage.access import ProcessBound
from merkql.subscription import ConsumerOwner, Reading, topic_shapes
from merkql.thread_guard import ThreadGuard

if TYPE_CHECKING:
    from merkql._core.record import Record
    from merkql.proved_reading import Verify

WAIT_SLICE_S = 0.1  # between looks at the group while waiting


class Consumer(ProcessBound):
    """Reads the partitions assigned to it, in order within each partition.

    Made by ``Broker.consumer``. For one thread at a time: from another, only ``close`` and
    ``wakeup`` may be called; anything else raises ``RuntimeError``. At least once: records that
    were handed out and not committed are handed out again, to whichever member has the partition
    next.

    ``auto_commit``: each ``poll`` commits what the previous one returned, ``close`` the rest.
    ``offset_reset``: where to start without a committed offset, and to continue when retention
    removed the position: ``"earliest"``, ``"latest"`` (as of ``subscribe``), or ``"none"``, which
    raises ``NoOffsetError``. ``max_records``: the default limit of one ``poll``.
    ``fetch_max_bytes``: about how many bytes, decompressed, one ``poll`` reads. ``on_gap(partition,
    position, next)``: called when the position skips records that are gone. ``rebalance_timeout``:
    how long, in seconds, other members wait for this one to give up a partition.
    ``max_poll_interval``: after how many seconds without a ``poll`` it is removed from the group.
    ``verify``: return no record that is not proved against a trusted checkpoint: a ``Policy``, or a
    mapping of (topic, partition) to ``(size, root)``. Records past that checkpoint wait for the
    next one; a record that does not match raises ``UnprovenRecordError``. Cost: 0.6 µs per small
    record.
    """

    def __init__(
        self,
        broker: ConsumerOwner,
        group_id: str,
        *,
        auto_commit: bool = True,
        offset_reset: str = "earliest",
        max_records: int | None = None,
        fetch_max_bytes: int = 1 << 20,
        on_gap: OnGap | None = None,
        rebalance_timeout: float = 3.0,
        max_poll_interval: float = 300.0,
        verify: Verify | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._auto_commit = arguments.flag("auto_commit", auto_commit)
        self._max_records = arguments.COUNT_MAX
        if max_records is not None:
            self._max_records = arguments.count("max_records", max_records)
        self._fetch_max_bytes = arguments.count("fetch_max_bytes", fetch_max_bytes)
        self._broker = broker
        self._arrivals = broker.arrivals
        self._clock = arguments.callback("clock", clock)
        timeout_ms = arguments.milliseconds("rebalance_timeout", rebalance_timeout)
        self._group = Group(broker.files.files, broker.groups_directory, group_id, timeout_ms)
        self._group.topic_ids = broker.topic_ids
        self._positions = Positions(
            group_id,
            arguments.offset_reset(offset_reset),
            self._group.read_offsets,
            arguments.callback("on_gap", on_gap),
            proving=arguments.proving(verify),
        )
        self._membership = Membership(
            self._group,
            partial(topic_shapes, broker),
            rebalance_timeout_ms=timeout_ms,
            max_poll_interval_ms=arguments.milliseconds("max_poll_interval", max_poll_interval),
            clock_ms=lambda: int(clock() * 1000),
            on_change=self._arrivals.wake,
        )
        self._reading = Reading(
            broker, self._group, self._membership, self._positions, auto_commit=auto_commit
        )
        self._guard = ThreadGuard(f"the consumer of group {group_id!r}", self._check_open)
        self._polling = False
        self._woken = False
        self._closed = False
        self._round = 0  # incremented by fetches and seeks: a loop over an older one fetches anew
        self._error: Exception | None = None  # of one partition; raised by the next poll

    @property
    def group_id(self) -> str:
        """The name of the group."""
        return self._group.name

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called; everything else then raises ``ClosedError``."""
        return self._closed

    def subscribe(
        self,
        topics: Iterable[str] | re.Pattern[str],
        *,
        on_assign: OnChange | None = None,
        on_revoke: OnChange | None = None,
    ) -> None:
        """Join the group for these topics, or for all whose whole name the pattern matches.

        Topics need not exist yet; new topics and partitions are picked up. Replaces an earlier
        subscription. Partitions are assigned by the next ``poll``: it then calls ``on_assign`` with
        those gained. ``on_revoke`` is called before partitions are given up: the place to commit
        finished work.
        """
        subscription = arguments.subscription(topics)
        arguments.callback("on_assign", on_assign)
        arguments.callback("on_revoke", on_revoke)
        with self._guard:
            self._round += 1
            self._reading.subscribe(subscription, on_assign, on_revoke)

    def assign(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Read exactly these partitions, without becoming a member of the group.

        What members of the group read does not matter; commits are the group's all the same. Raises
        ``UnknownTopicError`` or ``UnknownPartitionError``.
        """
        names = arguments.partitions(partitions)
        with self._guard:
            self._round += 1
            self._reading.assign(names)

    def unsubscribe(self) -> None:
        """Leave the group and read nothing, as ``close`` does; the consumer stays usable."""
        with self._guard:
            self._round += 1
            self._reading.leave(commit=self._auto_commit)

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions this consumer reads now, as of the last ``poll``."""
        with self._guard:
            return frozenset(place.name for place in self._positions.places.values())

    # Reading

    def poll(self, timeout: float | None = 0.0, max_records: int | None = None) -> list[Record]:
        """Available records, or the first to arrive within ``timeout`` seconds.

        ``None`` waits without a limit. Empty after the timeout, or on ``wakeup`` or ``close``. All
        partitions with records get a share of ``fetch_max_bytes``, in turn. Damage in one partition
        does not hold the others' records back: it is raised once there are none, else by the next
        ``poll``, until the partition is paused or repaired.
        """
        wait = arguments.seconds_to_wait(timeout)
        limit = self._max_records
        if max_records is not None:
            limit = arguments.count("max_records", max_records)
        with self._guard:
            chunks = self._next_chunks(wait, limit)
            for place, records in chunks:
                place.position = place.handed_out = records[-1].offset + 1
        found = chunks[0][1] if chunks else []
        for _, records in chunks[1:]:
            found += records
        return found

    def __iter__(self) -> Iterator[Record]:
        """Records without end; ``close`` or ``wakeup`` from another thread ends the loop.

        A record counts as handed out when the loop receives it.
        """
        self._check_open()
        clock = self._clock
        while True:
            try:
                with self._guard:
                    woken, self._woken = self._woken, False
                    chunks = [] if woken else self._next_chunks(math.inf, self._max_records)
                    current, until = self._round, clock() + WAIT_SLICE_S
            except ClosedError:
                return  # as was asked for
            if not chunks:
                return
            for place, records in chunks:
                for record in records:  # few steps each: this loop is as fast as readers get
                    place.position = place.handed_out = record.offset + 1
                    yield record
                    if self._round != current or clock() >= until:
                        break  # slow work must not delay the group; the rest is fetched again
                else:
                    continue
                break

    def wakeup(self) -> None:
        """End a waiting ``poll`` or iteration, else the next one that would wait. From any thread.

        A ``poll`` that finds records, or does not wait, leaves it for the next one.
        """
        self._woken = True
        self._arrivals.wake()

    def _next_chunks(self, wait: float, limit: int) -> list[Chunk]:
        """Follow the group and fetch; wait and repeat until there are records or time is up."""
        if self._polling:
            raise RuntimeError("poll was called by a callback of poll")
        try:
            self._polling = True
            arguments.wait_for_something(wait, is_idle=self._reading.is_idle)
            deadline = seen = None
            while True:
                version = self._arrivals.version
                now = self._clock()
                self._reading.follow(int(now * 1000))
                state = (version, self._positions.changes)
                chunks = self._fetch(limit) if state != seen else []
                seen = state
                if chunks or not wait or self._guard.closing:
                    return [] if self._guard.closing else chunks
                if self._woken:
                    self._woken = False
                    return []
                deadline = now + wait if deadline is None else deadline
                if now >= deadline:
                    return []
                self._arrivals.wait(version, min(deadline - now, WAIT_SLICE_S))
        finally:
            self._polling = False

    def _fetch(self, limit: int) -> list[Chunk]:
        error, self._error = self._error, None
        if error:
            raise error
        self._round += 1
        chunks, error = self._positions.fetch(limit, self._fetch_max_bytes)
        if error is not None and not self._reading.explains(error):
            if not chunks:
                raise error
            self._error = error
        return chunks

    def commit_sync(self, offsets: Mapping[tuple[str, int], int] | None = None) -> None:
        """Commit the positions of all assigned partitions, or the given next offsets to read.

        Durable when it returns, whatever the topics' durability: one write, one sync. Raises
        ``StaleGenerationError`` if a partition belongs to another member now, and
        ``OffsetOutOfRangeError`` for an offset past the end; nothing is committed then.
        """
        with self._guard:
            self._reading.commit_now(offsets)

    def committed(self, partition: tuple[str, int]) -> int | None:
        """The group's next offset to read of a partition, or None if nothing was committed."""
        with self._guard:
            key = self._reading.key_of(arguments.partition(partition))
            known = self._group.read_offsets().get(key)
            return None if known is None else known.offset

    def position(self, partition: tuple[str, int]) -> int:
        """The next offset that will be handed out of an assigned partition."""
        with self._guard:
            return self._positions.position(self._place(partition))

    def lag(self) -> dict[TopicPartition, int]:
        """For each partition assigned, how many records remain to be read."""
        with self._guard:
            return {one.name: self._positions.lag(one) for one in self._positions.places.values()}

    def seek(self, partition: tuple[str, int], offset: int) -> None:
        """Continue from ``offset``; raises ``OffsetOutOfRangeError`` for one past the end.

        Commits nothing. An offset below the start is a gap, which the next ``poll`` reports.
        """
        with self._guard:
            place = self._place(partition)
            self._reading.check_offset(place.name, offset)
            self._move([(place, offset)])

    def seek_to_beginning(self, *partitions: tuple[str, int]) -> None:
        """Continue from the first record kept, in these partitions or in all assigned."""
        with self._guard:
            places = self._places(partitions)
            self._move([(place, place.partition.start_offset) for place in places])

    def seek_to_end(self, *partitions: tuple[str, int]) -> None:
        """Continue after the last record, in these partitions or in all assigned."""
        with self._guard:
            places = self._places(partitions)
            self._move([(place, place.partition.end_offset) for place in places])

    def seek_to_time(self, timestamp_ms: int, *partitions: tuple[str, int]) -> None:
        """Continue from the first record at or after a time (ms since 1970, UTC), or the end."""
        arguments.integer("a timestamp", timestamp_ms)
        with self._guard:
            moves = []
            for place in self._places(partitions):
                found = place.partition.offset_for_timestamp(timestamp_ms)
                moves.append((place, place.partition.end_offset if found is None else found))
            self._move(moves)

    def pause(self, *partitions: tuple[str, int]) -> None:
        """Return no records of these partitions, or of all assigned, until ``resume``."""
        self._set_paused(partitions, paused=True)

    def resume(self, *partitions: tuple[str, int]) -> None:
        """Resume these partitions, or all assigned."""
        self._set_paused(partitions, paused=False)

    @property
    def paused(self) -> frozenset[TopicPartition]:
        """The assigned partitions that are paused."""
        with self._guard:
            places = self._positions.places.values()
            return frozenset(place.name for place in places if place.paused)

    def _set_paused(self, partitions: tuple[tuple[str, int], ...], *, paused: bool) -> None:
        with self._guard:
            self._round += 1
            self._error = None
            self._positions.pause(self._places(partitions), paused=paused)

    def _place(self, partition: tuple[str, int]) -> Place:
        return self._positions.by_name(arguments.partition(partition))

    def _places(self, partitions: tuple[tuple[str, int], ...]) -> list[Place]:
        if partitions:
            return [self._place(partition) for partition in partitions]
        return list(self._positions.places.values())

    def _move(self, moves: list[tuple[Place, int]]) -> None:
        self._round += 1
        self._error = None
        for place, offset in moves:
            self._positions.move(place, offset)

    # The end

    def close(self) -> None:
        """Commit what was handed out, if ``auto_commit``, and leave the group. From any thread.

        Waits for a ``poll`` in another thread to return. Closing twice is fine.
        """
        self._close(commit=self._auto_commit)

    def _close(self, *, commit: bool) -> None:
        self._guard.closing = True
        self._round += 1
        if self._membership.forgotten:
            self._closed = True
            return
        self._arrivals.wake()
        with self._guard.waiting():
            if self._closed:
                return
            try:
                self._reading.leave(commit=commit)
            finally:
                self._closed = True
                self._broker.unregister(self)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"the consumer of group {self.group_id!r} is closed")
        if self._membership.forgotten:
            raise ClosedError(
                f"the consumer of group {self.group_id!r} stayed with the process that made it "
                "when this one was forked; open the directory here and make another"
            )

    def __enter__(self) -> Consumer:
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; after an exception without a commit, as nobody knows how far the work got."""
        self._close(commit=self._auto_commit and error is None)

    def __repr__(self) -> str:
        return f"<Consumer of group {self.group_id}{', closed' if self._closed else ''}>"
