"""``merkql topics``: which topics there are, or the partitions of some."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import groupby

from merkql.broker import Broker
from merkql.cli.opening import damaged_topics, to_read
from merkql.cli.parsing import (
    Parser,
    Subparsers,
    add_directory,
    add_json,
    add_kcat,
    add_quiet,
    new_command,
)
from merkql.cli.quantities import bytes_text, duration_text, moment
from merkql.cli.status import DAMAGED, OK
from merkql.cli.tables import Row, print_objects, print_table
from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.partition import Partition
from merkql.storage.retention import RetentionConfig
from merkql.topic import Topic

TOPIC_COLUMNS = ("topic", "partitions", "records", "size", "durability", "compression", "keeps")
PARTITION_COLUMNS = ("topic", "partition", "first", "next", "records", "size")


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql topics [TOPIC...]``."""
    parser = new_command(
        subparsers,
        "topics",
        arguments="[OPTION...] [TOPIC...]",
        description="List the topics; with names, the partitions of those topics: the first "
        "offset kept, the next to be written, and what lies between. Changes nothing.",
        examples=(
            "merkql topics",
            "merkql topics orders --at 2026-01-31T12:00Z",
            "merkql topics --json | jq .topic",
        ),
    )
    add_directory(parser)
    parser.add_argument("topics", metavar="TOPIC", nargs="*", help="only these, by partition")
    parser.add_argument(
        "-t", "--topic", metavar="TOPIC", action="append", default=[], help="one more of them"
    )
    parser.add_argument(
        "--at", metavar="TIME", type=moment, help="also the first offset written at or after TIME"
    )
    parser.add_argument("--roots", action="store_true", help="also the root of each tree")
    parser.add_argument("--names", action="store_true", help="the names alone, one a line")
    add_json(parser, "one JSON object a line, with every setting")
    add_kcat(parser)
    add_quiet(parser)
    return parser


def run(arguments: Namespace) -> int:
    """List them; the status tells whether one is damaged."""
    terminal = arguments.terminal
    with to_read(arguments) as broker:
        names = [*arguments.topic, *arguments.topics]
        if arguments.names:
            for name in broker.topics(internal=True):
                terminal.out.print(name)
            return OK
        as_kcat = arguments.kcat and arguments.json
        by_partition = bool(names) or arguments.at is not None or arguments.roots or as_kcat
        damage: list[Exception] = []
        if by_partition:
            topics = [broker.topic(name) for name in names or broker.topics(internal=True)]
            rows = [row for topic in topics for row in _partitions(topic, arguments, damage)]
        else:
            rows = [_topic_row(broker, name, damage) for name in broker.topics(internal=True)]
        if not names:
            damage += damaged_topics(arguments.directory)
    if as_kcat:
        terminal.out.print(json.dumps(_as_kcat(names, rows)))
    elif arguments.json:
        print_objects(terminal.out, rows)
    else:
        columns = PARTITION_COLUMNS if by_partition else TOPIC_COLUMNS
        extra = [name for name in ("at", "root") if rows and name in rows[0]]
        if rows:
            print_table(terminal.out, [*columns, *extra], map(_readable, rows))
        elif not damage:
            terminal.note(f"{arguments.directory}: no topics yet; `merkql create` makes one")
    for error in damage:
        terminal.fail(str(error))
    return DAMAGED if damage else OK


def _topic_row(broker: Broker, name: str, damage: list[Exception]) -> Row:
    topic = broker.topic(name)
    records = 0
    for partition in topic.partitions():
        try:
            records += partition.end_offset - partition.start_offset
        except CorruptionError as error:
            damage.append(error)
    config = asdict(topic.config)
    size = sum(map(_size_on_disk, range(topic.partition_count), [topic] * topic.partition_count))
    return {"topic": name, "records": records, "size": size, **config}


def _partitions(topic: Topic, arguments: Namespace, damage: list[Exception]) -> Iterator[Row]:
    for partition in topic.partitions():
        row: dict[str, object] = {"topic": topic.name, "partition": partition.index}
        try:
            row |= _partition_facts(partition, arguments)
        except CorruptionError as error:
            damage.append(error)
            row["damage"] = str(error)
        yield {**row, "size": _size_on_disk(partition.index, topic)}


def _partition_facts(partition: Partition, arguments: Namespace) -> Row:
    if partition.damage is not None:
        raise partition.damage
    first, following = partition.start_offset, partition.end_offset
    facts: dict[str, object] = {"first": first, "next": following, "records": following - first}
    if arguments.at is not None:
        facts["at"] = partition.offset_for_timestamp(arguments.at)
    if arguments.roots:
        facts["root"] = partition.root(following).hex()
    return facts


def _as_kcat(names: list[str], rows: Iterable[Row]) -> Row:
    """One object, as ``kcat -L -J`` has it, without brokers and replicas: there are none."""
    topics = []
    for topic, partitions in groupby(rows, key=lambda row: row["topic"]):
        listed = [{k: v for k, v in row.items() if k != "topic"} for row in partitions]
        for one in listed:
            if "damage" in one:
                one["error"] = one.pop("damage")
        topics.append({"topic": topic, "partitions": listed})
    return {"query": {"topic": ",".join(names) or "*"}, "topics": topics}


def _size_on_disk(index: int, topic: Topic) -> int:
    """The bytes of a partition's segments; the last may have reserved some it does not use yet."""
    directory = layout.partition_directory(topic.directory, index)
    try:
        with os.scandir(directory) as entries:
            return sum(
                entry.stat().st_size
                for entry in entries
                if layout.parse_segment(entry.name) is not None
            )
    except FileNotFoundError:
        return 0


def _readable(row: Row) -> Row:
    return {
        **row,
        "size": bytes_text(int(str(row["size"]))),
        "keeps": keeps(row["retention"]) if "retention" in row else None,
    }


def keeps(retention: object) -> str:
    """What a topic's retention leaves, in words."""
    if isinstance(retention, RetentionConfig):
        retention = asdict(retention)
    assert isinstance(retention, dict)
    parts = []
    if retention["max_records"] is not None:
        parts.append(f"{retention['max_records']:,} records")
    if retention["max_bytes"] is not None:
        parts.append(bytes_text(retention["max_bytes"]))
    if retention["max_age_ms"] is not None:
        parts.append(duration_text(retention["max_age_ms"]))
    return ", ".join(parts) or "all"
