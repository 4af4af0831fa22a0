"""Every kind of damage and forgery beside everybody who could notice: docs/damage.md, run.

Each row hurts a copy of one log; each column looks at a copy of its own and says what it saw. The
page holds the words. ``MERKQL_UPDATE_PAGES=1`` writes them anew: read the difference.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from merkql import Broker, MerkqlError, ProducerRecord, Record, UnprovenRecordError
from merkql.storage.partition import Partition
from merkql.transparency.key_file import write_key
from merkql.transparency.monitor import Monitor
from merkql.transparency.note import SigningKey
from merkql.transparency.policy import Policy
from merkql.transparency.sources import PartitionSource
from support.tampering import forge, replacing

PAGE = Path(__file__).parents[2] / "docs/damage.md"
LOG = SigningKey("log.example", bytes(range(32)))
POLICY = Policy.of_keys([LOG.verifier])
EARLIER, COUNT, HURT = 200, 300, 100
COLUMNS = ("opened to write", "read", "read with `verify`", "proof", "`verify`", "monitor")
NOTHING = "—"


class World:
    """A log of two topics under a key, an earlier copy of it, and another log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key = path / "keys/key"
        self.key.parent.mkdir()
        write_key(self.key, LOG)
        self.data, self.earlier, self.other = path / "data", path / "earlier", path / "other"
        self.write(self.data, "a", 0, EARLIER)
        shutil.copytree(self.data, self.earlier)
        self.write(self.data, "a", EARLIER, COUNT)
        self.write(self.other, "b", 0, EARLIER)
        self.write(self.other, "b", EARLIER, COUNT)
        with Broker.open(self.data, read_only=True) as broker:
            self.trusted = {}
            for topic in ("t", "u"):
                partition = broker.topic(topic).partition(0)
                self.trusted[topic, 0] = COUNT, partition.root(COUNT)
            self.records = broker.topic("t").partition(0).read_range(0, COUNT)
            self.state = path / "state"
            assert self.monitored(broker, self.state) == NOTHING

    def write(
        self, path: Path, word: str, start: int, stop: int, *, is_signed: bool = True
    ) -> None:
        with Broker.open(path, signing_key=str(self.key) if is_signed else None) as broker:
            for topic in ("t", "u"):
                if topic not in broker.topics():
                    broker.create_topic(topic, partitions=2, erasable=True)
                for part in (0, 1):
                    broker.producer().send_batch(
                        [
                            ProducerRecord(
                                topic,
                                f"{word}{topic}{part} {at:04}",
                                headers=[("name0100", b"x")] if at == HURT else [],
                                partition=part,
                                timestamp_ms=1_000_000 + at,
                            )
                            for at in range(start, stop)
                        ]
                    )

    def monitored(self, broker: Broker, state: Path) -> str:
        log = broker.topic("t")._open_log(0)
        status = Monitor(POLICY, state).look(PartitionSource(log))
        return f"{status.alarm}: {status.message}" if status.alarm else NOTHING


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


# Damage -----------------------------------------------------------------------------------------

Damage = Callable[[World, Path], None]


def flip(name: str, at: int) -> Damage:
    def damage(world: World, data: Path) -> None:
        path = data / "topics/t/0" / name
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    return damage


SEGMENT = "0" * 20 + ".log"


def rotten_value(world: World, data: Path) -> None:
    path = data / "topics/t/0" / SEGMENT
    content = path.read_bytes()
    path.write_bytes(replacing(b"at0 0100", b"at0 0110")(content))


def forged(change: Callable[[bytes], bytes]) -> Damage:
    return lambda world, data: forge(data / "topics/t/0" / SEGMENT, change)


def other_time(content: bytes) -> bytes:
    """The timestamp delta of a record, a varint before the offset delta, made another."""
    at = content.index(b"at0 0100")
    head = content.rindex(b"\x01\x10", at - 2, at)  # no key (-1), a value of 8 bytes
    begin = head - 4  # attributes, timestamp delta and offset delta of two bytes each: 100
    assert content[begin : begin + 4] == b"\xc8\x01\xc8\x01", content[begin - 4 : at]
    return content[:begin] + b"\xca\x01" + content[begin + 2 :]


