"""Who reads what: the assignment as a function, hand-over step by step, the state as bytes."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql.assignment import (
    GroupState,
    Member,
    Subscription,
    TopicShape,
    assign,
    decode_state,
    encode_state,
    hand_over,
    overdue,
    rebalance,
    shapes_differ,
)
from merkql.groups import PartitionKey

NAMES = ["clicks", "orders", "orders-eu", "payments", "ticks"]


def topic_id(name: str) -> bytes:
    return name.encode().ljust(16, b".")


def shapes(**counts: int) -> dict[str, TopicShape]:
    return {name: TopicShape(topic_id(name), count) for name, count in counts.items()}


def to(*names: str) -> Subscription:
    return Subscription(frozenset(names))


def member(*names: str, seen: int = 0) -> Member:
    return Member(to(*names), rebalance_timeout_ms=3000, max_poll_interval_ms=300_000, seen=seen)


def key(name: str, partition: int) -> PartitionKey:
    return PartitionKey(topic_id(name), partition)


topics_strategy = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 9), max_size=5).map(
    lambda counts: shapes(**counts)
)
subscriptions_strategy = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.one_of(
        st.builds(Subscription, st.frozensets(st.sampled_from(NAMES), min_size=1)),
        st.sampled_from(["orders.*", ".*s", "nothing"]).map(lambda p: Subscription(pattern=p)),
    ),
    max_size=6,
)


@given(subscriptions=subscriptions_strategy, topics=topics_strategy)
def test_every_wanted_partition_goes_to_one_member_that_wants_it(
    subscriptions: dict[str, Subscription], topics: dict[str, TopicShape]
) -> None:
    result = assign(subscriptions, topics)
    wanted = {
        PartitionKey(shape.topic_id, number)
        for name, shape in topics.items()
        if any(one.covers(name) for one in subscriptions.values())
        for number in range(shape.partition_count)
    }
    assert result.keys() == wanted
    assert all(subscriptions[owner].covers(name) for name, owner in result.values())


@given(subscriptions=subscriptions_strategy, topics=topics_strategy)
def test_each_topic_is_shared_evenly_in_ranges(
    subscriptions: dict[str, Subscription], topics: dict[str, TopicShape]
) -> None:
    result = assign(subscriptions, topics)
    for name, shape in topics.items():
        wanting = [member for member, one in subscriptions.items() if one.covers(name)]
        owners = [
            result[PartitionKey(shape.topic_id, number)][1]
            for number in range(shape.partition_count)
            if wanting
        ]
        sizes = Counter(dict.fromkeys(wanting, 0))
        sizes.update(owners)
        assert max(sizes.values(), default=0) - min(sizes.values(), default=0) <= 1
        changes = sum(left != right for left, right in pairwise(owners))
        assert changes == max(len(set(owners)) - 1, 0)


@given(members=st.sets(st.text("abc", min_size=1), min_size=1, max_size=6), topics=topics_strategy)
def test_members_that_want_the_same_get_the_same_number(
    members: set[str], topics: dict[str, TopicShape]
) -> None:
    result = assign(dict.fromkeys(members, to(*NAMES)), topics)
    loads = Counter(dict.fromkeys(members, 0))
    loads.update(owner for _, owner in result.values())
    assert max(loads.values()) - min(loads.values()) <= 1


@given(subscriptions=subscriptions_strategy, topics=topics_strategy, data=st.data())
def test_the_order_in_which_things_are_named_does_not_matter(
    subscriptions: dict[str, Subscription], topics: dict[str, TopicShape], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(list(subscriptions.items())))
    renamed = data.draw(st.permutations(list(topics.items())))
    assert assign(dict(shuffled), dict(renamed)) == assign(subscriptions, topics)


def test_a_range_as_kafka_deals_it() -> None:
    result = assign(dict.fromkeys("abc", to("orders")), shapes(orders=4))
    owners = [result[key("orders", number)][1] for number in range(4)]
    assert owners == ["a", "a", "b", "c"]


def test_a_pattern_has_to_match_the_whole_name() -> None:
    assert Subscription(pattern="orders").covers("orders")
    assert not Subscription(pattern="orders").covers("orders-failed")
    assert Subscription(pattern="ORDERS.*", pattern_flags=2).covers("orders-failed")


def settled(**members: Member) -> GroupState:
    """A group whose members have all taken up what falls to them of ``orders``, 4 partitions."""
    state = GroupState(members=dict(members))
    rebalance(state, shapes(orders=4), now_ms=0)
    for one in state.members.values():
        one.seen = state.generation
    return state


def holders(state: GroupState) -> list[str]:
    return [state.shares[key("orders", number)].holder for number in range(4)]


def next_holders(state: GroupState) -> list[str | None]:
    return [state.shares[key("orders", number)].next_holder for number in range(4)]


def test_who_joins_waits_for_what_the_others_hold() -> None:
    state = settled(a=member("orders"))
    state.members["b"] = member("orders")
    rebalance(state, shapes(orders=4), now_ms=1000)
    assert state.generation == 2
    assert holders(state) == ["a"] * 4
    assert next_holders(state) == [None, None, "b", "b"]
    assert overdue(state, 3999) == []
    assert overdue(state, 4000) == [key("orders", 2), key("orders", 3)]
    hand_over(state, [key("orders", 2)])
    assert holders(state) == ["a", "a", "b", "a"]
    assert next_holders(state) == [None, None, None, "b"]


def test_what_nobody_took_up_changes_hands_at_once() -> None:
    state = GroupState(members={"a": member("orders")})
    rebalance(state, shapes(orders=4), now_ms=0)
    state.members["b"] = member("orders")
    rebalance(state, shapes(orders=4), now_ms=0)
    assert holders(state) == ["a", "a", "b", "b"]
    assert next_holders(state) == [None] * 4


def test_what_the_dead_held_changes_hands_at_once() -> None:
    state = settled(a=member("orders"), b=member("orders"))
    del state.members["a"]
    rebalance(state, shapes(orders=4), now_ms=0)
    assert holders(state) == ["b"] * 4


def test_being_asked_again_gives_no_more_time() -> None:
    state = settled(a=member("orders"))
    state.members["b"] = member("orders")
    rebalance(state, shapes(orders=4), now_ms=0)
    state.members["c"] = member("orders")
    rebalance(state, shapes(orders=4), now_ms=2000)
    assert next_holders(state) == [None, None, "b", "c"]
    assert len(overdue(state, 3000)) == 2


def test_what_comes_back_in_time_was_never_away() -> None:
    state = settled(a=member("orders"))
    state.members["b"] = member("orders")
    rebalance(state, shapes(orders=4), now_ms=0)
    del state.members["b"]
    rebalance(state, shapes(orders=4), now_ms=0)
    assert holders(state) == ["a"] * 4
    assert {share.since for share in state.shares.values()} == {1}
    assert overdue(state, 1 << 60) == []


def test_new_partitions_and_topics_are_noticed() -> None:
    state = settled(a=member("orders", "clicks"))
    assert not shapes_differ(state, shapes(orders=4))
    assert not shapes_differ(state, shapes(orders=4, ticks=1))
    assert shapes_differ(state, shapes(orders=5))
    assert shapes_differ(state, shapes(orders=4, clicks=1))
    assert shapes_differ(state, shapes())
    assert shapes_differ(state, {"orders": TopicShape(topic_id("made anew"), 4)})


def _state(
    subscriptions: dict[str, Subscription], topics: dict[str, TopicShape], seen: int
) -> GroupState:
    state = GroupState()
    for name, subscription in sorted(subscriptions.items()):
        state.members[name] = Member(subscription, 3000, 300_000, seen)
        rebalance(state, topics, now_ms=17)
    return state


state_strategy = st.builds(_state, subscriptions_strategy, topics_strategy, st.integers(0, 3))


@given(state_strategy)
def test_the_state_round_trips(state: GroupState) -> None:
    assert decode_state(encode_state(state)) == state


@given(state_strategy, st.data())
def test_a_state_cut_short_is_refused(state: GroupState, data: st.DataObject) -> None:
    encoded = encode_state(state)
    with pytest.raises(ValueError):
        decode_state(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"generation": None, "members": None},
        {"members": [{"id": "a"}]},
        {"topics": [{"id": "zz", "name": "orders", "partitions": [[0, 0, 1]]}]},
        {"topics": [{"id": "00", "name": "orders", "partitions": [[0, 7, 1]]}]},
        {"topics": [{"id": "00", "name": "orders", "partitions": [[0]]}]},
        {"topics": 3},
    ],
)
def test_what_is_not_a_state_is_refused(change: dict[str, object]) -> None:
    document = json.loads(encode_state(settled(a=member("orders"))))
    with pytest.raises(ValueError):
        decode_state(json.dumps({**document, **change}).encode())
