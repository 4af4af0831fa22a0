"""A witness: every status the protocol has, forks refused, state that survives and is checked."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql.errors import CorruptionError, DirectoryLockedError
from merkql.transparency.checkpoint import Checkpoint
from merkql.transparency.note import Note, SigningKey, parse_note, parse_signatures, verified_by
from merkql.transparency.witness import Witness
from merkql.transparency.witness_protocol import (
    AddCheckpoint,
    ProtocolError,
    parse_request,
    parse_size,
)
from support.naive_tree import NaiveTree, leaf

LOG = SigningKey("log.example", bytes(range(32)))
KEY = SigningKey("w.example", b"\x05" * 32, 4)
ORIGIN = "log.example/id/t/0"
NOW = 1_700_000_000
TREE = NaiveTree([leaf(b"%d" % n) for n in range(40)])
OTHER = NaiveTree([leaf(b"%d" % (n if n < 10 else n + 1)) for n in range(40)])


def open_witness(directory: Path) -> Witness:
    return Witness(KEY, [LOG.verifier], directory, now_s=lambda: NOW)


def note(size: int, tree: NaiveTree = TREE, key: SigningKey = LOG, origin: str = ORIGIN) -> bytes:
    text = Checkpoint(origin, size, tree.root(0, size)).text()
    return Note(text, (key.named(origin).sign(text),)).encode()


def request(old: int, new: int, tree: NaiveTree = TREE) -> bytes:
    proof = tree.consistency(0, old, new) if 0 < old < new else []
    return AddCheckpoint(old, tuple(proof), note(new, tree)).encode()


def test_a_log_that_grows_is_signed(tmp_path: Path) -> None:
    with open_witness(tmp_path) as witness:
        for old, new in ((0, 3), (3, 10), (10, 10), (10, 33), (33, 40)):
            answer = witness.add_checkpoint(request(old, new))
            assert answer.status == 200
            text = Checkpoint(ORIGIN, new, TREE.root(0, new)).text()
            (line,) = parse_signatures(answer.body)
            assert verified_by(Note(text, (line,)), [KEY.verifier])
            assert KEY.verifier.time_of(line) == NOW
            published = witness.published(Witness.log_name(ORIGIN))
            assert published == note(new) + answer.body


def test_another_size_than_held_is_a_conflict(tmp_path: Path) -> None:
    with open_witness(tmp_path) as witness:
        assert witness.add_checkpoint(request(5, 10)).status == 409
        witness.add_checkpoint(request(0, 10))
        for old, new in ((0, 10), (5, 10), (11, 20), (0, 0)):
            answer = witness.add_checkpoint(request(old, new))
            assert (answer.status, answer.body) == (409, b"10\n")
            assert answer.content_type == "text/x.tlog.size"


def test_forks_are_refused_and_change_nothing(tmp_path: Path) -> None:
    with open_witness(tmp_path) as witness:
        witness.add_checkpoint(request(0, 20))
        before = witness.published(Witness.log_name(ORIGIN))
        proof = tuple(TREE.consistency(0, 20, 30))
        for body in (
            AddCheckpoint(20, (), note(20, OTHER)).encode(),  # the same size, another root
            request(20, 30, OTHER),
            AddCheckpoint(20, proof, note(30, OTHER)).encode(),
            AddCheckpoint(20, proof[:-1], note(30)).encode(),
            AddCheckpoint(20, (*proof, proof[0]), note(30)).encode(),
            AddCheckpoint(20, (), note(30)).encode(),
        ):
            assert witness.add_checkpoint(body).status == 422
        assert witness.published(Witness.log_name(ORIGIN)) == before
        assert witness.add_checkpoint(request(20, 30)).status == 200


def test_lines_of_strangers_made_a_witness_refuse_a_log_for_good(tmp_path: Path) -> None:
    """Anybody can send a log's public checkpoint with a hundred lines of their own under it."""
    stranger = SigningKey("stranger.example", b"\x09" * 32)
    known = parse_note(note(3))
    lines = [stranger.named(f"s{at}.example").sign(known.text) for at in range(99)]
    crowded = known.with_signatures(lines)
    with open_witness(tmp_path) as witness:
        assert witness.add_checkpoint(AddCheckpoint(0, (), crowded.encode()).encode()).status == 200
        kept = witness.newest(ORIGIN)
        assert kept is not None
        assert [one.name for one in kept.signatures] == [ORIGIN, KEY.name]
        assert witness.add_checkpoint(request(3, 10)).status == 200


