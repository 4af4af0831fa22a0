"""The options that say how a topic is kept; `create` and `alter` share them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from merkql.cli.parsing import Parser
from merkql.cli.quantities import count, duration, size
from merkql.storage.partition_identity import CheckpointSchedule
from merkql.storage.retention import RetentionConfig
from merkql.topic_config import COMPRESSIONS, DURABILITIES, TopicConfig

NO_LIMIT = "none"
_SETTINGS = ("durability", "compression", "segment_bytes", "segment_age_ms")


def add_settings(parser: Parser) -> None:
    """Retention, durability, compression and segments."""
    for option, metavar, kind, text in (
        ("--max-records", "N", count, "keep the newest N records of each partition"),
        ("--max-bytes", "SIZE", size, "keep the newest SIZE of each partition, such as 10GiB"),
        ("--max-age", "TIME", duration, "keep what is no older than TIME, such as 7d"),
    ):
        parser.add_argument(
            option, metavar=metavar, type=_or_none(kind), help=f'{text}; "{NO_LIMIT}": no limit'
        )
    parser.add_argument(
        "--durability",
        choices=DURABILITIES,
        metavar="|".join(DURABILITIES),
        help="fsync survives power loss, disk the death of the process",
    )
    parser.add_argument(
        "-z",
        "--compression",
        choices=COMPRESSIONS,
        metavar="|".join(COMPRESSIONS),
        help="of new records",
    )
    parser.add_argument(
        "--segment-bytes",
        metavar="SIZE",
        type=size,
        help="where a segment ends, and the largest record",
    )
    parser.add_argument(
        "--segment-age",
        metavar="TIME",
        type=duration,
        dest="segment_age_ms",
        help="a segment also ends when its records span so long",
    )
    _add_checkpoints(parser)


def _add_checkpoints(parser: Parser) -> None:
    parser.add_argument(
        "--checkpoint-records",
        metavar="N",
        type=_or_none(count),
        help=f'who writes with a key signs after N new records; "{NO_LIMIT}": as it was opened',
    )
    parser.add_argument(
        "--checkpoint-every",
        metavar="TIME",
        type=_or_none(duration),
        help=f'and when a new record waited so long, such as 10s; "{NO_LIMIT}": as it was opened',
    )


def _checkpoints_of(arguments: Namespace, before: CheckpointSchedule) -> CheckpointSchedule:
    records, every = arguments.checkpoint_records, arguments.checkpoint_every
    seconds = every / 1000 if isinstance(every, int) else every
    return CheckpointSchedule(
        records=None if records == NO_LIMIT else records or before.records,
        seconds=None if seconds == NO_LIMIT else seconds or before.seconds,
    )


def settings_of(arguments: Namespace, before: TopicConfig) -> dict[str, Any]:
    """What was given, for ``create_topic`` and ``alter``; limits not given are as ``before``."""
    given = {name: getattr(arguments, name) for name in _SETTINGS}
    limits = {}
    for name, option in (
        ("max_records", "max_records"),
        ("max_bytes", "max_bytes"),
        ("max_age_ms", "max_age"),
    ):
        value = getattr(arguments, option)
        limits[name] = None if value == NO_LIMIT else value or getattr(before.retention, name)
    retention = RetentionConfig(**limits)
    if retention != before.retention:
        given["retention"] = retention
    checkpoints = _checkpoints_of(arguments, before.checkpoints)
    if checkpoints != before.checkpoints:
        given["checkpoints"] = checkpoints
    return {name: value for name, value in given.items() if value is not None}


def _or_none(kind: Callable[[str], int]) -> Callable[[str], int | str]:
    def parse(text: str) -> int | str:
        return NO_LIMIT if text == NO_LIMIT else kind(text)

    return parse
