"""Signed notes and the keys that sign them, byte for byte those of c2sp.org/signed-note.

A note is a text, an empty line, and signature lines ``— <name> <base64 of key id and signature>``.
Keys are texts too: ``name+<key id>+<base64>``. Opens no file. Format: docs/formats/checkpoints.md.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from merkql.proof import ProofError
from merkql.transparency import ed25519

ED25519 = 0x01
COSIGNATURE = 0x04  # Ed25519 over a time and a checkpoint: what witnesses sign with
NOTE_SIZE_MAX = 1 << 20
SIGNATURES_MAX = 100
KEY_ID_SIZE = 4
_KEY_NAME = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")
_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_PRIVATE = "PRIVATE+KEY+"
_DASH = "— "
_TIME_SIZE = 8
TIME_MAX = (1 << 63) - 1  # seconds


class NoteError(ProofError):
    """The note is malformed, has a wrong signature, or none of a trusted key."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line, unchecked."""

    name: str
    key_id: bytes
    blob: bytes

    def line(self) -> bytes:
        """The line as it stands in the note."""
        encoded = base64.b64encode(self.key_id + self.blob).decode()
        return f"{_DASH}{self.name} {encoded}\n".encode()


@dataclass(frozen=True, slots=True)
class Note:
    """A text, with its final newline, and the signature lines below it."""

    text: bytes
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The bytes of the note."""
        return self.text + b"\n" + b"".join(one.line() for one in self.signatures)

    def with_signatures(self, more: Iterable[Signature]) -> Note:
        """The same text with more lines; those of keys that signed already are left out."""
        lines = {(one.name, one.key_id): one for one in (*more, *self.signatures)}
        known = [(one.name, one.key_id) for one in self.signatures]
        added = [key for key in lines if key not in known]
        return Note(self.text, (*self.signatures, *(lines[key] for key in added)))


def parse_note(data: bytes) -> Note:
    """The note in these bytes; ``NoteError`` unless they have the canonical form."""
    if len(data) > NOTE_SIZE_MAX:
        raise NoteError(f"a note has at most {NOTE_SIZE_MAX} bytes, this one {len(data)}")
    text, separator, rest = data.rpartition(b"\n\n")
    if not separator or not rest:
        raise NoteError("not a signed note: no empty line before signatures")
    text += b"\n"
    _check_text(data)
    if not rest.endswith(b"\n"):
        raise NoteError("not a signed note: the last line does not end")
    return Note(text, parse_signatures(rest))


def parse_signatures(data: bytes) -> tuple[Signature, ...]:
    """Signature lines alone, as witnesses send them; ``NoteError`` for anything else."""
    lines = data.split(b"\n")
    if lines.pop() or not lines:
        raise NoteError("not signature lines: the last one does not end")
    if len(lines) > SIGNATURES_MAX:
        raise NoteError(f"more than {SIGNATURES_MAX} signatures")
    return tuple(map(_parse_signature, lines))


def _parse_signature(line: bytes) -> Signature:
    try:
        dash, name, encoded = line.decode().split(" ")
        blob = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise NoteError("a signature line is malformed") from None
    signature = Signature(name, blob[:KEY_ID_SIZE], blob[KEY_ID_SIZE:])
    if dash + " " != _DASH or not is_key_name(name) or not signature.blob:
        raise NoteError("a signature line is malformed")
    if signature.line() != line + b"\n":
        raise NoteError("a signature line has another spelling than the one that is right")
    return signature


def is_key_name(name: str) -> bool:
    """Whether this may be a key's name: not empty, no white space, no ``+``."""
    return _KEY_NAME.fullmatch(name) is not None


def check_key_name(name: str) -> str:
    """``name`` if it may be a key's name; ``ValueError`` otherwise."""
    if not isinstance(name, str) or not is_key_name(name):
        raise ValueError(f"a key's name has no spaces and no +, and is not empty: {name!r}")
    return name


def _check_text(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        raise NoteError("not a signed note: not UTF-8") from None
    if _CONTROL.search(data):
        raise NoteError("not a signed note: it holds control characters")


def key_id(name: str, algorithm: int, public: bytes) -> bytes:
    """The four bytes that identify a key in its signatures."""
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:KEY_ID_SIZE]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with a name: of a log (``ED25519``) or of a witness (``COSIGNATURE``)."""

    name: str
    algorithm: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that identify it in signatures."""
        return key_id(self.name, self.algorithm, self.public)

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.algorithm]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """The key in a text; ``NoteError`` if it is malformed or of an unknown kind."""
        name, stated, key = _split_key(text.strip())
        verifier = cls(name, key[0], key[1:])
        if verifier.algorithm not in (ED25519, COSIGNATURE):
            raise NoteError(f"the key {name} is of a kind that is not known, {key[0]:#04x}")
        if len(verifier.public) != ed25519.KEY_SIZE or str(verifier) != text.strip():
            raise NoteError(f"the key {name} does not check out: copied in part?")
        if verifier.id.hex() != stated:
            raise NoteError(f"the key {name} does not check out: copied in part?")
        return verifier

    def named(self, name: str) -> VerifierKey:
        """The same key under another name: a log signs each partition's notes under its origin."""
        return VerifierKey(check_key_name(name), self.algorithm, self.public)

    def time_of(self, signature: Signature) -> int | None:
        """When a witness signed, in seconds since 1970; None for a log's signature."""
        if self.algorithm != COSIGNATURE:
            return None
        return int.from_bytes(signature.blob[:_TIME_SIZE], "big")

    def is_signed_by(self, signature: Signature, text: bytes) -> bool:
        """Whether this key made the signature for this text."""
        if self.algorithm == ED25519:
            return ed25519.verify(self.public, text, signature.blob)
        time, blob = signature.blob[:_TIME_SIZE], signature.blob[_TIME_SIZE:]
        seconds = int.from_bytes(time, "big")
        if seconds > TIME_MAX:
            return False
        return ed25519.verify(self.public, cosigned_message(seconds, text), blob)


