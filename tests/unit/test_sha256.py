"""SHA-256 of many messages: published vectors, then hashlib as the judge of both engines."""

import hashlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql._core import sha256

Buffer = bytes | bytearray | memoryview
DigestMany = Callable[[Sequence[Buffer]], bytes]
HashFixed = Callable[[Buffer], bytes]

either_digest_many = pytest.mark.parametrize(
    "digest_many", [sha256.digest_many, sha256.portable_digest_many]
)
either_leaf_hashes = pytest.mark.parametrize(
    "leaf_hashes", [sha256.leaf_hashes, sha256.portable_leaf_hashes]
)
either_node_hashes = pytest.mark.parametrize(
    "node_hashes", [sha256.node_hashes, sha256.portable_node_hashes]
)

# FIPS 180-4 examples, and the byte-oriented short and long messages of NIST's validation suite.
VECTORS = [
    (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ),
    (
        b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
        b"hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
    ),
    (b"\xd3", "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"),
    (b"\x11\xaf", "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98"),
    (
        bytes.fromhex("74ba2521"),
        "b16aa56be3880d18cd41e68384cf1ec8c17680c45a02b1575dc1518923ae8b0e",
    ),
    (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
]

# Sizes where padding changes shape: around 55 and 56 (one tail block or two) and whole blocks.
CORNER_SIZES = [0, 1, 31, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 191, 192, 1000]


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes without a period that a block boundary could hide."""
    return hashlib.shake_128(seed.to_bytes(8, "little")).digest(size)


def oracle(messages: Sequence[Buffer]) -> bytes:
    return b"".join(hashlib.sha256(message).digest() for message in messages)


def oracle_prefixed(prefix: bytes, size: int, inputs: bytes) -> bytes:
    starts = range(0, len(inputs), size)
    return oracle([prefix + inputs[start : start + size] for start in starts])


@either_digest_many
@pytest.mark.parametrize(("message", "digest"), VECTORS)
def test_published_vector(digest_many: DigestMany, message: bytes, digest: str) -> None:
    assert digest_many([message]).hex() == digest


@either_digest_many
def test_published_vectors_together(digest_many: DigestMany) -> None:
    messages, digests = zip(*VECTORS, strict=True)
    assert digest_many(messages).hex() == "".join(digests)


def test_empty_tree_neighbours() -> None:
    # RFC 6962 test data: the leaf hash of an empty entry is that of the byte 0x00 alone.
    expected = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert sha256.digest_many([b"\x00"]).hex() == expected


@either_digest_many
@pytest.mark.parametrize("size", CORNER_SIZES)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_equal_sizes(digest_many: DigestMany, size: int, count: int) -> None:
    messages = [pattern(size, seed) for seed in range(count)]
    assert digest_many(messages) == oracle(messages)


@either_digest_many
def test_every_size_up_to_five_blocks(digest_many: DigestMany) -> None:
    messages = [pattern(size, size) for size in range(321)]
    assert digest_many(messages) == oracle(messages)
    assert digest_many(messages[::-1]) == oracle(messages[::-1])


@either_digest_many
@pytest.mark.parametrize("place", range(5))
def test_one_long_message_among_short_ones(digest_many: DigestMany, place: int) -> None:
    messages = [pattern(40, seed) for seed in range(5)]
    messages[place] = pattern(5000)
    assert digest_many(messages) == oracle(messages)


@given(sizes=st.lists(st.integers(0, 700), max_size=40), shift=st.integers(0, 63))
def test_mixed_sizes_at_any_alignment(sizes: list[int], shift: int) -> None:
    data = memoryview(pattern(shift + sum(sizes)))
    messages = []
    for size in sizes:
        messages.append(data[shift : shift + size])
        shift += size
    expected = oracle(messages)
    assert sha256.digest_many(messages) == expected
    assert sha256.portable_digest_many(messages) == expected


@given(messages=st.lists(st.binary(max_size=200), max_size=12))
def test_any_bytes(messages: list[bytes]) -> None:
    assert sha256.digest_many(messages) == oracle(messages)


@either_leaf_hashes
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 100])
@pytest.mark.parametrize("shift", [0, 1, 15])
def test_leaf_hashes(leaf_hashes: HashFixed, count: int, shift: int) -> None:
    entries = memoryview(pattern(shift + 49 * count))[shift:]
    assert leaf_hashes(entries) == oracle_prefixed(b"\x00", 49, bytes(entries))


@either_node_hashes
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 100])
@pytest.mark.parametrize("shift", [0, 1, 15])
def test_node_hashes(node_hashes: HashFixed, count: int, shift: int) -> None:
    pairs = memoryview(pattern(shift + 64 * count))[shift:]
    assert node_hashes(pairs) == oracle_prefixed(b"\x01", 64, bytes(pairs))


@given(data=st.data(), count=st.integers(1, 9))
def test_leaves_and_nodes_of_any_bytes(data: st.DataObject, count: int) -> None:
    inputs = data.draw(st.binary(min_size=64 * count, max_size=64 * count))
    entries = inputs[: 49 * count]
    assert sha256.leaf_hashes(entries) == oracle_prefixed(b"\x00", 49, entries)
    assert sha256.node_hashes(inputs) == oracle_prefixed(b"\x01", 64, inputs)


@pytest.mark.parametrize("value", [0x00, 0x7F, 0x80, 0xFF])
def test_inputs_of_one_byte_value(value: int) -> None:
    # Sign extension in a hand-made last block would show here.
    inputs = bytes([value]) * 64 * 4
    assert sha256.node_hashes(inputs) == oracle_prefixed(b"\x01", 64, inputs)
    assert sha256.leaf_hashes(inputs[:196]) == oracle_prefixed(b"\x00", 49, inputs[:196])


@either_leaf_hashes
def test_leaf_hashes_refuse_part_of_an_entry(leaf_hashes: HashFixed) -> None:
    with pytest.raises(ValueError, match="50 bytes are not a multiple of 49"):
        leaf_hashes(bytes(50))


@either_node_hashes
def test_node_hashes_refuse_part_of_a_pair(node_hashes: HashFixed) -> None:
    with pytest.raises(ValueError, match="63 bytes are not a multiple of 64"):
        node_hashes(bytes(63))


@either_digest_many
def test_any_contiguous_buffer(digest_many: DigestMany) -> None:
    messages: list[Buffer] = [b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4]]
    assert digest_many(messages) == oracle([b"abc"]) * 3


@either_digest_many
def test_a_message_that_is_no_buffer_is_a_type_error(digest_many: DigestMany) -> None:
    held = bytearray(b"held")
    with pytest.raises(TypeError):
        digest_many([held, "text"])  # type: ignore[list-item]
    held.append(0)  # raises BufferError if the call kept its view


def test_a_buffer_with_gaps_is_refused() -> None:
    with pytest.raises(BufferError):
        sha256.node_hashes(memoryview(bytes(256))[::2])


def test_backend_is_named() -> None:
    assert sha256.backend() in {"sha-ni", "armv8", "portable"}
