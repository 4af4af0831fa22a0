"""A member that is stopped with the group's lock, at any point: the others go on without it.

Nothing sleeps or runs at the same time here: the files of one member stop it, and what the others
do meanwhile is done in its place, whole. Then it goes on, and has to find out.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from merkql.assignment import Subscription, TopicShape
from merkql.errors import CorruptionError, GroupLockedError, StaleGenerationError
from merkql.group_lock import GroupLock, HeldLock
from merkql.groups import CommittedOffset, Group, PartitionKey
from merkql.membership import PROBE_INTERVAL_MS, PROBE_ROUNDS, Membership
from merkql.storage.files import Files

ORDERS = b"o" * 16
TOPICS = {"orders": TopicShape(ORDERS, 4)}
REBALANCE_TIMEOUT_MS = 3000
OPERATIONS = [
    *("open", "read", "write", "truncate", "sync", "size", "rename", "remove", "close"),
    *("make_directory", "remove_directory", "sync_directory", "list_directory", "status"),
    *("lock", "release"),
]
TURNS_MAX = 400


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("merkql.group_lock.LOCK_PATIENCE_S_MIN", 0.0)


class StoppingFiles(Files):
    """Before the n-th operation from now something else happens, whole."""

    def __init__(self) -> None:
        self.left = 0
        self.meanwhile: Callable[[], None] = lambda: None
        for name in OPERATIONS:
            setattr(self, name, self._counted(getattr(self, name)))

    def stop_at(self, turn: int, meanwhile: Callable[[], None]) -> None:
        self.left, self.meanwhile = turn, meanwhile

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.meanwhile()
            return real(*arguments, **options)

        return call


class Site:
    """Members of one group, a clock, and who handed out what in which generation."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self.now_ms = 1_000_000
        self.handed: dict[tuple[int, PartitionKey], str] = {}
        self.members: list[Membership] = []

    def member(self, files: Files) -> Membership:
        member = Membership(
            Group(files, self.directory, "g", patience_ms=0),
            lambda: TOPICS,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            max_poll_interval_ms=300_000,
            clock_ms=lambda: self.now_ms,
            on_change=lambda: None,
        )
        self.members.append(member)
        return member

    def poll(self, member: Membership) -> None:
        if member.changed():
            asked, lost = member.review()
            member.take_up(asked | lost)
        for key in member.held:
            owner = self.handed.setdefault((member.generation, key), member.id)
            assert owner == member.id, "one partition handed out twice in one generation"

    def settle(self, *members: Membership) -> list[list[int]]:
        for _ in range(2 * PROBE_ROUNDS):
            self.now_ms += PROBE_INTERVAL_MS
            for member in members:
                self.poll(member)
        return [sorted(key.partition for key in member.held) for member in members]


def join(member: Membership) -> None:
    member.join(Subscription(frozenset(["orders"])))


def key(partition: int) -> PartitionKey:
    return PartitionKey(ORDERS, partition)


def committed(member: Membership) -> dict[int, int]:
    return {key.partition: one.offset for key, one in member.group.read_offsets().items()}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    for member in site.members:
        member.forget()


def commit(member: Membership) -> None:
    member.commit(dict.fromkeys(member.held, 5))


def maintain(member: Membership) -> None:
    member.refresh_topics()
    member._maintain()


