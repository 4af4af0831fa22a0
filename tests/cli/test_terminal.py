"""The command at a real terminal, in pipes, on a full disk, and interrupted.

What people see only there: colours, progress, questions. What shells see: the status.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from merkql import Broker
from merkql.cli.progress import Progress
from merkql.cli.quantities import bytes_text, duration, duration_text, moment, moment_text, size
from merkql.cli.status import BUG
from support.command import ENTRY, InTerminal, environment, interrupt, merkql, start, wait_until

ESCAPE = b"\x1b["


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = b"".join(b"%d\n" % i for i in range(50_000))
    merkql(tmp_path / "log", "produce", "-q", "t", stdin=lines)
    return tmp_path / "log"


# Colours


def test_colours_are_for_terminals(log: Path) -> None:
    terminal = InTerminal(log, "topics")
    assert terminal.end() == 0
    assert ESCAPE + b"1mTOPIC" in terminal.shown
    assert ESCAPE not in merkql(log, "topics").out
    terminal = InTerminal(log, "nosuch")
    assert terminal.end() == 2
    assert ESCAPE + b"31merror" in terminal.shown


@pytest.mark.parametrize("changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_colours_can_be_refused(log: Path, changes: dict[str, str]) -> None:
    terminal = InTerminal(log, "topics", changes=changes)
    assert terminal.end() == 0
    assert b"TOPIC" in terminal.shown
    assert ESCAPE not in terminal.shown


def test_each_stream_is_looked_at_by_itself(log: Path) -> None:
    """Standard error at the terminal, the results in a pipe: these stay plain."""
    terminal = InTerminal(log, "topics", stdout=subprocess.PIPE)
    assert terminal.process.stdout is not None
    with terminal.process.stdout as pipe:
        assert ESCAPE not in pipe.read()
    assert terminal.end() == 0


# Help


def test_help_at_a_terminal_and_in_a_pipe(log: Path) -> None:
    terminal = InTerminal(log, "consume", "--help")
    assert terminal.end() == 0
    shown = terminal.shown.decode().replace("\r\n", "\n")
    assert shown.startswith("usage: merkql consume [OPTION...] TOPIC...\n")
    assert max(map(len, shown.splitlines())) <= 80
    assert "Ctrl" not in shown
    for words in ((), ("help",), ("--help",), ("-h",)):
        overview = merkql(log, *words)
        assert (overview.status, overview.err) == (0, "")
        assert overview.out.startswith(b"usage: merkql ")
        assert re.search(rb"^  verify ", overview.out, re.MULTILINE)
    assert merkql(log, "help", "consume").out == merkql(log, "consume", "-h").out


def test_the_list_of_commands_ran_a_name_and_its_summary_together(log: Path) -> None:
    for line in merkql(log, "help").out.decode().split("\n\n")[2].splitlines():
        assert re.match(r"  [a-z-]+  +[a-z]", line), line


def test_version_names_formats_and_back_ends(log: Path) -> None:
    done = merkql(log, "--version")
    assert done.lines[0].startswith("merkql ")
    assert re.search(rb"^backends: sha256 \S+, crc32c \S+$", done.out, re.MULTILINE)
    assert b"wal-frame" in done.out
    assert merkql(log, "-V").out == merkql(log, "version").out
    assert merkql(log, "--version", "--json").out.startswith(b'{"version"')


# Progress


def test_what_takes_a_second_shows_how_far_it_is(tmp_path: Path) -> None:
    terminal = InTerminal(tmp_path, "produce", "t", stdin=subprocess.PIPE)
    assert terminal.process.stdin is not None
    with terminal.process.stdin as pipe:
        while b"records, " not in terminal.shown:  # drawn from the second second on
            pipe.write(b"line\n")
            pipe.flush()
            if b"created" not in terminal.shown:
                terminal.wait_for(b"created")
            elif terminal.is_readable():
                terminal.wait_for(b"records, ")
    assert terminal.end() == 0
    assert re.search(rb"\rto t [\d,]+ records, [\d,]+/s", terminal.shown)
    last_line = terminal.shown.rsplit(b"\r", 2)[1]
    assert re.fullmatch(rb"merkql: [\d,]+ records written to topic 't'", last_line)


class Screen:
    """What a terminal shows, and a clock that is set by hand."""

    def __init__(self, *, is_shown: bool = True, delay_s: float = 1.0, width: int = 120) -> None:
        self.text = ""
        self.now = 0.0
        self.bar = Progress(
            self.write,
            "verify",
            is_shown=is_shown,
            width=lambda: width,
            delay_s=delay_s,
            clock=lambda: self.now,
        )

    def write(self, text: str) -> None:
        self.text += text

    def at(self, now: float, done: int, total: int | None = None) -> str:
        """The line after an update at that time."""
        self.now = now
        self.bar.update(done, total)
        return self.text.rpartition("\r")[2]


def test_a_bar_begins_after_a_second_and_goes_away() -> None:
    screen = Screen()
    with screen.bar:
        assert screen.at(0.9, 90, 1000) == ""
        line = screen.at(1.0, 100, 1000)
        assert line == f"verify [{'#' * 3}{'.' * 27}] 10 % 100 records, 100/s, 0:09 left"
        assert screen.at(1.05, 105, 1000) == line  # ten times a second is enough
        assert "1,000 records, 500/s" in screen.at(2.0, 1000, 1000)
    assert screen.text.endswith(" \r")


def test_a_bar_without_an_end_counts() -> None:
    assert Screen().at(2.0, 3000) == "verify 3,000 records, 1,500/s"
    assert Screen().at(2.0, 0) == "verify 0 records, 0/s"


def test_a_bar_on_a_narrow_terminal_wrapped_and_was_drawn_below_itself() -> None:
    screen = Screen(width=40)
    with screen.bar:
        line = screen.at(1.0, 100, 1000)
        assert line == "verify [###...........................]"
        assert len(line) == 39
    assert screen.text.endswith(f"\r{' ' * 39}\r")


def test_a_bar_is_not_for_pipes() -> None:
    screen = Screen(is_shown=False)
    with screen.bar:
        screen.at(5.0, 1, 2)
    assert screen.text == ""


# Questions and typing


def test_delete_asks_at_a_terminal(log: Path) -> None:
    for answer, status in (("n", 1), ("", 1), ("y", 0)):
        terminal = InTerminal(log, "delete", "t")
        terminal.wait_for(b"with 50,000 records, for good? [y/N] ")
        terminal.type(f"{answer}\n")
        assert terminal.end() == status
        assert (merkql(log, "topics", "--names").lines == []) == (status == 0)


def test_lines_typed_at_a_terminal(tmp_path: Path) -> None:
    terminal = InTerminal(tmp_path, "produce", "t")
    terminal.wait_for(b"Ctrl-D ends it")
    terminal.type("hello\n")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert b"1 record written" in terminal.shown
    assert merkql(tmp_path, "consume", "t").lines == ["hello"]


# Pipes that break, outputs that are full or closed


def test_a_reader_that_goes_away_ends_it_by_the_signal_of_pipes(log: Path) -> None:
    with start(log, "consume", "t") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.wait(60) == -signal.SIGPIPE
        assert process.stderr.read() == b""


def test_in_a_shell_the_status_is_that_of_cat(log: Path) -> None:
    shell = '"$@" consume t | head -n 1; echo "${PIPESTATUS[0]}"'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *ENTRY],
        env=environment(log),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"0\n141\n", b"")


def test_a_full_output_is_one_line(log: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    with open("/dev/full", "wb") as full:
        for words in (["consume", "t"], ["topics"]):
            with start(log, *words, stdout=full) as process:
                _, err = process.communicate(timeout=60)
            assert process.returncode == 1
            assert err.startswith(b"merkql: error: the output cannot be written: No space left")
            assert err.count(b"\n") == 1


def test_closed_streams_are_one_line(log: Path) -> None:
    for words, redirection, needle in (
        ("topics", ">&-", b"the output is closed"),
        ("produce t", "<&-", b"standard input is closed"),
    ):
        shell = f'"$@" {words} {redirection}'
        done = subprocess.run(
            ["sh", "-c", shell, "sh", *ENTRY],
            env=environment(log),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (1, 2)
        assert needle in done.stderr
        assert b"Traceback" not in done.stderr


def test_a_full_disk_is_one_line_and_what_was_said_to_be_written_is_there(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: both fail a write in its middle."""
    merkql(tmp_path, "create", "t", "--segment-bytes", "64M")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))

    with start(tmp_path, "produce", "t", preexec_fn=limit, bufsize=0) as process:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            for number in range(100_000):
                process.stdin.write(b"%09d %s\n" % (number, b"x" * 990))
        assert process.stderr is not None
        err = process.stderr.read().decode()
        assert process.wait(60) == 1
    count, failure = err.splitlines()
    match = re.fullmatch(r"merkql: ([\d,]+) records? written to topic 't'", count)
    assert match is not None, err
    assert failure.startswith("merkql: error: ")
    lines = merkql(tmp_path, "consume", "t").lines
    assert len(lines) >= int(match[1].replace(",", ""))
    assert [int(line[:9]) for line in lines] == list(range(len(lines)))
    assert merkql(tmp_path, "verify").status == 0


