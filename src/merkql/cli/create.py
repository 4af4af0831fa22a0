"""``merkql create``: a new topic."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

from merkql.cli.opening import to_write
from merkql.cli.parsing import (
    Parser,
    Subparsers,
    add_directory,
    add_json,
    add_quiet,
    add_topic,
    new_command,
    topic_of,
)
from merkql.cli.quantities import count, counted
from merkql.cli.tables import print_objects
from merkql.cli.topic_settings import add_settings, settings_of
from merkql.errors import TopicExistsError
from merkql.topic_config import TopicConfig


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql create TOPIC``."""
    parser = new_command(
        subparsers,
        "create",
        arguments="[OPTION...] TOPIC",
        description="Create a topic, and the data directory where there is none. The topic is "
        "durable when the command returns.",
        examples=(
            "merkql create orders --partitions 4",
            "merkql create clicks --max-age 7d --max-bytes 10GiB --compression lz4",
        ),
    )
    add_directory(parser)
    add_topic(parser)
    parser.add_argument(
        "-n", "--partitions", metavar="N", type=count, default=1, help="how many (default: 1)"
    )
    add_settings(parser)
    parser.add_argument(
        "--erasable", action="store_true", help="salt each digest, so that nobody can guess records"
    )
    parser.add_argument(
        "--if-not-exists", action="store_true", help="fine when there is one of that name"
    )
    add_json(parser, "one JSON object: the topic, with every setting")
    add_quiet(parser)
    return parser


def run(arguments: Namespace) -> int:
    """Create it; the status is 0 unless there is one of that name."""
    name = topic_of(arguments)
    settings = settings_of(arguments, TopicConfig())
    partitions = counted(arguments.partitions, "partition")
    said, is_new = f"created topic {name!r} with {partitions}", True
    with to_write(arguments, may_create=True) as broker:
        try:
            broker.create_topic(
                name,
                partitions=arguments.partitions,
                erasable=arguments.erasable,
                **settings,
            )
        except TopicExistsError:
            if not arguments.if_not_exists:
                raise
            said, is_new = f"topic {name!r} exists already", False
        config = asdict(broker.topic(name).config)
    arguments.terminal.note(said)
    if arguments.json:
        print_objects(arguments.terminal.out, [{"topic": name, "created": is_new, **config}])
    return 0
