"""Ctrl-C at the one place where it did harm, each named after what one saw."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from merkql import Broker


class Striking:
    """A column of the index; in the middle of the next entries Ctrl-C strikes."""

    def __init__(self, column: array[int]) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def extend(self, values: array[int]) -> None:
        raise KeyboardInterrupt


def test_a_partition_refused_every_write_once_its_segment_was_full(tmp_path: Path) -> None:
    """One column of the index was longer than the others: the next roll found it damaged."""
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", segment_bytes=4096)
        producer = broker.producer()
        producer.send("t", b"x")
        index = broker._engine.partitions.logs[str(tmp_path / "topics" / "t" / "0")].active.index
        offsets, words, timestamps = index._load()
        index._columns = (offsets, Striking(words), timestamps)  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt):
            producer.send("t", b"struck")
        for _ in range(50):
            producer.send("t", bytes(200))
        partition = broker.topic("t").partition(0)
        assert partition.read(partition.end_offset - 1).value == bytes(200)
        assert len(partition.read_range(0, 52)) == 52
        partition.verify()
