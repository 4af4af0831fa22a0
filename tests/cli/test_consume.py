"""consume: which records, in which form, from where to where."""

from __future__ import annotations

import base64
import json
import shutil
import signal
from pathlib import Path

import pytest

from merkql import Broker
from support.command import InTerminal, interrupt, merkql, refused, start, wait_until
from support.damage import flip_byte

T0 = 1_700_000_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Topic `t`: ten records a second apart in partition 0, two in partition 1; `odd`: odd ones."""
    directory = tmp_path_factory.mktemp("made") / "log"
    with Broker.open(directory) as broker:
        broker.create_topic("t", partitions=2)
        producer = broker.producer()
        for i in range(10):
            producer.send("t", b"v%d" % i, key=b"k%d" % i, partition=0, timestamp_ms=T0 + i * 1000)
        for i in range(2):
            producer.send("t", b"w%d" % i, partition=1, timestamp_ms=T0 + i * 1000)
        producer.send("odd", None, key=b"gone", headers=[("h", b"1"), ("n", None)])
        producer.send("odd", b"\xff\x1b[31m", key=None)
        broker.create_topic("empty")
    return directory


@pytest.fixture
def log(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "log"))


def printed(directory: Path, *words: object) -> list[str]:
    done = merkql(directory, "consume", *words)
    assert (done.status, done.err) == (0, "")
    return done.lines


def v(*numbers: int) -> list[str]:
    return [f"v{i}" for i in numbers]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), v(*range(10))),
        (("-e", "-u", "-q"), v(*range(10))),
        (("-o", "beginning"), v(*range(10))),
        (("-o", "earliest", "-c", 2), v(0, 1)),
        (("-o", "end"), []),
        (("-o", "latest"), []),
        (("-o", 7), v(7, 8, 9)),
        (("-o", 10), []),
        (("-o", -2), v(8, 9)),
        (("-o", -99), v(*range(10))),
        (("-o", f"s@{T0 + 7500}"), v(8, 9)),
        (("-o", f"s@{T0 + 99_000}"), []),
        (("-o", f"e@{T0 + 2000}"), v(0, 1)),
        (("-o", f"s@{T0 + 2000}", "-o", f"e@{T0 + 4000}"), v(2, 3)),
        (("--since", "2023-11-14T22:13:28Z"), v(8, 9)),
        (("--since", "2023-11-14T23:13:28+01:00", "--until", "2023-11-14T22:13:29Z"), v(8)),
        (("--since", "10m"), []),
        (("--until", "10m ago"), v(*range(10))),
        (("-o", 3, "--until", T0 + 5000), v(3, 4)),
    ],
    ids=str,
)
def test_from_where_to_where(log: Path, words: tuple[object, ...], expected: list[str]) -> None:
    assert printed(log, "t", "-p", 0, *words) == expected


def test_all_partitions_each_in_order(log: Path) -> None:
    lines = printed(log, "-t", "t")
    assert [line for line in lines if line[0] == "v"] == v(*range(10))
    assert [line for line in lines if line[0] == "w"] == ["w0", "w1"]
    assert sorted(printed(log, "t", "-o", -1)) == ["v9", "w1"]
    assert printed(log, "t", "-o", 5) == v(5, 6, 7, 8, 9)  # partition 1 ends before
    assert len(printed(log, "t", "-c", 3)) == 3


def test_several_topics_and_patterns(log: Path) -> None:
    merkql(log, "produce", "-q", "t2", stdin=b"other\n")
    assert sorted(printed(log, "t", "t2", "-o", -1)) == ["other", "v9", "w1"]
    assert sorted(printed(log, "^t.*", "-o", -1)) == ["other", "v9", "w1"]
    assert printed(log, "^none") == []
    assert "not a pattern" in refused(log, "consume", "^(").err


def test_an_empty_topic_prints_nothing(log: Path) -> None:
    for words in ((), ("-o", "end"), ("-o", -5), ("-o", 0), ("-J",), ("-g", "g")):
        assert printed(log, "empty", *words) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-K", ":"), b"k0:v0\nk1:v1\n"),
        (("-K", r"\t", "-D", r"\0"), b"k0\tv0\0k1\tv1\0"),
        (("-O",), b"0\tv0\n1\tv1\n"),
        (("-O", "-K", "|"), b"0|k0|v0\n1|k1|v1\n"),
        (("-D", ";"), b"v0;v1;"),
        (("--raw",), b"v0v1"),
        (("-f", "%t/%p@%o %k=%s (%K,%S) %T%%\\x21\\n"), None),
        (("-f", "%R%s"), b"\0\0\0\2v0\0\0\0\2v1"),
        (("-f", ""), b""),
    ],
    ids=str,
)
def test_text_as_kcat_writes_it(
    log: Path, words: tuple[object, ...], expected: bytes | None
) -> None:
    if expected is None:
        expected = b"t/0@0 k0=v0 (2,2) 1700000000000%!\nt/0@1 k1=v1 (2,2) 1700000001000%!\n"
    assert merkql(log, "consume", "t", "-p", 0, "-c", 2, *words).out == expected


def test_null_and_bytes(log: Path) -> None:
    assert merkql(log, "consume", "odd").out == b"\n\xff\x1b[31m\n"
    assert merkql(log, "consume", "odd", "-K:", "-Z").out == b"gone:NULL\nNULL:\xff\x1b[31m\n"
    assert merkql(log, "consume", "odd", "-Z", "-c", 1, "-f", "%s %S %h\\n").out == (
        b"NULL -1 h=1,n=NULL\n"
    )
    assert merkql(log, "consume", "odd", "--raw").out == b"\xff\x1b[31m"


def test_a_terminal_is_not_acted_on_by_records(log: Path) -> None:
    """Colours and titles that a record would set are spelled out; a pipe gets the bytes."""
    with_terminal = InTerminal(log, "consume", "odd", "-K", ":")
    assert with_terminal.end() == 0
    assert b"\x1b" not in with_terminal.shown
    assert b"\\xff\\x1b[31m" in with_terminal.shown


def test_json(log: Path) -> None:
    gone, odd = map(json.loads, printed(log, "odd", "-J"))
    assert gone["key"] == "gone"
    assert gone["value"] is None
    assert gone["headers"] == [{"name": "h", "value": "1"}, {"name": "n", "value": None}]
    assert base64.b64decode(odd["value_base64"]) == b"\xff\x1b[31m"
    assert "value" not in odd
    assert (odd["topic"], odd["partition"], odd["offset"]) == ("odd", 0, 1)


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        ((), "which topic?"),
        (("nosuch",), "no topic 'nosuch'"),
        (("t", "-p", 9), "no partition 9"),
        (("t", "-p", "x"), "not the number of a partition"),
        (("t", "-p", 0, "-o", 11), "offset 11 is out of range"),
        (("t", "-o", "soon"), "not an offset"),
        (("t", "-o", 1, "-o", 2), "two places to begin"),
        (("t", "-o", "s@x"), "not a time"),
        (("t", "-o", "stored"), "add -g GROUP"),
        (("t", "-g", "g", "-o", 5), "a group goes on where it is"),
        (("t", "-f", "%q"), "no token %q"),
        (("t", "-f", "%"), "no token %"),
        (("t", "-J", "--raw"), "one of"),
        (("t", "-c", 0), "at least 1"),
        (("t", "-K", ""), "at least one character"),
        (("t", "-g", "a b"), "cannot name a group"),
    ],
    ids=str,
)
def test_wrong_input_is_one_line(log: Path, words: tuple[object, ...], needle: str) -> None:
    done = refused(log, "consume", *words)
    assert done.out == b""
    assert needle in done.err


# Groups


def lags(directory: Path, group: str) -> list[tuple[object, ...]]:
    rows = map(json.loads, merkql(directory, "groups", group, "--json").lines)
    return [(row["partition"], row["committed"], row["lag"]) for row in rows]


def test_a_group_goes_on_where_it_was(log: Path) -> None:
    first = printed(log, "t", "-g", "g", "-c", 5)
    assert len(first) == 5
    assert sum(lag for *_, lag in lags(log, "g")) == 7
    rest = printed(log, "t", "-g", "g")
    assert sorted(first + rest) == sorted([*v(*range(10)), "w0", "w1"])
    assert printed(log, "t", "-g", "g") == []
    assert lags(log, "g") == [(0, 10, 0), (1, 2, 0)]


def test_a_group_that_begins_at_the_end(log: Path) -> None:
    assert printed(log, "t", "-g", "g", "-o", "end") == []
    merkql(log, "produce", "-q", "t", "-p", 1, stdin=b"new\n")
    assert printed(log, "t", "-g", "g") == ["new"]


def test_one_partition_in_the_name_of_a_group(log: Path) -> None:
    assert printed(log, "t", "-p", 1, "-g", "g") == ["w0", "w1"]
    assert lags(log, "g") == [(0, None, 10), (1, 2, 0)]


def test_a_group_stops_before_a_time_and_goes_on_there(log: Path) -> None:
    assert sorted(printed(log, "t", "-g", "g", "--until", T0 + 1000)) == ["v0", "w0"]
    assert sorted(printed(log, "t", "-g", "g", "--until", T0 + 2000)) == ["v1", "w1"]


def test_what_nobody_took_is_not_committed(log: Path) -> None:
    """The reader of the pipe is gone before anything was printed."""
    with start(log, "consume", "t", "-g", "g") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == -signal.SIGPIPE
    assert lags(log, "g") == []
    assert len(printed(log, "t", "-g", "g")) == 12


def test_a_killed_consumer_leaves_its_place_to_the_next(log: Path) -> None:
    with start(log, "consume", "t", "-g", "g", "--follow") as process:
        assert process.stdout is not None
        for _ in range(12):
            process.stdout.readline()
        wait_until(lambda: lags(log, "g") == [(0, 10, 0), (1, 2, 0)])
        process.kill()
    merkql(log, "produce", "-q", "t", stdin=b"new\n")
    assert printed(log, "t", "-g", "g") == ["new"]


def test_groups_names_who_reads(log: Path) -> None:
    with start(log, "consume", "t", "-g", "g", "--follow") as process:
        assert process.stdout is not None
        wait_until(lambda: lags(log, "g") == [(0, 10, 0), (1, 2, 0)])
        lines = merkql(log, "groups").lines
        row = json.loads(merkql(log, "groups", "--json").lines[0])
        assert interrupt(process) == (-signal.SIGINT, b"")
    assert lines[0].split() == ["GROUP", "TOPIC", "PARTITION", "COMMITTED", "NEXT", "LAG", "MEMBER"]
    assert lines[1].endswith(f"({process.pid})")
    assert row["member"]["pid"] == process.pid
    assert merkql(log, "groups").lines[1].endswith("-")


def test_follow_prints_what_comes_and_ends_with_its_reader(log: Path) -> None:
    with start(log, "consume", "t", "--follow") as process:
        assert process.stdout is not None
        for _ in range(12):
            process.stdout.readline()
        merkql(log, "produce", "-q", "t", stdin=b"new\n")
        assert process.stdout.readline() == b"new\n"
        process.stdout.close()
        assert process.wait(60) == 0  # nothing more came, and nobody listens: no reason to wait
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.parametrize("is_made_again", [False, True])
def test_following_ends_with_the_topic(log: Path, is_made_again: bool) -> None:
    with start(log, "consume", "odd", "--follow") as process:
        assert process.stdout is not None
        process.stdout.readline()
        merkql(log, "delete", "-y", "odd")
        if is_made_again:
            merkql(log, "create", "odd")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith(b"merkql: error: no topic 'odd'")
    assert err.count(b"\n") == 1


def test_groups_of_nothing_and_of_none(log: Path) -> None:
    assert "no group has committed" in merkql(log, "groups").err
    done = refused(log, "groups", "nosuch")
    assert "no group 'nosuch'" in done.err
    printed(log, "t", "-g", "b")
    printed(log, "t", "-g", "a")
    assert merkql(log, "groups", "--names").lines == ["a", "b"]
    assert [row.split()[0] for row in merkql(log, "groups", "a").lines] == ["GROUP", "a", "a"]
    assert merkql(log, "groups", "-t", "other", "--json").out == b""


def test_a_group_of_a_deleted_topic(log: Path) -> None:
    merkql(log, "consume", "odd", "-g", "g")
    merkql(log, "delete", "-y", "odd")
    assert "(deleted)" in merkql(log, "groups").lines[1]


def test_damage_ends_it_after_what_is_sound(log: Path) -> None:
    segment = log / "topics/t/0/00000000000000000000.log"
    flip_byte(segment, -1)
    done = merkql(log, "consume", "t", "-p", 0, MERKQL_TRACEBACK="")
    assert done.status == 3
    assert done.lines == v(*range(9))
    assert str(segment) in done.err
    assert done.err.count("\n") == 1


def test_reading_changes_nothing_outside_groups(log: Path) -> None:
    def content() -> dict[str, bytes]:
        paths = [path for path in log.rglob("*") if path.is_file() and "groups" not in path.parts]
        return {str(path): path.read_bytes() for path in paths}

    before = content()
    for words in (["consume", "t", "-g", "g"], ["consume", "t"], ["topics", "t"], ["groups"]):
        merkql(log, *words)
    merkql(log, "verify")
    merkql(log, "proof", "t", 0, "-p", 0)
    assert content() == before


def test_it_reads_beside_a_writer(log: Path) -> None:
    with Broker.open(log) as broker:
        broker.producer().send("t", b"just now", partition=1)
        assert printed(log, "t", "-p", 1, "-o", -1) == ["just now"]
        assert printed(log, "t", "-p", 1, "-g", "g") == ["w0", "w1", "just now"]
        assert merkql(log, "verify").status == 0
