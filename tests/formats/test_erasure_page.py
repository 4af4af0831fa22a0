"""docs/formats/erasure.md and the erased record of kafka-record-batch.md hold for the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from merkql import CorruptionError
from merkql._core.batch_decoder import decode
from merkql._core.batch_erasure import erase_records
from merkql._core.batch_leaves import leaf_hashes_and_entries
from merkql.storage.erasing_file import ErasureRecord, read_erasing, write_erasing
from merkql.storage.files import Files
from support.pages import worked_example

EXAMPLE = ErasureRecord(
    topic="users",
    topic_id=bytes(range(16)).hex(),
    partition=0,
    offsets=((3, 3), (7, 9)),
    time_ms=1_700_000_000_000,
    by="alice",
    reason="ticket 77",
    user="merkql",
    uid=1000,
    pid=4242,
    host="host",
)
DIGEST = bytes(range(0xA0, 0xC0))


def test_erasing_example_is_what_is_written_and_read(tmp_path: Path) -> None:
    write_erasing(Files(), str(tmp_path), [EXAMPLE])
    assert (tmp_path / "erasing").read_bytes() == worked_example("erasure", "erasing")
    assert read_erasing(Files(), str(tmp_path)) == [EXAMPLE]
    assert EXAMPLE.all_offsets() == [3, 7, 8, 9]


def test_every_flipped_bit_and_every_cut_of_erasing_is_noticed(tmp_path: Path) -> None:
    whole = worked_example("erasure", "erasing")
    hurt = [whole[:size] for size in range(1, len(whole))]
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        hurt.append(bytes(flipped))
    for content in hurt:
        (tmp_path / "erasing").write_bytes(content)
        with pytest.raises(CorruptionError, match="erasing"):
            read_erasing(Files(), str(tmp_path))


def test_erased_record_example_is_what_is_left_of_the_other_one() -> None:
    batch = worked_example("kafka-record-batch")
    erased = worked_example("kafka-record-batch", "erased")
    assert erase_records(batch, {42: DIGEST}) == erased
    first, second, third = decode(
        erased, "t", 0, first_offset=0, stop_offset=1 << 60, max_records=10
    ).records
    assert second.erased
    assert second.timestamp_ms == 1_700_000_000_250
    assert (first.erased, third.erased) == (False, False)
    whole = decode(batch, "t", 0, first_offset=0, stop_offset=1 << 60, max_records=10).records
    assert [first, third] == [whole[0], whole[2]]


def test_the_leaf_of_an_erased_record_is_that_of_its_digest_and_the_others_stay() -> None:
    _, before = leaf_hashes_and_entries(worked_example("kafka-record-batch"))
    offsets: list[int] = []
    _, after = leaf_hashes_and_entries(
        worked_example("kafka-record-batch", "erased"), erased=offsets
    )
    assert offsets == [42]
    assert (after[:51], after[102:]) == (before[:51], before[102:])
    assert after[53:70] == before[53:70]
    assert after[70:102] == DIGEST


@pytest.mark.parametrize(
    "change",
    [(b"\x40", b"\x00"), (b"merkql.erased", b"merkql.erasee"), (DIGEST, DIGEST[:31] + b"")],
    ids=["without its bit", "another name", "another digest"],
)
def test_only_a_record_of_that_very_form_is_an_erased_one(change: tuple[bytes, bytes]) -> None:
    """A producer sends such headers if it likes; what it sends is a record like any other."""
    old, new = change
    content = worked_example("kafka-record-batch", "erased")
    at = content.index(old, 61 + 42)
    if len(new) < len(old):
        return  # the sizes no longer fit: no batch at all
    forged = bytearray(content[:at] + new + content[at + len(old) :])
    found = leaf_hashes_and_entries(bytes(forged), erased=(offsets := []))
    assert found
    assert offsets == []
