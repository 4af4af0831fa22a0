"""Members of a group with a clock that stands still until a test moves it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from merkql.assignment import Subscription, TopicShape
from merkql.errors import StaleGenerationError
from merkql.groups import Group, PartitionKey
from merkql.membership import PROBE_INTERVAL_MS, PROBE_ROUNDS, Membership
from merkql.storage.files import Files

ORDERS = b"o" * 16
CLICKS = b"c" * 16


class Site:
    """A directory, topics, a clock, and the members that were made here."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.now_ms = 1_000_000
        self.changes = 0
        self.topics = {"orders": TopicShape(ORDERS, 4)}
        self.members: list[Membership] = []

    def member(self, *, max_poll_interval_ms: int = 300_000) -> Membership:
        member = Membership(
            Group(Files(), self.directory, "g"),
            lambda: dict(self.topics),
            rebalance_timeout_ms=3000,
            max_poll_interval_ms=max_poll_interval_ms,
            clock_ms=lambda: self.now_ms,
            on_change=self._count_change,
        )
        self.members.append(member)
        return member

    def joined(self, *, max_poll_interval_ms: int = 300_000) -> Membership:
        member = self.member(max_poll_interval_ms=max_poll_interval_ms)
        member.join(Subscription(frozenset(["orders", "clicks"])))
        return member

    def later(self, milliseconds: int) -> None:
        self.now_ms += milliseconds

    def _count_change(self) -> None:
        self.changes += 1


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(str(tmp_path))
    yield site
    for member in site.members:
        member.leave()


def call(member: Membership) -> None:
    """What a poll does about the group."""
    if member.changed():
        asked, lost = member.review()
        member.take_up(asked | lost)


def held(member: Membership) -> list[int]:
    return sorted(key.partition for key in member.held)


def die(member: Membership) -> None:
    """As a SIGKILL would: the lock is free, nothing else is said."""
    member.forget()


def keys(*numbers: int) -> set[PartitionKey]:
    return {PartitionKey(ORDERS, number) for number in numbers}


def test_a_lone_member_gets_everything_at_its_first_call(site: Site) -> None:
    member = site.joined()
    assert held(member) == []
    call(member)
    assert held(member) == [0, 1, 2, 3]
    assert member.generation == 1
    assert not member.changed()


def test_members_that_join_before_they_call_share_at_once(site: Site) -> None:
    members = [site.joined() for _ in range(3)]
    for member in members:
        call(member)
    assert [held(member) for member in members] == [[0, 1], [2], [3]]
    assert {member.generation for member in members} == {3}


def test_a_newcomer_waits_until_the_holder_has_given_up(site: Site) -> None:
    first = site.joined()
    call(first)
    second = site.joined()
    call(second)
    assert held(second) == []
    assert first.changed()
    asked, lost = first.review()
    assert (asked, lost) == (keys(2, 3), set())
    call(second)
    assert held(second) == []  # asked is not given up yet
    first.take_up(asked)
    assert held(first) == [0, 1]
    call(second)
    assert held(second) == [2, 3]
    call(first)
    assert not first.changed()
    assert not second.changed()


def test_a_holder_that_does_not_answer_loses_after_the_rebalance_timeout(site: Site) -> None:
    first = site.joined()
    call(first)
    second = site.joined()
    site.later(2999)
    call(second)
    assert held(second) == []
    site.later(1)
    call(second)
    assert held(second) == [2, 3]
    with pytest.raises(StaleGenerationError) as caught:
        first.commit({PartitionKey(ORDERS, 2): 5})
    assert (caught.value.group, caught.value.generation, caught.value.current) == ("g", 1, 2)
    first.commit({PartitionKey(ORDERS, 1): 5})  # that one is its own still
    assert first.changed()
    assert first.review() == (set(), keys(2, 3))


def test_a_late_holder_that_calls_itself_gives_up_in_order(site: Site) -> None:
    first = site.joined()
    call(first)
    second = site.joined()
    site.later(10_000)
    assert first.changed()
    assert first.review() == (keys(2, 3), set())
    first.take_up(keys(2, 3))
    call(second)
    assert held(second) == [2, 3]


def test_a_generation_that_began_during_on_revoke_is_not_taken_up_unseen(site: Site) -> None:
    first = site.joined()
    call(first)
    second = site.joined()
    asked, lost = first.review()
    assert asked == keys(2, 3)
    site.joined()
    site.joined()  # now 1 is asked for, too
    first.take_up(asked | lost)
    assert held(first) == [0, 1]
    assert first.generation == 1  # what it hands out of 1 is not of the generation in which ...
    assert first.changed()
    call(first)
    assert (held(first), first.generation) == ([0], 4)
    call(second)
    assert (held(second), second.generation) == ([1], 4)  # ... another does


def test_commits_are_allowed_until_a_partition_is_given_up(site: Site) -> None:
    first = site.joined()
    call(first)
    second = site.joined()
    asked, _ = first.review()
    first.commit(dict.fromkeys(asked, 7))
    first.take_up(asked)
    with pytest.raises(StaleGenerationError):
        first.commit(dict.fromkeys(asked, 8))
    call(second)
    offsets = second.group.read_offsets()
    assert {key: one.offset for key, one in offsets.items()} == dict.fromkeys(asked, 7)


def test_one_that_leaves_is_inherited_from_at_once(site: Site) -> None:
    first, second = site.joined(), site.joined()
    call(first)
    call(second)
    first.leave()
    call(second)
    assert held(second) == [0, 1, 2, 3]


def test_one_that_dies_is_noticed_within_half_a_second(site: Site) -> None:
    first, second = site.joined(), site.joined()
    call(first)
    call(second)
    die(first)
    site.later(PROBE_INTERVAL_MS)
    call(second)
    assert held(second) == [0, 1, 2, 3]


