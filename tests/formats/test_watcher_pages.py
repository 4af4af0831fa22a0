"""The pages of what monitors and witnesses keep: their examples are what the code writes."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

from merkql.transparency.checkpoint import Checkpoint, parse_checkpoint
from merkql.transparency.monitor import Monitor
from merkql.transparency.note import COSIGNATURE, Note, SigningKey, parse_note, verified_by
from merkql.transparency.policy import Policy
from merkql.transparency.tiles import ENTRIES, Tile
from merkql.transparency.witness import Witness
from support.naive_tree import NaiveTree, leaf
from support.pages import PAGES, hexdump, worked_example

LOG = SigningKey("log.example", bytes(range(32)))
WITNESS = SigningKey("w1.example", bytes(range(32, 64)), COSIGNATURE)
ORIGIN = "log.example/audit/0"
TIME = 1_767_225_600
RECORDS = [b"record-%d" % number for number in range(3)]
TREE = NaiveTree([leaf(entry) for entry in RECORDS])


def signed() -> Note:
    text = Checkpoint(ORIGIN, 3, TREE.root(0, 3)).text()
    return Note(text, (LOG.named(ORIGIN).sign(text),))


class Shown:
    """A log of three entries, as its tiles are."""

    name = "/srv/www/audit/0"
    entries_from = 0

    def checkpoint(self) -> bytes:
        return signed().encode()

    def tile(self, tile: Tile) -> bytes:
        if tile.level == ENTRIES:
            return b"".join(len(entry).to_bytes(2, "big") + entry for entry in RECORDS)
        return b"".join(TREE.leaves)


def of_page(page: str, name: str, written: bytes) -> bytes:
    if os.environ.get("MERKQL_UPDATE_PAGES"):
        path = PAGES / f"{page}.md"
        text, mark = path.read_text(encoding="utf-8"), f"```hexdump {name}\n"
        begin = text.index(mark) + len(mark)
        end = text.index("```", begin)
        path.write_text(f"{text[:begin]}{hexdump(written)}\n{text[end:]}", encoding="utf-8")
    return worked_example(page, name)


def test_a_monitor_keeps_what_is_on_its_page(tmp_path: Path) -> None:
    monitor = Monitor(Policy.of_keys([LOG.verifier]), tmp_path, now_s=lambda: float(TIME))
    assert monitor.look(Shown()).alarm == ""
    state = tmp_path / f"{sha256(ORIGIN.encode()).hexdigest()}.json"
    pointer = tmp_path / f"{sha256(Shown.name.encode()).hexdigest()}.source"
    assert {state, pointer} == set(tmp_path.iterdir())
    assert of_page("monitor-state", "state", state.read_bytes()) == state.read_bytes()
    assert of_page("monitor-state", "source", pointer.read_bytes()) == pointer.read_bytes()


def test_the_monitors_page_names_every_field() -> None:
    fields = json.loads(worked_example("monitor-state", "state"))
    page = (PAGES / "monitor-state.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in fields)
    peaks = bytes.fromhex(fields["peaks"])
    assert peaks == TREE.root(0, 2) + TREE.root(2, 3)
    assert parse_note(fields["note"].encode()) == signed()


def test_a_monitor_goes_on_from_the_example(tmp_path: Path) -> None:
    for name, ending, of in (("state", "json", ORIGIN), ("source", "source", Shown.name)):
        path = tmp_path / f"{sha256(of.encode()).hexdigest()}.{ending}"
        path.write_bytes(worked_example("monitor-state", name))
    status = Monitor(Policy.of_keys([LOG.verifier]), tmp_path).look(Shown())
    assert (status.alarm, status.size_before, status.size) == ("", 3, 3)


def test_a_witness_keeps_what_is_on_its_page(tmp_path: Path) -> None:
    with Witness(WITNESS, [LOG.verifier], tmp_path, now_s=lambda: float(TIME)) as witness:
        answer = witness.add_checkpoint(b"old 0\n\n" + signed().encode())
        assert answer.status == 200
    state = tmp_path / f"{sha256(ORIGIN.encode()).hexdigest()}.checkpoint"
    assert {state, tmp_path / "lock"} == set(tmp_path.iterdir())
    example = of_page("witness-state", "state", state.read_bytes())
    assert example == state.read_bytes()
    note = parse_note(example)
    assert parse_checkpoint(note.text).size == 3
    log, own = note.signatures
    assert (log.name, own.name) == (ORIGIN, WITNESS.name)
    assert set(verified_by(note, [WITNESS.verifier])) == {WITNESS.verifier}
    assert note.encode().endswith(answer.body)
