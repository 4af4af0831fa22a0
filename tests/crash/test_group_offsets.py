"""Committed offsets through power cuts and deaths: what was promised is there, nothing is invented.

One group commits, grows its file, dies in mid-commit, fails a sync, leaves a stopped one behind.
After every operation every image that a power cut may leave is opened: it has to hold the content
of a commit that is not older than the last one that returned, and to take another commit.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from merkql.group_lock import GroupLock
from merkql.groups import (
    ENTRY_SIZE,
    HEADER_SIZE,
    CommittedOffset,
    Group,
    Offsets,
    PartitionKey,
)
from merkql.storage import layout
from merkql.storage.files import Files, VolatileFiles
from support.disk_model import DiskModel, write_image
from support.recorder import RecordingFiles

TOPIC = b"t" * 16


class Died(BaseException):
    """Stands for a SIGKILL: nothing runs after it."""


class MortalFiles(RecordingFiles):
    """Fails, or dies, in place of the next sync when told to."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.instead_of_sync: BaseException | None = None

    def sync(self, descriptor: int) -> None:
        instead, self.instead_of_sync = self.instead_of_sync, None
        if instead is not None:
            raise instead
        super().sync(descriptor)


class Script:
    """Commits of one group, each with what stands in the file if it happened."""

    def __init__(self, root: str, width: int) -> None:
        os.makedirs(root)
        self.width = width  # partitions that every commit has besides
        self.files = MortalFiles(root)
        self.group = Group(self.files, os.path.join(root, "groups"), "g", patience_ms=0)
        self.contents: list[Offsets] = [{}]
        self.now: Offsets = {}

    def commit(self, offsets: dict[int, int], instead_of_sync: BaseException | None = None) -> None:
        others = dict.fromkeys(range(100, 100 + self.width), len(self.contents))
        offsets = {**offsets, **others}
        given = {
            PartitionKey(TOPIC, number): CommittedOffset(offset, 1)
            for number, offset in offsets.items()
        }
        self.contents.append({**self.now, **given})
        self.files.mark("begin", len(self.contents) - 1)
        self.files.instead_of_sync = instead_of_sync
        self.group.make_directory()
        try:
            with self.group.locked() as lock:
                self.group.commit_locked(lock, given)
        except (Died, OSError):
            self.now = self.group.read_offsets()
            return
        self.now = self.contents[-1]
        self.files.mark("end", len(self.contents) - 1)

    @contextmanager
    def stuck(self) -> Iterator[None]:
        """Meanwhile somebody holds the lock who will never do anything again."""
        with ExitStack() as stack:
            files = Files()
            self.group.make_directory()
            lock = GroupLock(files, self.group.directory, "g", 0)
            path = layout.group_lock(lock.directory_of(lock.epochs()[-1]))
            descriptor = files.open(path, write=True, create=True)
            stack.callback(files.release, descriptor)
            assert files.lock(descriptor, wait=False)
            yield


def plain(script: Script) -> None:
    for offset in range(1, 5):
        script.commit({0: offset})
    script.commit({1: 7})


def growing(script: Script) -> None:
    script.commit({0: 1, 1: 1})
    script.commit({2: 1})
    script.commit({0: 2})
    script.commit(dict.fromkeys(range(8), 3))
    script.commit({0: 4})


def dying(script: Script) -> None:
    """The file's writer is killed between write and sync; others go on from what they see."""
    script.commit({0: 1}, Died())
    script.commit({0: 2})
    script.commit({0: 3})
    script.commit({0: 4}, Died())
    script.commit({1: 1})
    script.commit({1: 2}, Died())
    script.commit({1: 2})
    script.commit({1: 3, 2: 3, 3: 3}, Died())
    script.commit({1: 4})


def failing(script: Script) -> None:
    """The disk refuses a sync; the next one is honest again."""
    script.commit({0: 1})
    for offset in (2, 3):
        script.commit({0: offset}, OSError(errno.EIO, "injected"))
    script.commit({0: 4})
    script.commit({0: 5}, OSError(errno.EIO, "injected"))
    script.commit({1: 1, 2: 1, 3: 1}, OSError(errno.EIO, "injected"))
    script.commit({0: 6})


def overtaken(script: Script) -> None:
    """The lock's holder is stopped: the group moves into another epoch, and into one more."""
    with script.stuck():
        script.commit({0: 1})
    script.commit({0: 2, 1: 1})
    with script.stuck():
        script.commit({0: 3})
        with script.stuck():
            script.commit({1: 2})
            script.commit(dict.fromkeys(range(8), 3))
    script.commit({0: 4})


def overtaken_by_the_dying(script: Script) -> None:
    """Who makes the new epoch is killed in the middle of that, or cannot sync it."""
    script.commit({0: 1})
    with script.stuck():
        script.commit({0: 2}, Died())
        script.commit({0: 3}, OSError(errno.EIO, "injected"))
        script.commit({0: 4})
        script.commit({0: 5}, Died())
        with script.stuck():
            script.commit({0: 6}, Died())
            with script.stuck():  # where nobody has settled yet
                script.commit({0: 7})
            script.commit({0: 8})


@pytest.mark.parametrize(
    ("play", "width"),  # so many that a slot is in one sector, or can tear
    [
        *[(play, width) for play in (plain, growing, dying, failing) for width in (0, 20)],
        *[(play, 20) for play in (overtaken, overtaken_by_the_dying)],
    ],
)
def test_every_power_cut_leaves_a_promised_or_offered_commit(
    play: Callable[[Script], None], width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(  # two entries more than that: growth comes early
        "merkql.groups.SLOT_SIZE_MIN", HEADER_SIZE + (width + 2) * ENTRY_SIZE
    )
    monkeypatch.setattr("merkql.group_lock.LOCK_PATIENCE_S_MIN", 0.0)
    script = Script(str(tmp_path / "run"), width)
    play(script)
    disk, rng = DiskModel(), random.Random(1)
    promised = offered = 0
    seen: set[int] = set()
    for entry in script.files.journal:
        if entry[:2] == ("mark", "begin"):
            offered = entry[2]
        elif entry[0] == "mark":
            promised = entry[2]
        else:
            disk.follow(entry)
        for label, make_image in disk.states(rng):
            image = make_image()
            state = hash((frozenset(image.items()), promised, offered))
            if state in seen:
                continue
            seen.add(state)
            root = tmp_path / "after"
            write_image(image, str(root))
            group = Group(VolatileFiles(), str(root / "groups"), "g")
            found = group.read_offsets()
            assert found in script.contents[promised : offered + 1], f"{entry[0]}: {label}"
            group.make_directory()
            with group.locked() as lock:
                group.commit_locked(lock, {PartitionKey(TOPIC, 9): CommittedOffset(1, 1)})
            assert group.read_offsets().keys() == {*found, PartitionKey(TOPIC, 9)}
            shutil.rmtree(root)
    assert len(seen) > 100
