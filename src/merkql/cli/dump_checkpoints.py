"""`dump` of the checkpoints a partition signed. Format: docs/formats/checkpoints.md."""

from __future__ import annotations

from collections.abc import Iterator

from merkql.cli.dumping import Depth, Finding, Place
from merkql.cli.quantities import moment_text
from merkql.proof import ProofError
from merkql.storage.checkpoint_file import MAGIC, TIMESTAMP, Frame, decode_frame
from merkql.transparency.checkpoint import parse_checkpoint
from merkql.transparency.note import parse_note

KINDS = {1: "checkpoint", 2: "cosigned", 3: "timestamp"}
SIZE_MAX = 1 << 30


def dump_checkpoints(place: Place, depth: Depth) -> Iterator[Finding]:
    """Each frame: what was signed, when, by how many; with ``depth.records`` the whole note.

    Signatures are not checked: `verify --log` has the keys.
    """
    data = place.pool.read(place.path, SIZE_MAX, 0)
    at = 0
    while at < len(data):
        frame = decode_frame(data, at, at)
        if frame is not None:
            yield from _shown(frame, depth)
            at = frame.end
            continue
        following = data.find(MAGIC, at + 1)
        while following > 0 and decode_frame(data, following, following) is None:
            following = data.find(MAGIC, following + 1)
        rest = data[at : following if following > 0 else len(data)]
        if following < 0 and not rest.strip(b"\0"):
            yield Finding("end", at, {"unused": len(rest)})
            return
        words = "damaged" if following > 0 else "torn by a crash, or damaged"
        yield Finding("frame", at, {"bytes": len(rest)}, f"not a sound frame: {words}")
        at += len(rest)


def _shown(frame: Frame, depth: Depth) -> Iterator[Finding]:
    fields: dict[str, object] = {"size": frame.tree_size, "time": moment_text(frame.time_ms)}
    problem = None
    if frame.kind == TIMESTAMP:
        fields["bytes"] = len(frame.content)
    else:
        try:
            note = parse_note(frame.content)
            checkpoint = parse_checkpoint(note.text)
            fields["root"] = checkpoint.root.hex()
            fields["signed by"] = [one.name for one in note.signatures]
        except ProofError as error:
            problem = str(error)
        if depth.records:
            fields["note"] = frame.content.decode(errors="replace")
    yield Finding(KINDS.get(frame.kind, f"kind {frame.kind}"), frame.position, fields, problem)
