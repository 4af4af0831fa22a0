"""RecordAccumulator: what is added is what is encoded, or nothing is."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from merkql._core.accumulator import RecordAccumulator
from merkql._core.record import ProducerRecord, Record, RecordMetadata
from merkql._core.record_batch import decode, encode

NOW = 1_700_000_000_000


def records_of(accumulator: RecordAccumulator) -> list[Record]:
    encoded = encode([accumulator], 0)
    result = decode(encoded.data, "t", 0, first_offset=0, stop_offset=1 << 62, max_records=1 << 31)
    return result.records


def fields_of(accumulator: RecordAccumulator) -> list[tuple[Any, ...]]:
    return [(r.key, r.value, r.headers, r.timestamp_ms) for r in records_of(accumulator)]


def test_empty() -> None:
    accumulator = RecordAccumulator(NOW)
    assert len(accumulator) == 0
    assert (accumulator.size_bytes, accumulator.largest_size_bytes) == (0, 0)
    accumulator.extend_values([])
    assert len(accumulator) == 0
    with pytest.raises(ValueError, match="no records"):
        encode([accumulator], 0)


def test_add_checks_and_encodes() -> None:
    accumulator = RecordAccumulator(NOW)
    accumulator.add(None, None)
    accumulator.add("k", "v", {"h": "x", "n": None}, 7)
    accumulator.add(bytearray(b"k"), memoryview(b"v"), (), -7)
    assert fields_of(accumulator) == [
        (None, None, (), NOW),
        (b"k", b"v", (("h", b"x"), ("n", None)), 7),
        (b"k", b"v", (), -7),
    ]


def test_add_record_takes_what_the_record_has() -> None:
    accumulator = RecordAccumulator(NOW)
    accumulator.add_record(ProducerRecord("t", "v"))
    accumulator.add_record(ProducerRecord("t", None, "k", [("h", b"")], 5, 9))
    assert fields_of(accumulator) == [
        (None, b"v", (), NOW),
        (b"k", None, (("h", b""),), 9),
    ]


def test_extend_values_alone() -> None:
    accumulator = RecordAccumulator(NOW)
    accumulator.extend_values(
        [b"1", "deux", "trois é", None, bytearray(b"5"), memoryview(b"6"), b""]
    )
    values = [value for _, value, _, _ in fields_of(accumulator)]
    assert values == [b"1", b"deux", "trois é".encode(), None, b"5", b"6", b""]


def test_extend_values_with_keys_and_timestamps() -> None:
    accumulator = RecordAccumulator(NOW)
    accumulator.extend_values((b"a", b"b", b"c"), [None, "k", b""], iter([1, None, -1]))
    assert fields_of(accumulator) == [
        (None, b"a", (), 1),
        (b"k", b"b", (), NOW),
        (b"", b"c", (), -1),
    ]


BAD_CALLS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"values": [b"a", 1]}, TypeError, r"values\[1\] must be bytes, str or None, not int"),
    ({"values": [b"a", "\ud800"]}, ValueError, r"values\[1\] cannot be encoded"),
    ({"values": [b"a"], "keys": [1.0]}, TypeError, r"keys\[0\] must be bytes"),
    ({"values": [b"a"], "keys": []}, ValueError, "1 values but 0 keys"),
    ({"values": [b"a"], "timestamps_ms": [1, 2]}, ValueError, "1 values but 2 timestamps"),
    ({"values": [b"a"], "timestamps_ms": ["1"]}, TypeError, "timestamp_ms must be int"),
    ({"values": [b"a"], "timestamps_ms": [2**63]}, ValueError, "timestamp_ms must fit"),
    ({"values": b"abc"}, TypeError, "values must be a sequence"),
    ({"values": "abc"}, TypeError, "values must be a sequence"),
    ({"values": [b"a"], "keys": "a"}, TypeError, "keys must be a sequence"),
    ({"values": 5}, TypeError, "int"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS)
def test_a_bad_element_adds_nothing(
    call: dict[str, Any], error: type[Exception], message: str
) -> None:
    accumulator = RecordAccumulator(NOW)
    accumulator.add(None, b"before")
    with pytest.raises(error, match=message):
        accumulator.extend_values(**call)
    assert len(accumulator) == 1
    accumulator.add(None, b"after")
    assert [record.value for record in records_of(accumulator)] == [b"before", b"after"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((1, b""), TypeError),
        ((None, 1), TypeError),
        ((None, b"", 5), TypeError),
        ((None, b"", (), "now"), TypeError),
        ((None, b"", (), 2**63), ValueError),
    ],
)
def test_a_bad_record_adds_nothing(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    accumulator = RecordAccumulator(NOW)
    with pytest.raises(error):
        accumulator.add(*arguments)
    assert (len(accumulator), accumulator.size_bytes) == (0, 0)


def test_a_record_is_a_producer_record() -> None:
    with pytest.raises(TypeError):
        RecordAccumulator(NOW).add_record(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        RecordAccumulator(NOW).add_record(b"")  # type: ignore[arg-type]


def test_it_keeps_what_it_points_at() -> None:
    accumulator = RecordAccumulator(NOW)
    values = [b"value %d" % index * 20 for index in range(1000)]
    accumulator.extend_values(list(values), [value[:9] for value in values])
    for index in range(500):
        accumulator.add(b"k%d" % index, bytearray(b"copied %d" % index), {f"h{index}": b"x" * 50})
        accumulator.add_record(ProducerRecord("t", f"text é {index}", headers={"n": "y" * 50}))
    gc.collect()
    junk = [bytes([1]) * size for size in range(1, 2000)]
    fields = fields_of(accumulator)
    assert [value for _, value, _, _ in fields[:1000]] == values
    assert [key for key, _, _, _ in fields[:1000]] == [value[:9] for value in values]
    assert fields[1000] == (b"k0", b"copied 0", (("h0", b"x" * 50),), NOW)
    assert fields[-1] == (None, "text é 499".encode(), (("n", b"y" * 50),), NOW)
    assert junk


def test_a_list_changed_later_changes_nothing() -> None:
    values: list[bytes] = [b"a", b"b"]
    accumulator = RecordAccumulator(NOW)
    accumulator.extend_values(values)
    values[0] = b"z"
    del values[1]
    assert [record.value for record in records_of(accumulator)] == [b"a", b"b"]


def test_sizes_bound_what_is_encoded() -> None:
    accumulator = RecordAccumulator(NOW)
    accumulator.add(None, None)
    assert accumulator.size_bytes == accumulator.largest_size_bytes == 21
    accumulator.add(b"k" * 10, b"v" * 1000, [("name", b"x" * 70)] * 3, -5)
    accumulator.add(None, b"v")
    encoded = len(encode([accumulator], 0, batch_size_bytes=1 << 20).data) - 61
    assert encoded <= accumulator.size_bytes < encoded + 3 * 21 + 3 * 10
    assert accumulator.largest_size_bytes > 1000 + 3 * 74


def test_timestamps_by_index() -> None:
    accumulator = RecordAccumulator(NOW)
    accumulator.extend_values([b"", b""], timestamps_ms=[5, None])
    assert [accumulator.timestamp_ms(index) for index in range(2)] == [5, NOW]
    for index in (-1, 2):
        with pytest.raises(IndexError):
            accumulator.timestamp_ms(index)


def test_metadata() -> None:
    accumulator = RecordAccumulator(NOW)
    accumulator.extend_values([b"", b""], timestamps_ms=[5, None])
    assert accumulator.metadata("t", 2, 10) == [
        RecordMetadata("t", 2, 10, 5),
        RecordMetadata("t", 2, 11, NOW),
    ]
