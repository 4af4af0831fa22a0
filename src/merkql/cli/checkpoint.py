"""``merkql checkpoint``: sign what is there, have it witnessed and stamped, or list what was."""

from __future__ import annotations

from argparse import Namespace

from merkql.cli.parsing import Parser, Subparsers, UsageError, add_directory, add_json, new_command
from merkql.cli.signing import (
    add_key,
    add_partitions,
    open_signing,
    read_policy,
    signed_partitions,
)
from merkql.cli.status import FAILED, OK
from merkql.cli.tables import Row, print_objects, print_table
from merkql.cli.terminal import Terminal
from merkql.storage.history import KeptCheckpoint
from merkql.storage.partition import Partition
from merkql.transparency.note import parse_note
from merkql.transparency.policy import Policy

COLUMNS = ("origin", "size", "root", "signatures", "timestamps")


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql checkpoint``."""
    parser = new_command(
        subparsers,
        "checkpoint",
        arguments="[OPTION...]",
        description="Sign the root of every partition (or of one), and keep the checkpoint. With "
        "--policy the witnesses in it are asked to sign too, with --stamp a time-stamp authority. "
        "Without a key, print the newest checkpoints; --list prints all. The exit status is 1 if a "
        "quorum of the policy did not sign.",
        examples=(
            "merkql checkpoint --key ~/keys/events.key",
            "merkql checkpoint --key ~/keys/events.key --policy witnesses.txt",
            "merkql checkpoint -t orders -p 0 >checkpoint.txt",
        ),
    )
    add_directory(parser)
    add_partitions(parser)
    add_key(parser)
    parser.add_argument("--policy", metavar="FILE", help="whom to ask, as c2sp.org/tlog-policy has")
    parser.add_argument("--stamp", metavar="URL", help="a time-stamp authority (RFC 3161)")
    parser.add_argument("--list", action="store_true", help="a line for each checkpoint made")
    add_json(parser, "an object for each checkpoint")
    return parser


def run(arguments: Namespace) -> int:
    """Do it; 0, or 1 without a quorum."""
    if (arguments.policy or arguments.stamp) and not arguments.key:
        raise UsageError("merkql checkpoint", "to keep what others sign give --key, the log's own")
    policy = read_policy(arguments) if arguments.policy else None
    terminal: Terminal = arguments.terminal
    shown: list[KeptCheckpoint] = []
    status = OK
    with open_signing(arguments) as broker:
        for part in signed_partitions(arguments, broker):
            if arguments.key:
                part.checkpoint()
                if policy is not None and not _cosign(part, policy, terminal):
                    status = FAILED
                if arguments.stamp:
                    _stamp(part, arguments.stamp)
            made = part.checkpoints()
            shown += made if arguments.list else made[-1:]
    _show(arguments, shown)
    return status


def _cosign(part: Partition, policy: Policy, terminal: Terminal) -> bool:
    from merkql.transparency.witness_client import cosign

    report = cosign(part, policy)
    if not report.has_quorum:
        terminal.warn(f"{report.checkpoint.origin}: no quorum; signed: {len(report.signed)}")
    return report.has_quorum


def _stamp(part: Partition, url: str) -> None:
    from merkql.transparency.timestamp import stamp

    stamp(part, url)


def _show(arguments: Namespace, shown: list[KeptCheckpoint]) -> None:
    out = arguments.terminal.out
    if arguments.json:
        print_objects(out, [_row(one) | {"note": one.note.decode()} for one in shown])
    elif arguments.list or len(shown) != 1:
        print_table(out, COLUMNS, map(_row, shown))
    else:
        out.write(shown[0].note)  # as it leaves the machine


def _row(kept: KeptCheckpoint) -> dict[str, object]:
    row: Row = {
        "origin": kept.origin,
        "size": kept.size,
        "root": kept.root.hex(),
        "signatures": len(parse_note(kept.note).signatures),
        "timestamps": len(kept.timestamps),
    }
    return dict(row)
