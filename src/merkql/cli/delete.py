"""``merkql delete``: removes topics with every byte of their records."""

from __future__ import annotations

from argparse import Namespace

from merkql.cli.chosen import topics_of
from merkql.cli.opening import to_write
from merkql.cli.parsing import (
    Parser,
    Subparsers,
    add_directory,
    add_json,
    add_quiet,
    add_yes,
    confirm,
    new_command,
)
from merkql.cli.quantities import counted
from merkql.cli.tables import print_objects
from merkql.errors import CorruptionError
from merkql.topic import Topic


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql delete TOPIC...``."""
    parser = new_command(
        subparsers,
        "delete",
        arguments="[OPTION...] TOPIC...",
        description="Remove topics and every byte of their records, for good. Asks first; where "
        "nobody can be asked, --yes is needed.",
        examples=("merkql delete clicks", "merkql delete --yes clicks views"),
    )
    add_directory(parser)
    parser.add_argument("topics", metavar="TOPIC", nargs="*", help="the topics")
    parser.add_argument(
        "-t", "--topic", metavar="TOPIC", action="append", default=[], help="one more of them"
    )
    add_yes(parser)
    add_json(parser, "one JSON object a topic: whether it was deleted")
    add_quiet(parser)
    return parser


def run(arguments: Namespace) -> int:
    """Remove them; the status is 1 if one was spared."""
    names, terminal = topics_of(arguments), arguments.terminal
    rows: list[dict[str, object]] = []
    with to_write(arguments) as broker:
        for name in names:
            topic = broker.topic(name)
            records = _records_of(topic)
            agreed = confirm(arguments, f"topic {name!r} with {records}")
            rows.append({"topic": name, "deleted": agreed})
            if agreed:
                broker.delete_topic(name)
                terminal.note(f"deleted topic {name!r} with {records}")
    if arguments.json:
        print_objects(terminal.out, rows)
    return 0 if all(row["deleted"] for row in rows) else 1


def _records_of(topic: Topic) -> str:
    try:
        return counted(sum(p.end_offset - p.start_offset for p in topic.partitions()), "record")
    except CorruptionError as error:
        return f"damage ({error})"  # no reason to keep it
