"""``merkql erase``: destroys single records, and leaves their entries in the tree."""

from __future__ import annotations

import re
from argparse import Namespace

from merkql.cli.opening import to_write
from merkql.cli.parsing import (
    Parser,
    Subparsers,
    UsageError,
    add_directory,
    add_json,
    add_quiet,
    add_yes,
    confirm,
    new_command,
)
from merkql.cli.quantities import counted, partition
from merkql.cli.tables import print_objects
from merkql.topic import Topic

_OFFSETS = re.compile(r"(\d{1,18})(?:\.\.(\d{1,18}))?")


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql erase TOPIC PARTITION OFFSET...``."""
    parser = new_command(
        subparsers,
        "erase",
        arguments="[OPTION...] TOPIC (PARTITION OFFSET[..LAST]... | --key KEY)",
        description="Destroy records of a topic that was created with --erasable: value, key, "
        "headers and salt, in every file of the directory. Roots, proofs and checkpoints stay "
        "valid, and reading gives a record that is marked erased. Who erased what is written to "
        "the topic __erasures, without the key. Asks first; where nobody can be asked, --yes is "
        "needed. Backups and copies of others are not reached.",
        examples=(
            "merkql erase users 0 1041 --by alice --reason 'ticket 77'",
            "merkql erase users 0 1041 1050..1055",
            "merkql erase users --key user-77 --yes",
        ),
    )
    add_directory(parser)
    parser.add_argument("words", metavar="TOPIC", nargs="*", help="the topic, partition, offsets")
    parser.add_argument(
        "-k", "--key", metavar="KEY", help="every record with this key, in any partition"
    )
    parser.add_argument("--by", metavar="NAME", help="who erases, for the log of erasures")
    parser.add_argument(
        "--reason", metavar="TEXT", help="and why; nothing of the record belongs here"
    )
    add_yes(parser)
    add_json(parser, "one JSON object a partition: which offsets were erased now")
    add_quiet(parser)
    return parser


def run(arguments: Namespace) -> int:
    """Erase; the status is 1 if it was not agreed to."""
    words, terminal = list(arguments.words), arguments.terminal
    if not words:
        raise UsageError("merkql erase", "which topic?")
    name, places = words[0], words[1:]
    if (arguments.key is None) == (not places):
        raise UsageError("merkql erase", "a partition and offsets, or --key: one of them")
    index, offsets = _offsets(places) if places else (None, [])
    what = f"every record with the key {arguments.key!r}" if index is None else _shown(offsets)
    with to_write(arguments) as broker:
        topic = broker.topic(name)
        if not confirm(arguments, f"{what} of topic {name!r}"):
            return 1
        erased = _erase(arguments, topic, index, offsets)
    rows = [
        {"topic": name, "partition": number, "erased": found}
        for number, found in sorted(erased.items())
    ]
    if arguments.json:
        print_objects(terminal.out, rows)
    count = sum(map(len, erased.values()))
    already = counted(len(offsets) - count, "record") if len(offsets) > count else ""
    terminal.note(
        f"erased {counted(count, 'record')} of topic {name!r}"
        f"{f'; {already} had been erased before' if already else ''}"
    )
    return 0


def _erase(
    arguments: Namespace, topic: Topic, index: int | None, offsets: list[int]
) -> dict[int, list[int]]:
    if index is None:
        return topic.erase_key(arguments.key, by=arguments.by, reason=arguments.reason)
    part = topic.partition(index)
    return {index: part.erase(*offsets, by=arguments.by, reason=arguments.reason)}


def _offsets(words: list[str]) -> tuple[int, list[int]]:
    number = partition(words[0]) if re.fullmatch(r"\d{1,9}", words[0]) else None
    if number is None:
        raise UsageError("merkql erase", f"{words[0]!r} is not the number of a partition")
    if len(words) < 2:
        raise UsageError("merkql erase", f"which offsets of partition {number}?")
    found: set[int] = set()
    for word in words[1:]:
        match = _OFFSETS.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise UsageError("merkql erase", f"{word!r} is no offset, and no range such as 10..20")
        found.update(range(first, last + 1))
    return number, sorted(found)


def _shown(offsets: list[int]) -> str:
    if len(offsets) == 1:
        return f"the record at offset {offsets[0]}"
    return f"the {len(offsets):,} records from offset {offsets[0]} to {offsets[-1]}"
