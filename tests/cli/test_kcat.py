"""kcat's command line: its modes, its letters in one word, its JSON, and what it alone has."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from merkql import Broker
from merkql.cli.kcat import translated
from support.command import merkql, refused


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "log"
    with Broker.open(directory) as broker:
        broker.create_topic("t", partitions=2)
        producer = broker.producer()
        for number in range(3):
            value = b"v%d" % number
            producer.send("t", value, key=b"k", partition=0, timestamp_ms=number)
        headers: list[tuple[str, bytes | None]] = [("h", b"1"), ("n", None)]
        producer.send("odd", None, key=b"gone", headers=headers, timestamp_ms=7)
        producer.send("odd", b"\xff", headers=[("h", b"\xff")], timestamp_ms=8)
    return directory


@pytest.fixture
def log(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "log"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-Ct t", "consume --kcat -t t"),
        ("-CJt t", "consume --kcat -J -t t"),
        ("-CJet t -o-10", "consume --kcat -J -e -t t -o-10"),
        ("-Ctt -o -10", "consume --kcat -t t -o-10"),
        ("-t t -C", "consume --kcat -t t"),
        ("-qCt t", "consume --kcat -q -t t"),
        ("-vvCt t -u", "consume --kcat -t t -u"),
        ("-Pt t -K:", "produce -t t -K :"),
        ("-Plt t file", "produce -l -t t file"),
        ("-Pvut t -", "produce -t t -"),
        ("-LJ", "topics --kcat -J"),
        ("-L -v", "topics --kcat"),
        ("-G g t u", "consume --kcat -G g t u"),
        ("-Ggt", "consume --kcat -G gt"),
        ("-C -t t --since 10m -- -x", "consume --kcat -t t --since 10m -- -x"),
        ("-Ct", "consume --kcat -t"),
        ("-t t", None),
        ("-q", None),
    ],
)
def test_a_line_of_kcats_is_ours(words: str, expected: str | None) -> None:
    assert translated(words.split()) == (None if expected is None else expected.split())


def test_an_empty_value_of_a_letter_stays_one() -> None:
    assert translated(["-Ct", "t", "-f", ""]) == ["consume", "--kcat", "-t", "t", "-f", ""]


def test_bundled_letters_were_no_command(log: Path) -> None:
    assert merkql(log, "-Ct", "t", "-p0", "-e").lines == ["v0", "v1", "v2"]
    assert merkql(log, "-Cet", "t", "-p", 0, "-o", -1).lines == ["v2"]
    assert merkql(log, "-t", "t", "-p", 0, "-C", "-o", 2, "-q").lines == ["v2"]
    assert merkql(log, "-G", "g", "t", "-c", 1).lines == ["v0"]
    assert merkql(log, "-Pt", "new", "-K:", "-l", stdin=b"a:b\n").status == 0
    assert merkql(log, "-Cqt", "new", "-K:").lines == ["a:b"]
    assert merkql(log, "-L", "-v").lines == merkql(log, "topics").lines
    assert merkql(log, "-C", "-t", "t", "-c", 1, "-h").out.startswith(b"usage: merkql consume")


def test_who_knows_kcat_is_told_why_it_does_not_wait(log: Path) -> None:
    assert "the end; kcat would wait here" in merkql(log, "-Ct", "t").err
    for words in (("-e",), ("-q",), ("-c", 1)):
        assert merkql(log, "-Ct", "t", *words).err == ""
    assert merkql(log, "consume", "t").err == ""


def test_the_list_as_json_had_another_shape_than_kcats(log: Path) -> None:
    """The shape is that of kcat 1.7.1: what it has that we have not is left out."""
    listed = json.loads(merkql(log, "-LJ").out)
    assert listed["query"] == {"topic": "*"}
    assert [one["topic"] for one in listed["topics"]] == ["odd", "t"]
    (_, t) = listed["topics"]
    assert [one["partition"] for one in t["partitions"]] == [0, 1]
    assert (t["partitions"][0]["first"], t["partitions"][0]["next"]) == (0, 3)
    one = json.loads(merkql(log, "-L", "-t", "t", "-J").out)
    assert one["query"] == {"topic": "t"}
    assert one["topics"] == [t]


def test_a_damaged_partition_has_an_error_as_kcat_has_it(log: Path) -> None:
    shutil.rmtree(log / "topics/t/1")
    done = merkql(log, "-LJ", MERKQL_TRACEBACK="")
    assert done.status == 3
    partitions = json.loads(done.out)["topics"][1]["partitions"]
    assert "error" not in partitions[0]
    assert "missing" in partitions[1]["error"] or "damage" in partitions[1]["error"]


def test_records_as_kcat_prints_them(log: Path) -> None:
    first = json.loads(merkql(log, "-CJet", "t", "-p0").lines[0])
    assert first == {
        "topic": "t",
        "partition": 0,
        "offset": 0,
        "tstype": "create",
        "ts": 0,
        "key": "k",
        "payload": "v0",
    }
    gone, odd = map(json.loads, merkql(log, "-CJet", "odd").lines)
    assert (gone["payload"], gone["headers"]) == (None, ["h", "1", "n", None])
    assert base64.b64decode(odd["payload_base64"]) == b"\xff"
    assert base64.b64decode(odd["headers"][0]["value_base64"]) == b"\xff"


def test_what_kcat_would_print_is_read_back(log: Path) -> None:
    merkql(log, "-PJt", "copy", stdin=merkql(log, "-CJet", "odd").out)
    columns = "%k %S %T %h\n"
    before = merkql(log, "consume", "odd", "-Z", "-f", columns).out
    assert merkql(log, "consume", "copy", "-Z", "-f", columns).out == before


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        ("-Q -t t:0:1", "-Q is `merkql topics t --at 1`"),
        ("-Qt a:b:0:1", "-Q is `merkql topics a:b --at 1`"),
        ("-Q", "-Q is `merkql topics TOPIC --at TIME`"),
        ("-t t", "consume (-C), produce (-P), topics (-L)"),
        ("-C -P -t t", "one mode, not both -C and -P"),
        ("-P -t t -zlz4", "-z: compression is a topic's"),
        ("-P -t t -z lz4", "-z: compression is a topic's"),
        ("-CXa=b -t t", "-X: there is no librdkafka"),
        ("-C -t t -s value=avro -r http://x", "-s: nothing is decoded"),
        ("-Et t -C", "-E: no error here passes"),
        ("-M 3", "-M: nothing has to be mocked"),
        ("consume t -v", "-v: there is no more to say"),
        ("consume t --from-beginning", "--from-beginning: that is where it begins"),
        ("consume t --max-messages=3", "--max-messages: -c N"),
        ("create t --replication-factor 3", "--replication-factor: there is one copy"),
        ("topics --bootstrap-server x", "--bootstrap-server: there is no broker"),
        ("ls", "that is `merkql topics` here"),
        ("tail", "that is `merkql consume TOPIC -o -10 --follow` here"),
        ("topc", "did you mean topics?"),
    ],
)
def test_what_others_have_says_what_to_use_instead(log: Path, words: str, needle: str) -> None:
    assert needle in refused(log, *words.split()).err


def test_a_broker_s_address_made_a_directory_of_that_name(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(log.parent)
    for mode in ("-P", "-C", "-L"):
        done = refused(log, mode, "-b", "localhost:9092", "-t", "t", stdin=b"a\n")
        assert "localhost:9092: there is no broker; -b, as -d, names a directory" in done.err
    assert not (log.parent / "localhost:9092").exists()
