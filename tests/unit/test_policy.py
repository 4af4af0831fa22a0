"""Policies: what a file says, who is enough, and files that are refused by the line."""

from __future__ import annotations

import pytest

from merkql.transparency.checkpoint import Checkpoint, parse_checkpoint
from merkql.transparency.note import Note, NoteError, SigningKey, VerifierKey
from merkql.transparency.policy import Policy, PolicyError, key_for, parse_policy

LOG = SigningKey("log.example", bytes(range(32)))
WITNESSES = [SigningKey(f"w{n}.example", bytes([n]) * 32, 4) for n in range(4)]
ROOT = b"\x07" * 32


def note(*witnesses: SigningKey, origin: str = "log.example/id/t/0") -> Note:
    text = Checkpoint(origin, 5, ROOT).text()
    lines = [LOG.named(origin).sign(text)]
    return Note(text, (*lines, *(one.sign(text, 1_700_000_000) for one in witnesses)))


def policy_text(quorum: str = "two") -> str:
    lines = ["# a comment", "", f"log {LOG.verifier} https://log.example/"]
    lines += [f"witness w{n} {key.verifier} http://w{n}" for n, key in enumerate(WITNESSES)]
    lines += ["group pair all w0 w1", "group\tone any w2 w3", "group two 2 pair one"]
    return "\n".join([*lines, f"quorum {quorum}"])


def test_a_quorum_is_what_the_groups_say() -> None:
    policy = parse_policy(policy_text())
    assert policy.satisfied_by(["w0", "w1", "w3"])
    assert not policy.satisfied_by(["w0", "w1"])
    assert not policy.satisfied_by(["w0", "w2", "w3"])
    assert policy.witnesses["w2"].url == "http://w2"
    assert parse_policy(policy_text("none")).satisfied_by([])
    assert parse_policy(policy_text("w3")).satisfied_by(["w3"])


def test_a_note_needs_its_log_and_a_quorum() -> None:
    policy = parse_policy(policy_text())
    w0, w1, w2, _ = WITNESSES
    assert policy.check(note(w0, w1, w2)).size == 5
    with pytest.raises(NoteError, match="no quorum"):
        policy.check(note(w0, w1))
    with pytest.raises(NoteError, match="no trusted log"):
        policy.check(note(w0, w1, w2, origin="another.example/id/t/0"))
    forged = note(w0, w1, w2)
    wrong = Note(Checkpoint("log.example/id/t/0", 6, ROOT).text(), forged.signatures)
    with pytest.raises(NoteError, match="wrong"):
        policy.check(wrong)


def test_any_n_of_m_and_all_in_a_change_of_keys() -> None:
    new = SigningKey("log.example", b"\x09" * 32)
    text = Checkpoint("log.example", 5, ROOT).text()
    by_old = Note(text, (LOG.sign(text),))
    policy = Policy.of_keys([LOG.verifier, new.verifier])
    assert list(policy.judge(by_old).logs) == [LOG.verifier]
    assert len(policy.judge(by_old.with_signatures([new.sign(text)])).logs) == 2
    keys = [one.verifier for one in WITNESSES]
    assert Policy.of_keys([LOG.verifier], keys, 2).judge(note(*WITNESSES[:2])).has_quorum
    assert not Policy.of_keys([LOG.verifier], keys, 3).judge(note(*WITNESSES[:2])).has_quorum
    with pytest.raises(PolicyError, match="5 witnesses are asked for"):
        Policy.of_keys([LOG.verifier], keys, 5)


def test_a_key_speaks_for_its_own_origins_only() -> None:
    assert key_for(LOG.verifier, "log.example") == LOG.verifier
    assert key_for(LOG.verifier, "log.example/x") == LOG.verifier.named("log.example/x")
    assert key_for(LOG.verifier, "log.example.evil/x") is None
    assert key_for(WITNESSES[0].verifier, "w0.example") is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nothing x", "no statement 'nothing'"),
        ("log", "number of words"),
        ("log not-a-key", "not a key"),
        (f"log {LOG.verifier}", "appear once"),
        (f"log {SigningKey('x', bytes(32), 4).verifier}", "key of a log"),
        (f"witness w9 {SigningKey('x', bytes(32)).verifier}", "key of a witness"),
        (f"witness w0 {SigningKey('x', bytes(32), 4).verifier}", "taken"),
        ("group g any nobody", "before it is defined"),
        ("group g any w0", "two groups"),
        ("group g 0 two", "cannot be asked for"),
        ("group g 2 two", "cannot be asked for"),
        ("group g 01 two", "cannot be asked for"),
        ("group g \u0661 two", "cannot be asked for"),
        ("quorum g", "before it is defined"),
    ],
)
def test_a_wrong_line_is_named(line: str, words: str) -> None:
    text = policy_text().replace("\nquorum two", "")
    number = text.count("\n") + 2
    with pytest.raises(PolicyError, match=words) as caught:
        parse_policy(f"{text}\n{line}\nquorum none")
    assert f"line {number}:" in str(caught.value)


def test_groups_in_groups_end_somewhere() -> None:
    witness = SigningKey("x", b"\x33" * 32, 4).verifier
    lines = [f"witness g0 {witness}"] + [f"group g{n} any g{n - 1}" for n in range(1, 34)]
    assert parse_policy("\n".join([*lines[:33], "quorum g32"])).satisfied_by(["g0"])
    with pytest.raises(PolicyError, match="line 34: groups within groups, more than 32 deep"):
        parse_policy("\n".join([*lines, "quorum g33"]))


def test_a_policy_has_one_quorum_line() -> None:
    with pytest.raises(PolicyError, match="no quorum line"):
        parse_policy(f"log {LOG.verifier}")
    with pytest.raises(PolicyError, match="second quorum"):
        parse_policy(policy_text() + "\nquorum none")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"o\n1\n",
        b"o\n01\n" + b"A" * 43 + b"=\n",
        b"o\n1\nAAAA\n",
        b"\n1\n" + b"A" * 43 + b"=\n",
        b"o\n9223372036854775808\n" + b"A" * 43 + b"=\n",
        b"o\n1\n" + b"A" * 42 + b"B=\n",  # spare bits
        b"o\n1\n" + b"A" * 43 + b"=\n\n",
        b"o\n1\n" + b"A" * 43 + b"=\nx",
    ],
)
def test_what_is_not_a_checkpoint_is_refused(text: bytes) -> None:
    with pytest.raises(NoteError, match="not a checkpoint"):
        parse_checkpoint(text)


def test_an_empty_log_has_one_root() -> None:
    text = Checkpoint("log.example", 0, ROOT).text()
    with pytest.raises(NoteError, match="another root"):
        Policy.of_keys([LOG.verifier]).judge(Note(text, (LOG.sign(text),)))


def test_a_checkpoint_keeps_the_lines_of_others() -> None:
    checkpoint = Checkpoint("o", 1, ROOT, ("an extension",))
    assert parse_checkpoint(checkpoint.text()) == checkpoint
    assert isinstance(LOG.verifier, VerifierKey)
