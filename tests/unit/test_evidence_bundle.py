"""Evidence bundles: made from a log, carried elsewhere, judged with what is in them alone."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql import Broker, CorruptionError, OffsetOutOfRangeError, RetentionConfig
from merkql.bundle import CHECKPOINT, ENTRIES, EVIDENCE, RANGE, RECORDS, unpack
from merkql.proof import ProofError, judge
from merkql.transparency.key_file import read_key, write_key
from merkql.transparency.note import SigningKey
from support import children, evidence
from support.damage import flip_byte

FILES = dict(zip((RANGE, RECORDS, ENTRIES, CHECKPOINT), evidence.bundle_files(), strict=True))


def fill(broker: Broker, count: int = 50) -> None:
    for number in range(count):
        key, headers = f"key-{number}", [("trace", b"\x00\xff")]
        broker.producer().send("audit", f"entry {number}", key=key, headers=headers)


def test_a_bundle_is_judged_by_the_program_inside_it(tmp_path: Path) -> None:
    with Broker.temporary() as broker:
        fill(broker)
        partition = broker.topic("audit").partition(0)
        proof = partition.evidence(10, 20, tmp_path / "evidence.zip")
        root = partition.root()
        assert proof == partition.prove_range(10, 20)
    with zipfile.ZipFile(tmp_path / "evidence.zip") as archive:
        archive.extractall(tmp_path / "auditor")
    auditor = tmp_path / "auditor"
    assert sorted(os.listdir(auditor)) == sorted(
        ["README.txt", "proof.py", "verify.html", *EVIDENCE]
    )
    readme = (auditor / "README.txt").read_text(encoding="utf-8")
    assert "10 records stand at offset 10 to 19 in a log of 50 records" in readme
    assert "NOBODY SIGNED THIS CHECKPOINT" in readme
    (command,) = [line.split() for line in readme.splitlines() if line.startswith("    python ")]
    program = [sys.executable, "-I", "-S", *command[1:], "--root", root.hex(), "--json"]
    done = subprocess.run(program, cwd=auditor, capture_output=True, text=True, check=False)
    verdict = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert verdict["proved"][0] == f"records 10 to 19 of the 50 with root {root.hex()}"


def test_a_signed_log_gives_its_newest_checkpoint_that_covers_the_records(tmp_path: Path) -> None:
    write_key(tmp_path / "key", SigningKey.generate("log.example"))
    public = str(read_key(tmp_path / "key").verifier)
    with Broker.open(tmp_path / "log", signing_key=tmp_path / "key") as broker:
        fill(broker, 10)
        partition = broker.topic("audit").partition(0)
        partition.checkpoint()
        fill(broker, 10)
        kept = partition.checkpoint()
        fill(broker, 1)
        assert partition.evidence(3, 5, tmp_path / "signed.zip").size == 20
        assert partition.evidence(20, 21, tmp_path / "unsigned.zip").size == 21
        assert partition.proof(7, 20).to_tlog_proof(kept.note).startswith("c2sp.org/tlog-proof")
    files = unpack((tmp_path / "signed.zip").read_bytes())
    assert files[CHECKPOINT] == kept.note
    proved = judge(list(files.values()), (), [public])["proved"]
    assert proved[1].endswith("signed by log.example")
    with pytest.raises(ProofError, match="not signed by"):
        judge(list(unpack((tmp_path / "unsigned.zip").read_bytes()).values()), (), [public])


def test_the_same_evidence_makes_the_same_bytes(tmp_path: Path) -> None:
    with Broker.temporary() as broker:
        fill(broker)
        partition = broker.topic("audit").partition(0)
        partition.evidence(3, 9, tmp_path / "one.zip")
        partition.evidence(3, 9, str(tmp_path / "two.zip"))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert os.listdir(tmp_path) in (["one.zip", "two.zip"], ["two.zip", "one.zip"])


def test_records_that_are_gone_leave_their_hashes(tmp_path: Path) -> None:
    with Broker.temporary() as broker:
        broker.create_topic("audit", retention=RetentionConfig(max_records=30))
        fill(broker)
        partition = broker.topic("audit").partition(0)
        for first, stop, there in ((10, 30, 10), (0, 5, 0), (20, 50, 30)):
            partition.evidence(first, stop, tmp_path / "evidence.zip")
            files = unpack((tmp_path / "evidence.zip").read_bytes())
            assert (RECORDS in files) is (there > 0)
            missing = judge(list(files.values()), [partition.root()], ())["not_shown"]
            absent = stop - first - there
            said = f"what {absent} of these records say: it was not given"
            assert (said in missing) is (absent > 0)


def test_erasable_records_are_shown_with_their_salts(tmp_path: Path) -> None:
    with Broker.temporary() as broker:
        broker.create_topic("audit", erasable=True)
        fill(broker, 5)
        partition = broker.topic("audit").partition(0)
        partition.evidence(1, 4, tmp_path / "evidence.zip")
        files = unpack((tmp_path / "evidence.zip").read_bytes())
        salts = {json.loads(line)["salt"] for line in files[RECORDS].splitlines()}
        assert len(salts) == 3
        assert all(len(salt) == 32 for salt in salts)
        proved = judge(list(files.values()), [partition.root()], ())
        assert proved["proved"][0].startswith("records 1 to 3 of the 5")


def test_what_is_not_there_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with Broker.temporary() as broker:
        fill(broker, 5)
        partition = broker.topic("audit").partition(0)
        with pytest.raises(OffsetOutOfRangeError):
            partition.evidence(0, 6, tmp_path / "evidence.zip")
        with pytest.raises(ValueError, match="more than first"):
            partition.evidence(3, 3, tmp_path / "evidence.zip")
        with pytest.raises(FileNotFoundError):
            partition.evidence(0, 5, tmp_path / "no" / "evidence.zip")
    assert os.listdir(tmp_path) == []


def test_the_page_in_the_documents_is_the_one_in_the_archives() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs/verify.html").read_bytes()
    assert page == (root / "src/merkql/verify.html").read_bytes()
    assert b"://" not in page.replace(b"http-equiv", b"")  # it asks nobody for anything


@pytest.mark.parametrize(("name", "at"), [("h00", 32 * 30), ("h04", 0)])
def test_evidence_that_proves_nothing_is_not_written(tmp_path: Path, name: str, at: int) -> None:
    """By who only reads: a writer makes damaged hashes again."""
    with Broker.open(tmp_path / "log") as broker:
        fill(broker)
    flip_byte(tmp_path / "log" / "topics" / "audit" / "0" / "tree" / name, at)
    with (
        Broker.open(tmp_path / "log", read_only=True) as reader,
        pytest.raises(CorruptionError),
    ):
        reader.topic("audit").partition(0).evidence(20, 50, tmp_path / "evidence.zip")
    assert os.listdir(tmp_path) == ["log"]


def test_a_record_that_is_not_the_one_that_was_signed_is_no_evidence(tmp_path: Path) -> None:
    """A salt was changed: the record reads well, and leads to no leaf of the tree."""
    with Broker.open(tmp_path / "log") as broker:
        broker.create_topic("audit", erasable=True)
        fill(broker)
    flip_byte(tmp_path / "log" / "topics" / "audit" / "0" / "tree" / "salts", 16 * 30)
    with Broker.open(tmp_path / "log") as broker:
        partition = broker.topic("audit").partition(0)
        partition.evidence(0, 30, tmp_path / "before.zip")
        with pytest.raises(CorruptionError, match="leaf of offset 30 is not that of its record"):
            partition.evidence(0, 50, tmp_path / "evidence.zip")
    assert sorted(os.listdir(tmp_path)) == ["before.zip", "log"]


def test_erased_records_leave_their_entries(tmp_path: Path) -> None:
    with Broker.temporary() as broker:
        broker.create_topic("audit", erasable=True)
        fill(broker)
        partition = broker.topic("audit").partition(0)
        root = partition.root()
        partition.evidence(10, 20, tmp_path / "before.zip")
        partition.erase(12, 13, 19, 49)
        partition.evidence(10, 20, tmp_path / "after.zip")
        before, after = (
            unpack((tmp_path / name).read_bytes()) for name in ("before.zip", "after.zip")
        )
        assert after[ENTRIES] == before[ENTRIES]  # of each its 49 bytes, of erased ones too
        assert after[RANGE] == before[RANGE]
        lines = before[RECORDS].splitlines(keepends=True)
        assert after[RECORDS] == b"".join(lines[at] for at in range(10) if at not in (2, 3, 9))
        said = "what 3 of these records say: it was not given"
        assert said in judge(list(after.values()), [root], ())["not_shown"]
        judge([*after.values(), lines[2]], [root], ())  # who has record and salt can still show it
        readme = zipfile.ZipFile(tmp_path / "after.zip").read("README.txt")
        assert b"10 records stand at offset 10 to 19" in readme
        assert b"3 of which are gone from it, but for their entries" in readme
        partition.erase(*range(10, 20))
        partition.evidence(10, 20, tmp_path / "none.zip")
        none = unpack((tmp_path / "none.zip").read_bytes())
        assert RECORDS not in none
        assert none[ENTRIES] == before[ENTRIES]
        judge(list(none.values()), [root], ())


def test_an_eraser_beside_it_leaves_evidence_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erased between any two reads: a record is shown with its salt, or as one that is gone."""
    from merkql.storage.partition import Partition

    with Broker.temporary() as broker:
        broker.create_topic("audit", erasable=True, segment_bytes=4096)
        fill(broker, 60)
        partition = broker.topic("audit").partition(0)
        root, left = partition.root(), random.Random(1).sample(range(60), 60)

        def erasing(name: str) -> None:
            call = getattr(Partition, name)

            def erase_before(self, *arguments, **options):  # type: ignore[no-untyped-def]
                if left and self.topic == "audit":  # and not the log of erasures
                    partition.erase(left.pop(0))
                return call(self, *arguments, **options)

            monkeypatch.setattr(Partition, name, erase_before)

        for name in ("fetch", "salts", "entries"):
            erasing(name)
        shown = [60]
        while left:
            partition.evidence(0, 60, tmp_path / "evidence.zip")
            files = unpack((tmp_path / "evidence.zip").read_bytes())
            shown.append(len(files.get(RECORDS, b"").splitlines()))
            assert len(left) <= shown[-1] < shown[-2]
            judge(list(files.values()), [root], ())
        assert len(shown) > 3