# Ctrl-C and other ends


def test_ctrl_c_while_lines_come_keeps_what_was_written(tmp_path: Path) -> None:
    with start(tmp_path, "produce", "t") as process:
        assert process.stdin is not None
        process.stdin.write(b"one\ntwo\n")
        process.stdin.flush()
        wait_until(lambda: merkql(tmp_path, "consume", "t", MERKQL_TRACEBACK="").out)
        status, err = interrupt(process)
    assert status == -signal.SIGINT
    match = re.search(rb"^merkql: ([012]) records? written to topic 't'$", err, re.MULTILINE)
    assert match is not None, err
    assert merkql(tmp_path, "consume", "t").lines == ["one", "two"]
    assert merkql(tmp_path, "verify").status == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_follower_leaves_its_group_when_it_is_told_to_end(log: Path, number: int) -> None:
    with start(log, "consume", "t", "-g", "g", "--follow") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"0\n"
        assert interrupt(process, number) == (-number, b"")
    members = log / "groups/g/members"
    assert list(members.iterdir()) == []
    done = merkql(log, "consume", "t", "-g", "g")
    assert done.err == ""  # nobody else holds a partition


@pytest.mark.parametrize(
    "how",
    ["os.kill(os.getpid(), signal.SIGINT)", "raise KeyboardInterrupt"],
    ids=["signal", "raised"],
)
@pytest.mark.parametrize(
    "entry",
    ["import _merkql; sys.exit(_merkql.main())", "runpy.run_module('merkql', run_name='__main__')"],
    ids=["installed", "python -m"],
)
def test_ctrl_c_in_the_middle_of_an_import_printed_a_traceback(
    log: Path, entry: str, how: str
) -> None:
    program = f"""
import os, runpy, signal, sys
class Finder:
    def find_spec(name, *_):
        if name == os.environ["WHERE"]:
            {how}
sys.meta_path.insert(0, Finder)
{entry}
"""
    before_arguments = ("merkql.cli", "argparse")
    for name in (*before_arguments, "merkql.broker", "merkql.storage.engine"):
        done = subprocess.run(
            [sys.executable, "-c", program, "topics"],
            env={**environment(log), "WHERE": name},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b""), name


