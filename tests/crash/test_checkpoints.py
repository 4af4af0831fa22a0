"""Checkpoints through power cuts and deaths: what was signed stays, no second past begins.

A log is written and signed on a seam that writes down every operation, on the data directory and on
what lies beside the key. From every state a crash may leave, the log is opened with its key: each
checkpoint that was returned has to be kept, each signed one (also one nobody was given) has to be a
past of the log, and the log has to go on, records and signatures.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from merkql import BrokerConfig
from merkql.broker import Broker
from merkql.storage.checkpoint_file import decode_frame
from merkql.storage.files import Files, VolatileFiles
from merkql.transparency.checkpointer import Signer
from merkql.transparency.heads import Heads
from merkql.transparency.note import SigningKey
from support.crash_session import pinned, reboot
from support.disk_model import DiskModel, Image, write_image
from support.recorder import RecordingFiles

KEY = SigningKey("example.com/log", bytes(range(32)))
VISITS = 120


class Script:
    """Calls on a broker that signs; each checkpoint returned is marked in the journal."""

    def __init__(self, root: str) -> None:
        os.makedirs(root)
        self.root = root
        self.files = RecordingFiles(root)
        for name in ("data", "heads"):
            self.files.make_directory(os.path.join(root, name))
        self.files.sync_directory(root)
        self.returned: list[bytes] = []
        self.open()

    def open(self, *, with_heads: bool = True) -> None:
        self.broker = open_log(self.root, self.files, with_heads=with_heads)

    def send(self, count: int = 1) -> None:
        self.broker.producer().send_values("t", ["record"] * count)

    def sign(self) -> None:
        self.returned.append(self.broker.topic("t").partition(0).checkpoint().note)
        self.files.mark("returned", len(self.returned))

    def crash(self) -> None:
        self.broker._engine.abandon()
        self.broker.closed = True

    def close(self) -> None:
        self.broker.close()


def open_log(root: str, files: Files, *, with_heads: bool = True) -> Broker:
    heads = Heads(files, os.path.join(root, "heads")) if with_heads else None
    config = BrokerConfig(os.path.join(root, "data"), signing_key=Signer(KEY, heads))
    return Broker(config, files)


def signing(script: Script) -> None:
    for _ in range(4):
        script.send()
        script.sign()
    script.send(20)
    script.sign()
    script.close()


def reopening(script: Script) -> None:
    script.send(3)
    script.close()
    script.open()
    script.sign()
    script.send(2)
    script.crash()
    script.open()
    script.sign()
    script.close()
    script.open()
    script.sign()
    script.close()


def without_heads(script: Script) -> None:
    script.crash()
    script.open(with_heads=False)
    for _ in range(3):
        script.send()
        script.sign()
    script.close()


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    logging.disable(logging.CRITICAL)  # recovery logs what it cuts; here that is routine
    yield tmp_path
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("play", [signing, reopening, without_heads])
def test_what_was_signed_stays_signed(play: Callable[[Script], None], scratch: Path) -> None:
    explore(play, scratch, VISITS)


@pytest.mark.slow
@pytest.mark.parametrize("play", [signing, reopening, without_heads])
def test_what_was_signed_stays_signed_in_many_states(
    play: Callable[[Script], None], scratch: Path
) -> None:
    explore(play, scratch, 1 << 40)


def explore(play: Callable[[Script], None], scratch: Path, visits: int) -> None:
    with pinned(1) as patch:
        script = Script(str(scratch / "run"))
        play(script)
        journal = script.files.journal
        share = visits / sum(1 for _ in crashes(journal))
        rng = random.Random(int(os.environ.get("CRASH_SEED", "1")))
        seen = set()
        for power_cut, label, make_image, returned in crashes(journal):
            if rng.random() >= share:
                continue
            image = make_image()
            state = hash((frozenset(image.items()), returned, power_cut))
            if state in seen:
                continue
            seen.add(state)
            reboot(patch, 2 if power_cut else 1)
            try:
                visit(str(scratch / "after"), image, script.returned[:returned])
            except Exception as error:
                raise AssertionError(label) from error
    assert len(seen) > min(visits, 300) // 5


def crashes(
    journal: list[tuple[object, ...]],
) -> Iterator[tuple[bool, str, Callable[[], Image], int]]:
    disk, rng, returned = DiskModel(), random.Random(1), 0
    for number, entry in enumerate(journal):
        if entry[0] == "mark":
            assert isinstance(entry[2], int)
            returned = entry[2]
        else:
            disk.follow(entry)
        yield False, f"after {number} {entry[:2]}: killed", disk.running, returned
        for label, make_image in disk.states(rng):
            yield True, f"after {number} {entry[:2]}: {label}", make_image, returned


def visit(root: str, image: Image, returned: list[bytes]) -> None:
    write_image(image, root)
    try:
        for _ in range(2):
            with contextlib.closing(open_log(root, VolatileFiles())) as broker:
                before = signed_beside_the_key(root)
                broker.producer().send_values("t", ["after the crash"])
                partition = broker.topic("t").partition(0)
                newest = partition.checkpoint()
                kept = partition.checkpoints()
                partition.verify()
                notes = [one.note for one in kept]
                assert set(returned) <= set(notes), "a checkpoint that was given away is lost"
                for one in kept:
                    assert one.root == partition.root(one.size), "a second past"
                assert before is None or before in notes, "signed, and not kept"
                assert notes[-1] == newest.note
    finally:
        shutil.rmtree(root)


def signed_beside_the_key(root: str) -> bytes | None:
    heads = os.path.join(root, "heads")
    names = os.listdir(heads) if os.path.isdir(heads) else []
    for name in names:
        if name == "lock" or name.endswith(".tmp"):
            continue
        with open(os.path.join(heads, name), "rb") as file:
            slots = [decode_frame(file.read(4096), 0, 0) for _ in range(2)]
        sound = [slot for slot in slots if slot is not None]
        if sound:
            return max(sound, key=lambda slot: slot.tree_size).content
    return None
