"""Ctrl-C before each line of a write, while another process writes to the same directory.

The two are two brokers here: the writer role is the system's locks, so they hand it to each other
as processes do. What was acknowledged to either has to stay where it was said to be.
"""

from __future__ import annotations

import linecache
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import merkql.storage
from merkql import Broker

STORAGE = str(Path(merkql.storage.__file__).parent)
TRIES = 4  # the other may keep the role for a moment: then this thread does less
LINES_MAX = 3000


class Interrupter:
    """Raises before the n-th line of the storage engine that this thread comes to."""

    def __init__(self, line: int) -> None:
        self.left = line

    def call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self.line if frame.f_code.co_filename.startswith(STORAGE) else None

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:
        # At the end of a `with` Python is there once more, where no signal handler runs.
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        if event == "line" and not text.startswith("with "):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.line


class Pair:
    """The two, and what they were told."""

    def __init__(self, directory: Path) -> None:
        self.one, self.other = Broker.open(directory), Broker.open(directory)
        self.one.create_topic("t", segment_bytes=1 << 16)
        self.said: dict[int, bytes] = {}

    def send(self, broker: Broker) -> None:
        value = b"%d" % len(self.said)
        offset = broker.producer().send("t", value).offset
        assert self.said.setdefault(offset, value) is value, f"offset {offset} was given twice"

    def interrupt(self, line: int) -> bool:
        """Whether the call came as far as that line."""
        self.send(self.other)  # so there is something to take in
        interrupter = Interrupter(line)
        before = sys.gettrace()
        sys.settrace(interrupter.call)
        try:
            self.one.producer().send("t", b"interrupted")
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        if self.one._engine.committer._leading:
            self.send(self.one)  # it has the role still, and takes up what it left
        for broker in self.other, self.one, self.other:
            self.send(broker)
        return interrupter.left <= 0

    def check(self) -> None:
        partition = self.other.topic("t").partition(0)
        partition.verify()
        for offset, value in self.said.items():
            assert partition.read(offset).value == value

    def close(self) -> None:
        self.one.close()
        self.other.close()


@pytest.mark.slow
def test_a_write_that_is_interrupted_at_any_line_loses_nothing_of_two_writers(
    tmp_path: Path,
) -> None:
    pair = Pair(tmp_path)
    line = 1
    while any(pair.interrupt(line) for _ in range(TRIES)):
        line += 1
        assert line < LINES_MAX
    pair.check()
    pair.close()
    with Broker.open(tmp_path, read_only=True) as broker:
        pair.other = broker
        pair.check()
    assert line > 100
