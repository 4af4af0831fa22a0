"""Opens what a crash left and compares it with what was promised.

``promised`` is the model after the last call that returned; ``offered`` with the call in hand too.
"""

from __future__ import annotations

from dataclasses import dataclass

from merkql.broker import Broker
from merkql.producer import Producer
from merkql.storage.partition import Partition
from support.log_model import Event, LogModel, PartitionModel, TopicModel, root_of


@dataclass(frozen=True)
class Expectation:
    promised: LogModel
    offered: LogModel
    power_cut: bool  # else the process died and the machine lived


def check_broker(broker: Broker, expectation: Expectation) -> LogModel:
    """Raises AssertionError where the broker breaks a promise; else what it holds, as a model."""
    promised, offered = expectation.promised, expectation.offered
    found = set(broker.topics())
    must = set(promised.topics) & set(offered.topics)
    may = set(promised.topics) | set(offered.topics)
    assert must <= found <= may, f"topics {found}, promised {must}, possible {may}"
    held = LogModel()
    for name in sorted(found):
        most = offered.topics.get(name, promised.topics.get(name))
        least = promised.topics.get(name)
        assert most is not None
        held.topics[name] = _check_topic(broker, name, (least, most), expectation.power_cut)
    _check_commits(broker, expectation)
    return held


def _check_topic(
    broker: Broker, name: str, bounds: tuple[TopicModel | None, TopicModel], power_cut: bool
) -> TopicModel:
    least, most = bounds
    partitions = broker.topic(name).partitions()
    count_least = len(least.partitions) if least is not None else len(most.partitions)
    assert count_least <= len(partitions) <= len(most.partitions)
    held = TopicModel([], most.durable, most.max_records, most.erasable)
    for partition, possible in zip(partitions, most.partitions, strict=False):
        groups_least = 0
        if least is not None and partition.index < len(least.partitions):
            before = least.partitions[partition.index]
            groups_least = len(before.groups)
            if power_cut and not most.durable:
                groups_least = before.synced
        events = check_partition(partition, possible, groups_least, most)
        held.partitions.append(PartitionModel([events], 0))
    return held


def check_partition(
    partition: Partition, possible: PartitionModel, groups_least: int, topic: TopicModel
) -> list[Event]:
    """Every promised record with its offset and bytes, nothing never offered, the right roots."""
    where = f"{partition.topic}/{partition.index}"
    end = partition.end_offset
    ends = possible.boundaries(groups_least)
    assert end in ends, f"{where} ends at {end}, may end at {sorted(ends)}"
    events = possible.events()[:end]
    start = partition.start_offset
    limit = partition._owner.retention.max_records  # what it is set to, before or after the call
    lowest = 0 if limit is None else max(0, end - limit)
    assert lowest <= start, f"{where} shows too much, from {start}"
    if start < end or topic.durable:
        assert start <= max(possible.start, lowest), f"{where} hides records below {start}"
    for offset, record in enumerate(partition.read_range(start, end), start):
        assert record.offset == offset
        found = Event(record.value, record.key, record.timestamp_ms, record.headers)
        assert found == events[offset], f"{where} has another record at {offset}"
    if not topic.erasable:
        assert partition.root() == root_of(events), f"{where} has another root"
        for size in {1, end // 2, end - 1} & set(range(1, end)):
            assert partition.root(size) == root_of(events[:size])
    for offset in {start, end - 1} & set(range(start, end)):
        assert partition.proof(offset).verify(partition.read(offset), partition.root())
    if end:
        old = max(1, end // 2)
        consistency = partition.consistency_proof(old)
        assert consistency.verify(partition.root(old), partition.root())
    report = partition.verify()
    assert report.end_offset == end
    return events


def append_more(producer: Producer, held: LogModel) -> None:
    """One more record to every partition, each at the next offset."""
    for name, topic in held.topics.items():
        for index, partition in enumerate(topic.partitions):
            event = Event(b"after the crash", timestamp_ms=1_700_000_000_999)
            metadata = producer.send(
                name, event.value, partition=index, timestamp_ms=event.timestamp_ms
            )
            assert metadata.offset == len(partition.events()), "not the next offset"
            partition.groups.append([event])
            partition.synced = len(partition.groups)


def _check_commits(broker: Broker, expectation: Expectation) -> None:
    wanted = {**expectation.promised.committed, **expectation.offered.committed}
    for (group, topic, partition), offset in wanted.items():
        if topic not in broker.topics():
            continue
        with broker.consumer(group, auto_commit=False) as consumer:
            consumer.assign([(topic, partition)])
            found = consumer.committed((topic, partition))
        possible = {expectation.promised.committed.get((group, topic, partition)), offset}
        assert found in possible, f"group {group} committed {found}, possible {possible}"
