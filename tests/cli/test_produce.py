"""produce: what becomes of lines, JSON and files."""

from __future__ import annotations

import base64
import json
import os
import threading
from pathlib import Path

import pytest

from merkql import Broker, Record
from support.command import merkql, refused, start, wait_until


def records(directory: Path, topic: str = "t") -> list[Record]:
    with Broker.open(directory, read_only=True) as broker:
        found = []
        for partition in broker.topic(topic).partitions():
            found += partition.read_range(0, partition.end_offset)
        return found


def pairs(directory: Path) -> list[tuple[bytes | None, bytes | None]]:
    return [(record.key, record.value) for record in records(directory)]


def values(directory: Path) -> list[bytes | None]:
    return [record.value for record in records(directory)]


def test_a_line_is_a_record(tmp_path: Path) -> None:
    done = merkql(tmp_path, "produce", "t", stdin=b"a\n\n b \r\nlast")
    assert (done.status, done.out) == (0, b"")
    assert done.err.endswith("merkql: 4 records written to topic 't'\n")
    assert values(tmp_path) == [b"a", b"", b" b \r", b"last"]


def test_quiet_says_nothing(tmp_path: Path) -> None:
    done = merkql(tmp_path, "produce", "-q", "t", stdin=b"a\n")
    assert (done.out, done.err) == (b"", "")


def test_no_input_is_no_record(tmp_path: Path) -> None:
    assert "0 records written" in merkql(tmp_path, "produce", "t").err
    assert values(tmp_path) == []


def test_keys_end_at_the_separator(tmp_path: Path) -> None:
    merkql(tmp_path, "produce", "t", "-K", "=>", stdin=b"k=>v=>w\nnone\n=>x\ny=>\n")
    assert pairs(tmp_path) == [(b"k", b"v=>w"), (None, b"none"), (b"", b"x"), (b"y", b"")]


def test_empty_is_null_where_asked_for(tmp_path: Path) -> None:
    merkql(tmp_path, "produce", "t", "-K:", "-Z", stdin=b"k:\n:v\n\n")
    assert pairs(tmp_path) == [(b"k", None), (None, b"v"), (None, None)]


def test_one_key_for_all_that_have_none(tmp_path: Path) -> None:
    merkql(tmp_path, "produce", "t", "-K:", "-k", "all", stdin=b"own:1\n2\n")
    assert pairs(tmp_path) == [(b"own", b"1"), (b"all", b"2")]


def test_headers_and_delimiters(tmp_path: Path) -> None:
    words = ("-H", "a=1", "-H", "b=x=y", "-H", "flag", "-D", r"\x1e;")
    merkql(tmp_path, "produce", "t", *words, stdin=b"one\nline\x1e;two\x1e;")
    one, two = records(tmp_path)
    assert (one.value, two.value) == (b"one\nline", b"two")
    assert two.headers == (("a", b"1"), ("b", b"x=y"), ("flag", None))


def test_a_delimiter_across_two_reads(tmp_path: Path) -> None:
    """The pipe hands out what was written; the delimiter comes in two pieces."""
    with start(tmp_path, "produce", "t", "-q", "-D", "<>") as process:
        assert process.stdin is not None
        for some in (b"a<", b">b", b"b<", b">", b"c"):
            os.write(process.stdin.fileno(), some)
        process.communicate()
    assert values(tmp_path) == [b"a", b"bb", b"c"]


def test_what_trickles_in_is_written_as_it_comes(tmp_path: Path) -> None:
    with start(tmp_path, "produce", "t") as process:
        assert process.stdin is not None
        process.stdin.write(b"first\nhalf")
        process.stdin.flush()
        wait_until((tmp_path / "topics/t/topic.json").exists)
        wait_until(lambda: values(tmp_path) == [b"first"])  # while the input stays open
        _, err = process.communicate(b" line\n")
    assert b"2 records written" in err
    assert values(tmp_path) == [b"first", b"half line"]


def test_count_stops(tmp_path: Path) -> None:
    merkql(tmp_path, "produce", "t", "-c", 2, stdin=b"1\n2\n3\n")
    assert values(tmp_path) == [b"1", b"2"]


def test_tee_prints_what_is_written(tmp_path: Path) -> None:
    assert merkql(tmp_path, "produce", "t", "-T", stdin=b"1\n2").out == b"1\n2\n"


def test_partition_and_any_partition(tmp_path: Path) -> None:
    merkql(tmp_path, "create", "t", "-n", 2)
    merkql(tmp_path, "produce", "t", "-p", 1, stdin=b"1\n2\n")
    merkql(tmp_path, "produce", "t", "-p", -1, stdin=b"3\n4\n")
    assert [(one.partition, one.value) for one in records(tmp_path)] == [
        (0, b"3"),
        (1, b"1"),
        (1, b"2"),
        (1, b"4"),
    ]
    assert "no partition 2" in refused(tmp_path, "produce", "t", "-p", 2, stdin=b"x\n").err


def test_files_whole_or_by_line(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"a\nb\n")
    two.write_bytes(b"c")
    log = tmp_path / "log"
    merkql(log, "produce", "-t", "t", one, two)
    merkql(log, "produce", "t", "-l", one, two)
    assert values(log) == [b"a\nb\n", b"c", b"a", b"b", b"c"]
    assert "nosuch" in refused(log, "produce", "-q", "t", tmp_path / "nosuch").err


