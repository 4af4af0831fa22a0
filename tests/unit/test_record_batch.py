"""Record batches there and back, judged by an oracle that shares no code with them.

Every batch is read three ways: whole, cut at each byte, and with something behind it.
"""

from __future__ import annotations

import contextlib
import random
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from merkql._core.accumulator import RecordAccumulator
from merkql._core.batch_decoder import record_at
from merkql._core.record import Record
from merkql._core.record_batch import (
    BatchError,
    DecodeResult,
    EncodedBatches,
    decode,
    encode,
    leaf_hashes,
    scan,
)
from support import naive_batch
from support.naive_batch import NaiveBatch, NaiveRecord

HEADER_SIZE = 61
INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
EVERYTHING = INT64_MAX

INT64 = st.integers(INT64_MIN, INT64_MAX)
BYTES = st.none() | st.binary(max_size=300)
HEADERS = st.lists(st.tuples(st.text(max_size=20), BYTES), max_size=4).map(tuple)
RECORDS = st.builds(
    NaiveRecord,
    key=BYTES,
    value=BYTES,
    headers=HEADERS,
    timestamp_ms=INT64 | st.integers(-5, 5) | st.integers(1_700_000_000_000, 1_700_000_100_000),
)
RECORD_LISTS = st.lists(RECORDS, min_size=1, max_size=30)


def accumulated(records: list[NaiveRecord]) -> RecordAccumulator:
    accumulator = RecordAccumulator(0)
    for record in records:
        accumulator.add(record.key, record.value, record.headers, record.timestamp_ms)
    return accumulator


def encoded(records: list[NaiveRecord], first_offset: int = 0, **options: Any) -> EncodedBatches:
    return encode([accumulated(records)], first_offset, **options)


def decoded(data: bytes, first_offset: int = 0, **options: Any) -> DecodeResult:
    options = {"stop_offset": EVERYTHING, "max_records": 1 << 31, **options}
    return decode(data, "orders", 7, first_offset=first_offset, **options)


def as_read(records: list[NaiveRecord], first_offset: int = 0) -> list[Record]:
    return [
        Record("orders", 7, offset, record.timestamp_ms, record.key, record.value, record.headers)
        for offset, record in enumerate(records, first_offset)
    ]


def some_records(count: int = 5, size: int = 10) -> list[NaiveRecord]:
    draw = random.Random(count)
    return [
        NaiveRecord(b"k%d" % index, draw.randbytes(size), (("h", b"x"),), 1000 + index)
        for index in range(count)
    ]


# Encoding ---------------------------------------------------------------------------------------


def test_bytes_written_by_hand() -> None:
    expected = bytes.fromhex(
        "0000000000000005 00000045 00000000 02 8eaf05c3 0000 00000001 00000000000003e8"
        "00000000000003ea ffffffffffffffff ffff ffffffff 00000002"
        "18 00 00 00 02 6b 04 7631 02 02 68 01"
        "0c 00 04 02 01 01 00"
    )
    records = [
        NaiveRecord(b"k", b"v1", (("h", None),), 1000),
        NaiveRecord(None, None, (), 1002),
    ]
    assert encoded(records, 5).data == expected


@given(RECORD_LISTS, st.integers(0, 2**40))
def test_one_batch_is_the_oracles(records: list[NaiveRecord], first_offset: int) -> None:
    made = encoded(records, first_offset, batch_size_bytes=1 << 20)
    times = [record.timestamp_ms for record in records]
    if max(times) - times[0] <= INT64_MAX and min(times) - times[0] >= INT64_MIN:
        data = NaiveBatch(first_offset, records).encode()
        assert made.data == data
        assert made.batches == [(first_offset, 0, len(data), len(records), max(times))]
    assert made.leaf_hashes == naive_batch.leaf_hashes(records, first_offset)
    assert (made.count, made.first_offset) == (len(records), first_offset)
    assert made.max_timestamp_ms == max(times)


