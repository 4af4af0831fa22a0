"""Evidence bundles: one zip file with all that an outsider needs to check some records.

Writes given members piece by piece and unpacks them; the same input gives the same bytes. Opens no
files but this package's own. Format: docs/formats/evidence.md.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Protocol

from merkql.proof import ProofError

RANGE, RECORDS, ENTRIES = "range.json", "records.jsonl", "entries.txt"
CHECKPOINT, TIMESTAMP = "checkpoint.txt", "checkpoint-{}.tsr"
EVIDENCE = (RANGE, RECORDS, ENTRIES, CHECKPOINT)  # the files to check
_TOOLS = ("proof.py", "verify.html")  # the programs that check them
# What zipfile raises for damaged archives, besides its own BadZipFile.
_DAMAGED = (zlib.error, struct.error, EOFError, OSError, RuntimeError, OverflowError, ValueError)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16

README = """\
EVIDENCE

This archive shows that {what} in a log of {size} records{there}.

    range.json       the proof: hashes that lead from these records to the log's root
    records.jsonl    the records, one a line; the bytes are in base64
    entries.txt      of each record its log entry, or, of one that is gone, the hash of it
    checkpoint.txt   what the log says of itself: {origin}
    proof.py         checks all this; a program of one file, for Python 3.10 or later
    verify.html      does the same in a browser, without a network

TO CHECK IT

    python proof.py range.json records.jsonl entries.txt checkpoint.txt

or open verify.html and drop these four files there. For what it is worth, get proof.py or
verify.html from somebody else than the sender of this archive: they are part of merkql and short
enough to be read.

WHAT IT SHOWS

That these records, all of them, with their times, keys, values and headers, stand at these places
of a log with this root. Not one bit of them can be changed, and none left out or added in between,
without the check failing.

That the root is the log's is shown by a signature: add `--key KEY` with the key of the log, which
you should have from its owner, and not from this archive. That the log was not shown otherwise to
others is shown by witnesses: add `--key KEY` for each witness that you trust. {signed}

WHAT IT DOES NOT SHOW

That what was recorded is true. That nothing else was recorded elsewhere. Who sent the records.
"""


class Writable(Protocol):
    """What is needed of a file; it must be seekable."""

    def write(self, data: bytes, /) -> int:
        """How many of the bytes were written: all."""

    def flush(self) -> None:
        """Flush buffers."""

    def close(self) -> None:
        """Never called: the caller closes its file."""


def write(target: Writable, members: Iterable[tuple[str, Iterable[bytes]]]) -> None:
    """Write a zip archive of the members and the programs that check them to an empty file.

    Each member is an iterable of chunks, written as they come; one without chunks is left out.
    """
    import zipfile  # both slow to import and needed only here
    from importlib import resources

    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, pieces: Iterable[bytes]) -> None:
            following = iter(pieces)
            piece = next(following, None)
            if piece is None:
                return
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system, member.external_attr = 3, _MODE
            # Only the sizes of these two are not known before they are written.
            with archive.open(member, "w", force_zip64=name in (RECORDS, ENTRIES)) as file:
                while piece is not None:
                    file.write(piece)
                    piece = next(following, None)

        for name, pieces in members:
            add(name, pieces)
        package = resources.files("merkql")
        for name in _TOOLS:
            add(name, [package.joinpath(name).read_bytes()])


def unpack(data: bytes) -> dict[str, bytes]:
    """The files to check, by name; raises ``ProofError`` if it is not a bundle."""
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if len(members) != len(archive.infolist()):
                raise ProofError("not an evidence bundle: a name appears twice")
            if len({name.casefold() for name in members}) != len(members):
                raise ProofError("not an evidence bundle: two names differ in case alone")
            if any("/" in name or "\\" in name for name in members):
                raise ProofError("not an evidence bundle: a name is a path")
            if any(member.compress_type for member in members.values()):
                raise ProofError("not an evidence bundle: it is compressed")
            if not {RANGE, CHECKPOINT} <= members.keys():
                raise ProofError("not an evidence bundle: it has no proof or no checkpoint")
            return {name: archive.read(name) for name in EVIDENCE if name in members}
    except ProofError:
        raise
    except (zipfile.BadZipFile, *_DAMAGED) as error:
        raise ProofError(f"not an evidence bundle: {error}") from None
