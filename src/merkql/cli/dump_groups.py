"""`dump` of what a group keeps. Formats: docs/formats/group-offsets.md, group-members.md."""

from __future__ import annotations

from collections.abc import Iterator

from merkql.assignment import decode_state
from merkql.cli.dumping import Depth, Finding, Place
from merkql.group_lock import lock_file_content
from merkql.groups import decode_slot
from merkql.member_file import decode_member


def dump_offsets(place: Place, _: Depth) -> Iterator[Finding]:
    """Both slots; the one with the higher sequence counts."""
    data = place.content()
    size = len(data) // 2
    for start in (0, size):
        half = data[start : start + size]
        slot = decode_slot(half, size)
        if slot is None:
            problem = "torn or damaged: no sound checksum" if half.strip(b"\0") else None
            yield Finding("slot" if problem else "unused", start, {"size": size}, problem)
            continue
        sequence, offsets = slot
        yield Finding("slot", start, {"sequence": sequence, "partitions": len(offsets)})
        for key, committed in offsets.items():
            fields: dict[str, object] = {
                "topic": place.topic(key.topic_id),
                "partition": key.partition,
                "offset": committed.offset,
                "generation": committed.generation,
            }
            yield Finding("offset", start, fields)
    if not data:
        yield Finding("slot", 0, {"size": 0}, "the file is empty")


def dump_assignment(place: Place, _: Depth) -> Iterator[Finding]:
    """The members, and who has which partition."""
    try:
        state = decode_state(place.content())
    except ValueError as error:
        yield Finding("state", 0, {}, f"not the state of a group: {error}")
        return
    yield Finding("state", 0, {"generation": state.generation, "members": len(state.members)})
    for name, member in state.members.items():
        wanted = member.subscription.pattern or ", ".join(sorted(member.subscription.names))
        yield Finding("member", 0, {"id": name, "wants": wanted, "seen": member.seen})
    for key, share in sorted(state.shares.items()):
        fields: dict[str, object] = {
            "topic": share.topic,
            "partition": key.partition,
            "holder": share.holder,
            "since": share.since,
        }
        if share.next_holder is not None:
            fields["next_holder"] = share.next_holder
        yield Finding("share", 0, fields)


def dump_member(place: Place, _: Depth) -> Iterator[Finding]:
    """When it last polled, and whose process it is."""
    data = place.content()
    try:
        info = decode_member(data)
    except ValueError as error:
        yield Finding("member", 0, {}, f"not what a member writes: {error}")
        return
    yield Finding("member", 0, {"last poll ms": info.last_poll_ms, **info.process})


def dump_lock(place: Place, _: Depth) -> Iterator[Finding]:
    """Of a group: its name and what is synced; of a directory: who writes, or wrote last."""
    data = place.content()
    if place.root == place.directory:
        yield Finding("writer", 0, {"writer": data.decode(errors="replace").strip("\0\n")})
        return
    sequence, name = lock_file_content(data)
    problem = None if name is not None or not data.strip(b"\0") else "the name does not check out"
    yield Finding("group", 0, {"name": name, "synced": sequence}, problem)
