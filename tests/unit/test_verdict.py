"""The verifier on whole files: what it says of good ones, and that nothing bad passes."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merkql.proof import ProofError, judge, main, parse_checkpoint, parse_tlog_proof
from merkql.proofs import Proof, record_to_json
from support import evidence
from support.evidence import GROWTH, PROOF, RECORDS, ROOT, SIZE, TREE, bundle_files, flipped, note

RECORD = record_to_json(RECORDS[6]).encode()
LOG, WITNESS = evidence.signers()


def claims(text: bytes) -> dict[str, object]:
    """What a proof is about: all but the hints of where it was made, which nothing proves."""
    hints = ("topic", "partition")
    return {name: value for name, value in json.loads(text).items() if name not in hints}


def tlog_proof(checkpoint: str | None = None) -> bytes:
    return PROOF.to_tlog_proof(note() if checkpoint is None else checkpoint).encode()


# What passes, and what is said of it ------------------------------------------------------------


def test_a_proof_under_signatures_says_who_signed_and_when() -> None:
    verdict = judge([tlog_proof(), RECORD], (), [LOG.key, WITNESS.key])
    assert verdict["not_shown"] == []
    record, checkpoint = verdict["proved"]
    assert record == f"record 6 of the 13 with root {ROOT.hex()}"
    assert checkpoint == (
        f"'{evidence.ORIGIN}' has 13 records, root {ROOT.hex()}: "
        f"signed by {evidence.ORIGIN} and {evidence.WITNESS} at 2026-01-01T00:00:00Z"
    )


def test_one_key_of_a_log_stands_for_all_its_partitions() -> None:
    """It is named as the origins begin, and signs under the origin."""
    base = evidence.Signer("log.example", 1, bytes(range(32)))
    verdict = judge([tlog_proof(), RECORD], (), [base.key])
    assert "signed by log.example" in verdict["proved"][1]
    for name in ("log.exampl", "log.example/order", "log.example/orders/2/x", "other.example"):
        other = evidence.Signer(name, 1, bytes(range(32)))
        with pytest.raises(ProofError, match="not signed by"):
            judge([tlog_proof(), RECORD], (), [other.key])


def test_what_was_not_given_is_said() -> None:
    assert judge([tlog_proof()], (), [LOG.key])["not_shown"] == [
        "what 1 of these records say: it was not given",
        "that others were shown the same log: no witness's key was given",
    ]
    missing = judge([tlog_proof(), RECORD], (), ())["not_shown"]
    assert missing[0].startswith("whose root it is: the proof's own")
    proved = judge([tlog_proof(), RECORD], (), ())["proved"]
    assert proved[1].endswith("by whom, was not checked")


def test_a_range_with_a_record_that_is_gone() -> None:
    verdict = judge(bundle_files(), (), [LOG.key, WITNESS.key])
    assert verdict["proved"][0] == f"records 5 to 9 of the 13 with root {ROOT.hex()}"
    assert verdict["not_shown"] == ["what 1 of these records say: it was not given"]


def test_growth_between_two_checkpoints() -> None:
    files = [GROWTH.to_json().encode(), note().encode(), note(7, TREE.root(0, 7)).encode()]
    verdict = judge(files, (), [LOG.key, WITNESS.key])
    assert verdict["proved"][0] == "the log of 13 records began as that of 7"
    assert verdict["not_shown"] == []
    judge(files[:1], [ROOT, TREE.root(0, 7)], ())
    with pytest.raises(ProofError, match="another root"):
        judge(files[:1], [ROOT], ())
    with pytest.raises(ProofError, match="another root"):
        judge(files[:2], (), [LOG.key])


def test_a_checkpoint_alone() -> None:
    verdict = judge([note().encode()], (), [WITNESS.key])
    assert "signed by witness.example/w1 at 2026-01-01" in verdict["proved"][0]


# What does not ----------------------------------------------------------------------------------


def test_signatures_that_are_not_there_or_not_good() -> None:
    stranger = evidence.Signer("other.example", 1, bytes(32))
    impostor = evidence.Signer(evidence.ORIGIN, 1, bytes(32))
    for key in (stranger.key, impostor.key):
        with pytest.raises(ProofError, match="not signed by"):
            judge([tlog_proof(), RECORD], (), [key])
    text = note().rsplit("\n\n", 1)[0] + "\n"
    forged = text + "\n" + LOG.line(text.replace("13", "14"))
    with pytest.raises(ProofError, match="is not that of its key"):
        judge([tlog_proof(forged), RECORD], (), [LOG.key])
    unsigned = text + "\n"
    with pytest.raises(ProofError, match="not signed by"):
        judge([tlog_proof(unsigned), RECORD], (), [LOG.key])
    with pytest.raises(ProofError, match="no checkpoint"):
        judge([PROOF.to_json().encode(), RECORD], (), [LOG.key])
    for key in (
        "",
        "x",
        LOG.key[:-1],
        LOG.key.replace("+", "-"),
        f"{LOG.key}\n",
        "a+00000000+" + "A" * 44,
    ):
        with pytest.raises(ProofError, match="not an Ed25519 key"):
            judge([tlog_proof(), RECORD], (), [key])


def test_so_many_of_a_group_of_keys_are_enough() -> None:
    """A change of keys, and a quorum of witnesses: any, all, or n of m."""
    new = evidence.Signer(evidence.ORIGIN, 1, b"\x07" * 32)
    absent = evidence.Signer("witness.example/w2", 4, b"\x08" * 32)
    for group in (f"1 {LOG.key} {new.key}", f"1 {new.key} {LOG.key}", f"1 {LOG.key}"):
        assert "signed by log.example" in judge([tlog_proof(), RECORD], (), [group])["proved"][1]
    quorum = f"1 {absent.key} {WITNESS.key}"
    verdict = judge([tlog_proof(), RECORD], (), [LOG.key, quorum])
    assert verdict["not_shown"] == []
    assert verdict["proved"][1].endswith(f"and {evidence.WITNESS} at 2026-01-01T00:00:00Z")
    words = f"not signed by 2 of {absent.name}, {WITNESS.name}"
    with pytest.raises(ProofError, match=words):
        judge([tlog_proof(), RECORD], (), [LOG.key, f"2 {absent.key} {WITNESS.key}"])


def test_a_group_of_keys_counts_nobody_twice() -> None:
    renamed = evidence.Signer("witness.example/w9", 4, bytes(range(32, 64)))
    for group, words in (
        (f"2 {WITNESS.key} {WITNESS.key}", "given twice"),
        (f"1 {WITNESS.key} {renamed.key}", "given twice"),
        (f"2 {WITNESS.key}", "2 of 1 keys"),
        (f"0 {WITNESS.key}", "a number and keys"),
        (f"\u0661 {WITNESS.key}", "a number and keys"),
        (f"{WITNESS.key} {LOG.key}", "a number and keys"),
        (f"1 {LOG.key}\ud800", "no text"),
        ("1 x", "an Ed25519 key"),
        (" ", "a number and keys"),
        ("", "an Ed25519 key"),
    ):
        with pytest.raises(ProofError, match=words):
            judge([tlog_proof(), RECORD], (), [group])


def test_a_checkpoint_of_another_root_or_size() -> None:
    with pytest.raises(ProofError, match="another size or root"):
        PROOF.to_tlog_proof(note(12, TREE.root(0, 12)))
    proof = PROOF.to_json().encode()
    with pytest.raises(ProofError, match="another root"):
        judge([proof, RECORD, note(SIZE, bytes(32)).encode()], (), [LOG.key])
    with pytest.raises(ProofError, match="another root"):
        judge([proof, RECORD, note(12, TREE.root(0, 12)).encode()], (), [LOG.key])


def test_records_that_no_proof_is_about() -> None:
    other = record_to_json(RECORDS[5]).encode()
    with pytest.raises(ProofError, match="record 5 is in none of the proofs"):
        judge([tlog_proof(), RECORD, other], (), ())
    forged = record_to_json(replace(RECORDS[8], value=b"forged"), indent=None).encode()
    files = bundle_files()
    true = record_to_json(RECORDS[8], indent=None).encode()
    with pytest.raises(ProofError, match="not the one"):
        judge([files[0], files[1].replace(true, forged), *files[2:]], (), ())


def test_a_forged_record_hid_behind_the_true_one_of_its_offset() -> None:
    """The last one given was checked, and all others passed over without a word."""
    forged = record_to_json(replace(RECORDS[6], value=b"forged")).encode()
    for files in ([tlog_proof(), forged, RECORD], [tlog_proof(), RECORD, RECORD]):
        with pytest.raises(ProofError, match="two records of one offset"):
            judge(files, (), [LOG.key])


def test_a_note_that_the_library_refuses_was_taken_by_proof_py() -> None:
    """Control characters in the name of a signer."""
    with pytest.raises(ProofError, match="not a checkpoint"):
        parse_checkpoint(note().replace("witness.example", "witness\x01example"))


def test_zero_has_one_spelling() -> None:
    zero = replace(PROOF, index=0, leaf_hash=evidence.LEAVES[0], entry=None, partition=0, topic="t")
    text = replace(zero, path=tuple(TREE.inclusion(0, 0, SIZE))).to_json()
    judge([text.encode()], [ROOT], ())
    for field in ("index", "partition"):
        with pytest.raises(ProofError, match="not a whole number"):
            judge([text.replace(f'"{field}": 0', f'"{field}": -0').encode()], [ROOT], ())


def test_every_flipped_bit_of_a_proof_file_is_refused() -> None:
    whole = tlog_proof()
    for damaged in flipped(whole):
        with pytest.raises(ProofError):
            judge([damaged, RECORD], (), [LOG.key, WITNESS.key])
    for damaged in flipped(PROOF.to_json().encode()):
        try:
            verdict = judge([damaged, RECORD], [ROOT], ())
        except ProofError:
            continue
        assert verdict["not_shown"][0].startswith("how many records, and of what topic")
        size = {"size": 0}  # the one thing that a root alone does not vouch for
        assert claims(damaged) | size == claims(PROOF.to_json().encode()) | size, damaged
    for size_12 in (PROOF.to_json().replace('"size": 13', '"size": 12').encode(),):
        with pytest.raises(ProofError, match="another size or root"):
            judge([size_12, RECORD, note().encode()], (), ())


def test_every_flipped_bit_and_every_cut_of_a_bundle_is_refused() -> None:
    files = bundle_files()
    for number, whole in enumerate(files):
        for damaged in (*flipped(whole), *(whole[:size] for size in range(len(whole)))):
            try:
                judge([*files[:number], damaged, *files[number + 1 :]], (), [LOG.key, WITNESS.key])
            except ProofError:
                continue
            # What JSON does not care for, or a record left out whole, which is then said.
            assert number == 0 or (number == 1 and b"}" in damaged)
            if number == 0:
                assert claims(damaged) == claims(whole)


@pytest.mark.parametrize("cut", [1, 2, 100])
def test_a_proof_cut_short_or_lengthened_is_refused(cut: int) -> None:
    for wrong in (tlog_proof()[:-cut], tlog_proof() + b"\n" * cut, tlog_proof()[cut:]):
        with pytest.raises(ProofError):
            judge([wrong, RECORD], (), [LOG.key])


@given(st.lists(st.binary(), max_size=3))
def test_any_bytes_raise_proof_error(files: list[bytes]) -> None:
    with pytest.raises(ProofError):
        judge(files, (), ())


@settings(max_examples=300)
@given(st.data())
def test_any_damage_is_refused_or_changes_nothing(data: st.DataObject) -> None:
    files = [tlog_proof(), *bundle_files(), GROWTH.to_json().encode(), RECORD]
    text = bytearray(data.draw(st.sampled_from(files)))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 4)))
        pieces = [
            b'"',
            b"\n",
            b"\n\n",
            b"[" * 2000,
            b"9" * 5000,
            "\u2014 ".encode(),
            b"PK",
            b"\xff",
        ]
        text[start:end] = data.draw(st.binary(max_size=4) | st.sampled_from(pieces))
    try:
        judge([bytes(text)], (), data.draw(st.sampled_from([[], [LOG.key]])))
    except ProofError:
        pass


@given(st.text())
def test_any_key_raises_proof_error(key: str) -> None:
    with pytest.raises(ProofError):
        parse_checkpoint(note()).signed_by(key)


# Texts ------------------------------------------------------------------------------------------


def test_tlog_proofs_round_trip() -> None:
    gone = replace(PROOF, entry=None)
    salted = replace(PROOF, salt=bytes(16))
    for proof in (PROOF, gone, salted, replace(gone, salt=bytes(16))):
        text = proof.to_tlog_proof(note())
        read = Proof.from_tlog_proof(text)
        assert read == proof
        assert read.to_tlog_proof(note()) == text
        assert Proof.from_tlog_proof(proof.to_tlog_proof()) == proof
    alone = Proof(0, 1, ROOT, (), ROOT)
    assert Proof.from_tlog_proof(alone.to_tlog_proof()) == alone


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tlog-proof@v1", "tlog-proof@v2"),
        ("index 6", "index 06"),
        ("index 6", "index +6"),
        ("index 6", "index 13"),
        ("index 6", "index 9999999999999999999"),
        ("index 6", "index \u0666"),
        ("\n13\n", "\n013\n"),
        ("\n13\n", "\n0\n"),
        ("extra ", "extra  "),
        ("extra ", "Extra "),
        ("\n\u2014 log", "\n- log"),
        ("\n\u2014 log", "\n\u2014  log"),
        ("\n\n", "\r\n\r\n"),
        ("=\n", "==\n"),
    ],
)
def test_other_spellings_are_refused(old: str, new: str) -> None:
    text = tlog_proof().decode()
    assert old in text
    with pytest.raises(ProofError):
        Proof.from_tlog_proof(text.replace(old, new))


def test_a_foreign_checkpoint_may_have_more_lines_and_many_signatures() -> None:
    text = f"{evidence.ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nmore: of it\n"
    lines = "".join(f"\u2014 witness{at} AAAAAAAA\n" for at in range(99))
    read = parse_checkpoint(f"{text}\n{LOG.line(text)}{lines}")
    assert (read.origin, read.size, read.signed_by(LOG.key)) == (evidence.ORIGIN, 0, 0)
    assert read.signed_by(WITNESS.key) is None
    with pytest.raises(ProofError):
        parse_checkpoint(f"{text}\n{lines}{lines}")


def test_without_cryptography_signatures_are_not_taken_as_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [tlog_proof(), RECORD]
    ed25519 = "cryptography.hazmat.primitives.asymmetric.ed25519"
    monkeypatch.setitem(sys.modules, ed25519, None)
    with pytest.raises(ProofError, match="without the package cryptography"):
        judge(files, (), [LOG.key])
    judge(files, (), ())


def test_it_runs_as_a_module_without_a_word_that_frightens(tmp_path: Path) -> None:
    (tmp_path / "a.tlog-proof").write_bytes(tlog_proof())
    program = [sys.executable, "-W", "error", "-m", "merkql.proof", "a.tlog-proof"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("PROVED: record 6 of the 13")


def test_the_vector_that_others_accepted_is_accepted() -> None:
    """Made once with the seeds 0 to 31 and 32 to 63; Go's note and two verifiers took it."""
    vector = (
        "merkql.example/audit/0\n13\nMi7CJiZLruMIePTlzHPx4mYt0B1o8dZ+0VjPECnCnOY=\n\n"
        "\u2014 merkql.example/audit/0 YgYodJX33vaNjBzmdW62z6Ey9m0zYs8oeaMCGZOx1LIV1xgVyZ6QEJfKGrMC"
        "F2HyIRZyx9Y5K02L2E9jgCwyAg1g/A4=\n"
        "\u2014 witness.example/w1 IDJKvgAAAABpVbkAy0VoON3vwTh6YQsrw3+85AtqYsshwT8SzaMgXIgL"
        "eAAsWLEdRagGwseMmsH0SkTQpZre7vDoS9+8VtkcRqRXDA==\n"
    )
    log = "merkql.example/audit/0+62062874+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    checkpoint = parse_checkpoint(vector)
    assert checkpoint.signed_by(log) == 0
    assert checkpoint.signed_by(WITNESS.key) == evidence.TIME
    assert WITNESS.key.endswith("+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X")


