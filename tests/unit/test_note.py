"""Signed notes and keys: the vectors of Go's sumdb/note and of our formats page, and bad input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql.proof import ProofError
from merkql.transparency.note import (
    COSIGNATURE,
    Note,
    NoteError,
    SigningKey,
    VerifierKey,
    parse_note,
    parse_signatures,
    verified_by,
)

# golang.org/x/mod/sumdb/note and c2sp.org/signed-note
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONnc"
    "AlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_TEXT = (
    b"If you think cryptography is the answer to your problem,\n"
    b"then you don't know what your problem is.\n"
)
PETER_NOTE = (
    PETER_TEXT.decode()
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngot"
    "pRZb6KE6RyyBwJnAM=\n"
).encode()
LOG_TEXT = b"merkql.example/audit/0\n13\nMi7CJiZLruMIePTlzHPx4mYt0B1o8dZ+0VjPECnCnOY=\n"
LOG_PRIVATE = (
    "PRIVATE+KEY+merkql.example/audit/0+62062874+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
)
LOG_LINE = (
    "— merkql.example/audit/0 YgYodJX33vaNjBzmdW62z6Ey9m0zYs8oeaMCGZOx1LIV1xgVyZ6QEJfKGrMCF2HyIRZ"
    "yx9Y5K02L2E9jgCwyAg1g/A4=\n"
)
WITNESS = "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X"
WITNESS_LINE = (
    "— witness.example/w1 IDJKvgAAAABpVbkAy0VoON3vwTh6YQsrw3+85AtqYsshwT8SzaMgXIgLeAAsWLEdRagGwseMm"
    "sH0SkTQpZre7vDoS9+8VtkcRqRXDA==\n"
)


def test_published_notes_check_out() -> None:
    for text, key in ((FOO_NOTE, FOO), (PETER_NOTE, PETER)):
        note = parse_note(text)
        assert list(verified_by(note, [VerifierKey.parse(key)])) == [VerifierKey.parse(key)]
        assert note.encode() == text


def test_published_key_signs_the_published_bytes() -> None:
    key = SigningKey.parse(PETER_PRIVATE)
    assert str(key.verifier) == PETER
    assert Note(PETER_TEXT, (key.sign(PETER_TEXT),)).encode() == PETER_NOTE
    assert key.text() == PETER_PRIVATE


def test_checkpoint_and_cosignature_are_those_of_the_formats_page() -> None:
    log = SigningKey.parse(LOG_PRIVATE)
    witness = SigningKey("witness.example/w1", bytes(range(32, 64)), COSIGNATURE)
    assert log.seed == bytes(range(32))
    assert log.sign(LOG_TEXT).line().decode() == LOG_LINE
    assert str(witness.verifier) == WITNESS
    cosignature = witness.sign(LOG_TEXT, 1767225600)
    assert cosignature.line().decode() == WITNESS_LINE
    assert witness.verifier.time_of(cosignature) == 1767225600
    note = Note(LOG_TEXT, (log.sign(LOG_TEXT), cosignature))
    assert len(verified_by(note, [log.verifier, witness.verifier])) == 2


def test_one_flipped_bit_anywhere_is_never_another_good_note() -> None:
    key = VerifierKey.parse(PETER)
    for position in range(len(PETER_NOTE)):
        forged = bytearray(PETER_NOTE)
        forged[position] ^= 1
        try:
            good = verified_by(parse_note(bytes(forged)), [key])
        except NoteError:
            continue
        assert not good, position


def test_text_may_hold_empty_lines() -> None:
    key = SigningKey.generate("k")
    text = b"a\n\n\xe2\x80\x94 not a signature\n\nb\n"
    note = parse_note(Note(text, (key.sign(text),)).encode())
    assert note.text == text
    assert verified_by(note, [key.verifier])


def test_unknown_keys_are_passed_over_and_known_bad_ones_are_not() -> None:
    key, other = SigningKey.generate("k"), SigningKey.generate("other")
    text = b"text\n"
    wrong = other.sign(b"another text\n")
    note = Note(text, (wrong, key.sign(text)))
    assert list(verified_by(note, [key.verifier])) == [key.verifier]
    with pytest.raises(NoteError, match="other is wrong"):
        verified_by(note, [key.verifier, other.verifier])


def test_a_second_line_of_a_key_is_not_looked_at() -> None:
    key = SigningKey.generate("k")
    wrong = key.sign(b"another\n")
    note = Note(b"text\n", (key.sign(b"text\n"), wrong))
    assert verified_by(note, [key.verifier]) == {key.verifier: note.signatures[0]}
    assert note.with_signatures([wrong]) == note


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nno dash\n",
        PETER_NOTE[:-1],
        PETER_NOTE + b"\n",
        PETER_NOTE.replace("—".encode(), b"-"),
        PETER_NOTE.replace(b"PeterNeumann x08", b"Peter Neumann x08"),
        PETER_NOTE.replace(b"PeterNeumann x08", b"Peter+Neumann x08"),
        PETER_NOTE.replace(b"PeterNeumann x08", b" x08"),
        PETER_NOTE.replace(b"think", b"th\x00nk"),
        PETER_NOTE.replace(b"think", b"th\xffnk"),
        PETER_NOTE.replace(b"nAM=\n", b"nAN=\n"),  # other spare bits: a second spelling
        PETER_NOTE.replace(b"x08go", b"x0 8go"),
        "text\n\n— k AAAA\n".encode(),  # a key id and no signature
        b"text\n\n" + "— k AAAAAAAA\n".encode() * 101,
        b"x" * (1 << 20) + PETER_NOTE,
    ],
)
def test_what_is_not_a_note_is_refused(data: bytes) -> None:
    with pytest.raises(NoteError):
        parse_note(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        PETER[:-1],
        PETER.replace("c74f20a3", "c74f20a4"),
        PETER.replace("c74f20a3", "C74F20A3"),
        PETER.replace("PeterNeumann", "Peter Neumann"),
        PETER.replace("ARpc", "Bhpc"),  # type 6
        "k+00000000+AAAA",
        "k+00000000+%%%%",
        PETER.replace("PeterNeumann", "Peter\udc80"),  # as a command line gives what is not UTF-8
    ],
)
def test_what_is_not_a_public_key_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.parse(text)


@pytest.mark.parametrize("cut", [1, 5, 40, 60])
def test_errors_and_reprs_keep_the_private_key(cut: int) -> None:
    secret = PETER_PRIVATE.rpartition("+")[2]
    for text in (PETER_PRIVATE[:-cut], PETER_PRIVATE.replace("c74f20a3", "c74f20a4")):
        with pytest.raises(NoteError) as caught:
            SigningKey.parse(text)
        assert secret[:8] not in str(caught.value) + repr(caught.value)
    key = SigningKey.parse(PETER_PRIVATE)
    assert secret[:8] not in repr(key) + str(key)
    assert key.seed.hex()[:8] not in repr(key)


def test_keys_have_names_that_lines_can_hold() -> None:
    for name in ("", "a b", "a+b", "a\nb", "a\u3000b"):
        with pytest.raises(ValueError, match="name"):
            SigningKey.generate(name)


def test_witnesses_state_a_time() -> None:
    witness = SigningKey.generate("w", witness=True)
    for seconds in (None, -1, 1 << 63):
        with pytest.raises(ValueError, match="time"):
            witness.sign(b"x\n", seconds)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_note_or_a_note_error(data: bytes) -> None:
    for parse in (parse_note, parse_signatures):
        try:
            parse(data)
        except ProofError:
            continue


@given(
    st.text(min_size=1, max_size=50).filter(lambda t: "\r" not in t),
    st.lists(st.sampled_from(["a", "b/c", "é", "x.example"]), unique=True, min_size=1),
)
def test_what_is_signed_reads_back(text: str, names: list[str]) -> None:
    if any(c < " " and c != "\n" for c in text):
        return
    encoded = text.encode("utf-8", "ignore") + b"\n"
    keys = [SigningKey.generate(name) for name in names]
    note = Note(encoded, tuple(key.sign(encoded) for key in keys))
    assert parse_note(note.encode()) == note
    assert len(verified_by(note, [key.verifier for key in keys])) == len(keys)
