"""Which topics and partitions the arguments of a command mean."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator

from merkql.broker import Broker
from merkql.cli.parsing import UsageError
from merkql.storage.partition import Partition


def topics_of(arguments: Namespace) -> list[str]:
    """Those after -t and the others; ``UsageError`` for none."""
    names = [*arguments.topic, *arguments.topics]
    if not names:
        raise UsageError(f"merkql {arguments.command}", "which topic?")
    return names


def topic_and_rest(arguments: Namespace) -> tuple[str, list[str]]:
    """The topic after -t, else the first of the names, and the names that are left."""
    names = list(arguments.names)
    if arguments.topic is not None:
        return arguments.topic, names
    if not names:
        raise UsageError(f"merkql {arguments.command}", "which topic?")
    return names.pop(0), names


def partitions_of(broker: Broker, topics: Iterable[str], only: int | None) -> Iterator[Partition]:
    """Every partition of the topics, or that one of each; raises for what is not there."""
    for topic in map(broker.topic, topics):
        yield from topic.partitions() if only is None else [topic.partition(only)]
