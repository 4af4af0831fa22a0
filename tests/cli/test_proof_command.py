"""proof: what it prints is judged by proof.py alone, in a process that sees nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import merkql.proof
from merkql import ConsistencyProof
from support.command import merkql as command
from support.command import refused


@pytest.fixture
def log(tmp_path: Path) -> Path:
    command(tmp_path / "log", "produce", "t", "-K:", stdin=b"a:1\nb:2\nc:3\n")
    return tmp_path / "log"


def test_a_record_is_proved_to_who_has_nothing_of_ours(log: Path, tmp_path: Path) -> None:
    root, size = command(log, "proof", "t").lines[0].split()
    assert size == "3"
    for name, words in (("proof", ()), ("record", ("--record",))):
        (tmp_path / name).write_bytes(command(log, "proof", "t", 1, *words).out)
    judge = [sys.executable, "-I", "-S", merkql.proof.__file__, "proof", "record", "--root", root]
    done = subprocess.run(judge, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads((tmp_path / "record").read_text())
    (tmp_path / "record").write_text(json.dumps({**record, "timestamp_ms": 1}))
    assert subprocess.run(judge, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_roots_of_earlier_sizes_and_that_nothing_changed(log: Path) -> None:
    old = bytes.fromhex(command(log, "proof", "t", "--size", 2).lines[0].split()[0])
    new = bytes.fromhex(json.loads(command(log, "proof", "-t", "t", "-J").out)["root"])
    proof = ConsistencyProof.from_json(command(log, "proof", "t", "--from", 2).out)
    assert proof.verify(old, new)
    assert command(log, "proof", "-t", "t", "-p", 0, "-o", 1, "--size", 2).status == 0


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        ((), "which topic?"),
        (("nosuch",), "no topic"),
        (("t", 3), "out of range"),
        (("t", "x"), "not an offset"),
        (("t", 0, 1), "what is '1'"),
        (("t", "--size", 4), "out of range"),
        (("t", "--from", 4), "between 1 and 3"),
        (("t", 0, "--from", 1), "not both"),
        (("t", "--record"), "of which offset"),
        (("many",), "add -p N"),
    ],
    ids=str,
)
def test_wrong_input_is_one_line(log: Path, words: tuple[object, ...], needle: str) -> None:
    command(log, "create", "many", "-n", 2)
    assert needle in refused(log, "proof", *words).err
