"""``merkql monitor``: follow logs, and say loudly when one is not what it said."""

from __future__ import annotations

import os
import threading
from argparse import Namespace
from dataclasses import asdict

from merkql.broker import Broker
from merkql.cli.explaining import in_words
from merkql.cli.parsing import Parser, Subparsers, add_json, new_command
from merkql.cli.quantities import counted, duration
from merkql.cli.signing import read_policy
from merkql.cli.status import DAMAGED, FAILED, OK
from merkql.cli.tables import print_objects
from merkql.storage import layout
from merkql.storage.files import Files, replace_file
from merkql.transparency.monitor import Monitor, Status, prometheus
from merkql.transparency.sources import PartitionSource, PathSource, Source, WebSource


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql monitor SOURCE...``."""
    parser = new_command(
        subparsers,
        "monitor",
        arguments="[OPTION...] --state DIR SOURCE...",
        description="Check what is new of each log since the last time, down to every leaf: the "
        "tiles at a path or a URL, or all partitions of a data directory. A fork, a rollback, a "
        "missing tile or a wrong leaf is an alarm; a fork stays one until its file in the state "
        "directory is removed. The exit status is 0 if all is well, 3 with an alarm, 1 if a log "
        "was not reached. For cron: it prints nothing but what is wrong with --quiet.",
        examples=(
            "merkql monitor --log VKEY --state ~/monitor https://example.com/events/orders/0",
            "merkql monitor --policy trust.txt --state ~/monitor --quiet /var/lib/events",
            "merkql monitor --log VKEY --state ~/monitor --prometheus log.prom --every 1m URL",
        ),
    )
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="a URL, or a directory")
    parser.add_argument("--state", metavar="DIR", required=True, help="what was verified last")
    parser.add_argument(
        "--log", metavar="VKEY", action="append", default=[], help="the public key of a log"
    )
    parser.add_argument("--policy", metavar="FILE", help="logs, witnesses and a quorum")
    parser.add_argument("--prometheus", metavar="FILE", help="write the status as metrics too")
    parser.add_argument("--every", metavar="TIME", type=duration, help="again and again")
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what is wrong")
    add_json(parser, "an object for each log")
    return parser


def run(arguments: Namespace) -> int:
    """Look once, or until Ctrl-C; 0, 3 for an alarm, 1 if a log was not reached."""
    monitor = Monitor(read_policy(arguments), arguments.state)
    never = threading.Event()
    while True:
        status = _look_at_all(arguments, monitor)
        if arguments.every is None:
            return status
        arguments.terminal.out.flush()
        never.wait(arguments.every / 1000)


def _look_at_all(arguments: Namespace, monitor: Monitor) -> int:
    terminal, found, unreached, result = arguments.terminal, [], [], OK
    for name in dict.fromkeys(arguments.sources):
        try:
            found += _look(monitor, name)
        except OSError as error:
            terminal.warn(f"{name}: not reached: {in_words(error)}")
            unreached.append(name)
            result = FAILED
    if any(one.alarm for one in found):
        result = DAMAGED
    if arguments.prometheus:
        metrics = prometheus(found, unreached)
        replace_file(Files(), os.path.abspath(arguments.prometheus), metrics.encode())
    if arguments.json:
        print_objects(terminal.out, [asdict(one) for one in found])
        return result
    for one in found:
        if one.alarm:
            alarm = terminal.out.paint("red", f"ALARM {one.alarm}")
            terminal.out.print(f"{alarm} {one.source}: {one.message}")
        elif not arguments.quiet:
            new = one.size - one.size_before
            terminal.out.print(f"ok {one.origin}: {counted(one.size, 'record')}, {new} new")
    return result


def _look(monitor: Monitor, name: str) -> list[Status]:
    if not os.path.exists(layout.directory_mark(name)):
        is_url = name.startswith(("http://", "https://"))
        source: Source = WebSource(name) if is_url else PathSource(os.path.abspath(name))
        return [monitor.look(source)]
    with Broker.open(name, read_only=True) as broker:
        return [
            monitor.look(PartitionSource(broker.topic(topic)._open_log(part.index)))
            for topic in broker.topics(internal=True)
            for part in broker.topic(topic).partitions()
            if part.newest_checkpoint() is not None
        ]
