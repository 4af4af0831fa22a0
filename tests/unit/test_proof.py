"""Proofs as an auditor uses them: what passes, and everything that must not."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import merkql.proof
from merkql import Broker
from merkql.proof import (
    ProofError,
    entry_bytes,
    leaf_hash,
    node_hash,
    record_digest,
    roots_from_consistency,
)
from merkql.proofs import (
    ConsistencyProof,
    Proof,
    SavedRecord,
    record_from_json,
    record_to_json,
)
from support.evidence import root_from_inclusion
from support.naive_tree import NaiveTree, leaf, node

SIZE = 13
INDEX = 6


def record_at(offset: int) -> SavedRecord:
    return SavedRecord(
        topic="orders",
        partition=2,
        offset=offset,
        timestamp_ms=1_700_000_000_000 + offset,
        key=b"key-%d" % offset if offset % 2 else None,
        value=b"value-%d" % offset,
        headers=(("trace", b"abc"), ("empty", b""), ("null", None)),
    )


def entry_of(record: SavedRecord, salt: bytes = b"") -> bytes:
    digest = record_digest(record.key, record.value, record.headers, salt)
    return entry_bytes(record.offset, record.timestamp_ms, digest)


ENTRIES = [entry_of(record_at(offset)) for offset in range(SIZE)]
TREE = NaiveTree([leaf(entry) for entry in ENTRIES])
ROOT = TREE.root(0, SIZE)
RECORD = record_at(INDEX)
PROOF = Proof(
    index=INDEX,
    size=SIZE,
    leaf_hash=leaf(ENTRIES[INDEX]),
    path=tuple(TREE.inclusion(INDEX, 0, SIZE)),
    root=ROOT,
    topic="orders",
    partition=2,
)
GROWTH = ConsistencyProof(
    old_size=7,
    new_size=SIZE,
    old_root=TREE.root(0, 7),
    new_root=ROOT,
    path=tuple(TREE.consistency(0, 7, SIZE)),
)


def flipped(data: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(data)):
        yield bytes([*data[: bit // 8], data[bit // 8] ^ 1 << bit % 8, *data[bit // 8 + 1 :]])


# Encodings --------------------------------------------------------------------------------------


def test_record_digest_is_the_documented_encoding() -> None:
    encoded = (
        b"merkql-record/v1\n"
        b"\x00"
        b"\x00\x00\x00\x01k"
        b"\xff\xff\xff\xff"
        b"\x00\x00\x00\x02"
        b"\x00\x00\x00\x02\xc3\xa9\x00\x00\x00\x00"
        b"\x00\x00\x00\x00\xff\xff\xff\xff"
    )
    digest = record_digest(b"k", None, [("é", b""), ("", None)])
    assert digest == hashlib.sha256(encoded).digest()
    salt = bytes(range(16))
    salted = encoded.replace(b"\n\x00", b"\n\x10" + salt)
    assert record_digest(b"k", None, [("é", b""), ("", None)], salt) == (
        hashlib.sha256(salted).digest()
    )


def test_entry_and_hashes_are_the_documented_encodings() -> None:
    digest = bytes(range(32))
    assert entry_bytes(5, -2, digest) == b"\x01" + struct.pack(">Qq", 5, -2) + digest
    assert leaf_hash(b"entry") == hashlib.sha256(b"\x00entry").digest()
    assert (
        node_hash(b"l" * 32, b"r" * 32) == hashlib.sha256(b"\x01" + b"l" * 32 + b"r" * 32).digest()
    )


def test_null_and_empty_and_shifted_fields_have_digests_of_their_own() -> None:
    contents: list[tuple[Any, ...]] = [
        (None, None),
        (b"", None),
        (None, b""),
        (b"", b""),
        (b"ab", b"c"),
        (b"a", b"bc"),
        (None, None, [("a", None)]),
        (None, None, [("a", b"")]),
        (None, None, [("a", b"b")]),
        (None, None, [("ab", b"")]),
        (None, None, [("a", None), ("a", None)]),
        (None, None, (), bytes(16)),
    ]
    assert len({record_digest(*content) for content in contents}) == len(contents)


@pytest.mark.parametrize(
    "content",
    [
        {"key": "text"},
        {"value": bytearray(b"x")},
        {"headers": [(b"name", b"x")]},
        {"headers": [("name", "text")]},
        {"salt": b"short"},
        {"salt": "0123456789abcdef"},
    ],
)
def test_content_that_no_record_has_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ProofError):
        record_digest(**{"key": None, "value": None} | content)


@pytest.mark.parametrize(
    "arguments",
    [
        (-1, 0, bytes(32)),
        (2**62, 0, bytes(32)),
        (0, 2**63, bytes(32)),
        (0, 0, bytes(31)),
        (True, 0, bytes(32)),
        (0, 1.0, bytes(32)),
    ],
)
def test_entries_that_no_record_has_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ProofError):
        entry_bytes(*arguments)


# What passes ------------------------------------------------------------------------------------


def test_proof_of_every_record() -> None:
    for offset in range(SIZE):
        proof = Proof(
            offset, SIZE, leaf(ENTRIES[offset]), tuple(TREE.inclusion(offset, 0, SIZE)), ROOT
        )
        proof.check(record_at(offset), ROOT)
        assert proof.verify(record_at(offset))
        assert not any(
            proof.verify(record_at(other), ROOT) for other in range(SIZE) if other != offset
        )


def test_consistency_of_every_size() -> None:
    for old in range(1, SIZE + 1):
        roots = (TREE.root(0, old), ROOT)
        proof = ConsistencyProof(old, SIZE, *roots, tuple(TREE.consistency(0, old, SIZE)))
        proof.check(*roots)
        assert proof.verify()
        assert not proof.verify(old_root=bytes(32))
        assert not proof.verify(new_root=bytes(32))


def test_salted_record() -> None:
    salt = bytes(range(16))
    entry = entry_of(RECORD, salt)
    proof = Proof(INDEX, INDEX + 1, leaf(entry), (b"r" * 32,) * 2, bytes(32), entry, salt)
    proof = replace(proof, root=root_from_inclusion(proof.leaf_hash, INDEX, INDEX + 1, proof.path))
    proof.check(RECORD)
    assert not replace(proof, salt=b"").verify(RECORD)
    assert not replace(proof, salt=bytes(16)).verify(RECORD)


def test_a_record_that_is_gone_leaves_its_entry() -> None:
    replace(PROOF, entry=ENTRIES[INDEX]).check_leaf(ROOT)
    PROOF.check_leaf(ROOT)
    with pytest.raises(ProofError, match="another root"):
        PROOF.check_leaf(bytes(32))
    for entry in (ENTRIES[5], b"", bytes(49), ENTRIES[INDEX] + b"x", b"\x02" + ENTRIES[INDEX][1:]):
        with pytest.raises(ProofError, match="entry"):
            replace(PROOF, entry=entry).check_leaf(ROOT)
        assert not replace(PROOF, entry=entry).verify(RECORD, ROOT)


def test_a_leaf_cannot_be_retold_for_another_offset() -> None:
    """The entry states the offset, so a proof of the same leaf for another index is refused."""
    retold = replace(PROOF, index=4, entry=ENTRIES[INDEX])
    retold = replace(retold, root=root_from_inclusion(retold.leaf_hash, 4, SIZE, retold.path))
    with pytest.raises(ProofError, match="entry"):
        retold.check_leaf()
    assert not retold.verify(RECORD)
    assert not retold.verify(replace(RECORD, offset=4))


def test_proofs_are_values() -> None:
    assert replace(PROOF) == PROOF
    assert hash(replace(PROOF)) == hash(PROOF)
    assert pickle.loads(pickle.dumps(PROOF)) == PROOF
    assert pickle.loads(pickle.dumps(GROWTH)) == GROWTH
    with pytest.raises(FrozenInstanceError):
        PROOF.size = 3  # type: ignore[misc]


# What must not pass -----------------------------------------------------------------------------


def mutations(path: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
    """Every bit of every hash, hashes missing, added, swapped, short, long, empty."""
    for i, hashed in enumerate(path):
        for changed in flipped(hashed):
            yield (*path[:i], changed, *path[i + 1 :])
        for wrong in (b"", hashed[:-1], hashed + b"x", hashed * 2):
            yield (*path[:i], wrong, *path[i + 1 :])
        yield (*path[:i], *path[i + 1 :])
        yield (*path[: i + 1], *path[i:])
    for extra in (bytes(32), b"", PROOF.root, PROOF.leaf_hash):
        yield (*path, extra)
        yield (extra, *path)
    for i in range(len(path) - 1):
        yield (*path[:i], path[i + 1], path[i], *path[i + 2 :])
    yield ()


def test_every_mutation_of_an_inclusion_proof_is_refused() -> None:
    for path in mutations(PROOF.path):
        assert not replace(PROOF, path=path).verify(RECORD, ROOT)
        assert not replace(PROOF, path=path).verify(RECORD)
    for changed in flipped(PROOF.leaf_hash):
        assert not replace(PROOF, leaf_hash=changed).verify(RECORD, ROOT)
    for changed in flipped(ROOT):
        assert not replace(PROOF, root=changed).verify(RECORD)
        assert not replace(PROOF, root=changed).verify(RECORD, ROOT)
        assert not PROOF.verify(RECORD, changed)
    for index in [i for i in range(-2, 30) if i != INDEX] + [2**62, 2**64]:
        assert not replace(PROOF, index=index).verify(RECORD, ROOT)
        assert not replace(PROOF, index=index).verify(replace(RECORD, offset=index), ROOT)


def test_every_mutation_of_a_consistency_proof_is_refused() -> None:
    for old in (1, 2, 6, 7, 8, 12):
        proof = ConsistencyProof(
            old, SIZE, TREE.root(0, old), ROOT, tuple(TREE.consistency(0, old, SIZE))
        )
        proof.check(TREE.root(0, old), ROOT)
        for path in mutations(proof.path):
            if path != proof.path:
                assert not replace(proof, path=path).verify(proof.old_root, ROOT)
        for size in (-1, 0, *range(1, 30), 2**62, 2**64):
            assert size == old or not replace(proof, old_size=size).verify()
        for changed in flipped(ROOT):
            assert not replace(proof, new_root=changed).verify()
        for changed in flipped(proof.old_root):
            assert not replace(proof, old_root=changed).verify()


def test_every_bit_of_a_record_is_proved() -> None:
    records = [replace(RECORD, value=changed) for changed in flipped(RECORD.value or b"")]
    records += [replace(RECORD, timestamp_ms=RECORD.timestamp_ms ^ 1 << bit) for bit in range(63)]
    records += [replace(RECORD, key=key) for key in (b"", b"key")]
    records += [replace(RECORD, value=None), replace(RECORD, offset=INDEX + 1)]
    records += [replace(RECORD, headers=headers) for headers in ((), RECORD.headers[::-1])]
    for forged in records:
        assert not PROOF.verify(forged, ROOT)
        with pytest.raises(ProofError, match="record"):
            PROOF.check(forged, ROOT)


@pytest.mark.parametrize("size", [0, -1, True, 13.0, "13", None, 2**62 + 1, 2**63, 10**40])
def test_hostile_sizes_are_refused_at_once(size: Any) -> None:
    assert not replace(PROOF, size=size).verify(RECORD, ROOT)
    assert not replace(GROWTH, old_size=size).verify()
    assert not replace(GROWTH, new_size=size).verify()


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33), "0" * 32, bytearray(32), None, 5])
def test_only_hashes_of_32_bytes_count(wrong: Any) -> None:
    single = Proof(0, 1, leaf(ENTRIES[0]), (), leaf(ENTRIES[0]))
    single.check(record_at(0), leaf(ENTRIES[0]))
    for proof in (
        replace(single, root=wrong),
        replace(single, leaf_hash=wrong),
        replace(single, leaf_hash=wrong, root=wrong),
        replace(single, path=wrong),
        replace(PROOF, path=(wrong, *PROOF.path[1:])),
    ):
        with pytest.raises(ProofError):
            proof.check_leaf()
    if wrong is not None:
        with pytest.raises(ProofError if isinstance(wrong, bytes) else TypeError):
            single.check_leaf(wrong)
    for growth in (
        ConsistencyProof(5, 5, wrong, wrong, ()),
        replace(GROWTH, old_root=wrong),
        replace(GROWTH, new_root=wrong),
        replace(GROWTH, path=wrong),
        replace(GROWTH, path=(wrong, *GROWTH.path[1:])),
    ):
        with pytest.raises(ProofError):
            growth.check()


def test_consistency_traps() -> None:
    """Sizes 0 and equal, and roots that disagree: where verifiers have failed open."""
    same = ConsistencyProof(SIZE, SIZE, ROOT, ROOT, ())
    same.check(ROOT, ROOT)
    assert not replace(same, path=(ROOT,)).verify()
    assert not replace(same, old_root=bytes(32)).verify()
    assert not replace(same, new_root=bytes(32)).verify()
    assert not ConsistencyProof(0, SIZE, hashlib.sha256().digest(), ROOT, ()).verify()
    assert not ConsistencyProof(
        0, 0, hashlib.sha256().digest(), hashlib.sha256().digest(), ()
    ).verify()
    assert not ConsistencyProof(SIZE, 7, ROOT, TREE.root(0, 7), GROWTH.path).verify()
    other = NaiveTree([bytes([i]) * 32 for i in range(SIZE)])  # agrees on the new root only
    assert not replace(GROWTH, old_root=other.root(0, 7)).verify(new_root=ROOT)
    with pytest.raises(ProofError, match="another old root"):
        GROWTH.check(other.root(0, 7), ROOT)


def test_the_root_does_not_vouch_for_the_size() -> None:
    """Why size and root must come from one source: leaf 0 of 255 passes for many sizes."""
    tree = NaiveTree([bytes([i]) * 32 for i in range(255)])
    path = tree.inclusion(0, 0, 255)
    passing = [
        size
        for size in range(100, 300)
        if len(path) == (size - 1).bit_length()
        and root_from_inclusion(tree.leaves[0], 0, size, path) == tree.root(0, 255)
    ]
    assert passing == list(range(129, 257))


def test_the_longest_paths_are_checked() -> None:
    path = (bytes(32),) * 62
    root = root_from_inclusion(bytes(32), 2**62 - 1, 2**62, path)
    expected = bytes(32)
    for _ in range(62):
        expected = node(bytes(32), expected)
    assert root == expected
    roots_from_consistency(2**62 - 1, 2**62, bytes(32), (bytes(32),) * 63)
    with pytest.raises(ProofError, match="path"):
        root_from_inclusion(bytes(32), 0, 2**62, (*path, bytes(32)))


# JSON -------------------------------------------------------------------------------------------


def test_json_round_trips() -> None:
    salted = replace(PROOF, entry=ENTRIES[INDEX], salt=bytes(16), topic=None, partition=None)
    for proof in (PROOF, salted):
        assert Proof.from_json(proof.to_json()) == proof
        assert Proof.from_json(proof.to_json().encode()) == proof
    assert ConsistencyProof.from_json(GROWTH.to_json()) == GROWTH
    for offset in range(3):
        assert record_from_json(record_to_json(record_at(offset))) == record_at(offset)


def test_json_may_be_laid_out_otherwise() -> None:
    fields = json.loads(PROOF.to_json())
    backwards = dict(reversed(fields.items()))
    assert Proof.from_json(json.dumps(backwards, separators=(",", ":"))) == PROOF


def edited(text: str, **changes: Any) -> str:
    return json.dumps(json.loads(text) | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "merkql-proof/v2"},
        {"format": None},
        {"unknown": 1},
        {"index": 6.0},
        {"index": "6"},
        {"index": True},
        {"index": SIZE},
        {"index": -1},
        {"size": 0},
        {"size": 2**62 + 1},
        {"size": 10**30},
        {"size": None},
        {"root": ROOT.hex().upper()},
        {"root": ROOT.hex()[:-2]},
        {"root": ROOT.hex()[:-1]},
        {"root": " " + ROOT.hex()},
        {"root": [ROOT.hex()]},
        {"root": None},
        {"leaf_hash": ""},
        {"leaf_hash": ["00" * 32]},
        {"path": []},
        {"path": None},
        {"path": "00" * 32},
        {"path": [None] * 4},
        {"path": [[]] * 4},
        {"path": ["00" * 31] * 4},
        {"path": ["00" * 32] * 5},
        {"path": {"0": "00" * 32}},
        {"entry": "00"},
        {"entry": 5},
        {"salt": "00"},
        {"salt": None},
        {"topic": ""},
        {"topic": "a/b"},
        {"topic": "a\n"},
        {"topic": 5},
        {"topic": None},
        {"partition": None},
        {"partition": -1},
        {"partition": 0.0},
        {"partition": 2**31},
    ],
)
def test_json_proofs_that_are_not_ours_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProofError):
        Proof.from_json(edited(PROOF.to_json(), **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"topic": None},
        {"partition": None},
        {"offset": -1},
        {"offset": 1.0},
        {"offset": 2**62},
        {"timestamp_ms": 2**63},
        {"timestamp_ms": "0"},
        {"key": 5},
        {"key": ["YQ=="]},
        {"value": "YQ"},
        {"value": "YR=="},
        {"value": "Y Q=="},
        {"value": "é"},
        {"headers": None},
        {"headers": {}},
        {"headers": ["ab"]},
        {"headers": [["a"]]},
        {"headers": [["a", "", ""]]},
        {"headers": [[1, ""]]},
        {"headers": [["a", "!"]]},
        {"headers": [["a", 5]]},
    ],
)
def test_json_records_that_are_not_ours_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProofError):
        record_from_json(edited(record_to_json(RECORD), **changes))


def test_a_header_name_of_surrogates_proves_nothing() -> None:
    record = record_from_json(edited(record_to_json(RECORD), headers=[["\ud800", None]]))
    assert not PROOF.verify(record, ROOT)


@pytest.mark.parametrize("read", [Proof.from_json, ConsistencyProof.from_json, record_from_json])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        "NaN",
        "[" * 100_000,
        '{"a":' * 20_000,
        '{"path": ' + "[" * 5_000 + "]" * 5_000 + "}",
        '{"format": "merkql-proof/v1", "format": "merkql-proof/v1"}',
        b"\xff\xfe{",
        "\ufeff{}",
        '{"size": ' + "9" * 5000 + "}",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_texts_that_are_no_json_of_ours_are_refused(
    read: Callable[[str | bytes], object], text: str | bytes
) -> None:
    with pytest.raises(ProofError):
        read(text)


def test_a_proof_longer_than_any_is_not_even_parsed() -> None:
    with pytest.raises(ProofError, match="too long"):
        Proof.from_json(PROOF.to_json() + " " * (1 << 20))


def test_a_name_given_twice_is_refused() -> None:
    text = PROOF.to_json().replace('"size": 13', '"size": 14,\n  "size": 13')
    with pytest.raises(ProofError, match="twice"):
        Proof.from_json(text)


JSON_TEXTS = [PROOF.to_json(), GROWTH.to_json(), record_to_json(RECORD)]
READERS: list[Callable[[str | bytes], Any]] = [
    Proof.from_json,
    ConsistencyProof.from_json,
    record_from_json,
]


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_raise_proof_error_or_nothing(data: bytes) -> None:
    for read in READERS:
        with pytest.raises(ProofError):
            read(data)


@given(st.sampled_from(range(3)), st.data())
def test_any_damage_raises_proof_error_or_is_not_proved(kind: int, data: st.DataObject) -> None:
    text = bytearray(JSON_TEXTS[kind].encode())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 4)))
        text[start:end] = data.draw(st.binary(max_size=4) | st.sampled_from([b'"', b"null", b"9"]))
    try:
        found = READERS[kind](bytes(text))
    except ProofError:
        return
    if isinstance(found, Proof):
        assert (
            not found.verify(RECORD, ROOT) or replace(found, topic="orders", partition=2) == PROOF
        )
    elif isinstance(found, ConsistencyProof):
        assert not found.verify(GROWTH.old_root, ROOT) or found == GROWTH
    elif isinstance(found, SavedRecord):
        assert (
            not PROOF.verify(found, ROOT) or replace(found, topic="orders", partition=2) == RECORD
        )


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("00" * 32),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)


@given(st.sampled_from(range(3)), JSON_VALUES, st.data())
def test_any_value_of_a_field_raises_proof_error_or_is_read_back(
    kind: int, value: object, data: st.DataObject
) -> None:
    fields = json.loads(JSON_TEXTS[kind])
    name = data.draw(st.sampled_from(sorted(fields)))
    text = json.dumps(fields | {name: value})
    try:
        found = READERS[kind](text)
    except ProofError:
        return
    encoded = (
        found.to_json() if isinstance(found, (Proof, ConsistencyProof)) else record_to_json(found)
    )
    assert json.loads(encoded) == json.loads(text)


# The program ------------------------------------------------------------------------------------


@pytest.fixture
def auditor(tmp_path: Path) -> Path:
    """A directory with the file, a proof and a record, and nothing else of ours."""
    shutil.copy(merkql.proof.__file__, tmp_path / "proof.py")
    (tmp_path / "proof.json").write_text(PROOF.to_json())
    (tmp_path / "record.json").write_text(record_to_json(RECORD))
    return tmp_path


def run(auditor: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-I", "-S", "proof.py", *arguments]
    done = subprocess.run(command, cwd=auditor, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_program_stands_alone(auditor: Path) -> None:
    status, out, err = run(auditor, "proof.json", "record.json", "--root", ROOT.hex())
    assert (status, err) == (0, "")
    assert out == (
        f"PROVED: record 6 of the 13 with root {ROOT.hex()}\n"
        "NOT SHOWN: how many records, and of what topic: only a checkpoint says that\n"
        "NOT SHOWN: that others were shown the same log: no witness's key was given\n"
    )
    status, out, err = run(auditor, "proof.json", "record.json")
    assert (status, err) == (0, "")
    assert "the proof's own" in out


def test_program_refuses(
    auditor: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(auditor)
    proof, record = "proof.json", "record.json"
    assert merkql.proof.main([proof, record, "--root", "00" * 32]) == 1
    assert capsys.readouterr().out == "NOT PROVED: the proof is for another root\n"
    Path("other.json").write_text(record_to_json(record_at(5)))
    assert merkql.proof.main([proof, "other.json"]) == 1
    assert merkql.proof.main([record]) == 1
    assert merkql.proof.main([record, proof]) == 0
    capsys.readouterr()
    for arguments in (
        [],
        [proof, "missing.json"],
        [proof, "."],
        [proof, "a\0b"],
        [proof, record, "--root", "x"],
        [proof, record, "more"],
    ):
        with pytest.raises(SystemExit) as misuse:
            merkql.proof.main(arguments)
        assert misuse.value.code == 2
        assert "Traceback" not in capsys.readouterr().err


@given(st.binary(max_size=300), st.booleans())
def test_program_answers_any_bytes_with_a_verdict(data: bytes, as_proof: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        proof, record = Path(directory, "p"), Path(directory, "r")
        proof.write_bytes(data if as_proof else PROOF.to_json().encode())
        record.write_bytes(record_to_json(RECORD).encode() if as_proof else data)
        assert merkql.proof.main([str(proof), str(record)]) == 1


def test_imports_nothing_but_the_standard_library() -> None:
    source = Path(merkql.proof.__file__).read_text(encoding="utf-8")
    assert "import merkql" not in source
    assert "from merkql" not in source


def test_a_root_in_hex_was_told_from_the_right_one_as_a_forgery() -> None:
    with Broker.temporary() as broker:
        topic = broker.create_topic("t")
        broker.producer().send_values("t", [b"a", b"b", b"c"])
        partition = topic.partition(0)
        record, root = partition.read(1), partition.root()
        one, some = partition.proof(1), partition.prove_range(0, 3)
        consistency = partition.consistency_proof(1)
        for call in (
            lambda: one.verify(record, root.hex()),
            lambda: one.check_leaf(root.hex()),
            lambda: some.verify(partition.fetch(0), root.hex()),
            lambda: consistency.verify(partition.root(1), root.hex()),
        ):
            with pytest.raises(TypeError, match=r"bytes.fromhex"):
                call()
        assert one.verify(record, root)
        assert not one.verify(record, bytes(32))
