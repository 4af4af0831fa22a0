"""The record types: what they take, what they refuse, how they compare and travel."""

from __future__ import annotations

import copy
import datetime
import enum
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from merkql._core.record import ProducerRecord, Record, RecordMetadata


def a_record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "topic": "orders",
        "partition": 3,
        "offset": 42,
        "timestamp_ms": 1_700_000_000_123,
        "key": b"k",
        "value": b"v",
        "headers": (("name", b"value"), ("none", None)),
    }
    return Record(**fields | changes)


def a_producer_record(**changes: Any) -> ProducerRecord:
    fields: dict[str, Any] = {
        "topic": "orders",
        "value": b"v",
        "key": b"k",
        "headers": (("name", b"value"),),
        "partition": 3,
        "timestamp_ms": 5,
    }
    return ProducerRecord(**fields | changes)


def a_metadata(**changes: Any) -> RecordMetadata:
    fields: dict[str, Any] = {"topic": "orders", "partition": 3, "offset": 42, "timestamp_ms": 5}
    return RecordMetadata(**fields | changes)


MAKERS: list[Callable[..., Any]] = [a_record, a_producer_record, a_metadata]
CHANGES = [
    (a_record, {"topic": "other"}),
    (a_record, {"partition": 4}),
    (a_record, {"offset": 43}),
    (a_record, {"timestamp_ms": 0}),
    (a_record, {"key": None}),
    (a_record, {"key": b""}),
    (a_record, {"value": None}),
    (a_record, {"headers": ()}),
    (a_producer_record, {"topic": "other"}),
    (a_producer_record, {"value": None}),
    (a_producer_record, {"key": None}),
    (a_producer_record, {"headers": ()}),
    (a_producer_record, {"partition": None}),
    (a_producer_record, {"timestamp_ms": None}),
    (a_metadata, {"topic": "other"}),
    (a_metadata, {"partition": 4}),
    (a_metadata, {"offset": 43}),
    (a_metadata, {"timestamp_ms": 0}),
]


@pytest.mark.parametrize("make", MAKERS)
def test_equal_records_are_equal(make: Callable[..., Any]) -> None:
    assert make() == make()
    assert hash(make()) == hash(make())
    assert make() != "orders"
    assert "topic='orders'" in repr(make())


@pytest.mark.parametrize(("make", "change"), CHANGES)
def test_every_attribute_counts(make: Callable[..., Any], change: dict[str, Any]) -> None:
    assert make() != make(**change)
    assert hash(make()) != hash(make(**change))


@pytest.mark.parametrize("make", MAKERS)
def test_pickle_and_copy(make: Callable[..., Any]) -> None:
    record = make()
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(record, protocol)) == record
    assert copy.copy(record) == copy.deepcopy(record) == record


@pytest.mark.parametrize("make", MAKERS)
def test_attributes_are_read_only(make: Callable[..., Any]) -> None:
    with pytest.raises(AttributeError):
        make().topic = "other"
    with pytest.raises(AttributeError):
        make().extra = 1


@pytest.mark.parametrize("make", MAKERS)
def test_repr_can_be_evaluated(make: Callable[..., Any]) -> None:
    assert eval(repr(make())) == make()


def test_repr_of_a_large_value_is_short() -> None:
    assert len(repr(a_record(value=bytes(100_000)))) < 600
    assert "(100000 bytes)" in repr(a_record(value=bytes(100_000)))


def test_headers_of_a_record_have_a_default() -> None:
    assert Record("t", 0, 0, 0, None, b"v").headers == ()


@pytest.mark.parametrize(
    ("timestamp_ms", "expected"),
    [
        (0, datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)),
        (-1, datetime.datetime(1969, 12, 31, 23, 59, 59, 999000, datetime.timezone.utc)),
        (
            1_700_000_000_123,
            datetime.datetime(2023, 11, 14, 22, 13, 20, 123000, datetime.timezone.utc),
        ),
    ],
)
def test_datetime(timestamp_ms: int, expected: datetime.datetime) -> None:
    record = a_record(timestamp_ms=timestamp_ms)
    assert record.datetime == expected
    assert record.datetime.utcoffset() == datetime.timedelta(0)


def test_datetime_out_of_range() -> None:
    with pytest.raises(OverflowError):
        _ = a_record(timestamp_ms=2**63 - 1).datetime


