"""``merkql verify-proof``: what files prove that somebody sent, and what they do not."""

from __future__ import annotations

import io
import json
import re
from argparse import ArgumentTypeError, Namespace

from merkql.bundle import unpack
from merkql.cli.parsing import Parser, Subparsers, add_json, new_command
from merkql.cli.status import FAILED, OK
from merkql.errors import ProofError
from merkql.proof import judge

ZIP = b"PK"


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql verify-proof FILE...``."""
    parser = new_command(
        subparsers,
        "verify-proof",
        arguments="[OPTION...] FILE...",
        description="Say what files prove together: a proof, records, entries, checkpoints, or an "
        "evidence bundle. Needs no data directory, and does what src/merkql/proof.py does where "
        "nothing else of merkql is. Every root, and every key, of a log or of a witness, is one "
        "that you have from elsewhere: each of the keys must have signed. The exit status is 0 if "
        "all of it holds, and 1 if anything does not.",
        examples=(
            "merkql verify-proof proof.json record.json --root 5b0c...",
            "merkql verify-proof evidence.zip --key 'example.org/log+62062874+AQOh...'",
        ),
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="what was sent")
    parser.add_argument(
        "-r", "--root", metavar="HEX", type=_root, action="append", default=[], help="a root"
    )
    parser.add_argument(
        "-k",
        "--key",
        metavar="KEY",
        action="append",
        default=[],
        help='name+id+base64; "2 KEY KEY KEY": two of these',
    )
    add_json(parser, "one JSON object")
    return parser


def run(arguments: Namespace) -> int:
    """Print the verdict; the status is 0 if all of it holds, else 1."""
    out = arguments.terminal.out
    contents = [_content(path) for path in arguments.files]
    try:
        files = [part for content in contents for part in _parts(content)]
        verdict = judge(files, arguments.root, arguments.key)
    except ProofError as error:
        said = json.dumps({"holds": False, "reason": str(error)})
        out.print(said if arguments.json else f"{out.paint('red', 'NOT PROVED')}: {error}")
        return FAILED
    if arguments.json:
        out.print(json.dumps({"holds": True, **verdict}))
        return OK
    for what in verdict["proved"]:
        out.print(f"{out.paint('green', 'PROVED')}: {what}")
    for what in verdict["not_shown"]:
        out.print(f"NOT SHOWN: {what}")
    return OK


def _content(path: str) -> bytes:
    with io.FileIO(path) as file:
        return file.readall()


def _parts(content: bytes) -> list[bytes]:
    return list(unpack(content).values()) if content.startswith(ZIP) else [content]


def _root(text: str) -> bytes:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ArgumentTypeError("a root is 64 hexadecimal digits")
    return bytes.fromhex(text)
