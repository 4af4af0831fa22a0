"""``merkql consume``: records of topics, by hand from any offset or time, or as a group."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace

from merkql.cli.by_hand import by_hand
from merkql.cli.choice import Choice, compiled
from merkql.cli.chosen import topics_of
from merkql.cli.opening import to_read
from merkql.cli.parsing import (
    Parser,
    Subparsers,
    UsageError,
    add_directory,
    add_json,
    add_kcat,
    add_quiet,
    new_command,
)
from merkql.cli.positions_asked import Asked, asked
from merkql.cli.quantities import count, moment, partition
from merkql.cli.reading import Reading, Sink, as_group
from merkql.cli.record_text import (
    Renderer,
    TextStyle,
    format_renderer,
    json_renderer,
    kcat_json_renderer,
    separator,
    text_renderer,
    unescaped,
)
from merkql.cli.signing import read_policy
from merkql.positions import TopicPartition

TOKENS = (
    "-f takes kcat's tokens: %s value, %k key, %t topic, %p partition, %o offset, %T timestamp in "
    "ms, %h headers, %S and %K the lengths (-1: null), %R the length as four bytes, \\n \\t \\xNN."
)


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql consume TOPIC...``."""
    parser = new_command(
        subparsers,
        "consume",
        arguments="[OPTION...] TOPIC...",
        description="Print records: the values, a line each, from the first record kept to the "
        "last there is now; --follow goes on as records come. With a group it begins where the "
        "group is, shares the partitions with its other members, and commits what it has printed. "
        "^REGEX stands for all topics whose whole name matches. At a terminal, control "
        "characters are spelled out; elsewhere bytes are bytes.\n\n" + TOKENS,
        examples=(
            "merkql consume orders -o -10",
            "merkql consume orders --since 2026-01-31T12:00Z --json | jq -r .value",
            "merkql consume orders -K '\\t' --follow | grep order-42",
            "merkql consume orders -g billing -c 100",
            "merkql consume orders --verify policy.txt",
            "merkql consume orders -f '%p %o %T %k %s\\n'",
        ),
    )
    add_directory(parser)
    parser.add_argument("topics", metavar="TOPIC", nargs="*", help="the topics")
    parser.add_argument(
        "-t", "--topic", metavar="TOPIC", action="append", default=[], help="one more of them"
    )
    parser.add_argument("-p", "--partition", metavar="N", type=partition, help="only this one")
    parser.add_argument(
        "-o",
        "--offset",
        metavar="OFFSET",
        type=asked,
        action="append",
        default=[],
        help="begin at beginning, end, 42, -10 (the last ten of each partition) or s@TIME; "
        "stop before e@TIME; with a group: beginning or end, where it has committed nothing",
    )
    parser.add_argument("--since", metavar="TIME", type=moment, help="the same as -o s@TIME")
    parser.add_argument("--until", metavar="TIME", type=moment, help="the same as -o e@TIME")
    parser.add_argument("-g", "-G", "--group", metavar="GROUP", help="read as a member of GROUP")
    parser.add_argument(
        "--verify",
        dest="policy",
        metavar="POLICY",
        help="print no record that is not proved against a checkpoint signed as this file asks "
        "(c2sp.org/tlog-policy); those that are under none yet are left out, or waited for",
    )
    parser.add_argument("-F", "--follow", action="store_true", help="go on as records come")
    parser.add_argument("-e", "--exit", action="store_true", help="end at the end: the default")
    parser.add_argument("-c", "--count", metavar="N", type=count, help="stop after N records")
    _add_looks(parser)
    add_quiet(parser)
    return parser


def _add_looks(parser: Parser) -> None:
    parser.add_argument("-f", "--format", metavar="FORMAT", help="print what FORMAT says")
    parser.add_argument(
        "-K", dest="key_separator", metavar="SEP", type=separator, help="print keys, then SEP"
    )
    parser.add_argument(
        "-D", "--delimiter", metavar="SEP", type=unescaped, default=b"\n", help="end each with SEP"
    )
    parser.add_argument("-O", dest="with_offset", action="store_true", help="print offsets first")
    parser.add_argument("-Z", "--null", action="store_true", help='print null as "NULL"')
    parser.add_argument("--raw", action="store_true", help="values back to back, byte for byte")
    parser.add_argument("-u", "--unbuffered", action="store_true", help="nothing: it always is")
    add_json(parser, "one JSON object a line; what is not UTF-8 in base64")
    add_kcat(parser)


def run(arguments: Namespace) -> int:
    """Print the records; the status is 0 also where there are none."""
    names = topics_of(arguments)
    begin, until = _window(arguments)
    sink = Sink(arguments.terminal, _renderer(arguments), arguments.count)
    with to_read(arguments) as broker:
        policy = read_policy(arguments) if arguments.policy else None
        reading = Reading(broker, sink, arguments.follow, until, policy)
        choice = Choice(broker, names, arguments.partition)
        if arguments.group is None:
            by_hand(reading, choice, begin)
        else:
            start = {"beginning": "earliest", "stored": "earliest", "end": "latest"}
            parts = None
            if arguments.partition is not None:
                found = choice.at_start().values()
                parts = [TopicPartition(one.topic, one.index) for one in found]
            wanted = _names_or_pattern(choice)
            as_group(reading, arguments.group, start[begin.kind], wanted, parts)
    if arguments.kcat and not (arguments.exit or arguments.follow or arguments.count):
        arguments.terminal.note("the end; kcat would wait here, as -F does (-e: without this line)")
    return 0


def _window(arguments: Namespace) -> tuple[Asked, int | None]:
    """Where to begin, and the time to stop before."""
    given = list(arguments.offset)
    given += [Asked("since", arguments.since)] if arguments.since is not None else []
    given += [Asked("until", arguments.until)] if arguments.until is not None else []
    begins = [one for one in given if one.kind != "until"]
    ends = [one.number for one in given if one.kind == "until"]
    if len(begins) > 1 or len(ends) > 1:
        raise UsageError("merkql consume", "two places to begin, or to stop: one of each")
    begin = begins[0] if begins else Asked("beginning")
    if arguments.group is None and begin.kind == "stored":
        raise UsageError("merkql consume", "-o stored is where a group is: add -g GROUP")
    if arguments.group is not None and begin.kind not in ("beginning", "end", "stored"):
        raise UsageError(
            "merkql consume",
            "a group goes on where it is; -o beginning and -o end are for what it never read",
        )
    return begin, ends[0] if ends else None


def _renderer(arguments: Namespace) -> Renderer:
    looks = (arguments.json, arguments.raw, arguments.format is not None)
    if sum(looks) > 1:
        raise UsageError("merkql consume", "one of --json, --raw and --format")
    if arguments.json:
        return kcat_json_renderer if arguments.kcat else json_renderer
    style = TextStyle(
        b"" if arguments.raw else arguments.delimiter,
        arguments.key_separator,
        b"NULL" if arguments.null else b"",
        arguments.with_offset,
        visible=arguments.terminal.out.is_terminal and not arguments.raw,
    )
    if arguments.format is None:
        return text_renderer(style)
    try:
        return format_renderer(arguments.format, style)
    except ArgumentTypeError as error:
        raise UsageError("merkql consume", str(error)) from None


def _names_or_pattern(choice: Choice) -> re.Pattern[str] | list[str]:
    """What a group subscribes to; raises for a name that is not there."""
    choice.at_start()
    if not choice.patterns:
        return choice.names
    parts = [re.escape(name) for name in choice.names] + [one.pattern for one in choice.patterns]
    return compiled("|".join(f"(?:{part})" for part in parts))
