"""The pages of the storage formats: their worked examples are what the code writes and reads."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from tests.support.pages import worked_example

from merkql import Broker
from merkql._core import frame
from merkql.storage import directory, offset_index, shared_state, start_file, tail_page

TOPIC_ID = bytes(range(16))
SEED = 0x1122334455667788


def example_frame() -> frame.Frame:
    sections = (
        frame.Section(TOPIC_ID, 0, 7, 2, b"two batches"),
        frame.Section(TOPIC_ID, 3, 0, 1, b"one batch", bytes(16)),
    )
    return frame.Frame(0xEEEE, 8192, 42, 41, 40, sections)


def example_tail() -> tail_page.TailState:
    return tail_page.TailState(
        end_offset=3,
        segment_offset=0,
        position=210,
        index_count=2,
        peaks=b"\xaa" * 32 + b"\xbb" * 32,
        start_offset=1,
        durable_offset=3,
        checkpoint_offset=2,
        checkpoint_position=140,
        checkpoint_index_count=1,
        largest_timestamp_ms=1_700_000_000_000,
        writer=0x77,
        boot_id=TOPIC_ID,
        rewrites=4,
    )


def test_segment_page_example_is_the_file_of_two_sends(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        send, key, time_ms = broker.producer().send, b"order-42", 1_700_000_000_000
        send("orders", b"widget", key=key, timestamp_ms=time_ms)
        send("orders", None, key=key, headers={"by": "amy"}, timestamp_ms=time_ms + 250)
    segment = tmp_path / "topics" / "orders" / "0" / "00000000000000000000.log"
    assert segment.read_bytes() == worked_example("segment")


def test_frame_page_example_is_what_encode_writes_without_padding():
    written = b"".join(map(bytes, frame.encode(example_frame(), SEED)))
    size = len(worked_example("frame"))
    assert written[:size] == worked_example("frame")
    assert written[size:] == bytes(4096 - size)


def test_frame_page_example_reads_back_at_its_own_position_only():
    content = bytes(8192) + worked_example("frame")
    found = frame.decode(content[8192:], 8192, SEED)
    assert found is not None
    assert [bytes(s.data) for s in found.sections] == [b"two batches", b"one batch"]
    assert bytes(found.sections[1].salts) == bytes(16)
    assert (found.epoch, found.sequence, found.durable_sequence) == (0xEEEE, 42, 41)
    assert (found.floor_sequence, found.next_position) == (40, 12288)
    moved = bytes(4096) + worked_example("frame")
    assert frame.decode(moved[4096:], 4096, SEED) is None
    assert frame.decode(content[8192:], 8192, SEED + 1) is None


def test_every_flipped_bit_and_every_cut_of_a_frame_is_noticed():
    whole = bytes(8192) + worked_example("frame")
    for position in range(8192, len(whole)):
        assert frame.decode(whole[8192:position], 8192, SEED) is None
    for bit in range(8 * 8192, 8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        if not 8192 + 5 <= bit // 8 < 8192 + 8:  # reserved bytes, which readers ignore
            assert frame.decode(damaged[8192:], 8192, SEED) is None, bit


def test_tail_page_example_is_what_encode_writes_and_decode_reads():
    assert tail_page.encode(example_tail()) == worked_example("tail-page")
    assert tail_page.decode(worked_example("tail-page")) == example_tail()
    padded = worked_example("tail-page").ljust(4096, b"\0")
    assert tail_page.decode(padded) == example_tail()


def test_every_flipped_bit_and_every_cut_of_a_tail_page_is_noticed():
    whole = worked_example("tail-page")
    for size in range(len(whole)):
        assert tail_page.decode(whole[:size]) is None
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        assert tail_page.decode(bytes(damaged)) is None, bit


def test_index_page_example_is_what_running_entries_become():
    batches = [(0, 0, 140, 2, 1_700_000_000_000), (2, 140, 70, 1, 1_600_000_000_000)]
    entries = offset_index.running_entries(batches, 0, offset_index.TIMESTAMP_MIN)
    assert b"".join(map(offset_index.encode_entry, entries)) == worked_example("offset-index")
    first = struct.unpack_from("<Q", worked_example("offset-index"), 24)[0]
    assert (first, entries[1].largest_timestamp_ms) == (2, 1_700_000_000_000)


def test_small_files_of_the_data_directory_are_those_of_its_page():
    assert start_file.encode_start(500) == worked_example("data-directory", "start")
    assert directory.encode_clean(42) == worked_example("data-directory", "clean")


def example_state() -> shared_state.SharedState:
    files = [
        shared_state.WalFileState(2, shared_state.CURRENT, 131072, 40, 42),
        shared_state.WalFileState(1, shared_state.FREE, 131072, 0, 39),
    ]
    return shared_state.SharedState(
        boot_id=TOPIC_ID,
        session=0x77,
        version=5,
        topics_version=2,
        began_clean=True,
        process=4321,
        epoch=0xEEEE,
        position=8192,
        next_sequence=43,
        durable_sequence=42,
        stated_floor=40,
        next_number=3,
        live_count=1,
        written=1000,
        files=files,
    )


def test_state_page_example_is_what_encode_writes_and_decode_reads():
    assert shared_state.encode(example_state()) == worked_example("state")
    assert shared_state.decode(worked_example("state")) == example_state()
    assert shared_state.encode_live((TOPIC_ID, 3)) == worked_example("state", "live")
    assert shared_state.decode_live(worked_example("state", "live"), 0) == (TOPIC_ID, 3)


def test_every_flipped_bit_and_every_cut_of_the_state_is_noticed():
    whole = worked_example("state")
    reserved = {5, 6, 7, *range(56, 64)}
    for size in range(len(whole)):
        assert shared_state.decode(whole[:size]) is None
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        found = shared_state.decode(bytes(damaged))
        assert found == (example_state() if bit // 8 in reserved else None), bit


@pytest.mark.parametrize("page", ["frame", "tail-page", "offset-index", "state"])
def test_format_is_pinned(page: str):
    """A change of format must be seen: it also has to raise the version in the file."""
    digests = {
        "frame": "8c80cfa04cf830760c74a428b8ef9ff0b8835e2b197886f7515f2a9e97a9e8b2",
        "tail-page": "6844cf944be0b2d4f5048e43dafa4a8996a0e18dcc3093f4132bb553557ff0b1",
        "offset-index": "e8d0b86a116221450a1dfa86916d2bee0b9b4d8bf8c54d75ff342acf882ad0ce",
        "state": "40cf21d27f6da05cfaf1e539204c0814f697a6c44b9ca58652b0affe97519e92",
    }
    assert hashlib.sha256(worked_example(page)).hexdigest() == digests[page]
