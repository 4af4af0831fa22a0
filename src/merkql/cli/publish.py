"""``merkql publish``: the trees as tiles, for a web server; no record is in them."""

from __future__ import annotations

import os
from argparse import Namespace

from merkql.cli.parsing import Parser, Subparsers, UsageError, add_directory, add_json, new_command
from merkql.cli.quantities import counted
from merkql.cli.signing import add_key, add_partitions, open_signing, signed_partitions
from merkql.cli.status import OK
from merkql.cli.tables import print_objects
from merkql.storage import layout
from merkql.storage.partition import Partition


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql publish DIR``."""
    parser = new_command(
        subparsers,
        "publish",
        arguments="[OPTION...] PUBLIC",
        description="Write the newest checkpoint of each partition, and the tiles of its tree, "
        "below the directory PUBLIC as TOPIC/N (for a single partition into PUBLIC itself), as "
        "c2sp.org/tlog-tiles has them: any web server serves them as they are. Only what is new is "
        "written. With --key a checkpoint is made first.",
        examples=(
            "merkql publish --key ~/keys/events.key /srv/www/events",
            "merkql publish -t orders -p 0 /srv/www/orders",
        ),
    )
    add_directory(parser)
    parser.add_argument("public", metavar="PUBLIC", help="the directory that is served")
    add_partitions(parser)
    add_key(parser)
    add_json(parser, "an object for each partition")
    return parser


def run(arguments: Namespace) -> int:
    """Write them; the status is 0."""
    if not arguments.public:  # a variable that is not set
        raise UsageError("merkql publish", "'' cannot be a directory")
    rows: list[dict[str, object]] = []
    with open_signing(arguments) as broker:
        for part in signed_partitions(arguments, broker):
            if arguments.key:
                part.checkpoint()
            elif part.newest_checkpoint() is None:
                arguments.terminal.warn(f"{part.topic}/{part.index}: nothing was signed yet")
                continue
            rows.append(_publish(part, _place(arguments, part)))
    out = arguments.terminal.out
    if arguments.json:
        print_objects(out, rows)
        return OK
    for row in rows:
        size, before = row["size"], row["size_before"]
        assert isinstance(size, int)
        assert isinstance(before, int)
        out.print(f"{row['path']}: {counted(size, 'record')}, {size - before} new")
    return OK


def _place(arguments: Namespace, part: Partition) -> str:
    if arguments.topic and arguments.partition is not None:
        return str(arguments.public)
    return os.path.join(arguments.public, layout.file_name(part.topic), str(part.index))


def _publish(part: Partition, path: str) -> dict[str, object]:
    report = part.publish(path)
    return {
        "topic": part.topic,
        "partition": part.index,
        "path": path,
        "size_before": report.size_before,
        "size": report.size,
        "files": report.file_count,
        "entries_missing": report.entries_missing,
    }