def other_header(content: bytes) -> bytes:
    return replacing(b"name0100", b"nbme0100")(content)


def swapped(content: bytes) -> bytes:
    one, two, aside = b"at0 0100", b"at0 0101", b"--------"
    return content.replace(one, aside).replace(two, one).replace(aside, two)


def from_elsewhere(topic: str, part: int) -> Damage:
    """The content of the record at the same place of another partition, salt and all."""

    def damage(world: World, data: Path) -> None:
        words = b"at0 0100", f"a{topic}{part} 0100".encode()
        forge(data / "topics/t/0" / SEGMENT, replacing(*words))
        salts = [data / "topics" / place / "tree/salts" for place in ("t/0", f"{topic}/{part}")]
        ours, theirs = (bytearray(path.read_bytes()) for path in salts)
        ours[1600:1616] = theirs[1600:1616]
        salts[0].write_bytes(ours)

    return damage


def swapped_partitions(world: World, data: Path) -> None:
    zero, one, aside = (data / "topics/t" / name for name in ("0", "1", "aside"))
    zero.rename(aside)
    one.rename(zero)
    aside.rename(one)


def segment_of_another_log(world: World, data: Path) -> None:
    for name in (SEGMENT, "0" * 20 + ".index"):
        shutil.copy(world.other / "topics/t/0" / name, data / "topics/t/0" / name)


def older_copy(world: World, data: Path) -> None:
    shutil.rmtree(data)
    shutil.copytree(world.earlier, data)


def cut(name: str, size: int) -> Damage:
    return lambda world, data: os.truncate(data / "topics/t/0" / name, size)


ROWS: dict[str, Damage] = {
    "one bit in a value": rotten_value,
    "a value forged, its checksum mended": forged(replacing(b"at0 0100", b"at0 9100")),
    "a timestamp forged": forged(other_time),
    "a header's name forged": forged(other_header),
    "one bit in the index": flip("0" * 20 + ".index", 4),
    "one bit in `h00`, the leaf of the record": flip("tree/h00", 32 * HURT),
    "one bit in `h04`": flip("tree/h04", 32 * (HURT >> 4)),
    "one bit in `h08`": flip("tree/h08", 0),
    "`h00` cut in the middle": cut("tree/h00", 32 * HURT),
    "one bit in a salt": flip("tree/salts", 16 * HURT),
    "one bit in the newest checkpoint": lambda world, data: flip(
        "checkpoints", len((data / "topics/t/0/checkpoints").read_bytes().rstrip(b"\0")) - 40
    )(world, data),
    "one bit in an older checkpoint": flip("checkpoints", 40),
    "two records swapped": forged(swapped),
    "a record moved in from another partition": from_elsewhere("t", 1),
    "a record moved in from another topic": from_elsewhere("u", 0),
    "two partitions swapped whole": swapped_partitions,
    "a segment replaced by one of another log": segment_of_another_log,
    "an older copy of the directory put back": older_copy,
}


# Who looks --------------------------------------------------------------------------------------


def opened(world: World, data: Path) -> str:
    remarks: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: remarks.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("merkql.recovery")
    logger.addHandler(handler)
    try:
        keys = data.parent / "keys"
        shutil.copytree(world.key.parent, keys)  # with what the key signed last
        with Broker.open(data, signing_key=str(keys / "key")) as broker:
            broker.producer().send("t", b"more", partition=0)
    finally:
        logger.removeHandler(handler)
    return "; ".join(remarks)


def partition_of(broker: Broker) -> Partition:
    return broker.topic("t").partition(0)


def read(world: World, data: Path) -> str:
    with Broker.open(data, read_only=True) as broker:
        partition = partition_of(broker)
        return differing(world, partition.read_range(0, partition.end_offset))


def differing(world: World, records: list[Record]) -> str:
    wrong = [at for at, one in enumerate(records) if one != world.records[at]]
    return f"**hands out what was forged**, {len(wrong)}" if wrong else ""


