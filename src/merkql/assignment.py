"""Partition assignment of a consumer group: who reads which partition. Pure computation.

Opens no file and reads no clock; merkql.membership keeps the state on disk and detects dead
members. Format of the state: docs/formats/group-members.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from merkql.groups import PartitionKey
from merkql.storage import layout

STATE_VERSION = 1


class TopicShape(NamedTuple):
    """What groups need to know of a topic: its id, and how many partitions it has."""

    topic_id: bytes
    partition_count: int


Topics = Mapping[str, TopicShape]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a member subscribes to: topics by name, existing or not, or by pattern."""

    names: frozenset[str] = frozenset()
    pattern: str | None = None
    pattern_flags: int = 0

    def covers(self, topic: str) -> bool:
        """Whether ``topic`` is subscribed to; a pattern must match the whole name.

        A pattern never matches the audit log of erasures, which has to be named.
        """
        if self.pattern is None:
            return topic in self.names
        if topic == layout.ERASURES_TOPIC:
            return False
        return _compiled(self.pattern, self.pattern_flags).fullmatch(topic) is not None


@lru_cache(maxsize=64)
def _compiled(pattern: str, flags: int) -> re.Pattern[str]:
    return re.compile(pattern, flags)


@dataclass(slots=True)
class Member:
    """A member as the others see it; ``seen``: the last generation it has taken up."""

    subscription: Subscription
    rebalance_timeout_ms: int
    max_poll_interval_ms: int
    seen: int = 0


@dataclass(slots=True)
class Share:
    """One partition: its holder, since which generation, and who gets it once it is given up."""

    topic: str
    holder: str
    since: int
    next_holder: str | None = None
    deadline_ms: int = 0  # when it changes hands in any case


@dataclass(slots=True)
class GroupState:
    """What the members agree on; changed only under the group's lock."""

    generation: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    shares: dict[PartitionKey, Share] = field(default_factory=dict)

    def held_by(self, member: str) -> dict[PartitionKey, Share]:
        """The partitions that only this member may hand out records of."""
        return {key: one for key, one in self.shares.items() if one.holder == member}

    def next_deadline_ms(self) -> int | None:
        """When the next partition changes hands even if its holder keeps it."""
        return min(
            (one.deadline_ms for one in self.shares.values() if one.next_holder), default=None
        )


def assign(
    subscriptions: Mapping[str, Subscription], topics: Topics
) -> dict[PartitionKey, tuple[str, str]]:
    """The topic and the member of each partition that is subscribed to; deterministic.

    Each topic is split into ranges, one for each member that subscribes to it, whose sizes differ
    by at most one; larger ranges go to members that have least so far, so that many small topics
    are shared evenly too.
    """
    loads = dict.fromkeys(sorted(subscriptions), 0)
    result: dict[PartitionKey, tuple[str, str]] = {}
    for topic in sorted(topics):
        topic_id, count = topics[topic]
        wanting = [member for member in loads if subscriptions[member].covers(topic)]
        wanting.sort(key=loads.__getitem__)  # stable: ties stay in order of name
        first = 0
        for number, member in enumerate(wanting):
            size = count // len(wanting) + (number < count % len(wanting))
            for partition in range(first, first + size):
                result[PartitionKey(topic_id, partition)] = (topic, member)
            loads[member] += size
            first += size
    return result


def rebalance(state: GroupState, topics: Topics, now_ms: int) -> None:
    """Begin the next generation: assign the partitions anew to ``state.members``.

    Cooperative: a partition stays with a member that has taken it up until that member gives it up
    or its timeout ends; one that no live member has taken up changes hands at once.
    """
    state.generation += 1
    subscriptions = {name: member.subscription for name, member in state.members.items()}
    shares = {}
    for key, (topic, owner) in assign(subscriptions, topics).items():
        shares[key] = _next_share(state, key, topic, owner, now_ms)
    state.shares = shares


