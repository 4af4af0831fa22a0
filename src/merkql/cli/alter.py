"""``merkql alter``: how a topic is kept from now on."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

from merkql.cli.opening import to_write
from merkql.cli.parsing import (
    Parser,
    Subparsers,
    UsageError,
    add_directory,
    add_json,
    add_quiet,
    add_topic,
    new_command,
    topic_of,
)
from merkql.cli.quantities import bytes_text, count, counted
from merkql.cli.tables import print_objects
from merkql.cli.topic_settings import add_settings, settings_of
from merkql.cli.topics import keeps


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql alter TOPIC``."""
    parser = new_command(
        subparsers,
        "alter",
        arguments="[OPTION...] TOPIC",
        description="Change what is given, and leave the rest. What retention hid stays hidden "
        "when it is loosened; roots and proofs hold whatever is kept.",
        examples=("merkql alter clicks --max-age 30d", "merkql alter clicks --max-bytes none"),
    )
    add_directory(parser)
    add_topic(parser)
    parser.add_argument(
        "-n", "--partitions", metavar="N", type=count, help="have N of them: more than now"
    )
    add_settings(parser)
    parser.add_argument(
        "--apply", action="store_true", help="give the disk back at once, as the limits allow"
    )
    add_json(parser, "one JSON object: the topic, with every setting")
    add_quiet(parser)
    return parser


def run(arguments: Namespace) -> int:
    """Change it; the status is 0."""
    name, terminal = topic_of(arguments), arguments.terminal
    with to_write(arguments) as broker:
        topic = broker.topic(name)
        changes = settings_of(arguments, topic.config)
        if not changes and arguments.partitions is None and not arguments.apply:
            raise UsageError("merkql alter", "say what to change")
        if arguments.partitions is not None:
            topic.add_partitions(arguments.partitions)
        if changes:
            topic.alter(**changes)
        terminal.note(
            f"topic {name!r}: {counted(topic.partition_count, 'partition')}, keeps "
            f"{keeps(topic.retention)}"
        )
        row = {"topic": name, **asdict(topic.config)}
        if arguments.apply:
            freed = sum(partition.compact() for partition in topic.partitions())
            row["freed_bytes"] = freed
            terminal.note(f"{bytes_text(freed)} given back")
    if arguments.json:
        print_objects(terminal.out, [row])
    return 0