def test_who_is_not_known_is_refused(tmp_path: Path) -> None:
    stranger = SigningKey("log.example", b"\x09" * 32)
    with open_witness(tmp_path) as witness:
        unknown = AddCheckpoint(0, (), note(5, origin="other.example")).encode()
        assert witness.add_checkpoint(unknown).status == 404
        unsigned = AddCheckpoint(0, (), note(5, key=stranger)).encode()
        assert witness.add_checkpoint(unsigned).status == 403
        forged = AddCheckpoint(0, (), note(5).replace(b"\n5\n", b"\n6\n")).encode()
        assert witness.add_checkpoint(forged).status == 403


def test_empty_logs_have_one_root(tmp_path: Path) -> None:
    with open_witness(tmp_path) as witness:
        text = Checkpoint(ORIGIN, 0, b"\x07" * 32).text()
        wrong = Note(text, (LOG.named(ORIGIN).sign(text),)).encode()
        assert witness.add_checkpoint(AddCheckpoint(0, (), wrong).encode()).status == 422
        assert witness.add_checkpoint(request(0, 0)).status == 200
        assert witness.add_checkpoint(request(0, 7)).status == 200
        extra = AddCheckpoint(7, (b"\x01" * 32,), note(7)).encode()
        assert witness.add_checkpoint(extra).status == 422


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old 0\n\n",
        b"old 00\n\n" + note(5),
        b"old -1\n\n" + note(5),
        b"old 9223372036854775808\n\n" + note(5),
        b"old 0\nAAAA\n\n" + note(5),
        b"old 0\n" + base64.b64encode(bytes(32)) + b" \n\n" + note(5),
        b"old 0\n" + (base64.b64encode(bytes(32)) + b"\n") * 64 + b"\n" + note(5),
        b"old 6\n\n" + note(5),
        b"old 0\n\n" + note(5)[:-1],
        b"old 0\n\n" + note(5).replace(b"\n5\n", b"\n05\n"),
        b"old 0\n\n" + b"x" * (1 << 18),
    ],
)
def test_malformed_requests_are_told_so(tmp_path: Path, body: bytes) -> None:
    with open_witness(tmp_path) as witness:
        assert witness.add_checkpoint(body).status == 400


def test_what_was_signed_is_remembered(tmp_path: Path) -> None:
    with open_witness(tmp_path) as witness:
        witness.add_checkpoint(request(0, 20))
    with open_witness(tmp_path) as witness:
        assert witness.add_checkpoint(request(0, 20)).body == b"20\n"
        assert witness.add_checkpoint(request(20, 30, OTHER)).status == 422


def test_state_that_this_witness_did_not_write_signs_nothing(tmp_path: Path) -> None:
    with open_witness(tmp_path) as witness:
        witness.add_checkpoint(request(0, 20))
        (path,) = tmp_path.glob("*.checkpoint")
        good = path.read_bytes()
        for damaged in (
            good[:-5],
            good.replace(b"\n20\n", b"\n10\n"),
            note(10),
            note(10) + good[good.rindex("—".encode()) :],
            b"",
        ):
            path.write_bytes(damaged)
            with pytest.raises(CorruptionError, match="nothing is signed"):
                witness.add_checkpoint(request(10, 30))
        path.write_bytes(good)
        assert witness.add_checkpoint(request(20, 30)).status == 200


def test_one_witness_has_a_state(tmp_path: Path) -> None:
    with open_witness(tmp_path), pytest.raises(DirectoryLockedError, match="another witness"):
        open_witness(tmp_path)
    with pytest.raises(ValueError, match="keygen --witness"):
        Witness(LOG, [], tmp_path)


def test_published_names_are_digests(tmp_path: Path) -> None:
    with open_witness(tmp_path) as witness:
        (tmp_path / "secret.checkpoint").write_text("x")
        for name in ("secret", "../secret", "0" * 64, "A" * 64):
            assert witness.published(name) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_protocol_error(body: bytes) -> None:
    for parse in (parse_request, parse_size):
        try:
            parse(body)
        except ProtocolError:
            continue


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_requests_read_back(old: int, proof: list[bytes]) -> None:
    asked = AddCheckpoint(old, tuple(proof), note(5))
    assert parse_request(asked.encode()) == asked
