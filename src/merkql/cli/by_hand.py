"""`consume` without a group: the partitions that were asked for, from where was asked."""

from __future__ import annotations

import time
from collections.abc import Mapping

from merkql.cli.choice import Choice, Chosen
from merkql.cli.positions_asked import Asked, begin_of
from merkql.cli.quantities import counted
from merkql.cli.reading import WAIT_S, Reading, Window
from merkql.consumer import Consumer
from merkql.errors import UnknownTopicError
from merkql.positions import TopicPartition
from merkql.storage.partition import Partition

Names = dict[Chosen, TopicPartition]
Begins = Mapping[Chosen, int]
NO_GROUP = "merkql-consume"  # names the consumer that is in no group; nothing is written under it


def by_hand(reading: Reading, choice: Choice, begin: Asked) -> None:
    """Print partitions from where was asked; when not following, to where they end now."""
    found = choice.at_start()
    begins = {key: begin_of(one, begin, is_only=len(found) == 1) for key, one in found.items()}
    if reading.follow:
        known = {key: _name(one) for key, one in found.items()}
        _follow(reading, _Followed(choice, begin, known, begins))
        return
    names: dict[TopicPartition, int] = {}
    stops: dict[TopicPartition, int] = {}
    for key, one in found.items():
        stop = one.end_offset
        if begins[key] < stop or one.damage is not None:
            names[_name(one)], stops[_name(one)] = begins[key], stop
    if names:
        _read_to_the_end(reading, names, stops)


def _read_to_the_end(
    reading: Reading, begins: dict[TopicPartition, int], stops: dict[TopicPartition, int]
) -> None:
    sink, total = reading.sink, sum(stops.values()) - sum(begins.values())
    window = Window(stops, reading.until_ms)
    with (
        reading.broker.consumer(NO_GROUP, auto_commit=False, verify=reading.verify) as consumer,
        sink.terminal.progress("read", is_shown=not sink.terminal.out.is_terminal) as bar,
    ):
        _assign(consumer, begins)
        while not sink.is_full and len(consumer.paused) < len(begins):
            records = consumer.poll(0.0, sink.left)
            if not records:
                if reading.verify is not None:
                    left = total - sink.printed
                    sink.terminal.warn(f"{counted(left, 'record')} not under a checkpoint yet")
                return
            sink.print(window.take(records, consumer))
            bar.update(sink.printed, total)


def _follow(reading: Reading, followed: _Followed) -> None:
    sink, window = reading.sink, Window({}, reading.until_ms)
    with reading.broker.consumer(NO_GROUP, auto_commit=False, verify=reading.verify) as consumer:
        followed.start(consumer)
        while not sink.is_full:
            for name in followed.look(consumer):
                sink.terminal.warn(f"topic {name!r} was deleted")
            try:
                records = consumer.poll(WAIT_S, sink.left)
            except UnknownTopicError:
                if not followed.is_changed():
                    raise
                continue  # deleted; the next look says so
            if not records and reading.is_over():
                return
            sink.print(window.take(records, consumer))
            if consumer.assignment and consumer.paused >= consumer.assignment:
                return  # all of them came to the time to stop at


class _Followed:
    """The partitions that are followed: new ones are taken up, those of deleted topics let go."""

    def __init__(self, choice: Choice, begin: Asked, known: Names, begins: Begins) -> None:
        self._choice = choice
        # Of what comes later all is new, also to who asked for the end.
        is_place = begin.kind in ("end", "last", "offset")
        self._begin = Asked("beginning") if is_place else begin
        self._known = known
        self._begins = begins
        self._next_look_s = 0.0

    def start(self, consumer: Consumer) -> None:
        """Begin where was asked."""
        _assign(consumer, {self._known[key]: at for key, at in self._begins.items()})

    def is_changed(self) -> bool:
        """Whether a look, which comes next, will find something."""
        self._next_look_s = 0.0
        return self._choice.now().keys() != self._known.keys()

    def look(self, consumer: Consumer) -> list[str]:
        """See, now and then, what came and what went; the topics that went.

        Raises ``UnknownTopicError`` when nothing is left that could come back.
        """
        if time.monotonic() < self._next_look_s:
            return []
        self._next_look_s = time.monotonic() + WAIT_S
        found = self._choice.now()
        gone = sorted({one.topic for key, one in self._known.items() if key not in found})
        if gone and not found and not self._choice.patterns:
            raise UnknownTopicError(gone[-1], "it was deleted")
        if found.keys() != self._known.keys():
            self._change(consumer, found)
        return gone

    def _change(self, consumer: Consumer, found: dict[Chosen, Partition]) -> None:
        kept = {key: name for key, name in self._known.items() if key in found}
        begins = {name: consumer.position(name) for name in kept.values()}
        paused = consumer.paused & begins.keys()
        for key in found.keys() - kept.keys():
            begins[_name(found[key])] = begin_of(found[key], self._begin, is_only=False)
        self._known = {key: _name(one) for key, one in found.items()}
        _assign(consumer, begins)
        if paused:
            consumer.pause(*paused)


def _assign(consumer: Consumer, begins: dict[TopicPartition, int]) -> None:
    consumer.assign(begins)
    for name, offset in begins.items():
        consumer.seek(name, offset)


def _name(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.index)
