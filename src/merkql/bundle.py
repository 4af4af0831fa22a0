"""Evidence bundles: one zip file with all that a stranger needs to check some records.

Packs what others collected and gives back what is inside; the same input makes the same bytes.
Opens no file but those of this package. Format: docs/formats/evidence.md.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping

from merkql.proof import ProofError, judge

RANGE, RECORDS, ENTRIES = "range.json", "records.jsonl", "entries.txt"
CHECKPOINT, TIMESTAMP = "checkpoint.txt", "checkpoint-{}.tsr"
EVIDENCE = (RANGE, RECORDS, ENTRIES, CHECKPOINT)  # what there is to check
_TOOLS = ("proof.py", "verify.html")  # what it can be checked with
# What zipfile raises at damage beyond an error of its own: what it does not catch.
_DAMAGED = (
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
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


def pack(files: Mapping[str, bytes]) -> bytes:
    """A zip archive of the files and of the programs that check them, byte for byte determined.

    Raises ``ProofError`` unless they prove what they are about.
    """
    import zipfile  # both dear to import, and needed here alone
    from importlib import resources

    judge([files[name] for name in EVIDENCE if name in files], (), ())
    package = resources.files("merkql")
    tools = {name: package.joinpath(name).read_bytes() for name in _TOOLS}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (*files.items(), *tools.items()):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system, member.external_attr = 3, _MODE
            archive.writestr(member, content)
    return target.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """What is to be checked in a bundle, by name; raises ``ProofError`` if it is none."""
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if len(members) != len(archive.infolist()):
                raise ProofError("not an evidence bundle: a name appears twice")
            if any(member.compress_type for member in members.values()):
                raise ProofError("not an evidence bundle: it is compressed")
            if not {RANGE, CHECKPOINT} <= members.keys():
                raise ProofError("not an evidence bundle: it has no proof or no checkpoint")
            return {name: archive.read(name) for name in EVIDENCE if name in members}
    except ProofError:
        raise
    except (zipfile.BadZipFile, *_DAMAGED) as error:
        raise ProofError(f"not an evidence bundle: {error}") from None
