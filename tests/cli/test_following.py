"""consume --follow without a group: topics come and go meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.command import DEADLINE_S, interrupt, merkql, start


def produce(log: Path, topic: str, *words: object, line: bytes) -> None:
    assert merkql(log, "produce", "-q", topic, *words, stdin=line + b"\n").status == 0


@contextmanager
def following(log: Path, *words: object) -> Iterator[subprocess.Popen[bytes]]:
    with start(log, "consume", *words, "--follow") as process:
        try:
            yield process
        finally:
            process.kill()  # where the test failed


def line_of(process: subprocess.Popen[bytes]) -> bytes:
    """The next line it prints."""
    assert process.stdout is not None
    return process.stdout.readline()


def said_by(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stderr is not None
    return process.stderr.readline()


def test_a_topic_that_was_deleted_ended_the_reading_of_the_others(tmp_path: Path) -> None:
    for topic in ("a", "b"):
        produce(tmp_path, topic, line=b"first")
    with following(tmp_path, "a", "b") as process:
        assert [line_of(process), line_of(process)] == [b"first\n", b"first\n"]
        merkql(tmp_path, "delete", "--yes", "a")
        assert said_by(process) == b"merkql: warning: topic 'a' was deleted\n"
        produce(tmp_path, "b", line=b"goes on")
        assert line_of(process) == b"goes on\n"
        merkql(tmp_path, "delete", "--yes", "b")
        assert said_by(process) == b"merkql: error: no topic 'b'; it was deleted\n"
        assert process.wait(DEADLINE_S) == 1


def test_a_topic_made_anew_under_its_name_is_followed(tmp_path: Path) -> None:
    for topic in ("a", "b"):
        produce(tmp_path, topic, line=b"first")
    with following(tmp_path, "a", "b", "-O") as process:
        assert [line_of(process), line_of(process)] == [b"0\tfirst\n", b"0\tfirst\n"]
        merkql(tmp_path, "delete", "--yes", "a")
        assert said_by(process) == b"merkql: warning: topic 'a' was deleted\n"
        produce(tmp_path, "a", line=b"anew")
        assert line_of(process) == b"0\tanew\n"
        assert interrupt(process)[1] == b""


def test_topics_that_match_a_pattern_later_were_not_seen(tmp_path: Path) -> None:
    produce(tmp_path, "log-1", line=b"old")
    with following(tmp_path, "^log-.*", "-o", -1, "-f", "%t %s\n") as process:
        assert line_of(process) == b"log-1 old\n"
        produce(tmp_path, "log-1", line=b"one")
        assert line_of(process) == b"log-1 one\n"
        produce(tmp_path, "log-2", line=b"two")
        produce(tmp_path, "other", line=b"no")
        assert line_of(process) == b"log-2 two\n"
        merkql(tmp_path, "delete", "--yes", "log-1")
        assert said_by(process) == b"merkql: warning: topic 'log-1' was deleted\n"
        merkql(tmp_path, "delete", "--yes", "log-2")
        assert said_by(process) == b"merkql: warning: topic 'log-2' was deleted\n"
        produce(tmp_path, "log-3", line=b"three")  # another may always match
        assert line_of(process) == b"log-3 three\n"
        assert interrupt(process)[1] == b""


def test_a_pattern_that_matches_nothing_yet_is_waited_for(tmp_path: Path) -> None:
    produce(tmp_path, "other", line=b"no")
    with following(tmp_path, "^log-.*") as process:
        produce(tmp_path, "log-1", line=b"one")
        assert line_of(process) == b"one\n"
        assert interrupt(process)[1] == b""


def test_partitions_that_were_added_later_were_not_read(tmp_path: Path) -> None:
    produce(tmp_path, "a", line=b"first")
    with following(tmp_path, "a", "-O") as process:
        assert line_of(process) == b"0\tfirst\n"
        merkql(tmp_path, "alter", "a", "-n", 2)
        produce(tmp_path, "a", "-p", 1, line=b"beside")
        assert line_of(process) == b"0\tbeside\n"
        produce(tmp_path, "a", "-p", 0, line=b"second")  # where it was, not from the beginning
        assert line_of(process) == b"1\tsecond\n"
        assert interrupt(process)[1] == b""