CALLS: dict[str, Callable[[Membership], None]] = {
    "join": join,
    "commit": commit,
    "maintain": maintain,
    "look": lambda member: member.group.read_offsets() and None,
    "leave": lambda member: member.leave(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_member_that_stops_anywhere_in_a_call_holds_nobody_up(call: str, tmp_path: Path) -> None:
    turn = stopped = 0
    while stopped == turn:
        turn += 1
        assert turn < TURNS_MAX
        site = Site(tmp_path / str(turn))
        os.mkdir(site.directory)
        stopped += stop_in_call(site, CALLS[call], turn)
    assert turn > 4


def stop_in_call(site: Site, act: Callable[[Membership], None], turn: int) -> bool:
    """Whether the call had that many operations."""
    files = StoppingFiles()
    stopped = site.member(files)
    living = [site.member(Files()) for _ in range(2)]
    join(stopped)
    site.poll(stopped)
    stopped.commit({key(0): 1})

    def meanwhile() -> None:
        for member in living:
            join(member)
        site.settle(*living)
        site.now_ms += REBALANCE_TIMEOUT_MS
        site.settle(*living)
        assert living[-1].held.keys() >= {key(3)}
        living[-1].commit({key(3): 7})
        assert committed(living[-1])[3] == 7

    files.stop_at(turn, meanwhile)
    try:
        act(stopped)
    except StaleGenerationError:
        assert act is commit
    files.left = 0 if files.left <= 0 else -1
    happened = files.left == 0
    if happened:
        assert committed(living[-1])[3] == 7, "what it wrote late was taken for the group's"
        stopped.leave()
    else:
        meanwhile()
        stopped.leave()
    assert site.settle(*living) == [[0, 1], [2, 3]]
    assert committed(living[0])[0] in (1, 5)
    for member in living:
        member.leave()
    return happened


def test_a_member_that_was_stopped_shares_again(site: Site) -> None:
    files = StoppingFiles()
    stopped, other = site.member(files), site.member(Files())
    join(stopped)
    site.poll(stopped)

    def meanwhile() -> None:
        join(other)
        site.poll(other)
        site.now_ms += REBALANCE_TIMEOUT_MS
        site.poll(other)
        other.commit({key(2): 3, key(3): 3})

    for turn in range(1, 40):
        files.stop_at(turn, meanwhile)
        try:
            commit(stopped)
        except StaleGenerationError:
            pass
        assert site.settle(stopped, other) == [[0, 1], [2, 3]]
        assert committed(other) | {0: 0, 1: 0} == {0: 0, 1: 0, 2: 3, 3: 3}
        other.leave()
        assert site.settle(stopped) == [[0, 1, 2, 3]]


def take(group: Group, offset: int) -> None:
    def work(lock: HeldLock) -> None:
        group.commit_locked(lock, {key(0): CommittedOffset(offset, 1)})

    group.under_lock(work)


def test_one_after_the_other_may_get_stuck(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    groups = [Group(Files(), str(tmp_path), "g", patience_ms=0) for _ in range(5)]
    groups[0].make_directory()
    take(groups[0], 1)
    with caplog.at_level(logging.WARNING, "merkql.groups"):
        work_stuck(groups)
    assert [one.read_offsets()[key(0)].offset for one in groups] == [5] * 5
    assert caplog.text.count("; the group goes on without it") == 4
    directory = Path(groups[0].directory)
    assert sorted(os.listdir(directory / "epochs")) == ["4"]
    assert sorted(os.listdir(directory)) == ["epochs", "lock"]
    assert sorted(os.listdir(directory / "epochs/4")) == ["lock", "offsets"]


def work_stuck(groups: list[Group]) -> None:
    """The first commits; when it has written, the next one does, and so on; the last one is not
    stopped. All but that have to do it anew."""
    first, *rest = groups
    calls = 0

    def work(lock: HeldLock) -> None:
        nonlocal calls
        calls += 1
        first.commit_locked(lock, {key(0): CommittedOffset(5, 1)})
        if rest and calls == 1:
            work_stuck(rest)

    first.under_lock(work)
    assert calls == (2 if rest else 1)


def test_a_lock_that_goes_from_hand_to_hand_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits long because many others come first breaks nothing."""
    group = Group(Files(), str(tmp_path), "g", patience_ms=0)
    group.make_directory()
    take(group, 1)
    waiting = Group(Files(), str(tmp_path), "g", patience_ms=0)
    tries = 0
    with group.locked() as lock:
        real = waiting.files.lock

        def lock_later(*arguments: Any, **options: Any) -> bool:
            nonlocal tries
            tries += 1
            if tries < 20:  # somebody else has it, and then somebody else
                group.lock.note_synced(lock, tries)
                return False
            group.files.unlock(lock.descriptor)
            return real(*arguments, **options)

        monkeypatch.setattr(waiting.files, "lock", lock_later)
        waiting.under_lock(lambda _: None)
    assert waiting.lock.epochs() == [0]
    assert tries == 20


def test_the_holder_is_named_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group(Files(), str(tmp_path), "g", patience_ms=0)
    group.make_directory()
    waiting = Group(Files(), str(tmp_path), "g", patience_ms=0)

    def refused(path: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(waiting.files, "make_directory", refused)
    with group.locked(), pytest.raises(GroupLockedError, match="group 'g'"):
        take(waiting, 1)
    take(waiting, 1)


def test_an_epoch_that_somebody_died_making_is_settled_in_by_the_next(tmp_path: Path) -> None:
    group = Group(Files(), str(tmp_path), "g", patience_ms=0)
    group.make_directory()
    take(group, 3)
    os.makedirs(Path(group.directory) / "epochs/1")
    assert group.read_offsets()[key(0)].offset == 3
    assert group.lock.settled() == 1
    take(group, 4)
    assert group.read_offsets()[key(0)].offset == 4


def test_what_else_is_in_epochs_is_passed_over(tmp_path: Path) -> None:
    group = Group(Files(), str(tmp_path), "g")
    group.make_directory()
    for name in ("0", "01", "x", "-3", "٣", "9" * 30):
        os.makedirs(Path(group.directory) / "epochs" / name)
    assert group.lock.epochs() == [0]


@pytest.mark.parametrize("where", ["epochs", "epochs/7"])
def test_a_link_in_the_place_of_an_epoch_is_refused(tmp_path: Path, where: str) -> None:
    group = Group(Files(), str(tmp_path), "g")
    group.make_directory()
    path = Path(group.directory) / where
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path)
    with pytest.raises(CorruptionError, match="links are not followed"):
        take(Group(Files(), str(tmp_path), "g"), 1)


def test_an_epoch_that_nobody_counted_up_to_is_the_last(tmp_path: Path) -> None:
    group = Group(Files(), str(tmp_path), "g", patience_ms=0)
    group.make_directory()
    os.makedirs(Path(group.directory) / "epochs" / ("9" * 18))
    with group.locked(), pytest.raises(GroupLockedError):
        take(Group(Files(), str(tmp_path), "g", patience_ms=0), 1)


def test_the_wait_doubles_where_nobody_could_settle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a disk slower than all who wait would let nobody ever finish."""
    monkeypatch.setattr("merkql.group_lock.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(
        "merkql.group_lock.time.sleep", lambda _: clock.__setitem__(0, clock[0] + 1)
    )
    clock, waited = [0.0], []
    group = Group(Files(), str(tmp_path), "g", patience_ms=10_000)
    group.make_directory()
    for epoch in range(4):
        path = Path(group.lock.directory_of(epoch))
        path.mkdir(parents=True, exist_ok=True)
        descriptor = group.files.open(str(path / "lock"), write=True, create=True)
        with monkeypatch.context() as patch:
            patch.setattr(group.files, "lock", lambda *_, **__: False)
            before = clock[0]
            assert not group.lock._wait(descriptor, epoch, exclusive=True)
            waited.append(round(clock[0] - before))
        group.files.close(descriptor)
    assert waited == [10, 20, 40, 80]
    assert isinstance(group.lock, GroupLock)