SIZES = """
import resource, sys, tempfile
from merkql import Broker

def peak():
    shift = 20 if sys.platform == "darwin" else 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> shift

count = int(sys.argv[1])
with Broker.open(sys.argv[2], default_durability="disk") as broker:
    for begin in range(0, count, 10_000):
        broker.producer().send_values("t", [b"%0100d" % n for n in range(begin, begin + 10_000)])
    partition = broker.topic("t").partition(0)
    partition.evidence(0, 1000, sys.argv[3])
    before = peak()
    partition.evidence(0, count, sys.argv[3])
    print(peak() - before)
"""


@pytest.mark.slow
def test_two_hundred_thousand_records_take_no_more_memory_than_a_thousand(tmp_path: Path) -> None:
    grown = int(children.run(SIZES, 200_000, tmp_path / "log", tmp_path / "zip", timeout=600))
    assert (tmp_path / "zip").stat().st_size > 70 << 20
    assert grown < 24, f"{grown} MiB more than for a thousand records"


def test_evidence_is_made_piece_by_piece(tmp_path: Path) -> None:
    with Broker.temporary() as broker:
        broker.producer().send_values("t", [b"%d" % n + b"." * 20_000 for n in range(800)])
        partition = broker.topic("t").partition(0)
        partition.evidence(0, 10, tmp_path / "evidence.zip")  # what is loaded at the first use
        tracemalloc.start()
        try:
            partition.evidence(0, 800, tmp_path / "evidence.zip")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (tmp_path / "evidence.zip").stat().st_size > 20 << 20
    assert peak < 12 << 20, f"{peak >> 20} MiB"