@given(RECORD_LISTS, st.integers(0, 2000), st.sampled_from(["none", "lz4"]))
@example([NaiveRecord(timestamp_ms=INT64_MAX), NaiveRecord(timestamp_ms=INT64_MIN)], 1000, "none")
@example([NaiveRecord(timestamp_ms=-2), NaiveRecord(timestamp_ms=INT64_MAX)], 1000, "none")
@example([NaiveRecord(timestamp_ms=0), NaiveRecord(timestamp_ms=INT64_MIN)], 1000, "none")
@example([NaiveRecord(timestamp_ms=1), NaiveRecord(timestamp_ms=INT64_MIN)], 1000, "none")
def test_round_trip(records: list[NaiveRecord], batch_size: int, compression: str) -> None:
    made = encoded(records, 9, batch_size_bytes=batch_size, compression=compression)
    result = decoded(made.data, 9, expected_offset=9)
    assert result.records == as_read(records, 9)
    assert (result.next_offset, result.position) == (9 + len(records), len(made.data))
    walked = scan(made.data, 9)
    assert (walked.verdict, walked.batches) == ("clean", made.batches)
    assert walked.next_offset == 9 + len(records)
    assert leaf_hashes(made.data) == made.leaf_hashes


@given(RECORD_LISTS, st.integers(0, 500))
def test_batches_are_cut_by_size(records: list[NaiveRecord], batch_size: int) -> None:
    made = encoded(records, batch_size_bytes=batch_size)
    offset = position = 0
    for first, start, size, count, largest in made.batches:
        assert (first, start) == (offset, position)
        assert count == 1 or size - HEADER_SIZE <= batch_size
        assert largest == max(record.timestamp_ms for record in records[first : first + count])
        offset += count
        position += size
    assert (offset, position) == (len(records), len(made.data))


def test_a_batch_is_filled() -> None:
    made = encoded([NaiveRecord(None, bytes(250))] * 200)
    assert [16384 - 300 < size - HEADER_SIZE <= 16384 for _, _, size, _, _ in made.batches[:-1]]
    assert len(made.batches) == 4


def test_a_timestamp_too_far_for_a_delta_begins_a_batch() -> None:
    records = [NaiveRecord(timestamp_ms=time) for time in (-2, INT64_MAX, INT64_MIN, 5)]
    made = encoded(records)
    assert [count for _, _, _, count, _ in made.batches] == [1, 1, 1, 1]
    assert decoded(made.data).records == as_read(records)


def test_many_accumulators_are_one_run() -> None:
    records = some_records(6)
    parts = [accumulated(part) for part in (records[:1], records[1:4], [], records[4:])]
    assert encode(parts, 3).data == encoded(records, 3).data
    assert encode(parts, 3).leaf_hashes == encoded(records, 3).leaf_hashes
    twice = encode([parts[0], parts[0]], 0)
    assert decoded(twice.data).records == as_read(records[:1] * 2)


def test_salts_change_leaves_and_not_batches() -> None:
    records = some_records(300)
    salts = random.Random(1).randbytes(16 * len(records))
    made = encoded(records, 5, salts=salts)
    assert made.data == encoded(records, 5).data
    assert made.leaf_hashes == naive_batch.leaf_hashes(records, 5, salts)
    assert leaf_hashes(made.data, salts=salts) == made.leaf_hashes
    assert (
        leaf_hashes(made.data, first_offset=100, salts=salts[16 * 95 :])
        == (made.leaf_hashes[32 * 95 :])
    )
    for wrong in (b"", salts[16:], salts[1:], salts + bytes(16)):
        with pytest.raises(ValueError, match="salts"):
            encoded(records, 5, salts=wrong)
        with pytest.raises(ValueError, match="salts"):
            leaf_hashes(made.data, salts=wrong)


def test_lz4_where_it_helps() -> None:
    compressible = [NaiveRecord(None, b"abc" * 100)] * 10
    made = encoded(compressible, compression="lz4")
    assert len(made.data) < 300
    assert made.data[22] == 3
    noise = encoded([NaiveRecord(None, random.Random(1).randbytes(300))], compression="lz4")
    assert noise.data[22] == 0
    mixed = encoded(
        [NaiveRecord(None, random.Random(1).randbytes(300)), NaiveRecord(None, bytes(300))] * 9,
        compression="lz4",
        batch_size_bytes=1,
    )
    assert [mixed.data[start + 22] for _, start, _, _, _ in mixed.batches] == [0, 3] * 9
    assert scan(mixed.data, 0).batches == mixed.batches


