"""``merkql keygen``: a key that signs checkpoints, or a witness's."""

from __future__ import annotations

from argparse import Namespace

from merkql.cli.parsing import Parser, Subparsers, UsageError, add_json, new_command
from merkql.cli.tables import print_objects
from merkql.transparency.key_file import read_key, write_key
from merkql.transparency.note import SigningKey


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql keygen FILE``."""
    parser = new_command(
        subparsers,
        "keygen",
        arguments="[OPTION...] FILE",
        description="Make a private key in FILE, readable by its owner alone, and print the public "
        "key. The file does not belong in a data directory: whoever copies the log would have the "
        "key. The name is the beginning of the origin of every checkpoint, and stays when the key "
        "changes. What the key signed last is kept beside it, in FILE.heads.",
        examples=(
            "merkql keygen --name example.com/events ~/keys/events.key",
            "merkql keygen --witness --name w1.example.net ~/keys/witness.key",
            "merkql keygen --show ~/keys/events.key",
        ),
    )
    parser.add_argument("file", metavar="FILE", help="where the private key is to be")
    parser.add_argument(
        "--name", metavar="NAME", default="merkql", help="of the log or witness, best a URL's host"
    )
    parser.add_argument("--witness", action="store_true", help="a key for a witness")
    parser.add_argument("--show", action="store_true", help="print the public key of one there is")
    add_json(parser, "one JSON object: the file, the name, the public key")
    return parser


def run(arguments: Namespace) -> int:
    """Make it; the status is 0."""
    if not arguments.file:
        raise UsageError("merkql keygen", "'' cannot be a file")
    if arguments.show:
        key = read_key(arguments.file)
    else:
        key = SigningKey.generate(arguments.name, witness=arguments.witness)
        try:
            write_key(arguments.file, key)
        except FileExistsError as error:
            text = "there is something already, and it is kept; --show prints a key's public half"
            raise FileExistsError(error.errno, text, arguments.file) from None
    out = arguments.terminal.out
    if arguments.json:
        facts = {"file": arguments.file, "name": key.name, "public_key": str(key.verifier)}
        print_objects(out, [facts])
    else:
        out.print(str(key.verifier))
    return 0
