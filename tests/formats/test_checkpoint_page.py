"""The page of checkpoints: its example is what the code writes, and has the fields it says."""

from __future__ import annotations

import base64
import struct
from hashlib import sha256

import xxhash
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from merkql.storage.checkpoint_file import CHECKPOINT, Frame, decode_frame, encode_frame
from merkql.transparency.checkpoint import Checkpoint
from merkql.transparency.note import Note, SigningKey
from support.pages import worked_example

ORIGIN = "merkql.example/audit/0"
ROOT = bytes.fromhex("322ec226264baee30878f4e5cc73f1e2662dd01d68f1d67ed158cf1029c29ce6")


def test_example_is_what_is_written() -> None:
    text = Checkpoint(ORIGIN, 13, ROOT).text()
    note = Note(text, (SigningKey(ORIGIN, bytes(range(32))).sign(text),))
    frame = Frame(CHECKPOINT, 13, 1_767_225_600_000, note.encode())
    assert encode_frame(frame) == worked_example("checkpoints")


def test_example_reads_back() -> None:
    frame = decode_frame(worked_example("checkpoints"), 0, 0)
    assert frame is not None
    assert (frame.kind, frame.tree_size, frame.time_ms) == (1, 13, 1_767_225_600_000)


def test_example_has_the_fields_of_the_table() -> None:
    data = worked_example("checkpoints")
    magic, kind, size, reserved, tree_size, time_ms = struct.unpack_from("<4sIIIQq", data)
    assert (magic, kind, reserved, tree_size, time_ms) == (b"MKN1", 1, 0, 13, 1_767_225_600_000)
    frame_size, zero, checksum = struct.unpack("<IIQ", data[-16:])
    assert (frame_size, zero) == (len(data), 0)
    assert checksum == xxhash.xxh3_64_intdigest(data[:-8])
    text, line = data[32 : 32 + size].split(b"\n\n")
    text += b"\n"
    assert text.split(b"\n") == [ORIGIN.encode(), b"13", base64.b64encode(ROOT), b""]
    dash, name, encoded = line.decode().rstrip("\n").split(" ")
    assert (dash, name) == ("\u2014", ORIGIN)
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public = key.public_key().public_bytes_raw()
    key_id = sha256(ORIGIN.encode() + b"\n\x01" + public).digest()[:4]
    assert base64.b64decode(encoded) == key_id + key.sign(text)
