"""Every file operation of a member fails in turn: the error is raised, the next call mends it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merkql.assignment import Subscription, TopicShape
from merkql.groups import Group, PartitionKey
from merkql.membership import PROBE_INTERVAL_MS, PROBE_ROUNDS, Membership
from merkql.storage.files import Files

TOPICS = {"orders": TopicShape(b"o" * 16, 4)}
OPERATIONS = [
    *("open", "read", "write", "truncate", "sync", "size", "rename", "remove"),
    *("make_directory", "sync_directory", "list_directory", "status", "lock"),
]
TURNS_MAX = 400


class FailingFiles(Files):
    """Fails the n-th operation from now."""

    def __init__(self) -> None:
        self.left = -1
        for name in OPERATIONS:
            setattr(self, name, self._counted(getattr(self, name)))

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.EIO, "injected")
            return real(*arguments, **options)

        return call


class Pair:
    """A member whose files fail, and one whose files do not."""

    def __init__(self, directory: str) -> None:
        self.now_ms = 1_000_000
        self.files = FailingFiles()
        self.failing = self._member(self.files, directory)
        self.sound = self._member(Files(), directory)

    def _member(self, files: Files, directory: str) -> Membership:
        return Membership(
            Group(files, directory, "g"),
            lambda: TOPICS,
            rebalance_timeout_ms=3000,
            max_poll_interval_ms=300_000,
            clock_ms=lambda: self.now_ms,
            on_change=lambda: None,
        )

    def settle(self, *members: Membership) -> list[list[int]]:
        for _ in range(2 * PROBE_ROUNDS):
            self.now_ms += PROBE_INTERVAL_MS
            for member in members:
                call(member)
        return [sorted(key.partition for key in member.held) for member in members]


def join(member: Membership) -> None:
    member.join(Subscription(frozenset(["orders"])))


def call(member: Membership) -> None:
    if member.changed():
        asked, lost = member.review()
        member.take_up(asked | lost)


def commit(member: Membership) -> None:
    member.commit(dict.fromkeys(member.held, 5))


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


STEPS: dict[str, Callable[[Pair], None]] = {
    "join": lambda pair: join(pair.failing),
    "call": lambda pair: call(pair.failing),
    "commit": lambda pair: commit(pair.failing),
    "meet": lambda pair: join(pair.sound),
    "hand over": lambda pair: call(pair.failing),
    "leave": lambda pair: pair.failing.leave(),
}


def fail_once(pair: Pair, step: str, turn: int) -> bool:
    """Take the steps up to ``step``, whose n-th operation fails; whether it had that many."""
    for name, act in STEPS.items():
        if name != step:
            act(pair)
            continue
        pair.files.left = turn
        try:
            act(pair)
        except OSError as error:
            if error.strerror != "injected":
                raise
        failed = pair.files.left <= 0
        pair.files.left = -1
        return failed
    raise AssertionError(step)


@pytest.mark.parametrize("step", ["join", "call", "commit", "hand over", "leave"])
def test_a_failure_anywhere_is_raised_and_mended_by_the_next_call(
    tmp_path: Path, step: str
) -> None:
    before, failed, turn = open_descriptors(), True, 0
    while failed:
        turn += 1
        assert turn < TURNS_MAX
        directory = tmp_path / str(turn)
        directory.mkdir()
        pair = Pair(str(directory))
        failed = fail_once(pair, step, turn)
        if step != "leave":
            join(pair.failing)
            join(pair.sound)
            assert pair.settle(pair.failing, pair.sound) == [[0, 1], [2, 3]]
            commit(pair.failing)
            assert PartitionKey(b"o" * 16, 0) in pair.sound.group.read_offsets()
            pair.failing.leave()
        assert pair.settle(pair.sound) == [[0, 1, 2, 3]]
        pair.sound.leave()
        assert open_descriptors() == before
    assert turn > 3
