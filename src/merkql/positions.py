"""The positions of one consumer in its partitions, and what it fetches next.

Handles offsets, resets, gaps and fairness; nothing of groups, threads or waiting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from merkql.errors import MerkqlError, NoOffsetError, OffsetOutOfRangeError
from merkql.groups import Offsets, PartitionKey

if TYPE_CHECKING:
    from merkql._core.record import Record
    from merkql.proved_reading import ProvedReading
    from merkql.storage.partition import Partition

logger = logging.getLogger("merkql.consumer")

OFFSET_RESETS = ("earliest", "latest", "none")
FETCH_BYTES_MIN = 16 << 10  # of one partition, where many share a poll: one batch
RESETS_MAX = 3  # of one partition in one poll: retention may overtake a reset


class TopicPartition(NamedTuple):
    """A partition named by its topic and number; a plain tuple works too."""

    topic: str
    partition: int


class Place:
    """The state of one partition in a consumer."""

    __slots__ = ("handed_out", "key", "name", "partition", "paused", "position", "since")

    def __init__(self, key: PartitionKey, partition: Partition, since: int) -> None:
        self.key = key
        self.since = since  # the generation it was assigned in; 0: assigned by hand
        self.name = TopicPartition(partition.topic, partition.index)
        self.partition = partition
        self.position: int | None = None  # the next offset to hand out; None: not known yet
        self.handed_out: int | None = None  # the offset for the next automatic commit, if any
        self.paused = False


Chunk = tuple[Place, "list[Record]"]


class Positions:
    """The partitions of one consumer, in a fixed order; each fetch starts at another one."""

    def __init__(
        self,
        group: str,
        offset_reset: str,
        read_committed: Callable[[], Offsets],
        on_gap: Callable[[TopicPartition, int, int], object] | None,
        proving: ProvedReading | None = None,
    ) -> None:
        self.places: dict[PartitionKey, Place] = {}
        self.changes = 0  # incremented when a fetch may find records although none arrived
        self._group = group
        self._offset_reset = offset_reset
        self._read_committed = read_committed
        self._on_gap = on_gap
        self._proving = proving
        self._turn = 0
        self._ends: dict[PartitionKey, int] = {}  # where "latest" begins

    def add(self, key: PartitionKey, partition: Partition, since: int = 0) -> Place:
        place = self.places[key] = Place(key, partition, since)
        self.changes += 1
        return place

    def remember_ends(self, partitions: Iterable[tuple[PartitionKey, Partition]]) -> None:
        """Note what "latest" is now. Partitions added later are read from the beginning."""
        if self._offset_reset != "latest":
            return
        self._ends = {}
        for key, partition in partitions:
            try:
                self._ends[key] = partition.end_offset
            except (MerkqlError, OSError):
                continue  # raised when it is read

    def by_name(self, name: TopicPartition) -> Place:
        for place in self.places.values():
            if place.name == name:
                return place
        raise ValueError(
            f"topic {name.topic!r} partition {name.partition} is not read by this consumer now; "
            "subscribe and poll, or assign it"
        )

    def position(self, place: Place) -> int:
        """The next offset to hand out, determined now if needed."""
        if place.position is None:
            self._begin(place, self._read_committed())
        assert place.position is not None
        return place.position

    def lag(self, place: Place) -> int:
        """How many records lie between the position and the end, not counting removed ones."""
        begin = max(self.position(place), place.partition.start_offset)
        return max(0, place.partition.end_offset - begin)

    def move(self, place: Place, offset: int) -> None:
        """Continue from ``offset``; what was handed out before is not committed automatically."""
        place.position = offset
        place.handed_out = None
        self.changes += 1

    def pause(self, places: Iterable[Place], *, paused: bool) -> None:
        """Pause these partitions, or resume them."""
        for place in places:
            place.paused = paused
        self.changes += 1

    def fetch(
        self, max_records: int, max_bytes: int
    ) -> tuple[list[Chunk], MerkqlError | OSError | None]:
        """Records of all partitions that have some, within both limits, and the first error met.

        No position moves, except over a gap: the caller moves it for what it returns.
        """
        places, error = self._with_positions()
        if self._proving is not None:
            self.changes += 1  # a new checkpoint is not announced, so fetch each time
        if len(places) > 1:
            self._turn = (self._turn + 1) % len(places)
            places = places[self._turn :] + places[: self._turn]
            places, error = self._ready(places, error)
            max_bytes = max(max_bytes // max(len(places), 1), FETCH_BYTES_MIN)
        chunks: list[Chunk] = []
        for place in places:
            try:
                records = self._fetch_one(place, max_records, max_bytes)
            except (MerkqlError, OSError) as failed:
                error = error or failed
                continue
            if records:
                chunks.append((place, records))
                max_records -= len(records)
                if max_records <= 0:
                    break
        return chunks, error

    def _with_positions(self) -> tuple[list[Place], MerkqlError | OSError | None]:
        places = [place for place in self.places.values() if not place.paused]
        unknown = [place for place in places if place.position is None]
        if not unknown:
            return places, None
        committed = self._read_committed()
        error = None
        for place in unknown:
            try:
                self._begin(place, committed)
            except (MerkqlError, OSError) as failed:
                error = error or failed
        return [place for place in places if place.position is not None], error

    def _ready(
        self, places: list[Place], error: MerkqlError | OSError | None
    ) -> tuple[list[Place], MerkqlError | OSError | None]:
        """The partitions whose end is not their position."""
        ready = []
        for place in places:
            try:
                if place.partition.has_more(place.position):
                    ready.append(place)
            except (MerkqlError, OSError) as failed:
                error = error or failed
        return ready, error

    def _fetch_one(self, place: Place, max_records: int, max_bytes: int) -> list[Record]:
        for _ in range(RESETS_MAX):
            assert place.position is not None
            try:
                if self._proving is not None:
                    limits = (max_records, max_bytes)
                    records = self._proving.fetch(place.partition, place.position, *limits)
                else:
                    records = place.partition.fetch(
                        place.position, max_records=max_records, max_bytes=max_bytes
                    )
                return records or self._fetch_past_marks(place, max_records, max_bytes)
            except OffsetOutOfRangeError as error:
                self._cross_gap(place, error)
        return []

    def _fetch_past_marks(self, place: Place, max_records: int, max_bytes: int) -> list[Record]:
        """Move the position past control batches at the end of the partition."""
        assert place.position is not None
        end = place.partition.end_offset
        if place.position >= end:
            return []
        records = place.partition.fetch(
            place.position, max_records=max_records, max_bytes=max_bytes
        )
        if not records:  # so up to that end there are none
            place.position = place.handed_out = end
        return records if self._proving is None else []  # not proved yet

    def _cross_gap(self, place: Place, error: OffsetOutOfRangeError) -> None:
        """The position is below the start, or past the end: reset as ``offset_reset`` says."""
        position, first, end = error.requested, error.first, error.next
        if self._offset_reset == "none":
            raise NoOffsetError(
                f"group {self._group!r} stands at offset {position} of {place.name.topic!r} "
                f"partition {place.name.partition}, which holds {first} to {end}; "
                'seek, or choose another offset_reset than "none"'
            ) from error
        # Past the end (a power cut loses records of "disk" topics): whatever is written next was
        # not read yet, so continue at the end.
        target = first if position < first and self._offset_reset == "earliest" else end
        logger.warning(
            "group %r: %s partition %d holds %d to %d; the position goes from %d to %d",
            self._group,
            place.name.topic,
            place.name.partition,
            first,
            end,
            position,
            target,
        )
        place.position = target
        if self._on_gap is None:
            return
        try:
            self._on_gap(place.name, position, target)
        except BaseException:
            if place.position == target:  # not moved by the callback
                place.position = position  # so that the gap is reported again
            raise

    def _begin(self, place: Place, committed: Offsets) -> None:
        """Set the first position: the committed offset, else as ``offset_reset`` says."""
        known = committed.get(place.key)
        if known is not None:
            place.position = known.offset
        elif self._offset_reset == "none":
            raise NoOffsetError(
                f"group {self._group!r} has no committed offset for {place.name.topic!r} "
                f'partition {place.name.partition} and its offset_reset is "none"; '
                "seek, or choose another"
            )
        elif self._offset_reset == "latest" and place.key in self._ends:
            # Committed although nothing was handed out, so that the group continues from here.
            place.position = place.handed_out = self._ends[place.key]
        else:
            place.position = place.partition.start_offset
