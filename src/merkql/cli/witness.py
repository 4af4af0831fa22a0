"""``merkql witness``: be a witness for the logs of others, over HTTP."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace

from merkql.cli.parsing import Parser, Subparsers, UsageError, add_json, new_command
from merkql.cli.status import OK
from merkql.cli.tables import print_objects
from merkql.transparency.key_file import read_key
from merkql.transparency.note import COSIGNATURE, VerifierKey
from merkql.transparency.witness import Witness
from merkql.transparency.witness_server import Server


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql witness``."""
    parser = new_command(
        subparsers,
        "witness",
        arguments="--key FILE --state DIR --log VKEY...",
        description="Serve c2sp.org/tlog-witness: sign the checkpoints of the logs given, each "
        "only if it goes on from the one signed before, so that a log cannot show two pasts. The "
        "state is what was signed last; a witness that loses it, or goes back to an old copy, "
        "protects nobody. Put a web server with TLS before it. Ends with Ctrl-C.",
        examples=(
            "merkql keygen --witness --name w1.example.net witness.key",
            "merkql witness --key witness.key --state /var/lib/witness --log VKEY",
        ),
    )
    parser.add_argument("--key", metavar="FILE", required=True, help="the witness's private key")
    parser.add_argument("--state", metavar="DIR", required=True, help="what it signed, by log")
    parser.add_argument(
        "--log", metavar="VKEY", action="append", default=[], help="the public key of a log"
    )
    parser.add_argument(
        "--listen", metavar="HOST:PORT", type=_address, default=("127.0.0.1", 8391), help="where"
    )
    add_json(parser, "one JSON object: the public key and the URL")
    return parser


def run(arguments: Namespace) -> int:
    """Serve until Ctrl-C."""
    if not arguments.log:
        raise UsageError("merkql witness", "whose witness? Give --log with a log's public key")
    key = read_key(arguments.key)
    if key.algorithm != COSIGNATURE:
        raise UsageError("merkql witness", "a witness has a key of its own: keygen --witness")
    logs = [VerifierKey.parse(text) for text in arguments.log]
    host, port = arguments.listen
    with Witness(key, logs, arguments.state) as witness:
        server = Server(witness, host, port)
        out = arguments.terminal.out
        if arguments.json:
            print_objects(out, [{"public_key": str(key.verifier), "url": server.url}])
        else:
            out.print(f"{key.verifier}")
            out.print(f"listening on {server.url}")
        out.flush()
        try:
            server.run()
        finally:
            server.close()
    return OK


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
