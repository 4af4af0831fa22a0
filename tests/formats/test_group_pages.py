"""The pages of the groups' formats: their worked examples are what the code writes and reads."""

from __future__ import annotations

import json
import re
import struct

import xxhash

from merkql.assignment import (
    GroupState,
    Member,
    Subscription,
    TopicShape,
    decode_state,
    encode_state,
    rebalance,
)
from merkql.groups import CommittedOffset, PartitionKey, decode_slot, encode_slot
from support.pages import PAGES, worked_example

TOPIC_ID = bytes(range(16))
FIRST, SECOND = "063a1b2c3d4e5f-0a1b2c3d", "063a1b2c3d9999-77777777"
OFFSETS = {
    PartitionKey(TOPIC_ID, 0): CommittedOffset(1500, 3),
    PartitionKey(TOPIC_ID, 2): CommittedOffset(7, 2),
}


def example_state() -> GroupState:
    state = GroupState()
    topics = {"orders": TopicShape(TOPIC_ID, 4)}
    state.members[FIRST] = Member(Subscription(frozenset(["orders"])), 3000, 300_000)
    rebalance(state, topics, now_ms=0)
    state.members[FIRST].seen = 1
    wanted = Subscription(pattern="orders.*", pattern_flags=32)
    state.members[SECOND] = Member(wanted, 3000, 300_000)
    rebalance(state, topics, now_ms=86_400_000)
    return state


def test_offsets_example_is_what_a_commit_writes() -> None:
    assert encode_slot(6, OFFSETS, 4096) == worked_example("group-offsets")


def test_offsets_example_reads_back() -> None:
    assert decode_slot(worked_example("group-offsets"), 4096) == (6, OFFSETS)


def test_offsets_example_has_the_fields_of_the_table() -> None:
    data = worked_example("group-offsets")
    magic, count, slot_size, reserved, sequence, checksum = struct.unpack_from("<4s3I2Q", data)
    assert (magic, count, slot_size, reserved, sequence) == (b"MKO1", 2, 4096, 0, 6)
    assert checksum == xxhash.xxh3_64_intdigest(data[:24] + data[32:])
    entries = [struct.unpack_from("<16sIIQQ", data, 32 + 40 * i) for i in range(count)]
    assert entries == [(TOPIC_ID, 0, 0, 1500, 3), (TOPIC_ID, 2, 0, 7, 2)]


def test_state_example_is_what_a_member_writes_and_reads() -> None:
    page = (PAGES / "group-members.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    compact = json.dumps(json.loads(example), separators=(",", ":")).encode()
    assert compact == encode_state(example_state())
    assert decode_state(compact) == example_state()