def rezipped(names: list[str], compression: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name in names:
            archive.writestr(name, FILES.get(name, b""))
    return target.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_are_no_bundles() -> None:
    assert unpack(evidence.packed(FILES)) == FILES
    assert unpack(rezipped([*FILES, "letter.txt"])) == FILES
    for wrong in (
        b"",
        b"PK\x03\x04",
        rezipped([]),
        rezipped([RANGE]),
        rezipped([*FILES, RANGE]),
        rezipped([*FILES], zipfile.ZIP_DEFLATED),
        evidence.packed(FILES)[:-30],
    ):
        with pytest.raises(ProofError, match="not an evidence bundle"):
            unpack(wrong)


def with_member(name: str) -> bytes:
    target = io.BytesIO(evidence.packed(FILES))
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(name, b"forged")
    return target.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "Records.jsonl",
        "RANGE.JSON",
        "./records.jsonl",
        "../records.jsonl",
        "/etc/x",
        "a\\..\\range.json",
    ],
)
def test_an_archive_whose_files_hide_others_once_unpacked_was_a_bundle(name: str) -> None:
    """Whoever unpacks it, where case is nothing, looks at another file than was checked."""
    with pytest.raises(ProofError, match=r"differ in case|is a path"):
        unpack(with_member(name))
    assert unpack(with_member("letter.txt")) == FILES


def test_a_position_beyond_any_file_was_an_overflow_error() -> None:
    whole = evidence.packed(FILES)
    at = whole.index(b"PK\x01\x02")
    name_size, extra_size = struct.unpack_from("<HH", whole, at + 28)
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 5)
    begin = at + 46 + name_size
    archive = bytearray(whole[:begin] + extra + whole[begin + extra_size :])
    struct.pack_into("<H", archive, at + 30, len(extra))
    struct.pack_into("<I", archive, at + 42, 0xFFFFFFFF)
    end = archive.rindex(b"PK\x05\x06")
    (size,) = struct.unpack_from("<I", archive, end + 12)
    struct.pack_into("<I", archive, end + 12, size + len(extra) - extra_size)
    with pytest.raises(ProofError, match="not an evidence bundle"):
        unpack(bytes(archive))


@given(st.data())
def test_any_damage_to_an_archive_is_refused_or_does_not_matter(data: st.DataObject) -> None:
    whole = bytearray(evidence.packed(FILES))
    evidence_end = sum(map(len, FILES.values())) + 1000
    for _ in range(data.draw(st.integers(1, 4))):
        near = st.integers(0, evidence_end) | st.integers(len(whole) - 600, len(whole) - 1)
        whole[data.draw(near)] = data.draw(st.integers(0, 255))
    try:
        found = unpack(bytes(whole))
    except ProofError:
        return
    assert found.items() <= FILES.items()  # a name that was changed: a part is left out
