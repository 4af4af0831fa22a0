"""What `consume` does with a consumer: reads, prints, commits what was printed, knows when to end.

Nothing is committed before the system has taken it: who is killed in between prints it again.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from merkql._core.record import Record
from merkql.broker import Broker
from merkql.cli.quantities import counted
from merkql.cli.record_text import Renderer
from merkql.cli.terminal import Terminal
from merkql.consumer import Consumer
from merkql.errors import StaleGenerationError
from merkql.positions import TopicPartition

if TYPE_CHECKING:
    from merkql.transparency.policy import Policy

WAIT_S = 0.5  # between two looks whether somebody still reads the output
JOIN_STEP_S = 0.05
JOIN_S = 3.5  # after which a member that was given nothing knows that others read it all


class Sink:
    """Where records go: printed, as many as asked for."""

    def __init__(self, terminal: Terminal, render: Renderer, count: int | None) -> None:
        self.terminal = terminal
        self.left = count
        self.printed = 0
        self._render = render

    @property
    def is_full(self) -> bool:
        """Whether all that was asked for is printed."""
        return self.left == 0

    def print(self, records: list[Record]) -> None:
        """Print them, as far as asked for; the system has taken them when it returns."""
        if self.left is not None:
            records = records[: self.left]
            self.left -= len(records)
        self.terminal.out.write(self._render(records))
        self.terminal.out.flush()
        self.printed += len(records)


@dataclass(slots=True)
class Reading:
    """One run of `consume`."""

    broker: Broker
    sink: Sink
    follow: bool
    until_ms: int | None = None
    verify: Policy | None = None  # whose checkpoints each record has to be proved against

    def is_over(self) -> bool:
        """Whether nobody wants more; looked at when there is none."""
        return not self.follow or not self.sink.terminal.out.has_reader()


class Window:
    """Ends partitions at an offset, or before a time."""

    def __init__(self, stops: dict[TopicPartition, int], until_ms: int | None) -> None:
        self._stops = stops
        self._until_ms = until_ms
        self._is_open = not stops and until_ms is None

    def take(self, records: list[Record], consumer: Consumer) -> list[Record]:
        """Those inside; partitions that reached the end are paused."""
        if self._is_open:
            return records
        taken, ended = [], set()
        for record in records:
            name = TopicPartition(record.topic, record.partition)
            if name in ended:
                continue
            stop = self._stops.get(name)
            if stop is not None and record.offset >= stop - 1:
                ended.add(name)
            if (stop is not None and record.offset >= stop) or (
                self._until_ms is not None and record.timestamp_ms >= self._until_ms
            ):
                ended.add(name)
            else:
                taken.append(record)
        if ended:
            consumer.pause(*ended)
        return taken


def as_group(
    reading: Reading,
    group: str,
    offset_reset: str,
    topics: re.Pattern[str] | list[str],
    partitions: list[TopicPartition] | None,
) -> None:
    """Read as a member of the group, or given partitions in its name; commit what is printed."""
    sink, window = reading.sink, Window({}, reading.until_ms)
    deadline = time.monotonic() + JOIN_S
    with reading.broker.consumer(
        group, auto_commit=False, offset_reset=offset_reset, verify=reading.verify
    ) as consumer:
        if partitions is None:
            consumer.subscribe(topics)
        else:
            consumer.assign(partitions)
        while not sink.is_full:
            has_some = bool(consumer.assignment)
            wait = WAIT_S if reading.follow else 0.0 if has_some else JOIN_STEP_S
            records = consumer.poll(wait, sink.left)
            if records:
                _print_and_commit(sink, window.take(records, consumer), consumer)
            elif reading.follow:
                if reading.is_over():
                    return
            elif consumer.assignment:
                if reading.until_ms is None:
                    consumer.commit_sync()  # where nothing was read yet, too
                return
            elif time.monotonic() > deadline:
                sink.terminal.note(f"other members of group {group!r} read all of it")
                return


def _print_and_commit(sink: Sink, records: list[Record], consumer: Consumer) -> None:
    sink.print(records)
    offsets = {(one.topic, one.partition): one.offset + 1 for one in records}
    if not offsets:
        return
    try:
        consumer.commit_sync(offsets)
    except StaleGenerationError as error:
        sink.terminal.warn(f"{error}; others will read {counted(len(records), 'record')} again")