def test_matching() -> None:
    match a_metadata():
        case RecordMetadata(_, partition, offset, _):
            assert (partition, offset) == (3, 42)
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize("given", [b"v", "v", bytearray(b"v"), memoryview(b"v")])
def test_bytes_like_and_text_become_bytes(given: Any) -> None:
    record = ProducerRecord("t", given, given, {"h": given})
    assert (record.value, record.key, record.headers) == (b"v", b"v", (("h", b"v"),))
    assert type(record.value) is type(record.key) is bytes


def test_a_strided_view_is_copied_in_order() -> None:
    assert ProducerRecord("t", memoryview(b"a-b-c")[::2]).value == b"abc"


def test_a_copy_is_made_of_what_can_change() -> None:
    value = bytearray(b"before")
    record = ProducerRecord("t", value)
    value[:] = b"after!"
    assert record.value == b"before"


def test_text_is_encoded_as_utf_8() -> None:
    record = ProducerRecord("t", "naïve", "clé", [("été", "ô")])
    assert (record.value, record.key) == ("naïve".encode(), "clé".encode())
    assert record.headers == (("été", "ô".encode()),)


def test_defaults() -> None:
    record = ProducerRecord("t", None)
    assert (record.value, record.key, record.headers) == (None, None, ())
    assert (record.partition, record.timestamp_ms) == (None, None)


def test_headers_from_anything_iterable() -> None:
    expected = (("a", b"1"), ("b", None))
    for headers in (expected, list(expected), iter(expected), dict(expected), [list(expected[0])]):
        record = ProducerRecord("t", b"", headers=headers)  # type: ignore[arg-type]
        assert record.headers == expected[: len(record.headers)]
        assert type(record.headers) is tuple
        assert all(type(pair) is tuple for pair in record.headers)


def test_a_name_may_come_twice() -> None:
    headers = (("a", b"1"), ("a", b"2"))
    assert ProducerRecord("t", b"", headers=headers).headers == headers


class Name(str, enum.Enum):
    ORDERS = "orders"


def test_a_text_enum_is_a_topic() -> None:
    record = ProducerRecord(Name.ORDERS, b"")
    assert type(record.topic) is str
    assert record.topic == "orders"


REFUSED = [
    ({"topic": b"t"}, TypeError, "topic must be str, not bytes"),
    ({"value": 1}, TypeError, "value must be bytes, str or None, not int"),
    ({"key": 1.5}, TypeError, "key must be bytes, str or None, not float"),
    ({"value": "\ud800"}, ValueError, "value cannot be encoded as UTF-8"),
    ({"key": "\ud800"}, ValueError, "key cannot be encoded as UTF-8"),
    ({"headers": 1}, TypeError, "headers must be pairs"),
    ({"headers": "ab"}, TypeError, "headers must be pairs"),
    ({"headers": ["ab"]}, TypeError, r"headers\[0\] must be a pair"),
    ({"headers": [("a", b""), ("b",)]}, TypeError, r"headers\[1\] must be a pair"),
    ({"headers": [(b"a", b"")]}, TypeError, r"the name of headers\[0\] must be str, not bytes"),
    ({"headers": [("a", 1)]}, TypeError, r"the value of headers\[0\] must be bytes"),
    ({"headers": [("\ud800", b"")]}, ValueError, r"the name of headers\[0\] cannot be encoded"),
    ({"partition": "1"}, TypeError, "partition must be int or None, not str"),
    ({"partition": True}, TypeError, "partition must be int or None, not bool"),
    ({"partition": -1}, ValueError, "partition must be between 0"),
    ({"partition": 2**31}, ValueError, "partition must be between 0"),
    ({"timestamp_ms": 1.5}, TypeError, "timestamp_ms must be int or None, not float"),
    ({"timestamp_ms": 2**63}, ValueError, "timestamp_ms must fit in 64 bits"),
    ({"timestamp_ms": -(2**63) - 1}, ValueError, "timestamp_ms must fit in 64 bits"),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSED)
def test_what_is_refused_is_named(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        a_producer_record(**change)


@pytest.mark.parametrize(
    "change",
    [{"key": "text"}, {"value": 1}, {"topic": None}, {"headers": [("a",)]}, {"offset": "1"}],
)
def test_a_record_as_read_has_exact_types(change: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        a_record(**change)


def test_more_records_than_the_freelist_holds() -> None:
    for _ in range(2):
        records = [Record("t", 0, offset, 0, None, b"%d" % offset) for offset in range(10_000)]
        assert [record.offset for record in records] == list(range(10_000))
        assert all(record.key is None and record.headers == () for record in records)
        del records