@pytest.mark.parametrize(
    ("first_offset", "options", "message"),
    [
        (-1, {}, "offset"),
        (INT64_MAX, {}, "64 bits"),
        (0, {"compression": "gzip"}, "gzip"),
        (0, {"salts": b"short"}, "salts"),
    ],
)
def test_encode_refuses(first_offset: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoded(some_records(1), first_offset, **options)


def test_encode_wants_accumulators() -> None:
    with pytest.raises(ValueError, match="no records"):
        encode([], 0)
    for wrong in (None, b"", object()):
        with pytest.raises(TypeError):
            encode([wrong], 0)  # type: ignore[list-item]


def test_the_last_offsets_there_are() -> None:
    records = some_records(3)
    made = encoded(records, INT64_MAX - 3)
    assert decoded(made.data, INT64_MAX - 3).records == as_read(records, INT64_MAX - 3)
    assert scan(made.data, None).next_offset == INT64_MAX


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_ten_thousand_records(compression: str) -> None:
    records = some_records(10_000, 30)
    made = encoded(records, 1, compression=compression)
    assert decoded(made.data, 1).records == as_read(records, 1)
    assert leaf_hashes(made.data) == made.leaf_hashes == naive_batch.leaf_hashes(records, 1)


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_a_value_of_16_mib(compression: str) -> None:
    value = random.Random(2).randbytes(1 << 20) * 16
    records = [NaiveRecord(b"k", b"small"), NaiveRecord(b"k", value), NaiveRecord(b"k", b"small")]
    made = encoded(records, compression=compression)
    assert len(made.batches) == 3
    assert decoded(made.data).records == as_read(records)
    assert leaf_hashes(made.data) == made.leaf_hashes == naive_batch.leaf_hashes(records, 0)


# Reading, whole, cut and followed ---------------------------------------------------------------


def two_batches(compression: str = "none") -> tuple[list[NaiveRecord], EncodedBatches]:
    records = [NaiveRecord(b"k%d" % index, b"value " * 20, (), 1000 + index) for index in range(6)]
    made = encoded(records, 256, batch_size_bytes=400, compression=compression)
    assert len(made.batches) == 2
    return records, made


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_cut_at_each_byte_is_torn_never_corrupt(compression: str) -> None:
    records, made = two_batches(compression)
    ends = [start + size for _, start, size, _, _ in made.batches]
    for size in range(len(made.data)):
        whole = sum(end <= size for end in ends)
        end = ends[whole - 1] if whole else 0
        walked = scan(made.data[:size], 256)
        # Offset 256 begins with zeros: six bytes of it could as well be space set aside.
        rest = made.data[end:size]
        assert walked.verdict == ("torn" if any(rest) else "clean"), size
        assert bool(walked.reason) == any(rest)
        assert (walked.position, walked.batches) == (end, made.batches[:whole])
        assert walked.next_offset == 256 + 3 * whole
        result = decoded(made.data[:size], 256)
        assert result.records == as_read(records, 256)[: 3 * whole]
        assert (result.position, result.next_offset) == (end, 256 + 3 * whole)
        assert leaf_hashes(made.data[:size]) == made.leaf_hashes[: 32 * 3 * whole]


@pytest.mark.parametrize("zeros", [1, 11, 12, 60, 61, 62, 5000])
def test_zeros_behind_are_space_set_aside(zeros: int) -> None:
    records, made = two_batches()
    data = made.data + bytes(zeros)
    walked = scan(data, 256)
    assert (walked.verdict, walked.position) == ("clean", len(made.data))
    assert decoded(data, 256).records == as_read(records, 256)
    assert leaf_hashes(data) == made.leaf_hashes


@pytest.mark.parametrize("zeros", [61, 62, 5000])
def test_something_behind_zeros_is_corrupt(zeros: int) -> None:
    _, made = two_batches()
    data = made.data + bytes(zeros) + b"\x01"
    assert scan(data, 256).verdict == "corrupt"
    assert scan(data, 256).position == len(made.data)
    with pytest.raises(BatchError):
        decoded(data, 256)


def test_another_log_behind_is_corrupt() -> None:
    _, made = two_batches()
    walked = scan(made.data + made.data, 256)
    assert (walked.verdict, walked.position) == ("corrupt", len(made.data))
    assert "offset" in walked.reason


def test_data_of_other_types() -> None:
    records, made = two_batches()
    for data in (bytearray(made.data), memoryview(made.data)):
        assert scan(data, 256).verdict == "clean"
        assert decoded(data, 256).records == as_read(records, 256)  # type: ignore[arg-type]
        assert leaf_hashes(data) == made.leaf_hashes


def test_scan_from_a_position() -> None:
    _, made = two_batches()
    assert scan(made.data, None, position=made.batches[1][1]).batches == made.batches[1:]
    assert scan(made.data, 1000, position=len(made.data)).next_offset == 1000
    for position in (-1, len(made.data) + 1):
        with pytest.raises(ValueError, match="position"):
            scan(made.data, None, position=position)


def test_scan_of_nothing() -> None:
    for data in (b"", bytes(100)):
        for expected, after in ((None, 0), (5, 5)):
            walked = scan(data, expected)
            assert (walked.verdict, walked.position, walked.batches) == ("clean", 0, [])
            assert walked.next_offset == after


def test_scan_may_leave_the_checksum_out() -> None:
    _, made = two_batches()
    wrong = bytearray(made.data)
    wrong[-1] ^= 1
    assert scan(wrong, 256).verdict == "corrupt"
    assert scan(wrong, 256, check_crc=False).verdict == "clean"


@pytest.mark.parametrize("count", [255, 256, 257, 600])
def test_scan_of_many_batches(count: int) -> None:
    made = encoded([NaiveRecord(None, b"v")] * count, 3, batch_size_bytes=1)
    assert scan(made.data, 3).batches == made.batches
    assert len(made.batches) == count


# Ranges -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_every_range(compression: str) -> None:
    records, made = two_batches(compression)
    expected = as_read(records, 256)
    starts = [start for _, start, _, _, _ in made.batches]
    for first in range(254, 264):
        for stop in range(first, 264):
            for most in (0, 1, 2, 4, 100):
                result = decoded(made.data, first, stop_offset=stop, max_records=most)
                wanted = [r for r in expected if first <= r.offset < stop][:most]
                assert result.records == wanted, (first, stop, most)
                assert result.position in (*starts, len(made.data))
                if wanted:
                    assert result.next_offset == wanted[-1].offset + 1
                else:
                    assert result.next_offset >= first
                again = decoded(made.data[result.position :], result.next_offset, stop_offset=stop)
                assert wanted + again.records == [r for r in expected if first <= r.offset < stop]


def test_records_are_appended_to_a_list() -> None:
    records, made = two_batches()
    mine: list[Record] = []
    result = decoded(made.data, 256, records=mine)
    assert result.records is mine
    decoded(made.data, 256, records=mine)
    assert mine == as_read(records, 256) * 2


def test_expected_offset() -> None:
    _, made = two_batches()
    for expected in (0, 255, 257):
        with pytest.raises(BatchError) as caught:
            decoded(made.data, 256, expected_offset=expected)
        assert caught.value.position == 0
        assert scan(made.data, expected).verdict == "corrupt"
    with pytest.raises(ValueError, match="negative"):
        scan(made.data, -1)


def test_leaf_hashes_from_an_offset() -> None:
    _, made = two_batches()
    for first in range(256, 264):
        assert leaf_hashes(made.data, first_offset=first) == made.leaf_hashes[32 * (first - 256) :]
    with pytest.raises(BatchError):
        leaf_hashes(made.data, first_offset=255)


# What others write ------------------------------------------------------------------------------


def test_log_append_time_is_every_records_time() -> None:
    records = some_records(3)
    batch = NaiveBatch(0, records, attributes=0x08, overrides={"max_timestamp": 99}).encode()
    assert [record.timestamp_ms for record in decoded(batch).records] == [99, 99, 99]
    stamped = [NaiveRecord(r.key, r.value, r.headers, 99) for r in records]
    assert leaf_hashes(batch) == naive_batch.leaf_hashes(stamped, 0)


def test_control_batches_are_passed_over() -> None:
    marker = NaiveRecord(b"\x00\x00\x00\x01", b"\x00\x00\x00\x00\x00\x00", (), 5)
    records = some_records(2)
    data = NaiveBatch(0, records).encode()
    data += NaiveBatch(2, [marker], attributes=0x30).encode()
    data += NaiveBatch(3, records).encode()
    result = decoded(data)
    assert [record.offset for record in result.records] == [0, 1, 3, 4]
    assert decoded(data, 2, max_records=1).records[0].offset == 3
    alone = decoded(data, 2, stop_offset=3)
    assert (alone.records, alone.next_offset) == ([], 3)
    assert leaf_hashes(data) == naive_batch.leaf_hashes([*records, marker, *records], 0)


def test_a_delta_that_wrapped_wraps_back() -> None:
    records = [NaiveRecord(timestamp_ms=INT64_MAX), NaiveRecord(timestamp_ms=INT64_MIN)]
    body = naive_batch.encode_record(records[0], 0, 0) + naive_batch.encode_record(records[1], 1, 1)
    assert decoded(NaiveBatch(0, records).encode(body)).records == as_read(records)


# Wrong bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_every_flipped_byte_behind_the_epoch_is_noticed(compression: str) -> None:
    _, made = two_batches(compression)
    start = made.batches[1][1]
    before = as_read(two_batches()[0], 256)[:3]
    for position in [*range(12), *range(16, len(made.data) - start)]:
        wrong = bytearray(made.data)
        wrong[start + position] ^= 0x10
        walked = scan(wrong, 256)
        assert walked.verdict in ("corrupt", "torn"), position
        assert walked.verdict == "corrupt" or 8 <= position < 12
        assert (walked.position, walked.batches) == (start, made.batches[:1])
        records: list[Record] = []
        if walked.verdict == "torn":
            assert decoded(bytes(wrong), 256).position == start
            continue
        with pytest.raises(BatchError) as caught:
            decoded(bytes(wrong), 256, expected_offset=256, records=records)
        assert caught.value.position == start
        assert walked.reason == caught.value.reason
        assert records == before


WRONG_FIELDS = [
    ({"magic": 1}, "magic"),
    ({"magic": 3}, "magic"),
    ({"length": 48}, "length"),
    ({"length": 0}, "length"),
    ({"length": -1}, "length"),
    ({"length": -(2**31)}, "length"),
    ({"crc": 0}, "checksum"),
    ({"count": 0}, "count"),
    ({"count": -1}, "count"),
    ({"count": 2**31 - 1}, "count"),
    ({"count": 4}, "count"),
    ({"last_offset_delta": 1}, "count"),
    ({"last_offset_delta": -1}, "count"),
    ({"last_offset_delta": 3}, "count"),
    ({"last_offset_delta": 2**31 - 2, "count": 2**31 - 1}, "impossible"),
]


@pytest.mark.parametrize(("overrides", "reason"), WRONG_FIELDS)
def test_wrong_fields(overrides: dict[str, int], reason: str) -> None:
    data = NaiveBatch(10, some_records(3), overrides=overrides).encode()
    for more in (b"", bytes(100)):
        walked = scan(data + more, 10)
        assert (walked.verdict, walked.position) == ("corrupt", 0)
        assert reason in walked.reason
        with pytest.raises(BatchError, match=reason):
            decoded(data + more, 10)
    if reason != "checksum":
        with pytest.raises(BatchError, match=reason):
            leaf_hashes(data)


def test_offsets_out_of_range() -> None:
    data = NaiveBatch(INT64_MAX - 2, some_records(3)).encode()
    assert scan(data, None).verdict == "corrupt"
    assert scan(NaiveBatch(-5, some_records(3)).encode(), None).verdict == "corrupt"


GOOD = NaiveRecord(b"key", b"value", (("h", b"x"),), 0)
MALFORMED_BODIES = {
    "nothing": b"",
    "length cut": b"\xff",
    "length beyond": naive_batch.varint(1000) + bytes(20),
    "length negative": naive_batch.varint(-20) + bytes(20),
    "length too small": naive_batch.varint(5) + bytes(5),
    "length of six bytes": b"\xff\xff\xff\xff\xff\x01" + bytes(20),
    "bytes behind": naive_batch.encode_record(GOOD, 0, 0) + b"\x00",
    "two records": naive_batch.encode_record(GOOD, 0, 0) * 2,
    "wrong offset": naive_batch.encode_record(GOOD, 1, 0),
    "negative offset": naive_batch.encode_record(GOOD, -1, 0),
}
for _name, _body in {
    "key beyond": b"\x00\x00\x00\x7e\x00\x00\x00\x00",
    "key of -2": b"\x00\x00\x00\x03\x00\x00\x00\x00",
    "value beyond": b"\x00\x00\x00\x00\x7e\x00\x00\x00",
    "value of -2": b"\x00\x00\x00\x00\x03\x00\x00\x00",
    "headers beyond": b"\x00\x00\x00\x00\x00\x7e\x00\x00",
    "headers of -1": b"\x00\x00\x00\x00\x00\x01\x00\x00",
    "headers of 2**31 - 1": b"\x00\x00\x00\x00\x00\xfe\xff\xff\xff\x0f",
    "header name null": b"\x00\x00\x00\x00\x00\x02\x01\x00",
    "header name beyond": b"\x00\x00\x00\x00\x00\x02\x7e\x00",
    "header value beyond": b"\x00\x00\x00\x00\x00\x02\x00\x7e",
    "header value of -2": b"\x00\x00\x00\x00\x00\x02\x00\x03",
    "bytes behind the headers": b"\x00\x00\x00\x00\x00\x00\x00",
    "timestamp without end": b"\x00" + b"\xff" * 11 + bytes(6),
    "no room for headers": b"\x00\x00\x00\x00\x00",
}.items():
    MALFORMED_BODIES[_name] = naive_batch.varint(len(_body)) + _body


@pytest.mark.parametrize("name", MALFORMED_BODIES)
def test_malformed_records_under_a_right_checksum(name: str) -> None:
    good = NaiveBatch(0, [GOOD]).encode()
    data = good + NaiveBatch(1, [GOOD]).encode(MALFORMED_BODIES[name])
    records: list[Record] = []
    with pytest.raises(BatchError) as caught:
        decoded(data, records=records)
    assert caught.value.position == len(good)
    assert records == as_read([GOOD])
    with pytest.raises(BatchError) as caught:
        leaf_hashes(data)
    assert caught.value.position == len(good)


def test_a_malformed_record_takes_its_batch_with_it() -> None:
    body = naive_batch.encode_record(GOOD, 0, 0) + naive_batch.encode_record(GOOD, 5, 0)
    records: list[Record] = []
    with pytest.raises(BatchError, match="record 1 of 2"):
        decoded(NaiveBatch(0, [GOOD, GOOD]).encode(body), records=records)
    assert records == []


def test_a_header_name_that_is_not_utf_8() -> None:
    body = b"\x00\x00\x00\x01\x01\x02\x04\xff\xfe\x01"
    with pytest.raises(BatchError, match="not UTF-8"):
        decoded(NaiveBatch(0, [GOOD]).encode(naive_batch.varint(len(body)) + body))


def test_the_error_says_where_and_why() -> None:
    error = BatchError(12, "the checksum does not match")
    assert (error.position, error.reason) == (12, "the checksum does not match")
    assert str(error) == "at position 12: the checksum does not match"
    assert isinstance(error, ValueError)


# Any bytes --------------------------------------------------------------------------------------


def survives(data: bytes) -> None:
    walked = scan(data, None)
    assert walked.verdict in ("clean", "torn", "corrupt")
    assert 0 <= walked.position <= len(data)
    scan(data, None, check_crc=False)
    for read in (decoded, leaf_hashes):
        position = 0
        try:
            read(data)
        except BatchError as error:
            position = error.position
        assert 0 <= position <= len(data)
    with contextlib.suppress(BatchError):
        record_at(data, 0, 0, "orders", 7)


def with_checksums(data: bytes) -> bytes:
    """Makes the checksum of the first batch right, so that its records are looked at."""
    if len(data) < HEADER_SIZE:
        return data
    size = min(max(struct.unpack_from(">i", data, 8)[0], 49) + 12, len(data))
    crc = naive_batch.crc32c(data[21:size])
    return data[:16] + b"\x02" + struct.pack(">I", crc) + data[21:]


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    survives(data)
    survives(with_checksums(data))


@given(RECORD_LISTS, st.data(), st.sampled_from(["none", "lz4"]))
def test_mutated_batches(records: list[NaiveRecord], data: st.DataObject, compression: str) -> None:
    made = bytearray(encoded(records, batch_size_bytes=1 << 20, compression=compression).data)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(made) - 1))
        made[position] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(made)))
        made[cut : cut + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    survives(bytes(made))
    survives(with_checksums(bytes(made)))


@given(st.binary(max_size=200), st.integers(1, 40), st.sampled_from([0, 1, 2, 3, 4, 5, 8, 32]))
def test_any_body_under_a_right_header(body: bytes, count: int, attributes: int) -> None:
    survives(NaiveBatch(0, [GOOD] * count, attributes).encode(body))
