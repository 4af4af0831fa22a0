"""Every decoder of bytes that others may have written, and bytes to begin with.

A target takes any bytes. It returns, or raises what its module says it raises; anything else, and
any crash, is a finding. Checksums are mended first, so that what is behind them is reached.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache

import lz4.frame
import xxhash

from merkql import MerkqlError, Proof, ProofError, bundle
from merkql._core import batch_decoder, batch_leaves, frame
from merkql._core.batch_header import BatchError, scan
from merkql._core.crc32c import crc32c
from merkql.assignment import decode_state
from merkql.groups import CommittedOffset, PartitionKey, decode_slot, encode_slot
from merkql.proof import parse_tlog_proof
from merkql.proofs import RangeProof, record_from_json, record_to_json
from merkql.storage import checkpoint_file, offset_index, shared_state, tail_page
from merkql.storage.file_pool import FilePool
from merkql.storage.files import Files
from merkql.storage.tail_page import TailState
from merkql.topic_config import read_topic
from merkql.transparency.checkpoint import parse_checkpoint
from merkql.transparency.note import parse_note
from merkql.transparency.policy import parse_policy
from merkql.transparency.tiles import parse_tile
from merkql.transparency.witness_protocol import parse_request, parse_size
from support.naive_batch import CODECS, NaiveBatch, NaiveRecord

SEED = 7
DECOMPRESSED_MAX = 1 << 18


@dataclasses.dataclass(frozen=True)
class Target:
    decode: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    allowed: tuple[type[Exception], ...] = ()


def _batch(data: bytes) -> None:
    sealed = bytearray(data)
    if len(sealed) > 61:  # its own length and checksum right, so that the rest is looked at
        sealed[8:12] = (len(sealed) - 12).to_bytes(4, "big")
        sealed[17:21] = crc32c(bytes(sealed[21:])).to_bytes(4, "big")
    for one in (data, bytes(sealed)):
        scan(one, None)
        for work in (_decode_batch, _leaves):
            try:
                work(one)
            except (BatchError, ValueError):
                continue


def _decode_batch(data: bytes) -> None:
    batch_decoder.decode(
        data,
        "t",
        0,
        first_offset=0,
        stop_offset=1 << 62,
        max_records=1000,
        decompressed_size_max=DECOMPRESSED_MAX,
    )


def _one_record(data: bytes) -> None:
    """Of a batch that the index leads to: what is not sound is nothing, or an error of batches."""
    sealed = bytearray(data)
    if len(sealed) > 61:
        sealed[17:21] = crc32c(bytes(sealed[21:])).to_bytes(4, "big")
    for one in (data, bytes(sealed)):
        for offset in (7, 1 << 62):
            with contextlib.suppress(BatchError):
                batch_decoder.record_at(one, 5, offset, "t", 0)


def _one_entry(data: bytes) -> None:
    for offset, salt in ((0, b""), (7, bytes(16)), (1 << 62, b"")):
        batch_leaves.entry_at(data, 5, offset, salt)


def _leaves(data: bytes) -> None:
    batch_leaves.leaf_hashes(data, decompressed_size_max=DECOMPRESSED_MAX)


@cache
def _batches() -> list[bytes]:
    records = [
        NaiveRecord(b"key", b"value " * n, (("header", b"x"), ("none", None)), 1000 + n)
        for n in range(4)
    ]
    plain = NaiveBatch(5, records)
    body = plain.record_bytes()
    return [
        plain.encode(),
        NaiveBatch(0, records[:1]).encode() + NaiveBatch(1, records).encode(),
        NaiveBatch(5, records, CODECS["gzip"]).encode(gzip.compress(body)),
        NaiveBatch(5, records, CODECS["lz4"]).encode(lz4.frame.compress(body * 50)),
        NaiveBatch(5, records, CODECS["gzip"]).encode(gzip.compress(bytes(1 << 21))),
        NaiveBatch(5, records, CODECS["snappy"]).encode(b"\xff\xff\xff\xff\x0f" + body),
        NaiveBatch(5, records, CODECS["zstd"]).encode(b"\x28\xb5\x2f\xfd" + body),
    ]


def _frame(data: bytes) -> None:
    sealed = bytearray(data)
    if len(sealed) >= frame.HEADER.size:
        sealed[24:32] = bytes(8)
        size = int.from_bytes(sealed[56:64], "little")
        content = bytes(sealed[frame.CHECKSUM_START : min(size, len(sealed))])
        checksum = xxhash.xxh3_64_intdigest(content, seed=SEED)
        sealed[8:16] = checksum.to_bytes(8, "little")
    for one in (data, bytes(sealed)):
        found = frame.decode(memoryview(one), 0, SEED)
        if found is not None:
            assert sum(len(s.data) + len(s.salts) for s in found.sections) <= len(one)


def _frames() -> list[bytes]:
    sections = tuple(
        frame.Section(bytes([n]) * 16, n, 7, 2, b"batch" * n, b"salt" * n) for n in range(3)
    )
    whole = frame.Frame(1, 0, 42, 41, 40, sections)
    return [b"".join(frame.encode(whole, SEED))]


def _tail(data: bytes) -> None:
    sealed = data
    if len(data) > 16:
        count = data[6] if len(data) > 6 else 0
        size = tail_page._HEADER.size + count * 32
        body = data[:8] + data[16:size]
        sealed = data[:8] + xxhash.xxh3_64_intdigest(body).to_bytes(8, "little") + data[16:]
    for one in (data, sealed):
        state = tail_page.decode(one)
        if state is not None:
            assert len(state.peaks) == 32 * state.end_offset.bit_count()


def _tails() -> list[bytes]:
    return [tail_page.encode(TailState(5, 0, 700, 3, b"p" * 64))]


def _slot(data: bytes) -> None:
    sealed = data
    if len(data) >= 32:
        count = int.from_bytes(data[4:8], "little")
        end = min(32 + count * 40, len(data))
        checksum = xxhash.xxh3_64_intdigest(data[:24] + data[32:end])
        sealed = data[:24] + checksum.to_bytes(8, "little") + data[32:]
    for one in (data, sealed):
        decode_slot(one, len(one))
        decode_slot(one, 4096)


def _slots() -> list[bytes]:
    offsets = {PartitionKey(bytes([n]) * 16, n): CommittedOffset(n, 1) for n in range(5)}
    return [encode_slot(3, offsets, 4096)]


def _topic(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=_place()) as place:
        os.mkdir(f"{place}/t")
        with open(f"{place}/t/topic.json", "wb") as file:
            file.write(data)
        pool = FilePool(Files())
        try:
            read_topic(pool, f"{place}/t")
        finally:
            pool.close()


@cache
def _topics() -> list[bytes]:
    from merkql import Broker

    with Broker.temporary() as broker:
        broker.create_topic("t")
        with open(f"{broker._directory}/topics/t/topic.json", "rb") as file:
            return [file.read()]


@cache
def _place() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _states() -> list[bytes]:
    member = {"id": "063a1b2c3d4e5f-0a1b2c3d", "topics": ["t"], "seen": 1}
    member |= {"rebalance_timeout_ms": 3000, "max_poll_interval_ms": 300_000}
    topic = {"id": "00" * 16, "name": "t", "partitions": [[0, 0, 1], [1, 0, 1, 0, 8]]}
    state = {"version": 1, "generation": 2, "members": [member], "topics": [topic]}
    return [json.dumps(state).encode()]


@cache
def _proofs() -> list[bytes]:
    from merkql import Broker

    with Broker.temporary() as broker:
        for number in range(7):
            broker.producer().send("t", b"%d" % number)
        partition = broker.topic("t").partition(0)
        return [partition.proof(3).to_json().encode(), partition.proof(0).to_json().encode()]


NOTE = (
    b"example.com/log\n7\n" + b"A" * 43 + b"=\n\n\xe2\x80\x94 example.com/log " + b"B" * 91 + b"=\n"
)
POLICY = b"log " + b"ab" * 32 + b" https://example.com/\nwitness w " + b"cd" * 32 + b"\nquorum w\n"


def _state(data: bytes) -> None:
    sealed = bytearray(data)
    if len(sealed) >= shared_state.NEWS.size + shared_state._BODY.size:
        count = shared_state._BODY.unpack_from(data, shared_state.NEWS.size)[1]
        end = shared_state.NEWS.size + shared_state._BODY.size + count * shared_state._FILE.size
        head = bytes(sealed[: shared_state.NEWS.size - 8]) + bytes(8)
        checksum = xxhash.xxh3_64_intdigest(head + sealed[shared_state.NEWS.size : end])
        sealed[shared_state.NEWS.size - 8 : shared_state.NEWS.size] = checksum.to_bytes(8, "little")
    for one in (data, bytes(sealed)):
        shared_state.decode(one)
        shared_state.version_of(one, bytes(16))
        shared_state.decode_live(one, 0)
        shared_state.decode_live(one, 40)


def _shared_states() -> list[bytes]:
    files = [shared_state.WalFileState(n, 1, 1 << 20, n, n) for n in range(3)]
    state = shared_state.SharedState(boot_id=b"b" * 16, files=files)
    return [shared_state.encode(state), shared_state.encode_live((b"t" * 16, 3))]


@cache
def _bundles() -> list[bytes]:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in ("range.json", "records.jsonl", "entries.txt", "checkpoint.txt"):
            archive.writestr(name, name)
    return [target.getvalue()]


@cache
def _range_proofs() -> list[bytes]:
    from merkql import Broker

    with Broker.temporary() as broker:
        for number in range(7):
            broker.producer().send("t", b"%d" % number)
        partition = broker.topic("t").partition(0)
        record = record_to_json(partition.read(3))
        return [partition.prove_range(2, 5).to_json().encode(), record.encode()]


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode(errors="replace"))


def _kept(data: bytes) -> None:
    checkpoint_file.decode_frame(data, 0, 0)


def _kepts() -> list[bytes]:
    return [checkpoint_file.encode_frame(checkpoint_file.Frame(1, 7, 1000, NOTE, 0))]


TARGETS: dict[str, Target] = {
    "batch": Target(_batch, _batches),
    "record": Target(_one_record, _batches),
    "entry": Target(_one_entry, _batches),
    "frame": Target(_frame, _frames),
    "index": Target(lambda data: list(offset_index.decode_entries(data)), lambda: [bytes(72)]),
    "tail": Target(_tail, _tails),
    "offsets": Target(_slot, _slots),
    "topic": Target(_topic, _topics, (MerkqlError,)),
    "assignment": Target(decode_state, _states, (ValueError,)),
    "proof": Target(_text(Proof.from_json), _proofs, (ProofError,)),
    "range": Target(_text(RangeProof.from_json), _range_proofs, (ProofError,)),
    "json-record": Target(_text(record_from_json), _range_proofs, (ProofError,)),
    "bundle": Target(bundle.unpack, _bundles, (ProofError,)),
    "state": Target(_state, _shared_states),
    "tlog-proof": Target(parse_tlog_proof, lambda: [b"c2sp.org/tlog-proof@v1\n"], (ProofError,)),
    "note": Target(parse_note, lambda: [NOTE], (MerkqlError, ValueError)),
    "checkpoint": Target(parse_checkpoint, lambda: [NOTE], (MerkqlError, ValueError)),
    "policy": Target(_text(parse_policy), lambda: [POLICY], (MerkqlError, ValueError)),
    "tile": Target(_text(parse_tile), lambda: [b"tile/0/x001/234.p/5", b"tile/entries/000"]),
    "witness": Target(
        parse_request, lambda: [b"old 5\n" + b"A" * 43 + b"=\n\n" + NOTE], (MerkqlError, ValueError)
    ),
    "size": Target(parse_size, lambda: [b"old 5\n", b"12"], (MerkqlError, ValueError)),
    "kept": Target(_kept, _kepts),
}
