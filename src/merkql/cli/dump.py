"""``merkql dump``: what is in a file of a data directory, damaged or not, for people."""

from __future__ import annotations

import errno
import os
import re
from argparse import Namespace
from contextlib import closing

from merkql.cli.dump_checkpoints import dump_checkpoints
from merkql.cli.dump_groups import dump_assignment, dump_lock, dump_member, dump_offsets
from merkql.cli.dump_log import dump_frames
from merkql.cli.dump_segments import dump_index, dump_segment
from merkql.cli.dump_small import (
    dump_clean,
    dump_json,
    dump_salts,
    dump_start,
    dump_state,
    dump_tail,
    dump_tree,
)
from merkql.cli.dumping import Depth, Dump, Place
from merkql.cli.parsing import Parser, Subparsers, UsageError, add_json, new_command
from merkql.cli.quantities import bytes_text
from merkql.cli.status import DAMAGED, OK

# What a file is, by its name, and what it is called; the directories tell two apart.
KINDS: dict[str, tuple[str, Dump]] = {
    "segment": (r"\d+\.log", dump_segment),
    "index": (r"\d+\.index", dump_index),
    "wal": (r"\d+\.wal(\.kept)?", dump_frames),
    "tail": (r"tail", dump_tail),
    "checkpoints": (r"checkpoints", dump_checkpoints),
    "offsets": (r"offsets", dump_offsets),
    "assignment": (r"assignment", dump_assignment),
    "member": (r"[0-9a-f]{14}-[0-9a-f]{8}", dump_member),
    "topic": (r"topic\.json", dump_json),
    "directory": (r"merkql\.json", dump_json),
    "start": (r"start", dump_start),
    "clean": (r"clean", dump_clean),
    "tree": (r"h\d\d", dump_tree),
    "salts": (r"salts", dump_salts),
    "lock": (r"lock(\.queue|\.sharers)?", dump_lock),
    "state": (r"state", dump_state),
}


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql dump FILE...``."""
    parser = new_command(
        subparsers,
        "dump",
        arguments="[OPTION...] FILE...",
        description="Show what is in a file of a data directory: a segment (.log), an index, a "
        "write-ahead log (.wal), a tail page, checkpoints, offsets, an assignment, a topic's "
        "settings, a level of a tree. A line for each thing in it, with its byte position; what is "
        "wrong is named in its place, and the rest is shown all the same. The exit status is then "
        "3. Changes nothing; the file may lie anywhere.",
        examples=(
            "merkql dump topics/orders/0/00000000000000000000.log",
            "merkql dump --records --json *.log | jq 'select(.what==\"record\")'",
            "merkql dump --as segment rescued.bin",
        ),
    )
    parser.add_argument("file", metavar="FILE", nargs="+", help="the files")
    parser.add_argument(
        "-r", "--records", action="store_true", help="also each record, entry or hash in it"
    )
    parser.add_argument(
        "--as", dest="kind", metavar="KIND", choices=KINDS, help=f"it is: {', '.join(KINDS)}"
    )
    add_json(parser, "one JSON object a line")
    return parser


def run(arguments: Namespace) -> int:
    """Show them; the status is 3 if anything in them is wrong."""
    out, depth, wrong = arguments.terminal.out, Depth(arguments.records), 0
    for path in arguments.file:
        place = Place(path)
        with closing(place.pool):
            if os.path.isdir(place.path):
                raise IsADirectoryError(
                    errno.EISDIR, "a directory; name the files in it", path or "''"
                )
            size = place.size  # raises for what is not there
            kind = arguments.kind or kind_of(place)
            if not arguments.json:
                out.print(out.paint("bold", f"{path}: {kind}, {bytes_text(size)}"))
            for finding in KINDS[kind][1](place, depth):
                finding.print(out, is_json=arguments.json)
                wrong += finding.problem is not None
    return DAMAGED if wrong else OK


def kind_of(place: Place) -> str:
    """What a file is, by its name. Raises ``UsageError`` for a name that is none of ours."""
    for kind, (pattern, _) in KINDS.items():
        if re.fullmatch(pattern, place.name):
            return kind
    raise UsageError(
        "merkql dump", f"{place.path}: not a name of ours; say what it is with --as KIND"
    )