def test_the_program_speaks_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "a.tlog-proof")
    Path(path).write_bytes(tlog_proof())
    assert main([path, "--json", "--key", LOG.key]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["holds"] is True
    assert len(said["proved"]) == 2
    assert main([path, "--json", "--root", "00" * 32]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "holds": False,
        "reason": "the proof is for another root",
    }


def test_records_retold_as_another_topics_were_proved_without_a_word() -> None:
    """No leaf has a topic: a checkpoint's origin does, and nobody compared the two."""
    keys = [LOG.key, WITNESS.key]
    assert judge([tlog_proof(), RECORD], (), keys)["not_shown"] == []
    for old, new, place in (
        (b'"orders"', b'"salaries"', "salaries/2"),
        (b": 2,", b": 3,", "orders/3"),
    ):
        retold = RECORD.replace(old, new, 1)
        assert retold != RECORD
        said = f"that records are of {place}: no checkpoint here is"
        assert judge([tlog_proof(), retold], (), keys)["not_shown"] == [said]
    whole = evidence.bundle_files()
    retold_bundle = [part.replace(b'"orders"', b'"salaries"') for part in whole]
    said = "that records are of salaries/2: no checkpoint here is"
    assert said in judge(retold_bundle, (), keys)["not_shown"]
    assert not any(
        "salaries" in one or "orders" in one for one in judge(whole, (), keys)["not_shown"]
    )


@pytest.mark.parametrize("wrong", [None, 1, 2.5, True, [], (), {}, object(), bytearray(b"x")])
def test_what_is_no_text_is_no_proof(wrong: Any) -> None:
    """`TypeError` where a text was asked for and something else came."""
    signed_by = parse_checkpoint(note()).signed_by
    for parse in (parse_checkpoint, parse_tlog_proof, signed_by, Proof.from_json):
        with pytest.raises(ProofError):
            parse(wrong)


def test_deep_json_and_long_numbers_are_no_proofs() -> None:
    proof = evidence.PROOF.to_json()
    for text in (
        "[" * 200_000,
        proof.replace('"path": [', '"path": ' + "[" * 100_000),
        proof.replace('"size": 13', '"size": ' + "9" * 100_000),
        proof.replace('"size": 13', '"size": -' + "9" * 5_000),
        proof.replace('"size": 13', '"size": 1e400'),
        proof.replace('"size": 13', '"size": NaN'),
    ):
        with pytest.raises(ProofError):
            judge([text.encode()], (), ())


@pytest.mark.parametrize("size", [0, 1, 17, 31, 33, 47, 50, 64, 66, 80, 97])
def test_a_tlog_proof_with_an_entry_of_another_size_was_read(size: int) -> None:
    lines = evidence.PROOF.to_tlog_proof(evidence.note()).split("\n")
    lines[1] = f"extra {base64.b64encode(bytes(size)).decode()}"
    with pytest.raises(ProofError):
        Proof.from_tlog_proof("\n".join(lines))