def read_verified(world: World, data: Path) -> str:
    records: list[Record] = []
    with (
        Broker.open(data, read_only=True) as broker,
        broker.consumer("g", auto_commit=False, verify=world.trusted) as consumer,
    ):
        consumer.assign([("t", 0)])
        while some := consumer.poll():
            records += some
            assert not differing(world, records), "handed out and not what was signed"
    return ""


def prove(world: World, data: Path) -> str:
    with Broker.open(data, read_only=True) as broker:
        partition, (size, root) = partition_of(broker), world.trusted["t", 0]
        for offset in (0, HURT):
            proof = partition.proof(offset, size)
            if not proof.verify(partition.read(offset), root):
                return "the proof does not hold under a root held elsewhere"
    return ""


def verify(world: World, data: Path) -> str:
    with Broker.open(data, read_only=True) as broker:
        partition_of(broker).verify()
    return ""


def monitor(world: World, data: Path) -> str:
    """One that followed the log so far; where that has no complaint, one that begins anew."""
    state = data.parent / "state"
    shutil.copytree(world.state, state)
    with Broker.open(data, read_only=True) as broker:
        said = world.monitored(broker, state)
        if said != NOTHING:
            return said
        said = world.monitored(broker, data.parent / "new")
        return "" if said == NOTHING else f"begun anew: {said}"


LOOKS = (opened, read, read_verified, prove, verify, monitor)


def words(world: World, data: Path, look: Callable[[World, Path], str]) -> str:
    """What somebody who looks is told, without what differs from one run to the next."""
    try:
        said = look(world, data)
    except MerkqlError as error:
        kind = type(error).__name__
        said = str(error) if isinstance(error, UnprovenRecordError) else f"{kind}: {error}"
    for place in (data.parent, world.path):
        said = said.replace(f"{place}/", "")
    said = said.replace("data/topics/t/0/", "").replace("topics/t/0/", "")
    said = re.sub(r" of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "", said)
    said = said.replace("0" * 20, "0…0")
    said = re.sub(r"keys/key\.heads/[0-9a-f]{64}", "key.heads/…", said)
    said = re.sub(r"fork-[0-9a-f]{16}", "fork-…", said)
    said = re.sub(r"log\.example/[0-9a-f.]+/", "log.example/…/", said)
    return said.replace("|", "\\|") or NOTHING


def row_of(world: World, tmp_path: Path, name: str) -> list[str]:
    cells = []
    for look in LOOKS:
        place = tmp_path / look.__name__
        shutil.copytree(world.data, place / "data")
        ROWS[name](world, place / "data")
        cells.append(words(world, place / "data", look))
    return cells


# The page ---------------------------------------------------------------------------------------


def rows_of_page() -> Iterator[tuple[str, list[str]]]:
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == len(COLUMNS) + 1 and cells[0] not in ("damage", "---"):
            yield cells[0], cells[1:]


@pytest.mark.parametrize("name", ROWS)
def test_damage_is_noticed_with_the_words_of_the_page(
    name: str, world: World, tmp_path: Path
) -> None:
    cells = row_of(world, tmp_path, name)
    if os.environ.get("MERKQL_UPDATE_PAGES"):
        update(name, cells)
    assert set(cells) != {NOTHING}, "nobody notices"
    assert dict(rows_of_page())[name] == cells


def test_the_page_has_the_rows_and_nothing_more() -> None:
    assert [name for name, _ in rows_of_page()] == list(ROWS)


def update(name: str, cells: list[str]) -> None:
    known: dict[str, Any] = {**dict(rows_of_page()), name: cells}
    table = ["| " + " | ".join(("damage", *COLUMNS)) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    table += [f"| {one} | {' | '.join(known[one])} |" for one in ROWS if one in known]
    text = PAGE.read_text(encoding="utf-8")
    begin = text.index("| damage |") if "| damage |" in text else len(text)
    end = text.find("\n\n", begin)
    rest = text[end:] if end >= 0 else "\n"
    PAGE.write_text(text[:begin] + "\n".join(table) + rest, encoding="utf-8")
