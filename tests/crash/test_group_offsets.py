"""Committed offsets through power cuts and deaths: what was promised is there, nothing is invented.

One group commits, grows its file, dies in mid-commit, fails a sync. After every operation every
image that a power cut may leave is opened: it has to hold the content of a commit that is not older
than the last one that returned, and to take another commit.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from merkql.groups import (
    ENTRY_SIZE,
    HEADER_SIZE,
    CommittedOffset,
    Group,
    Offsets,
    PartitionKey,
)
from merkql.storage.files import VolatileFiles
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
        self.group = Group(self.files, os.path.join(root, "groups"), "g")
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


@pytest.mark.parametrize("play", [plain, growing, dying, failing])
@pytest.mark.parametrize("width", [0, 20])  # a slot in one sector, and one that can tear
def test_every_power_cut_leaves_a_promised_or_offered_commit(
    play: Callable[[Script], None], width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(  # two entries more than that: growth comes early
        "merkql.groups.SLOT_SIZE_MIN", HEADER_SIZE + (width + 2) * ENTRY_SIZE
    )
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
