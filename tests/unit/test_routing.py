"""Each record of a batch goes where it would go alone; the places come in the records' order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merkql import Broker, ProducerRecord, partitioners

COUNTS = {"one": 1, "five": 5}
RECORDS = st.builds(
    ProducerRecord,
    st.sampled_from(sorted(COUNTS)),
    st.binary(max_size=5),
    st.none() | st.sampled_from([b"", b"a", b"bb", b"key-7", b"key-8", b"another key"]),
    partition=st.none() | st.just(0),
)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker.temporary() as broker:
        for name, count in COUNTS.items():
            broker.create_topic(name, partitions=count)
        yield broker


@pytest.mark.parametrize("partitioner", [None, partitioners.sha256])
@settings(max_examples=60, deadline=None)
@given(records=st.lists(RECORDS, max_size=40))
def test_a_batch_is_routed_as_its_records(
    broker: Broker, partitioner: partitioners.Partitioner | None, records: list[ProducerRecord]
) -> None:
    by_key = partitioner or partitioners.murmur2
    places = broker.producer(partitioner=partitioner).send_batch(records)
    assert [place.topic for place in places] == [record.topic for record in records]
    for record, place in zip(records, places, strict=True):
        stored = broker.topic(place.topic).partition(place.partition).read(place.offset)
        assert (stored.key, stored.value) == (record.key, record.value)
        if record.partition is not None:
            assert place.partition == record.partition
        elif record.key is not None:
            assert place.partition == by_key(record.key, COUNTS[record.topic])


def test_what_is_no_record_is_refused_wherever_it_stands(broker: Broker) -> None:
    producer = broker.producer()
    ends = [one.end_offset for one in broker.topic("five").partitions()]
    record = ProducerRecord("five", b"x", b"key")
    for position in range(4):
        records: list[object] = [record, record, record]
        records.insert(position, b"no record")
        with pytest.raises(TypeError, match="send_batch takes ProducerRecords, not bytes"):
            producer.send_batch(records)  # type: ignore[arg-type]
    assert [one.end_offset for one in broker.topic("five").partitions()] == ends


def test_partitions_added_meanwhile_take_records(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = broker.create_topic("grows", partitions=2)
    producer = broker.producer()
    route = producer._route

    def adds_first(*arguments: object) -> int:
        if topic.partition_count == 2:
            topic.add_partitions(7)
        return route(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(producer, "_route", adds_first)
    records = [ProducerRecord("grows", b"x", b"key %d" % n) for n in range(40)]
    places = producer.send_batch(records)
    expected = [partitioners.murmur2(b"key %d" % n, 7) for n in range(40)]
    assert [place.partition for place in places] == expected
