"""``merkql evidence``: records and all that a stranger needs to check them, in one zip file."""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError, Namespace

from merkql.cli.opening import to_read
from merkql.cli.parsing import Parser, Subparsers, add_directory, add_json, new_command
from merkql.cli.quantities import counted, partition
from merkql.cli.status import OK


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql evidence TOPIC PARTITION FIRST..LAST -o FILE``."""
    parser = new_command(
        subparsers,
        "evidence",
        arguments="[OPTION...] TOPIC PARTITION FIRST..LAST -o FILE.zip",
        description="Write the records from offset FIRST to LAST, both among them, to a zip file "
        "with what shows that they are in the log: their proof, the newest checkpoint that covers "
        "them with its signatures, a program and a page for a browser that check it, and a README "
        "that says what it shows. `merkql verify-proof FILE.zip` checks it too.",
        examples=(
            "merkql evidence orders 0 1041..1060 -o evidence.zip",
            "merkql evidence orders 0 1041 -o evidence.zip",
        ),
    )
    add_directory(parser)
    parser.add_argument("topic", metavar="TOPIC", help="the topic")
    parser.add_argument("partition", metavar="PARTITION", type=partition, help="its number")
    parser.add_argument("range", metavar="FIRST..LAST", type=_range, help="offsets, or just one")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the zip file")
    add_json(parser, "what was written, as JSON")
    return parser


def run(arguments: Namespace) -> int:
    """Write it; the status is 0."""
    first, last = arguments.range
    with to_read(arguments) as broker:
        part = broker.topic(arguments.topic).partition(arguments.partition or 0)
        proof = part.evidence(first, last + 1, arguments.output)
    out = arguments.terminal.out
    if arguments.json:
        facts = {"first": first, "last": last, "size": proof.size, "root": proof.root.hex()}
        out.print(json.dumps({"file": arguments.output, **facts}))
        return OK
    records = counted(last + 1 - first, "record")
    out.print(f"{arguments.output}: {records} of {proof.size}, root {proof.root.hex()}")
    return OK


def _range(text: str) -> tuple[int, int]:
    parts = re.fullmatch(r"([0-9]{1,19})(?:\.\.([0-9]{1,19}))?", text)
    if parts is None:
        raise ArgumentTypeError(f"{text!r} is not FIRST..LAST, two offsets")
    first, last = int(parts[1]), int(parts[2] or parts[1])
    if last < first:
        raise ArgumentTypeError(f"{text!r} ends before it begins")
    return first, last
