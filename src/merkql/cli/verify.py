"""``merkql verify``: recomputes what a directory holds from the records up, and lists damage.

Reads only, beside a writer too; ``--repair`` makes indexes and stored hashes again.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field

from merkql.cli.chosen import partitions_of
from merkql.cli.explaining import in_words
from merkql.cli.opening import damaged_topics, to_read, to_write
from merkql.cli.parsing import (
    Parser,
    Subparsers,
    UsageError,
    add_directory,
    add_json,
    add_quiet,
    new_command,
)
from merkql.cli.quantities import bytes_text, counted, partition
from merkql.cli.status import DAMAGED, OK
from merkql.cli.tables import print_objects
from merkql.cli.terminal import Terminal
from merkql.cli.verify_rest import check_groups, check_signatures, check_wal
from merkql.errors import CorruptionError, MerkqlError
from merkql.storage.partition import Partition
from merkql.storage.verification import DerivedDamageError
from merkql.transparency.note import VerifierKey
from merkql.transparency.policy import Policy

BEYOND_ALL = 1 << 62  # an offset: salvage from there on returns damage and no records


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql verify [DIR]``."""
    parser = new_command(
        subparsers,
        "verify",
        arguments="[OPTION...] [DIR]",
        description="Recompute every checksum, leaf and root of a data directory, and check its "
        "write-ahead log, topics and groups. Prints a line for each partition and one for each "
        "damage, with file and position. Changes nothing, and may run beside a writer. The exit "
        "status is 0 for a sound directory and 3 for a damaged one.",
        examples=(
            "merkql verify /var/lib/events",
            "merkql verify -t orders -p 0",
            "merkql verify --json | jq 'select(.damage)'",
        ),
    )
    add_directory(parser)
    parser.add_argument("path", metavar="DIR", nargs="?", help="the data directory, as with -d")
    parser.add_argument(
        "-t", "--topic", metavar="TOPIC", action="append", default=[], help="only this topic"
    )
    parser.add_argument("-p", "--partition", metavar="N", type=partition, help="only this one")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="make indexes and stored hashes again where the records are sound",
    )
    parser.add_argument(
        "--log",
        metavar="VKEY",
        action="append",
        default=[],
        help="check the signatures on the checkpoints too; the log's public key, again for another",
    )
    add_json(parser, "one JSON object for each partition and each damage")
    add_quiet(parser)
    return parser


def run(arguments: Namespace) -> int:
    """Verify it; the status is 0 when all is sound and 3 when something is damaged."""
    if arguments.path is not None:
        arguments.directory = arguments.path
    if arguments.partition is not None and not arguments.topic:
        raise UsageError("merkql verify", "-p needs a topic: add -t TOPIC")
    report = _Report(arguments.terminal, is_json=arguments.json, is_quiet=arguments.quiet)
    if arguments.log:
        report.policy = Policy.of_keys([VerifierKey.parse(key) for key in arguments.log])
    started = time.monotonic()
    with to_write(arguments) if arguments.repair else to_read(arguments) as broker:
        names = arguments.topic or broker.topics(internal=True)
        unread = [] if arguments.topic else damaged_topics(arguments.directory)
        for damage in unread:
            arguments.terminal.is_told(str(damage))
        _verify(list(partitions_of(broker, names, arguments.partition)), report)
        if not arguments.topic:
            for error in (
                *unread,
                *check_groups(broker, arguments.directory),
                *check_wal(arguments.directory),
            ):
                report.damaged(error)
    report.end(time.monotonic() - started)
    return DAMAGED if report.damage_count else OK


@dataclass(slots=True)
class _Report:
    """What was found, printed as it is found."""

    terminal: Terminal
    is_json: bool
    is_quiet: bool
    policy: Policy | None = None  # whose signatures are to be on the checkpoints
    damage_count: int = 0
    sound: list[int] = field(default_factory=list)  # records of each sound partition

    def whole(self, row: dict[str, object]) -> None:
        """A partition that is sound."""
        self.sound.append(int(str(row["records"])))
        if self.is_json:
            print_objects(self.terminal.out, [{**row, "damage": None}])
        elif not self.is_quiet:
            out = self.terminal.out
            out.print(
                f"{out.paint('green', 'ok')}      {row['topic']}/{row['partition']}  "
                f"{counted(self.sound[-1], 'record')}{_erased(row)}, "
                f"{bytes_text(int(str(row['size_bytes'])))}, "
                f"root {str(row['root'])[:16]}…"
            )
        self.terminal.out.flush()

    def damaged(self, error: Exception, place: Partition | None = None) -> None:
        """Something that is wrong."""
        self.damage_count += 1
        where = f"{place.topic}/{place.index}" if place else None
        text = in_words(error) if isinstance(error, OSError) else str(error)
        if self.is_json:
            row: dict[str, object] = {"topic": None, "partition": None}
            if place is not None:
                row = {"topic": place.topic, "partition": place.index}
            if isinstance(error, CorruptionError):
                row |= {"path": error.path, "position": error.position}
            reason = error.reason if isinstance(error, CorruptionError) else text
            derived = isinstance(error, DerivedDamageError)
            print_objects(self.terminal.out, [{**row, "damage": reason, "derived": derived}])
        else:
            out = self.terminal.out
            hint = "; the records are sound: --repair makes this file again"
            text += hint if isinstance(error, DerivedDamageError) else ""
            out.print(f"{out.paint('red', 'damaged')} {f'{where}  ' if where else ''}{text}")
        self.terminal.out.flush()

    def end(self, seconds: float) -> None:
        """The sum of it."""
        records = counted(sum(self.sound), "record")
        text = f"{counted(len(self.sound), 'partition')} with {records} sound in {seconds:.1f} s"
        if self.damage_count:
            text = f"{counted(self.damage_count, 'place')} damaged; {text}"
        self.terminal.note(text)


def _erased(row: dict[str, object]) -> str:
    return f" ({row['erased']} erased)" if row["erased"] else ""


def _verify(partitions: list[Partition], report: _Report) -> None:
    sizes = list(map(_size, partitions))
    done, total = 0, sum(sizes)
    with report.terminal.progress("verify") as bar:
        for one, size in zip(partitions, sizes, strict=True):
            bar.label = f"verify {one.topic}/{one.index}"

            def show(records: int, _: int, before: int = done) -> None:
                bar.update(before + records, total)

            _verify_one(one, report, show)
            done += size


def _size(partition: Partition) -> int:
    try:
        return partition.end_offset - partition.start_offset
    except (MerkqlError, OSError):
        return 0  # verifying it says what is wrong


def _verify_one(one: Partition, report: _Report, show: Callable[[int, int], None]) -> None:
    try:
        found = one.verify(show)
        if report.policy is not None:
            check_signatures(one, report.policy)
    except CorruptionError as error:
        report.damaged(error, one)
        for stretch in _damaged_stretches(one):
            if (stretch.path, stretch.position) != (error.path, error.position):
                report.damaged(stretch, one)
        return
    except OSError as error:
        report.damaged(error, one)
        return
    report.whole(
        {
            "topic": found.topic,
            "partition": found.partition,
            "first": found.first_offset,
            "next": found.end_offset,
            "records": found.end_offset - found.first_offset,
            "size_bytes": found.size_bytes,
            "root": found.root.hex(),
            "erased": len(found.erased),
        }
    )


def _damaged_stretches(partition: Partition) -> list[CorruptionError]:
    """Everything in the segments that cannot be read, not only what comes first."""
    try:
        return partition.salvage(BEYOND_ALL).damage
    except CorruptionError as error:
        return [error]
