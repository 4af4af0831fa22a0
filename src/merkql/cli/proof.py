"""``merkql proof``: a root, a record's proof or a consistency proof, to give to somebody else."""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError, Namespace

from merkql.cli.chosen import topic_and_rest
from merkql.cli.opening import to_read
from merkql.cli.parsing import (
    Parser,
    Subparsers,
    UsageError,
    add_directory,
    add_json,
    new_command,
)
from merkql.cli.quantities import count, partition
from merkql.proofs import record_to_json


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql proof TOPIC [OFFSET]``."""
    parser = new_command(
        subparsers,
        "proof",
        arguments="[OPTION...] TOPIC [OFFSET]",
        description="Print the root of a partition: 32 bytes that stand for all its records. With "
        "an OFFSET, print the proof that the record there is in the tree under that root; with "
        "--from, the proof that the tree only grew since it had N records. A proof is JSON, and "
        "src/merkql/proof.py alone checks it: `python proof.py PROOF RECORD --root HEX`.",
        examples=(
            "merkql proof orders",
            "merkql proof orders 1041 >proof.json",
            "merkql proof orders 1041 --record >record.json",
            "merkql proof orders --from 1000 >consistency.json",
        ),
    )
    add_directory(parser)
    parser.add_argument("names", metavar="TOPIC", nargs="*", help="the topic, and the offset")
    parser.add_argument("-t", "--topic", metavar="TOPIC", help="the topic, as kcat has it")
    parser.add_argument("-p", "--partition", metavar="N", type=partition, help="which partition")
    parser.add_argument("-o", "--offset", metavar="OFFSET", type=_offset, help="of the record")
    parser.add_argument(
        "--size", metavar="N", type=count, help="in the tree of the first N records (default: all)"
    )
    parser.add_argument("--record", action="store_true", help="print the record, not its proof")
    parser.add_argument(
        "--from", dest="old", metavar="N", type=count, help="prove that nothing before N changed"
    )
    add_json(parser, "the root as JSON; proofs always are")
    return parser


def run(arguments: Namespace) -> int:
    """Print it; the status is 0."""
    topic_name, offset = _names(arguments)
    if offset is not None and arguments.old is not None:
        raise UsageError("merkql proof", "an offset or --from, not both")
    if arguments.record and offset is None:
        raise UsageError("merkql proof", "--record of which offset?")
    out = arguments.terminal.out
    with to_read(arguments) as broker:
        topic = broker.topic(topic_name)
        if arguments.partition is None and topic.partition_count > 1:
            raise UsageError(
                "merkql proof",
                f"topic {topic_name!r} has {topic.partition_count} partitions, each with a tree "
                "of its own: add -p N",
            )
        part = topic.partition(arguments.partition or 0)
        size = part.end_offset if arguments.size is None else arguments.size
        if arguments.record:
            assert offset is not None
            out.write(record_to_json(part.read(offset)).encode())
        elif offset is not None:
            out.write(part.proof(offset, size).to_json().encode())
        elif arguments.old is not None:
            out.write(part.consistency_proof(arguments.old, size).to_json().encode())
        elif arguments.json:
            root = part.root(size).hex()
            place = {"topic": topic_name, "partition": part.index}
            out.print(json.dumps({**place, "size": size, "root": root}))
        else:
            out.print(f"{part.root(size).hex()} {size}")
    return 0


def _names(arguments: Namespace) -> tuple[str, int | None]:
    topic, names = topic_and_rest(arguments)
    offset: int | None = arguments.offset
    if names and offset is None:
        try:
            offset = _offset(names.pop(0))
        except ArgumentTypeError as error:
            raise UsageError("merkql proof", str(error)) from None
    if names:
        raise UsageError("merkql proof", f"what is {names[0]!r}? There is a topic and an offset")
    return topic, offset


def _offset(text: str) -> int:
    if not re.fullmatch(r"\d{1,19}", text):
        raise ArgumentTypeError(f"{text!r} is not an offset")
    return int(text)