def test_ctrl_c_where_it_is_ignored_is_ignored(tmp_path: Path) -> None:
    """As of a command that a script starts in the background."""
    with start(
        tmp_path, "produce", "t", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    ) as process:
        assert process.stderr is not None
        while b"created" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(b"still here\n", timeout=60)
    assert process.returncode == 0
    assert b"1 record written" in err


# Errors


def test_our_own_mistake_is_one_line_too(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("never\nso")

    monkeypatch.setattr(Broker, "open", fail)
    done = merkql(log, "topics", MERKQL_TRACEBACK="")
    assert done.status == BUG
    assert done.err.count("\n") == 1
    assert "AssertionError: never so" in done.err
    with pytest.raises(AssertionError):
        merkql(log, "topics")


def test_what_the_library_logs_is_a_remark(log: Path) -> None:
    (log / "topics/stranger.txt").write_text("?")
    done = merkql(log, "topics")
    assert done.status == 0
    assert done.err.startswith("merkql: warning: ")
    assert "stranger.txt" in done.err


# Quantities


def test_sizes_durations_and_times() -> None:
    assert [size(text) for text in ("10", "1k", "1KiB", "1KB", "1.5M", "2g")] == [
        *(10, 1024, 1024, 1000, 1_572_864, 2 << 30)
    ]
    assert [duration(text) for text in ("5", "5ms", "2s", "1.5m", "1h", "2d", "1w")] == [
        *(5, 5, 2000, 90_000, 3_600_000, 172_800_000, 604_800_000)
    ]
    assert moment("1700000000000") == 1_700_000_000_000
    assert moment("2023-11-14T22:13:20Z") == 1_700_000_000_000
    assert moment("2023-11-15T00:13:20+02:00") == 1_700_000_000_000
    assert moment_text(1_700_000_000_001) == "2023-11-14T22:13:20.001Z"
    assert moment_text(1 << 62) == str(1 << 62)
    assert [bytes_text(number) for number in (0, 1023, 1024, 1 << 30)] == [
        *("0 B", "1023 B", "1.0 KiB", "1.0 GiB")
    ]
    assert [duration_text(number) for number in (1, 60_000, 604_800_000)] == ["1ms", "1m", "7d"]


COUNTED = """
import os, signal, sys, _merkql
at, calls = int(sys.argv.pop(1)), 0
def hook(*_):
    global calls
    calls += 1
    if calls == at:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)
sys.setprofile(hook)
try:
    status = _merkql.main()
finally:
    sys.setprofile(None)
    if not at:
        sys.stderr.write(f"calls {calls}")
sys.exit(status)
"""


def counted(log: Path, at: int, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command and send it Ctrl-C at that call of a function; 0: count them."""
    command = [sys.executable, "-c", COUNTED, str(at), *words]
    return subprocess.run(
        command,
        env=environment(log),
        input=b"a\nb\n" * 5000,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "moments"),
    [
        (["consume", "t", "-g", "g"], 6),
        pytest.param(["consume", "t", "-g", "g"], 120, marks=pytest.mark.slow),
        pytest.param(["produce", "new"], 120, marks=pytest.mark.slow),
        pytest.param(["verify"], 60, marks=pytest.mark.slow),
        pytest.param(["topics", "--roots"], 60, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_ctrl_c_at_any_moment(log: Path, words: list[str], moments: int) -> None:
    """Goal: no traceback, whatever is interrupted. Method: at every so-manieth function call."""
    done = counted(log, 0, *words)
    assert done.returncode == 0
    total = int(done.stderr.rpartition(b"calls ")[2])
    for at in range(100, total, total // moments):  # the first few are before anything of ours
        done = counted(log, at, *words)
        assert b"Traceback" not in done.stderr, (at, done.stderr.decode())
        assert b"Exception ignored" not in done.stderr, (at, done.stderr.decode())
        assert done.returncode in (-signal.SIGINT, 0), (at, done)
    assert merkql(log, "verify").status == 0
