"""A group of more than 2 GiB: one system call writes and reads no more than that.

Takes 5 GiB of memory, 5 GiB of disk, and minutes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from merkql import Broker
from support import children

SIZE, EACH, PARTITIONS = 64 << 20, 11, 3

DIES = """
import os, sys
from merkql import Broker, ProducerRecord
from merkql.storage.partition_log import PartitionLog

size, each, partitions = map(int, sys.argv[2:])
broker = Broker.open(sys.argv[1])
broker.create_topic("t", partitions=partitions)
records = [
    ProducerRecord("t", bytes([n]) * (size + n), partition=n % partitions)
    for n in range(each * partitions)
]
PartitionLog.apply = lambda *_: os._exit(0)  # with the group in the write-ahead log alone
broker.producer().send_batch(records)
"""


@pytest.mark.exhaustive
def test_a_group_of_more_than_two_gib_is_recovered_whole(tmp_path: Path) -> None:
    with children.start(DIES, tmp_path, SIZE, EACH, PARTITIONS) as child:
        child.communicate()
    assert max(path.stat().st_size for path in (tmp_path / "wal").iterdir()) > 1 << 31
    with Broker.open(tmp_path) as broker:
        for partition in broker.topic("t").partitions():
            assert partition.end_offset == EACH
            for offset in range(EACH):
                number = offset * PARTITIONS + partition.index
                assert partition.read(offset).value == bytes([number]) * (SIZE + number)
