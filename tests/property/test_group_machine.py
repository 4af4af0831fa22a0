"""Any sequence of joins, deaths, silences and polls: no partition has two readers at once.

The clock moves only when a rule moves it; a death frees the lock as a SIGKILL would. After each run
those who live poll in turn, and have to end with every partition held by exactly one of them.
"""

from __future__ import annotations

import shutil
import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from merkql.assignment import Subscription, TopicShape
from merkql.errors import StaleGenerationError
from merkql.groups import Group, PartitionKey
from merkql.membership import PROBE_INTERVAL_MS, PROBE_ROUNDS, Membership
from merkql.storage.files import Files

REBALANCE_TIMEOUT_MS = 3000
MAX_POLL_INTERVAL_MS = 20_000


class GroupMachine(RuleBasedStateMachine):
    members = Bundle("members")

    @initialize(partitions=st.integers(1, 7))
    def open(self, partitions: int) -> None:
        self.directory = tempfile.mkdtemp()
        self.now_ms = 1_000_000
        self.partitions = {"orders": partitions, "clicks": 1}
        self.living: list[Membership] = []
        self.handed: dict[tuple[int, PartitionKey], str] = {}  # (generation, partition): member
        self.readers: dict[PartitionKey, str] = {}  # who took the partition up last
        self.committed: dict[PartitionKey, int] = {}
        self.noticed: dict[str, set[PartitionKey]] = {}  # by members that are in `on_revoke` now
        self.count = 0

    def topics(self) -> dict[str, TopicShape]:
        return {
            name: TopicShape(name.encode().ljust(16), count)
            for name, count in self.partitions.items()
        }

    @rule(target=members)
    def join(self) -> Membership:
        member = Membership(
            Group(Files(), self.directory, "g"),
            self.topics,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            clock_ms=lambda: self.now_ms,
            on_change=lambda: None,
        )
        member.join(Subscription(frozenset(["orders", "clicks"])))
        self.living.append(member)
        return member

    @rule(member=consumes(members))
    def leave(self, member: Membership) -> None:
        member.leave()
        self.living.remove(member)

    @rule(member=consumes(members))
    def die(self, member: Membership) -> None:
        member.forget()
        self.living.remove(member)

    @rule(milliseconds=st.sampled_from([1, 100, 1000, REBALANCE_TIMEOUT_MS, MAX_POLL_INTERVAL_MS]))
    def wait(self, milliseconds: int) -> None:
        self.now_ms += milliseconds

    @rule(member=members)
    def add_a_partition(self, member: Membership) -> None:
        self.partitions["orders"] += 1
        member.refresh_topics()

    @rule(member=members)
    def poll(self, member: Membership) -> None:
        self.notice(member)
        self.change(member)
        for key in member.held:
            owner = self.handed.setdefault((member.generation, key), member.id)
            assert owner == member.id, "one partition handed out twice in one generation"

    @rule(member=members)
    def notice(self, member: Membership) -> None:
        """As far as to ``on_revoke``; whatever the others do happens before it returns."""
        if member.id not in self.noticed and member.changed():
            asked, lost = member.review()
            self.noticed[member.id] = asked | lost

    @rule(member=members)
    def change(self, member: Membership) -> None:
        """``on_revoke`` returns."""
        going = self.noticed.pop(member.id, None)
        if going is not None:
            before = set(member.held)
            member.take_up(going)
            gained = member.held.keys() - (before - going)
            self.readers.update(dict.fromkeys(gained, member.id))

    @rule(member=members)
    def notice_and_be_interrupted(self, member: Membership) -> None:
        """Between being asked and giving up: an error in ``on_revoke``, Ctrl-C."""
        if member.changed():
            member.review()

    @rule(member=members, data=st.data())
    def commit(self, member: Membership, data: st.DataObject) -> None:
        """A commit is accepted only from the one that took the partition up last."""
        if not member.held:
            return
        key = data.draw(st.sampled_from(sorted(member.held)))
        self.count += 1
        try:
            member.commit({key: self.count})
        except StaleGenerationError:
            return
        self.committed[key] = self.count
        assert self.readers[key] == member.id

    def teardown(self) -> None:
        if not hasattr(self, "directory"):
            return
        try:
            if self.living:
                self.settle()
                offsets = self.living[0].group.read_offsets()
                assert {key: one.offset for key, one in offsets.items()} == self.committed
        finally:
            for member in self.living:
                member.leave()
            shutil.rmtree(self.directory)

    def settle(self) -> None:
        for _ in range(2 * PROBE_ROUNDS + 2):
            self.now_ms += PROBE_INTERVAL_MS
            for member in self.living:
                self.poll(member)
        wanted = {
            PartitionKey(shape.topic_id, number)
            for shape in self.topics().values()
            for number in range(shape.partition_count)
        }
        held = [key for member in self.living for key in member.held]
        assert sorted(held) == sorted(wanted)
        sizes = [len(member.held) for member in self.living]
        assert max(sizes) - min(sizes) <= 1


TestGroupMachine = GroupMachine.TestCase
TestGroupMachine.settings = settings(stateful_step_count=30)
