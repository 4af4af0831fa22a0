"""Opens what a crash left and compares it with what was promised.

``promised`` is the model after the last call that returned; ``offered`` with the call in hand too.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from merkql import Record
from merkql.broker import Broker
from merkql.producer import Producer
from merkql.storage.partition import Partition
from support.log_model import Event, LogModel, PartitionModel, TopicModel, root_of

NEEDLE_SIZE = 8  # of a value: compression leaves so much of its beginning as it is
Seen = dict[tuple[bytes, int], int]  # the end a reader was shown, by topic id and partition


@dataclass(frozen=True)
class Expectation:
    promised: LogModel
    offered: LogModel
    power_cut: bool  # else the process died and the machine lived
    seen: Seen = field(default_factory=dict)

    def digest(self) -> bytes:
        """Told apart from other expectations by these few bytes."""
        text = repr((self.promised, self.offered, self.power_cut, sorted(self.seen.items())))
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


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
        _check_seen(broker, name, expectation)
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
        signed_least: list[int] = []
        if least is not None and partition.index < len(least.partitions):
            before = least.partitions[partition.index]
            groups_least = len(before.groups)
            signed_least = before.signed
            if power_cut and not most.durable:
                groups_least = before.synced
        erased_least: set[int] = set()
        if least is not None and partition.index < len(least.partitions):
            erased_least = least.partitions[partition.index].erased
        events = check_partition(partition, possible, groups_least, most)
        erased = _check_erased(broker, partition, (erased_least, possible.erased), events)
        signed = _check_signed(partition, signed_least, events, erasable=most.erasable)
        groups = [events] if events else []
        held.partitions.append(PartitionModel(groups, 0, signed=signed, erased=erased))
    return held


def _check_erased(
    broker: Broker, partition: Partition, bounds: tuple[set[int], set[int]], events: list[Event]
) -> set[int]:
    """What was erased is, and nothing else; and no file has a byte of it, or of its salt."""
    least, most = bounds
    start, end = partition.start_offset, partition.end_offset
    erased = {one.offset for one in partition.read_range(start, end) if one.erased}
    where = f"{partition.topic}/{partition.index}"
    assert {one for one in least if one >= start} <= erased <= most, f"{where}: {erased} erased"
    log = partition._owner.open_log(partition.index)
    gone = erased | {one for one in least if one < start}
    for offset in sorted(gone):
        salts = log.pool.read(f"{log.tree.directory}/salts", 16, offset * 16)
        assert salts == bytes(16), f"{where}: the salt of {offset} is there"
    values = [events[offset].value or b"" for offset in gone]  # no two begin alike
    found = find_bytes(broker._directory, [one[:NEEDLE_SIZE] for one in values])
    assert not found, f"{where}: of an erased record is left {found}"
    return gone


def find_bytes(root: str, needles: Iterable[bytes]) -> list[tuple[bytes, str]]:
    """Which of these are in which file below ``root``."""
    found = []
    for path, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(path, name), "rb") as file:
                content = file.read()
            found += [(one, name) for one in needles if one in content]
    return found


def _check_signed(
    partition: Partition,
    least: list[int],
    events: list[Event],
    *,
    erasable: bool,
) -> list[int]:
    """Each checkpoint that was promised is kept, and none contradicts the log."""
    kept = partition.checkpoints()
    sizes = [one.size for one in kept]
    assert sizes[: len(least)] == least, f"{sizes} were signed, not {least}"
    assert sizes == sorted(set(sizes)), sizes  # a close signs too
    for one in kept:
        assert partition.root(one.size) == one.root, f"the checkpoint of {one.size} is another's"
        assert erasable or one.root == root_of(events[: one.size])
    return sizes


def _check_seen(broker: Broker, name: str, expectation: Expectation) -> None:
    """What a reader was shown is not gone, whatever had been acknowledged."""
    topic = broker.topic(name)
    if expectation.power_cut and topic.config.durability != "fsync":
        return
    for partition in topic.partitions():
        end = expectation.seen.get((topic.id, partition.index), 0)
        assert partition.end_offset >= end, (
            f"{name}/{partition.index} was read to {end} and ends at {partition.end_offset}"
        )


def check_reader(
    reader: Broker, offered: LogModel, promised: LogModel | None = None
) -> dict[tuple[bytes, int], int]:
    """What a process that only reads is shown is what was offered; returns the ends it was shown.

    A partition or topic that a crash left half made may be an error to it, never another record.
    """
    seen: Seen = {}
    for name in reader.topics():
        topic = reader.topic(name)
        models = [m.topics[name] for m in (offered, promised) if m is not None and name in m.topics]
        assert models, f"a reader is shown a topic {name} that nobody made"
        for partition in topic.partitions():
            possible = [
                m.partitions[partition.index] for m in models if partition.index < len(m.partitions)
            ]
            start, end = partition.start_offset, partition.end_offset
            records = partition.read_range(start, end)
            found = [None if r.erased else _event(r) for r in records]
            assert not found or any(_fits(found, start, one) for one in possible), (
                f"a reader is shown other records in {name}/{partition.index}, {start} to {end}"
            )
            seen[topic.id, partition.index] = end
    return seen


def _event(record: Record) -> Event:
    return Event(record.value, record.key, record.timestamp_ms, record.headers)


def _fits(found: list[Event | None], start: int, model: PartitionModel) -> bool:
    """Whether these are the model's records from ``start`` on, None for one that is erased."""
    events = model.events()[start : start + len(found)]
    return len(events) == len(found) and all(
        one == event if one is not None else offset in model.erased
        for offset, (one, event) in enumerate(zip(found, events, strict=True), start)
    )