def _next_share(state: GroupState, key: PartitionKey, topic: str, owner: str, now_ms: int) -> Share:
    old = state.shares.get(key)
    holder = state.members.get(old.holder) if old else None
    if old is None or holder is None or (holder.seen < old.since and old.holder != owner):
        return Share(topic, owner, state.generation)
    if old.holder == owner:
        return Share(topic, owner, old.since)
    deadline_ms = old.deadline_ms if old.next_holder else now_ms + holder.rebalance_timeout_ms
    return Share(topic, old.holder, old.since, owner, deadline_ms)


def hand_over(state: GroupState, keys: Iterable[PartitionKey]) -> None:
    """Give partitions to their next holders: given up, or past the deadline."""
    for key in keys:
        share = state.shares[key]
        if share.next_holder is not None:
            state.shares[key] = Share(share.topic, share.next_holder, state.generation)


def overdue(state: GroupState, now_ms: int) -> list[PartitionKey]:
    """The partitions whose holders are past their deadline to give them up."""
    return [
        key for key, one in state.shares.items() if one.next_holder and one.deadline_ms <= now_ms
    ]


def shapes_differ(state: GroupState, topics: Topics) -> bool:
    """Whether topics or partitions were added or removed since the state was computed."""
    members = state.members.values()
    wanted = {
        PartitionKey(shape.topic_id, partition)
        for name, shape in topics.items()
        if any(member.subscription.covers(name) for member in members)
        for partition in range(shape.partition_count)
    }
    return wanted != state.shares.keys()


def encode_state(state: GroupState) -> bytes:
    """The state as JSON; members are listed once and referred to by number."""
    numbers: dict[str | None, int | None] = {
        name: number for number, name in enumerate(state.members)
    }
    numbers[None] = None
    topics: dict[bytes, dict[str, Any]] = {}
    for key in sorted(state.shares):
        share = state.shares[key]
        topic = topics.setdefault(
            key.topic_id, {"id": key.topic_id.hex(), "name": share.topic, "partitions": []}
        )
        row = [key.partition, numbers[share.holder], share.since]
        if share.next_holder is not None:
            row += [numbers[share.next_holder], share.deadline_ms]
        topic["partitions"].append(row)
    document = {
        "version": STATE_VERSION,
        "generation": state.generation,
        "members": [_encode_member(name, member) for name, member in state.members.items()],
        "topics": list(topics.values()),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _encode_member(name: str, member: Member) -> dict[str, Any]:
    wanted: dict[str, Any] = {"topics": sorted(member.subscription.names)}
    if member.subscription.pattern is not None:
        wanted = {
            "pattern": member.subscription.pattern,
            "pattern_flags": member.subscription.pattern_flags,
        }
    return {
        "id": name,
        **wanted,
        "rebalance_timeout_ms": member.rebalance_timeout_ms,
        "max_poll_interval_ms": member.max_poll_interval_ms,
        "seen": member.seen,
    }


def decode_state(data: bytes) -> GroupState:
    """The state of ``encode_state``; ``ValueError`` for anything else."""
    try:
        document = json.loads(data)
        if document["version"] != STATE_VERSION:
            raise ValueError(f"version {document['version']!r}")
        members = {one["id"]: _decode_member(one) for one in document["members"]}
        names = list(members)
        state = GroupState(document["generation"], members)
        for topic in document["topics"]:
            for row in topic["partitions"]:
                partition, holder, since, *rest = row
                share = Share(topic["name"], names[holder], since)
                if rest:
                    share.next_holder, share.deadline_ms = names[rest[0]], rest[1]
                state.shares[PartitionKey(bytes.fromhex(topic["id"]), partition)] = share
    except (KeyError, IndexError, TypeError, re.error) as error:
        raise ValueError(f"not the state of a group: {error!r}") from error
    return state


def _decode_member(one: dict[str, Any]) -> Member:
    subscription = Subscription(
        frozenset(one.get("topics", ())), one.get("pattern"), one.get("pattern_flags", 0)
    )
    return Member(
        subscription, one["rebalance_timeout_ms"], one["max_poll_interval_ms"], one["seen"]
    )
