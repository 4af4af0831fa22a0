"""Which partitions `consume` reads: of topics by name, and of all that a ^REGEX stands for.

While they are followed that changes: topics are created and deleted, partitions added.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from merkql.broker import Broker
from merkql.cli.parsing import UsageError
from merkql.errors import UnknownPartitionError, UnknownTopicError
from merkql.storage.partition import Partition
from merkql.topic import Topic


class Chosen(NamedTuple):
    """A partition for as long as its topic lives: one made anew is another."""

    topic_id: bytes
    number: int


class Choice:
    """What was asked for: names, patterns, and one partition of each or all."""

    def __init__(self, broker: Broker, words: Sequence[str], only: int | None) -> None:
        """Raises ``UsageError`` for what is no pattern."""
        self._broker = broker
        self._only = only
        self.names = [word for word in dict.fromkeys(words) if not word.startswith("^")]
        self.patterns = [compiled(word) for word in words if word.startswith("^")]

    def at_start(self) -> dict[Chosen, Partition]:
        """Those there are; raises for a name, and for a partition, that is not there."""
        for name in self.names:
            self._broker.topic(name)
        return self._partitions(self._topics(), is_strict=True)

    def now(self) -> dict[Chosen, Partition]:
        """Those there are now; what is not there is left out."""
        return self._partitions(self._topics(), is_strict=False)

    def _topics(self) -> list[Topic]:
        names = list(self.names)
        if self.patterns:
            every = self._broker.topics()
            names += [one for one in every if any(p.fullmatch(one) for p in self.patterns)]
        topics = []
        for name in dict.fromkeys(names):
            try:
                topics.append(self._broker.topic(name))
            except UnknownTopicError:
                continue  # deleted
        return topics

    def _partitions(self, topics: Iterable[Topic], *, is_strict: bool) -> dict[Chosen, Partition]:
        found = {}
        for topic in topics:
            try:
                some = topic.partitions() if self._only is None else [topic.partition(self._only)]
            except UnknownPartitionError:
                if is_strict:
                    raise
                continue
            found.update({Chosen(topic.id, one.index): one for one in some})
        return found


def compiled(pattern: str) -> re.Pattern[str]:
    """A ^REGEX that was typed, or ``UsageError``."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError("merkql consume", f"{pattern!r} is not a pattern: {error}") from None