def test_a_record_of_a_megabyte_and_one_too_large(tmp_path: Path) -> None:
    merkql(tmp_path, "create", "t", "--segment-bytes", "2M")
    done = merkql(tmp_path, "produce", "t", stdin=b"x" * (1 << 20) + b"\nsmall\n")
    assert "2 records" in done.err
    done = merkql(tmp_path, "produce", "t", stdin=b"a\n" + b"x" * (3 << 20), MERKQL_TRACEBACK="")
    assert done.status == 1
    assert "larger than the limit of 2097152 bytes" in done.err
    assert [len(value or b"") for value in values(tmp_path)] == [1 << 20, 5, 1]


def test_a_million_lines_are_all_there_in_order(tmp_path: Path) -> None:
    lines = b"".join(b"%d\n" % i for i in range(100_000))
    done = merkql(tmp_path, "produce", "t", stdin=lines)
    assert "100,000 records written" in done.err
    assert merkql(tmp_path, "consume", "t").out == lines


JSON_LINES = [
    ({"value": "v"}, (None, b"v", ())),
    ({"key": "k", "value": None}, (b"k", None, ())),
    ({"value_base64": "AP8="}, (None, b"\0\xff", ())),
    ({"value": {"a": [1, "é"]}}, (None, '{"a":[1,"é"]}'.encode(), ())),
    ({"key": 7, "value": "v"}, (b"7", b"v", ())),
    ({"value": "", "headers": {"a": "1", "b": None}}, (None, b"", (("a", b"1"), ("b", None)))),
    (
        {
            "value": "v",
            "headers": [{"name": "a", "value": "1"}, {"name": "a", "value_base64": "/w=="}],
        },
        (None, b"v", (("a", b"1"), ("a", b"\xff"))),
    ),
    # what kcat -J prints
    (
        {
            "topic": "x",
            "partition": 3,
            "offset": 9,
            "tstype": "create",
            "ts": 1,
            "broker": 1,
            "headers": ["a", "1"],
            "key": "k",
            "payload": "p",
        },
        (b"k", b"p", (("a", b"1"),)),
    ),
]


@pytest.mark.parametrize(("line", "expected"), JSON_LINES, ids=str)
def test_a_json_line(tmp_path: Path, line: object, expected: tuple[object, ...]) -> None:
    merkql(tmp_path, "produce", "t", "-J", stdin=json.dumps(line).encode())
    (record,) = records(tmp_path)
    assert (record.key, record.value, record.headers) == expected


def test_timestamps_of_json_are_kept(tmp_path: Path) -> None:
    merkql(tmp_path, "produce", "t", "-J", stdin=b'{"value":"v","timestamp_ms":1234}')
    assert records(tmp_path)[0].timestamp_ms == 1234


@pytest.mark.parametrize(
    ("line", "needle"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "no value"),
        ('{"valu": 1}', "no field 'valu'"),
        ('{"value": "a", "value_base64": "YQ=="}', "one of them"),
        ('{"value_base64": "?"}', "not base64"),
        ('{"value_base64": 7}', "not base64"),
        ('{"value": "\\ud800"}', "surrogate"),
        ('{"value": "v", "headers": "h"}', "headers are"),
        ('{"value": "v", "timestamp_ms": "now"}', "timestamp"),
    ],
)
def test_a_line_that_is_no_record_ends_it_after_those_before(
    tmp_path: Path, line: str, needle: str
) -> None:
    text = b'{"value":"before"}\n' + line.encode() + b'\n{"value":"after"}\n'
    done = merkql(tmp_path, "produce", "t", "-J", stdin=text, MERKQL_TRACEBACK="")
    assert done.status == 2
    assert "line 2 of the input" in done.err
    assert needle in done.err
    assert "1 record written" in done.err
    assert values(tmp_path) == [b"before"]


def test_json_out_is_json_in(tmp_path: Path) -> None:
    """Whatever bytes a record holds, a copy by way of JSON holds the same."""
    odd = [(None, None), (b"", b""), (b"\xff\0", bytes(range(256))), ("é".encode(), b'"\n\\')]
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        for number, (key, value) in enumerate(odd):
            headers = [("h", value), ("h", key), ("\u2028", b"")]
            producer.send("a", value, key=key, headers=headers, timestamp_ms=number)
    merkql(tmp_path, "produce", "b", "-J", stdin=merkql(tmp_path, "consume", "a", "-J").out)
    one, two = records(tmp_path, "a"), records(tmp_path, "b")
    as_tuple = [(r.key, r.value, r.headers, r.timestamp_ms) for r in one]
    assert as_tuple == [(r.key, r.value, r.headers, r.timestamp_ms) for r in two]
    assert [key for key, *_ in as_tuple] == [key for key, _ in odd]
    line = json.loads(merkql(tmp_path, "consume", "a", "-J", "-o", 2, "-c", 1).out)
    assert base64.b64decode(line["value_base64"]) == bytes(range(256))


def test_several_write_at_once(tmp_path: Path) -> None:
    """Each waits its turn or is told who writes; what was written is whole."""
    merkql(tmp_path, "create", "t")
    done = []

    def produce(number: int) -> None:
        with start(tmp_path, "produce", "t") as process:
            _, err = process.communicate(b"%d\n" % number * 1000)
            done.append((process.returncode, err))

    threads = [threading.Thread(target=produce, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = sum(status == 0 for status, _ in done)
    assert len(values(tmp_path)) == 1000 * written
    for status, err in done:
        assert status == 0 or b"is being written by process" in err
        assert b"Traceback" not in err
