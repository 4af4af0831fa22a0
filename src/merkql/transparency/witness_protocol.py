"""The protocol between a log and a witness (c2sp.org/tlog-witness): bytes in, bytes out.

``POST add-checkpoint``: ``old <size>``, consistency hashes, an empty line, the signed checkpoint.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from merkql.transparency.checkpoint import SIZE_MAX
from merkql.transparency.note import NoteError

ADD_CHECKPOINT = "add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
BODY_SIZE_MAX = 1 << 18
PROOF_LENGTH_MAX = 63
_HASH_SIZE = 32
_OLD = re.compile(rb"old (0|[1-9][0-9]{0,18})")
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")


class ProtocolError(NoteError):
    """The other side violates the protocol."""


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request: the size the witness should hold, the consistency proof, the new checkpoint.

    ``proof`` leads from ``old_size`` to the size in ``note``; it is empty from 0.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The body of the request."""
        lines = [b"old %d\n" % self.old_size]
        lines += [base64.b64encode(one) + b"\n" for one in self.proof]
        return b"".join(lines) + b"\n" + self.note


def parse_request(body: bytes) -> AddCheckpoint:
    """The request in a body; ``ProtocolError`` unless it has the canonical form."""
    if len(body) > BODY_SIZE_MAX:
        raise ProtocolError(f"a request has at most {BODY_SIZE_MAX} bytes")
    head, separator, note = body.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    match = _OLD.fullmatch(first)
    if not separator or match is None or int(match[1]) > SIZE_MAX:
        raise ProtocolError("the request does not begin with the old size")
    if len(lines) > PROOF_LENGTH_MAX:
        raise ProtocolError(f"a proof has at most {PROOF_LENGTH_MAX} hashes")
    request = AddCheckpoint(int(match[1]), tuple(map(_hash, lines)), note)
    if request.encode() != body:
        raise ProtocolError("a hash has another spelling than the one that is right")
    return request


def _hash(line: bytes) -> bytes:
    try:
        content = base64.b64decode(line, validate=True)
    except (ValueError, binascii.Error):
        raise ProtocolError("a hash is not base64") from None
    if len(content) != _HASH_SIZE:
        raise ProtocolError(f"a hash has {_HASH_SIZE} bytes")
    return content


def parse_size(body: bytes) -> int:
    """The size a witness states in a 409 answer."""
    match = _SIZE.fullmatch(body)
    if match is None or int(match[1]) > SIZE_MAX:
        raise ProtocolError("the witness says another size and does not say which")
    return int(match[1])


@dataclass(frozen=True, slots=True)
class Answer:
    """A witness's answer: HTTP status, content type and body."""

    status: int
    body: bytes
    content_type: str = TEXT_TYPE


def refusal(status: int, reason: str) -> Answer:
    """An answer that states the reason."""
    return Answer(status, f"{reason}\n".encode())