def test_of_many_dead_each_is_noticed_by_the_one_that_lives(site: Site) -> None:
    members = [site.joined() for _ in range(12)]
    for member in members:
        call(member)
    for member in members[1:]:
        die(member)
    for _ in range(PROBE_ROUNDS):
        site.later(PROBE_INTERVAL_MS)
        call(members[0])
    assert held(members[0]) == [0, 1, 2, 3]


def test_files_of_the_dead_are_removed(site: Site) -> None:
    first, second = site.joined(), site.joined()
    die(first)
    site.later(PROBE_INTERVAL_MS)
    call(second)
    assert os.listdir(os.path.join(second.group.directory, "members")) == [second.id]
    second.leave()
    assert os.listdir(os.path.join(second.group.directory, "members")) == []


def test_one_that_stopped_polling_is_put_out_and_joins_again(site: Site) -> None:
    first, second = site.joined(max_poll_interval_ms=60_000), site.joined()
    call(first)
    call(second)
    for _ in range(61):
        site.later(1000)
        call(second)
    assert held(second) == [0, 1, 2, 3]
    with pytest.raises(StaleGenerationError):
        first.commit({PartitionKey(ORDERS, 0): 1})
    assert first.changed()
    assert first.review() == (set(), keys(0, 1))
    first.take_up(keys(0, 1))
    assert held(first) == []
    call(second)
    call(first)
    assert (held(first), held(second)) == ([0, 1], [2, 3])


def test_one_that_polls_now_and_then_stays(site: Site) -> None:
    first, second = site.joined(max_poll_interval_ms=60_000), site.joined()
    for _ in range(20):
        call(first)
        for _ in range(59):
            site.later(1000)
            call(second)
    assert held(first) == [0, 1]


def test_a_partition_that_was_elsewhere_meanwhile_is_lost_though_it_came_back(site: Site) -> None:
    first = site.joined()
    call(first)
    second = site.joined()
    site.later(3000)
    call(second)
    second.commit({PartitionKey(ORDERS, 2): 100})
    second.leave()
    with pytest.raises(StaleGenerationError):
        first.commit({PartitionKey(ORDERS, 2): 50})
    assert first.review() == (set(), keys(2, 3))
    first.take_up(keys(2, 3))
    assert held(first) == [0, 1, 2, 3]
    first.commit({PartitionKey(ORDERS, 2): 101})


def test_new_topics_and_partitions_are_dealt_when_somebody_looks(site: Site) -> None:
    first, second = site.joined(), site.joined()
    for member in (first, second, first):
        call(member)
    site.topics = {"orders": TopicShape(ORDERS, 6), "clicks": TopicShape(CLICKS, 1)}
    assert not first.changed()
    second.refresh_topics()
    for member in (first, second, first, second):
        call(member)
    # By name: one partition of clicks, and of orders the longer range to who has less.
    assert sum(len(member.held) for member in (first, second)) == 7
    site.topics = {"clicks": TopicShape(CLICKS, 1)}
    first.refresh_topics()
    for member in (first, second):
        call(member)
    assert [key.topic_id for member in (first, second) for key in member.held] == [CLICKS]


def test_changing_a_subscription_gives_up_what_it_no_longer_covers(site: Site) -> None:
    site.topics["clicks"] = TopicShape(CLICKS, 1)
    member = site.joined()
    call(member)
    member.join(Subscription(frozenset(["clicks"])))
    assert member.changed()
    assert member.review() == (keys(0, 1, 2, 3), set())
    member.commit({PartitionKey(ORDERS, 0): 3})  # as on_revoke may
    member.take_up(keys(0, 1, 2, 3))
    assert [key.topic_id for key in member.held] == [CLICKS]


def test_a_damaged_state_is_begun_anew_in_a_later_generation(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = site.joined(), site.joined()
    call(first)
    call(second)
    state = Path(first.group.directory) / "assignment"
    state.unlink()
    state.write_bytes(b"{")
    assert first.changed()
    asked, lost = first.review()
    assert (asked, lost) == (set(), keys(0, 1))
    first.take_up(lost)
    assert "assembled anew" in caplog.text
    for member in (second, first, second, first):
        call(member)
    assert first.generation == second.generation > 2
    assert sorted(held(first) + held(second)) == [0, 1, 2, 3]


def test_a_group_of_nobody_starts_where_the_generations_ended(site: Site) -> None:
    first = site.joined()
    call(first)
    first.leave()
    second = site.joined()
    call(second)
    assert second.generation == 3


def test_leaving_twice_or_without_joining_is_nothing(site: Site) -> None:
    member = site.member()
    member.leave()
    member.join(Subscription(frozenset(["orders"])))
    member.leave()
    member.leave()


def test_leaving_survives_the_group_s_directory(site: Site) -> None:
    member = site.joined()
    for name in ("members/" + member.id, "assignment", "lock"):
        os.unlink(os.path.join(member.group.directory, name))
    os.rmdir(os.path.join(member.group.directory, "members"))
    os.rmdir(member.group.directory)
    member.leave()


def test_a_member_dropped_without_a_word_frees_its_lock(site: Site) -> None:
    first, second = site.joined(), site.joined()
    call(second)
    site.members.remove(first)
    del first
    site.later(PROBE_INTERVAL_MS)
    call(second)
    assert held(second) == [0, 1, 2, 3]


def test_a_look_at_the_group_is_one_stat(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    member = site.joined()
    call(member)
    calls: list[str] = []

    def counted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            calls.append(name)
            return real(*arguments, **options)

        return call

    for name in ("open", "status", "read", "write", "lock"):
        files = member.group.files
        monkeypatch.setattr(files, name, counted(name, getattr(files, name)))
    assert not member.changed()
    assert calls == ["status"]
