"""The text of a checkpoint (c2sp.org/tlog-checkpoint): a log's origin, size and root.

Signed as a note by the log and by witnesses. Format: docs/formats/checkpoints.md.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from merkql.transparency.note import NoteError, is_key_name

ROOT_SIZE = 32
SIZE_MAX = (1 << 63) - 1
EMPTY_ROOT = sha256(b"").digest()
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The root of a log over its first ``size`` records."""

    origin: str
    size: int
    root: bytes
    extension: tuple[str, ...] = ()  # further lines, kept unchanged

    @property
    def is_possible(self) -> bool:
        """Whether such a log can exist: an empty one has just one root."""
        return self.size > 0 or self.root == EMPTY_ROOT

    def text(self) -> bytes:
        """The text that is signed."""
        root = base64.b64encode(self.root).decode()
        lines = (self.origin, str(self.size), root, *self.extension)
        return "".join(f"{line}\n" for line in lines).encode()


def parse_checkpoint(text: bytes) -> Checkpoint:
    """The checkpoint in a note's text; ``NoteError`` unless it has the canonical form."""
    try:
        lines = text.decode().split("\n")
        origin, size, encoded = lines[:3]
        root = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise NoteError("not a checkpoint: origin, size and root are needed") from None
    if not _DECIMAL.fullmatch(size) or int(size) > SIZE_MAX or len(root) != ROOT_SIZE:
        raise NoteError("not a checkpoint: its size or its root is malformed")
    checkpoint = Checkpoint(origin, int(size), root, tuple(lines[3:-1]))
    if not origin or lines[-1] or not all(checkpoint.extension) or checkpoint.text() != text:
        raise NoteError("not a checkpoint: a line is malformed")
    return checkpoint


def make_origin(name: str, log_id: bytes, topic_id: bytes, place: tuple[str, int]) -> str:
    """The origin of a partition's checkpoints, which is also the name the log signs with.

    The whole log id and eight digits of the topic id, so that copies of a directory and recreated
    topics never share an origin.
    """
    topic, partition = place
    origin = f"{name}/{log_id.hex()}.{topic_id.hex()[:8]}/{topic}/{partition}"
    assert is_key_name(origin)
    return origin