_OURS = re.compile(
    r"""merkql\.json|lock(\.sharers|\.queue)?|state|clean|wal|wal/\d{8}\.wal|topics|groups
    |topics/[^./][^/]*(/topic\.json|/\d+(/(\d{20}\.(log|index)|tail|start|checkpoints|tree)
        |/tree/(h\d\d|salts))?)?
    |groups/[^./][^/]*(/((offsets|assignment)(\.tmp)?|lock|members(/[^/.]+)?))?""",
    re.VERBOSE,
)


def check_leftovers(root: str) -> None:
    """Nothing is left in a closed directory that has no business there."""
    strangers = []
    for path, directories, names in os.walk(root):
        for name in [*directories, *names]:
            below = os.path.relpath(os.path.join(path, name), root)
            if not _OURS.fullmatch(below):
                strangers.append(below)
    assert not strangers, f"left behind: {strangers}"
    assert not os.listdir(os.path.join(root, "wal")), "a clean close leaves WAL files"


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
        if record.erased:
            assert offset in possible.erased, f"{where}: nobody erased {offset}"
            assert record.timestamp_ms == events[offset].timestamp_ms
            continue
        assert _event(record) == events[offset], f"{where} has another record at {offset}"
    for size, root in possible.roots.items():
        if size <= end:
            assert partition.root(size) == root, f"{where} has another root at {size} than it had"
    if not topic.erasable:
        assert partition.root() == root_of(events), f"{where} has another root"
        for size in {1, end // 2, end - 1} & set(range(1, end)):
            assert partition.root(size) == root_of(events[:size])
    for offset in {start, end - 1} & set(range(start, end)):
        proof, record = partition.proof(offset), partition.read(offset)
        if record.erased:
            proof.check_leaf(partition.root())
        else:
            assert proof.verify(record, partition.root())
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
    promised, offered = expectation.promised.committed, expectation.offered.committed
    for key in {**promised, **offered}:
        group, topic, partition = key
        if topic not in broker.topics():
            continue
        with broker.consumer(group, auto_commit=False) as consumer:
            consumer.assign([(topic, partition)])
            found = consumer.committed((topic, partition))
        possible = {promised.get(key), offered.get(key)}
        assert found in possible, f"group {group} committed {found}, possible {possible}"
