"""examples/audit_trail.py proves what it says and is refused what it forges."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest


def path_length(index: int, size: int) -> int:
    """RFC 9162 §2.1.1 by its recursive definition: hashes in a path through a tree of `size`."""
    if size == 1:
        return 0
    left = 1
    while left * 2 < size:
        left *= 2
    return 1 + (
        path_length(index, left) if index < left else path_length(index - left, size - left)
    )


@pytest.fixture(scope="module")
def output(
    run_example: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    done = run_example("audit_trail.py", tmp_path_factory.mktemp("audit"))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_depths(output: str) -> None:
    shown = re.findall(r"Proof for offset (\d+): depth=(\d+), valid=(\w+)", output)
    assert shown == [
        ("0", "6", "True"),
        ("10", "6", "True"),
        ("25", "6", "True"),
        ("37", "6", "True"),
        ("49", "3", "True"),
    ]
    assert all(int(depth) == path_length(int(offset), 50) for offset, depth, _ in shown)


def test_growth(output: str) -> None:
    assert "Recorded 10 more. Root changed: True" in output
    assert "Old proofs that still verify: 5 of 5" in output
    assert "begin with the 50 of the old root: True" in output


def test_record_10_is_what_was_recorded(output: str) -> None:
    assert "Record 10: user=alice, action=CREATE" in output


def test_a_forged_record_fails_its_proof(output: str) -> None:
    assert "The true record against its proof: valid=True" in output
    assert "A forged one (user=mallo, action=CREATE): valid=False" in output


def test_an_edited_file_is_refused_with_its_name(output: str) -> None:
    assert re.search(r"Reading refuses: CorruptionError: .+\.log: at byte \d+: .+", output)


def test_summary_has_four_lines(output: str) -> None:
    assert len(output[output.index("Summary:") :].splitlines()) == 5
