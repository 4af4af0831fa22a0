"""evidence and verify-proof: what one writes, the other judges, with an exit status to trust."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from merkql.proofs import record_to_json
from support import evidence
from support.command import merkql as command
from support.command import refused
from support.evidence import PROOF, RECORDS, bundle_files, note

LOG, WITNESS = (signer.key for signer in evidence.signers())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    command(tmp_path / "log", "produce", "t", "-K:", stdin=b"a:1\nb:2\nc:3\nd:4\n")
    return tmp_path / "log"


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    (tmp_path / "a.tlog-proof").write_text(PROOF.to_tlog_proof(note()), encoding="utf-8")
    (tmp_path / "record.json").write_text(record_to_json(RECORDS[6]))
    return tmp_path


def test_what_evidence_writes_is_proved_and_a_changed_byte_is_not(log: Path) -> None:
    path = log.parent / "evidence.zip"
    done = command(log, "evidence", "t", 0, "1..2", "-o", path)
    root = command(log, "proof", "t").lines[0].split()[0]
    assert done.status == 0
    assert done.lines == [f"{path}: 2 records of 4, root {root}"]
    judged = command(".", "verify-proof", path, "--root", root)
    assert judged.status == 0
    assert judged.lines[0] == f"PROVED: records 1 to 2 of the 4 with root {root}"
    assert command(".", "verify-proof", path, "--root", "0" * 64).status == 1
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"value": "Mg=="', b'"value": "Mw=="'))
    judged = command(".", "verify-proof", path, "-J")
    assert judged.status == 1
    assert json.loads(judged.out)["holds"] is False


def test_one_record_as_json(log: Path) -> None:
    path = log.parent / "evidence.zip"
    facts = json.loads(command(log, "evidence", "t", 0, "3", "-o", path, "-J").out)
    assert (facts["first"], facts["last"], facts["size"]) == (3, 3, 4)


def test_whose_signatures_there_are_is_said(sent: Path) -> None:
    files = (sent / "a.tlog-proof", sent / "record.json")
    judged = command(".", "verify-proof", *files, "--key", LOG, "--key", WITNESS)
    assert judged.status == 0
    assert len(judged.lines) == 2
    assert "witness.example/w1 at 2026-01-01T00:00:00Z" in judged.lines[1]
    stranger = evidence.Signer("stranger.example", 1, bytes(32)).key
    judged = command(".", "verify-proof", *files, "-k", stranger)
    assert judged.status == 1
    assert judged.lines == ["NOT PROVED: the checkpoint is not signed by stranger.example"]


def test_what_is_left_open_is_said(tmp_path: Path) -> None:
    names = []
    for number, content in enumerate(bundle_files()):
        (tmp_path / str(number)).write_bytes(content)
        names.append(tmp_path / str(number))
    lines = command(".", "verify-proof", *names).lines
    assert [line for line in lines if line.startswith("NOT SHOWN: ")] == lines[-3:]


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (("evidence", "t", 0, "2..1", "-o", "x"), "ends before it begins"),
        (("evidence", "t", 0, "a..b", "-o", "x"), "not FIRST..LAST"),
        (("evidence", "t", 0, "0..9", "-o", "x"), "out of range"),
        (("evidence", "t", 0, "0..1"), "--output"),
        (("evidence", "t", 7, "0", "-o", "x"), "partition 7"),
        (("verify-proof",), "FILE"),
        (("verify-proof", "no-such-file"), "no-such-file"),
        (("verify-proof", "x", "--root", "00"), "64 hexadecimal digits"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    log: Path, words: tuple[object, ...], needle: str
) -> None:
    assert needle in refused(log, *words).err
