"""``merkql groups``: consumer groups: who is in them, what is committed, how far they are behind.

Formats: docs/formats/group-offsets.md, docs/formats/group-members.md. Changes nothing.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from functools import partial

from merkql.assignment import GroupState, decode_state
from merkql.broker import Broker
from merkql.cli.opening import to_read
from merkql.cli.parsing import Parser, Subparsers, add_directory, add_json, new_command
from merkql.cli.status import DAMAGED, FAILED, OK
from merkql.cli.tables import Row, print_objects, print_table
from merkql.errors import CorruptionError
from merkql.group_names import unnamed_groups
from merkql.groups import STATE_SIZE_MAX, Group, PartitionKey
from merkql.member_file import decode_member, last_poll_ms
from merkql.storage import layout
from merkql.storage.files import Files, read_file
from merkql.topic import Topic

COLUMNS = ("group", "topic", "partition", "committed", "next", "lag", "member")


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql groups [GROUP...]``."""
    parser = new_command(
        subparsers,
        "groups",
        arguments="[OPTION...] [GROUP...]",
        description="List the consumer groups, a line for each partition that a group has "
        "committed or reads now: the next offset it will read, the next to be written, how many "
        "records lie between (the lag), and which process reads it. Changes nothing.",
        examples=("merkql groups", "merkql groups billing --json | jq -s 'map(.lag) | add'"),
    )
    add_directory(parser)
    parser.add_argument("groups", metavar="GROUP", nargs="*", help="only these")
    parser.add_argument(
        "-g", "-G", "--group", metavar="GROUP", action="append", default=[], help="one more"
    )
    parser.add_argument("-t", "--topic", metavar="TOPIC", help="only this topic")
    parser.add_argument("--names", action="store_true", help="the names alone, one a line")
    add_json(parser, "one JSON object a line")
    return parser


def run(arguments: Namespace) -> int:
    """List them; the status tells whether one was not there, or is damaged."""
    terminal, status = arguments.terminal, OK
    asked = [*arguments.group, *arguments.groups]
    rows: list[Row] = []
    with to_read(arguments) as broker:
        known = broker.groups()
        if arguments.names:
            for name in known:
                terminal.out.print(name)
            return OK
        for name in asked or known:
            if name not in known:
                terminal.fail(f"no group {name!r}")
                status = status or FAILED
                continue
            try:
                rows += _rows(broker, arguments.directory, name)
            except CorruptionError as error:
                terminal.fail(str(error))
                status = DAMAGED
    if not asked:
        for damage in unnamed_groups(Files(), layout.groups_directory(arguments.directory)):
            terminal.fail(str(damage))
            status = DAMAGED
    if arguments.topic is not None:
        rows = [row for row in rows if row["topic"] == arguments.topic]
    if arguments.json:
        print_objects(terminal.out, rows)
    elif rows:
        print_table(terminal.out, COLUMNS, map(_readable, rows))
    elif not status:
        terminal.note("no group has committed anything yet")
    return status


def _rows(broker: Broker, directory: str, name: str) -> Iterator[Row]:
    """Of one group, by topic and partition."""
    files = Files()
    group = Group(files, layout.groups_directory(directory), name)
    offsets, members = group.read_offsets(), _members(files, group)
    topics = {topic.id: topic for topic in map(broker.topic, broker.topics(internal=True))}
    for key in sorted(_whole_topics({*offsets, *members}, topics), key=partial(_place, topics)):
        committed, topic = offsets.get(key), topics.get(key.topic_id)
        row: dict[str, object] = {
            "group": name,
            "topic": topic.name if topic else None,
            "partition": key.partition,
            "committed": committed.offset if committed else None,
            "next": None,
            "lag": None,
            "member": members.get(key),
        }
        if topic is not None and key.partition < topic.partition_count:
            partition = topic.partition(key.partition)
            first, end = partition.start_offset, partition.end_offset
            position = first if committed is None else max(first, committed.offset)
            row |= {"next": end, "lag": max(0, end - position)}
        yield row


def _whole_topics(keys: set[PartitionKey], topics: dict[bytes, Topic]) -> set[PartitionKey]:
    """With the partitions a group has never committed, of the topics it reads: they lag most."""
    read = {key.topic_id for key in keys} & set(topics)
    every = {PartitionKey(one, i) for one in read for i in range(topics[one].partition_count)}
    return keys | every


def _place(topics: dict[bytes, Topic], key: PartitionKey) -> tuple[str, bytes, int]:
    topic = topics.get(key.topic_id)
    return topic.name if topic else "", key.topic_id, key.partition


def _members(files: Files, group: Group) -> dict[PartitionKey, dict[str, object]]:
    """Which living process reads each partition."""
    path = layout.group_assignment(group.lock.directory_of(group.lock.settled()))
    try:
        state = decode_state(read_file(files, path, STATE_SIZE_MAX))
    except FileNotFoundError:
        state = GroupState()
    except ValueError as error:
        raise CorruptionError(path, 0, f"not the state of a group: {error}") from None
    living = {name: _about(files, group, name) for name in state.members}
    return {
        key: about
        for key, share in state.shares.items()
        if (about := living.get(share.holder)) is not None
    }


def _about(files: Files, group: Group, member: str) -> dict[str, object] | None:
    """The process of a member; None for one that died and was not missed yet."""
    if last_poll_ms(files, group.directory, member) is None:
        return None
    try:
        info = decode_member(read_file(files, layout.group_member(group.directory, member)))
        return {"id": member, "pid": info.process["pid"], "program": info.process["program"]}
    except (FileNotFoundError, ValueError, KeyError):
        return {"id": member}


def _readable(row: Row) -> Row:
    member = row["member"]
    if isinstance(member, dict):
        who = f"{member['program']} ({member['pid']})" if "pid" in member else member["id"]
        return {**row, "member": who}
    return {**row, "topic": row["topic"] or "(deleted)"}
