"""examples/flights.py says what the CSV says.

Goal: every figure it prints is worked out here a second time from the CSV, by csv and
collections alone, and nothing of merkql is imported.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSV = ROOT / "examples/data/flights-2013-01.csv.gz"
CSV_SHA256 = "56cc4aa95547c0b8b7962eca681a6d17470a2f9ed71e41af613bd9f339275762"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    text = gzip.decompress(CSV.read_bytes())
    assert hashlib.sha256(text).hexdigest() == CSV_SHA256
    return list(csv.DictReader(io.StringIO(text.decode())))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flights") / "not there yet"


@pytest.fixture(scope="module")
def output(run_example: Run, directory: Path) -> str:
    done = run_example("flights.py", directory)
    assert (done.returncode, done.stderr) == (0, "")  # so there is no progress bar in a pipe
    return done.stdout


def carrier_lines(output: str) -> dict[str, list[str]]:
    lines = re.findall(
        r"^   (\w\w) +([\d,]+) +([\d,]+) +([-\d.]+) +([-\d]+)$", output, re.MULTILINE
    )
    return {carrier: figures for carrier, *figures in lines}


def expected_carrier_lines(rows: list[dict[str, str]]) -> dict[str, list[str]]:
    by_carrier = defaultdict(list)
    for row in rows:
        by_carrier[row["carrier"]].append(int(row["dep_delay"]) if row["dep_time"] else None)
    table = {}
    for carrier, delays in by_carrier.items():
        known = [delay for delay in delays if delay is not None]
        cancelled = len(delays) - len(known)
        mean = f"{sum(known) / len(known):.1f}"
        table[carrier] = [f"{len(delays):,}", f"{cancelled:,}", mean, str(max(known))]
    return table


def test_every_departure_is_written(output: str, rows: list[dict[str, str]]) -> None:
    assert len(rows) == 27_004
    assert re.search(r"27,004 records in \d+\.\d\d s: [\d,]+ records/s", output)


def test_delays_by_carrier(output: str, rows: list[dict[str, str]]) -> None:
    assert carrier_lines(output) == expected_carrier_lines(rows)


def test_busiest_aircraft(output: str, rows: list[dict[str, str]]) -> None:
    shown = re.findall(r"^   (\S+|\(not recorded\)) +([\d,]+) flights$", output, re.MULTILINE)
    counts = Counter(row["tailnum"] for row in rows)
    busiest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    assert shown == [(name or "(not recorded)", f"{count:,}") for name, count in busiest]


def test_three_members_share_four_partitions(output: str, rows: list[dict[str, str]]) -> None:
    shown = re.findall(r"member \d: partitions \[(.+)\], ([\d,]+) records", output)
    shares = [set(share.split(", ")) for share, _ in shown]
    assert len(shares) == 3
    assert all(shares)
    assert sorted(number for share in shares for number in share) == ["0", "1", "2", "3"]
    assert sum(int(count.replace(",", "")) for _, count in shown) == len(rows)


def test_groups_go_on_where_they_were(output: str) -> None:
    news = re.findall(r"after (.+): group '(\w+)' gets (\d+)", output)
    assert news == [
        ("opening again", "delays", "0"),
        ("opening again", "aircraft", "0"),
        ("ten more events", "delays", "10"),
        ("ten more events", "aircraft", "10"),
    ]


def test_proof_holds_and_a_changed_byte_is_refused(
    output: str, directory: Path, rows: list[dict[str, str]]
) -> None:
    true, forged = output[output.index("The record as it is") :].split("with one byte changed")
    assert "     PROVED: record" in true
    assert "     exit status 0" in true
    assert "     NOT PROVED: the record" in forged
    assert "     exit status 1" in forged
    (auditor,) = directory.glob("auditor-*")
    assert sorted(path.name for path in auditor.iterdir()) == [
        "forged.json",
        "proof.json",
        "proof.py",
        "record.json",
    ]
    source = (ROOT / "src/merkql/proof.py").read_bytes()
    assert (auditor / "proof.py").read_bytes() == source
    record, changed = (
        json.loads((auditor / name).read_text()) for name in ("record.json", "forged.json")
    )
    assert {name for name in record if record[name] != changed[name]} == {"value"}


def test_it_says_where_the_data_is(output: str, directory: Path) -> None:
    assert f"Everything is in {directory}" in output
    assert (directory / "log/merkql.json").is_file()


def test_running_again_goes_on(
    run_example: Run, output: str, directory: Path, rows: list[dict[str, str]]
) -> None:
    assert output
    done = run_example("flights.py", directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The log holds 27,014 events of earlier runs" in done.stdout
    assert carrier_lines(done.stdout) == expected_carrier_lines(rows)
    assert len(list(directory.glob("auditor-*"))) == 2


def test_without_an_argument_the_data_is_kept(run_example: Run) -> None:
    done = run_example("flights.py")
    (directory,) = re.findall(r"Everything is in (.+): the log", done.stdout)
    assert Path(directory, "log/merkql.json").is_file()
    shutil.rmtree(directory)


def test_a_terminal_gets_a_progress_bar(directory: Path) -> None:
    terminal, stderr = pty.openpty()
    command = [sys.executable, str(ROOT / "examples/flights.py"), str(directory.with_name("bar"))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr) as program:
        os.close(stderr)
        shown = b""
        while chunk := read_terminal(terminal):
            shown += chunk
    os.close(terminal)
    assert program.returncode == 0
    assert re.search(rb"\[#+\.+\] \d\d? % [\d,]+ events, [\d,]+/s", shown)
    assert shown.endswith(b"\r")  # and takes it away when done


def read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the other side is closed
        return b""


def assert_one_line(done: subprocess.CompletedProcess[str], needle: str) -> None:
    assert done.returncode not in (0, -signal.SIGPIPE)
    assert done.stderr.strip().count("\n") == 0, done.stderr
    assert needle in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_data_is_one_line(run_example: Run, tmp_path: Path) -> None:
    for name in ("flights.py", "program.py", "interrupts.py"):
        shutil.copy(ROOT / "examples" / name, tmp_path)
    done = run_example("flights.py", tmp_path / "log", script=tmp_path / "flights.py")
    assert_one_line(done, "flights-2013-01.csv.gz")


@pytest.mark.parametrize(
    "arguments", [("a", "b"), ("--fast",), (CSV,), (CSV / "below a file",)], ids=str
)
def test_wrong_arguments_are_one_line(run_example: Run, arguments: tuple[str, ...]) -> None:
    assert_one_line(run_example("flights.py", *arguments), "")


def start(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "examples/flights.py"), str(directory)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_broken_pipe_is_one_line(tmp_path: Path) -> None:
    with start(tmp_path) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.readline()
        program.stdout.close()
        errors = program.stderr.read()
    assert_one_line(subprocess.CompletedProcess([], program.returncode, "", errors), "nobody reads")


def test_interrupt_is_one_line_and_the_log_goes_on(run_example: Run, tmp_path: Path) -> None:
    with start(tmp_path) as program:
        assert program.stdout is not None
        program.stdout.readline()  # the ingest begins
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    assert program.returncode == 130
    assert_one_line(subprocess.CompletedProcess([], 130, "", errors), "stopped")
    assert run_example("flights.py", tmp_path).returncode == 0