def cosigned_message(seconds: int, text: bytes) -> bytes:
    """The message a witness signs: the time, and the whole text of the checkpoint."""
    return b"cosignature/v1\ntime %d\n" % seconds + text


def verified_by(note: Note, keys: Iterable[VerifierKey]) -> dict[VerifierKey, Signature]:
    """The keys among ``keys`` that signed the note, each with its first signature.

    Skips signatures of unknown keys; ``NoteError`` for a wrong one of a known key.
    """
    known = {(key.name, key.id): key for key in keys}
    found: dict[VerifierKey, Signature] = {}
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None or key in found:
            continue
        if not key.is_signed_by(signature, note.text):
            raise NoteError(f"the signature of {key.name} is wrong")
        found[key] = signature
    return found


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with a name. Its seed appears in no ``repr`` and no error."""

    name: str
    seed: bytes = field(repr=False)
    algorithm: int = ED25519

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if not isinstance(self.seed, bytes) or len(self.seed) != ed25519.KEY_SIZE:
            raise ValueError(f"a signing key's seed is {ed25519.KEY_SIZE} bytes")
        if self.algorithm not in (ED25519, COSIGNATURE):
            raise ValueError("a signing key is for a log or for a witness")

    @classmethod
    def generate(cls, name: str, *, witness: bool = False) -> SigningKey:
        """A new key from the system's random source."""
        return cls(name, os.urandom(ed25519.KEY_SIZE), COSIGNATURE if witness else ED25519)

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """The key in a text. ``NoteError``, which does not quote the text, for anything else."""
        text = text.strip()
        if not text.startswith(_PRIVATE):
            raise NoteError("not a signing key: it does not begin with PRIVATE+KEY+")
        name, stated, key = _split_key(text.removeprefix(_PRIVATE))
        if key[0] not in (ED25519, COSIGNATURE) or len(key) != 1 + ed25519.KEY_SIZE:
            raise NoteError(f"the signing key {name} is of a kind that is not known")
        signer = cls(name, key[1:], key[0])
        if signer.verifier.id.hex() != stated or signer.text() != text:
            raise NoteError(f"the signing key {name} does not check out: copied in part?")
        return signer

    def text(self) -> str:
        """The private key itself, for its file and for nothing else."""
        encoded = base64.b64encode(bytes([self.algorithm]) + self.seed).decode()
        return f"{_PRIVATE}{self.name}+{self.verifier.id.hex()}+{encoded}"

    @property
    def verifier(self) -> VerifierKey:
        """The public key, for everybody."""
        return VerifierKey(self.name, self.algorithm, ed25519.public_key(self.seed))

    def named(self, name: str) -> SigningKey:
        """The same key under another name."""
        return SigningKey(name, self.seed, self.algorithm)

    def sign(self, text: bytes, seconds: int | None = None) -> Signature:
        """A signature line for ``text``; a witness's states ``seconds`` since 1970."""
        if not text.endswith(b"\n"):
            raise ValueError("the text of a note ends in a newline")
        _check_text(text)
        if self.algorithm == ED25519:
            blob = ed25519.sign(self.seed, text)
        else:
            if seconds is None or not 0 <= seconds <= TIME_MAX:
                raise ValueError("a cosignature states its time in seconds since 1970")
            blob = seconds.to_bytes(_TIME_SIZE, "big")
            blob += ed25519.sign(self.seed, cosigned_message(seconds, text))
        return Signature(self.name, self.verifier.id, blob)


def _split_key(text: str) -> tuple[str, str, bytes]:
    """Name, key id in hexadecimal, and key bytes of a key's text; errors quote only the name."""
    parts = text.split("+", 2)
    if len(parts) != 3 or not is_key_name(parts[0]) or len(parts[1]) != 2 * KEY_ID_SIZE:
        raise NoteError("not a key: it has the form name+id+base64")
    try:
        key = base64.b64decode(parts[2], validate=True)
    except (ValueError, binascii.Error):
        raise NoteError(f"the key {parts[0]} is not base64") from None
    if len(key) < 2:
        raise NoteError(f"the key {parts[0]} is too short")
    return parts[0], parts[1], key
