"""verify and dump: what is sound is shown, what is damaged is named with its place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from merkql import Broker, MerkqlError
from support.command import merkql, refused
from support.damage import append_garbage, flip_byte, shorten

SEGMENT = "topics/t/0/00000000000000000000.log"
INDEX = "topics/t/0/00000000000000000000.index"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Topic `t` of two partitions and several segments, an erasable one, a group; closed."""
    directory = tmp_path_factory.mktemp("whole") / "log"
    with Broker.open(directory) as broker:
        broker.create_topic("t", partitions=2, segment_bytes=8192)
        broker.create_topic("secret", erasable=True)
        producer = broker.producer()
        for start in range(0, 300, 10):
            values = [b"%d " % i + b"x" * 60 for i in range(start, start + 10)]
            producer.send_values("t", values, partition=0)
        producer.send("t", b"one", key=b"k", partition=1, headers=[("h", b"v")])
        producer.send("secret", b"s")
        with broker.consumer("g") as consumer:
            consumer.subscribe(["t"])
            consumer.poll()
            consumer.commit_sync()
            consumer.poll()
            consumer.commit_sync()
    return directory


@pytest.fixture
def log(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "log"))


def found(directory: Path, *words: object) -> list[dict[str, object]]:
    """The damage that verify lists, as a program reads it."""
    done = merkql(directory, "verify", "--json", *words)
    damage = [row for row in map(json.loads, done.lines) if row["damage"] is not None]
    assert done.status == (3 if damage else 0)
    return damage


def test_a_sound_directory(log: Path) -> None:
    done = merkql(log, "verify")
    assert done.status == 0
    assert [line.split()[:3] for line in done.lines] == [
        ["ok", "secret/0", "1"],
        ["ok", "t/0", "300"],
        ["ok", "t/1", "1"],
    ]
    assert done.err.startswith("merkql: 3 partitions with 302 records sound in ")
    assert merkql(".", "verify", log, "-q").out == b""
    rows = [json.loads(line) for line in merkql(log, "verify", "-t", "t", "-p", 0, "-J").lines]
    with Broker.open(log, read_only=True) as broker:
        root = broker.topic("t").partition(0).root().hex()
    assert [(row["records"], row["root"], row["damage"]) for row in rows] == [(300, root, None)]


def damage_batch(log: Path) -> None:
    flip_byte(log / SEGMENT, 100)


def damage_two_batches(log: Path) -> None:
    flip_byte(log / SEGMENT, 100)
    flip_byte(max((log / "topics/t/0").glob("*.log")), 100)


def damage_index(log: Path) -> None:
    flip_byte(log / INDEX, 30)


def damage_hash(log: Path) -> None:
    flip_byte(log / "topics/t/0/tree/h00", 40)


def lose_segment(log: Path) -> None:
    sorted((log / "topics/t/0").glob("*.log"))[1].unlink()


def lose_partition(log: Path) -> None:
    shutil.rmtree(log / "topics/t/1")


def damage_topic(log: Path) -> None:
    shorten(log / "topics/t/topic.json", 5)


def damage_offsets(log: Path) -> None:
    (log / "groups/g/offsets").write_bytes(b"\xff" * 8192)


def damage_state(log: Path) -> None:
    shorten(log / "groups/g/assignment", 5)


CASES: list[tuple[Callable[[Path], None], list[str], bool]] = [
    (damage_batch, [SEGMENT], False),
    (damage_two_batches, [SEGMENT, "topics/t/0/"], False),
    (damage_index, [INDEX], True),
    (damage_hash, ["tree/h00"], True),
    (lose_segment, ["topics/t/0/"], False),
    (lose_partition, ["topics/t/1"], False),
    (damage_topic, ["topics/t/topic.json"], False),
    (damage_offsets, ["groups/g/offsets"], False),
    (damage_state, ["groups/g/assignment"], False),
]


@pytest.mark.parametrize(
    ("damage", "paths", "is_derived"), CASES, ids=[case[0].__name__ for case in CASES]
)
def test_damage_is_listed_and_the_rest_is_verified(
    log: Path, damage: Callable[[Path], None], paths: list[str], is_derived: bool
) -> None:
    damage(log)
    rows = found(log)
    assert len(rows) == len(paths), rows
    for row, path in zip(rows, paths, strict=True):
        assert path in str(row["path"])
    done = merkql(log, "verify")
    assert done.status == 3
    assert "ok      secret/0" in done.lines[0]
    assert sum(line.startswith("damaged ") for line in done.lines) == len(paths)
    if is_derived:
        assert any("--repair" in line for line in done.lines)
        repaired = merkql(log, "verify", "--repair")
        assert repaired.status == 0
        assert "warning" in repaired.err
        assert found(log) == []


def test_repair_changes_no_record_that_is_damaged(log: Path) -> None:
    damage_batch(log)
    before = (log / SEGMENT).read_bytes()
    assert merkql(log, "verify", "--repair").status == 3
    assert (log / SEGMENT).read_bytes() == before


def test_a_damaged_mark_is_one_line(log: Path) -> None:
    (log / "merkql.json").write_text("{}")
    done = refused(log, "verify")
    assert done.status == 3
    assert "merkql.json" in done.err


def test_a_durable_group_missing_from_the_write_ahead_log(log: Path) -> None:
    """A process died; the frame it had promised is gone."""
    broker = Broker.open(log)
    producer = broker.producer()
    for _ in range(3):
        producer.send("t", b"promised", partition=1)
    copy = shutil.copytree(log, log.with_name("crashed"))
    broker.close()
    assert found(copy) == []
    wal = min((copy / "wal").iterdir())
    frame = wal.read_bytes().index(b"promised")
    flip_byte(wal, frame)
    with pytest.raises(MerkqlError):
        Broker.open(copy)
    (row,) = found(copy)
    assert row["path"] == str(wal)
    dumped = merkql(copy, "dump", wal)
    assert dumped.status == 3
    assert "torn or damaged" in dumped.out.decode()


# dump


def dumped(path: Path, *words: object) -> list[dict[str, object]]:
    done = merkql(".", "dump", "--json", *words, path)
    rows = [json.loads(line) for line in done.lines]
    assert done.status == (3 if any(row["problem"] for row in rows) else 0)
    assert done.err == ""
    return rows


def test_every_file_of_a_sound_directory_is_shown(log: Path) -> None:
    files = [path for path in log.rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        for words in ((), ("--records",)):
            rows = dumped(path, *words)
            assert rows, path
            done = merkql(".", "dump", path, *words)
            assert (done.status, done.err) == (0, "")
            assert done.lines[0].startswith(f"{path}: ")


def test_dump_kept_every_file_it_had_shown_open(log: Path) -> None:
    before = os.listdir("/proc/self/fd")
    merkql(".", "dump", *[path for path in log.rglob("*") if path.is_file()])
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_segment_by_batch_and_by_record(log: Path) -> None:
    batches = dumped(log / SEGMENT)
    assert {row["what"] for row in batches} == {"batch"}
    assert batches[1]["offset"] == batches[0]["records"] == 10
    assert batches[1]["position"] == batches[0]["size"]
    (row,) = [
        row
        for row in dumped(log / "topics/t/1/00000000000000000000.log", "-r")
        if row["what"] == "record"
    ]
    assert (row["key"], row["value"]) == ("k", "one")
    assert row["headers"] == [{"name": "h", "value": "v"}]


def test_a_segment_is_shown_on_both_sides_of_damage(log: Path) -> None:
    batches = dumped(log / SEGMENT)
    flip_byte(log / SEGMENT, int(str(batches[2]["position"])) + 100)
    rows = dumped(log / SEGMENT)
    assert [row["offset"] for row in rows if row["what"] == "batch"] == [
        row["offset"] for i, row in enumerate(batches) if i != 2
    ]
    (wrong,) = [row for row in rows if row["problem"]]
    assert wrong["position"] == batches[2]["position"]
    assert wrong["size"] == batches[2]["size"]
    assert "offsets 20 to 29 cannot be read" in str(wrong["problem"])


def test_a_file_that_lost_its_name(log: Path, tmp_path: Path) -> None:
    rescued = tmp_path / "rescued.bin"
    shutil.copy(sorted((log / "topics/t/0").glob("*.log"))[1], rescued)
    assert "--as KIND" in refused(".", "dump", rescued).err
    rows = dumped(rescued, "--as", "segment")
    assert rows[0]["what"] == "batch"
    assert int(str(rows[0]["offset"])) > 0


def test_index_entries_that_do_not_check_out(log: Path) -> None:
    flip_byte(log / INDEX, 24 + 9)
    shorten(log / INDEX, 3)
    rows = dumped(log / INDEX)
    assert [(row["what"], row["position"]) for row in rows if row["problem"]] == [
        ("entry", 24),
        ("damage", (log / INDEX).stat().st_size // 24 * 24),
    ]


def test_offsets_with_one_torn_slot(log: Path) -> None:
    path = log / "groups/g/offsets"
    rows = dumped(path)
    assert {row["what"] for row in rows} >= {"slot", "offset"}
    assert {row["topic"] for row in rows if row["what"] == "offset"} == {"t"}
    flip_byte(path, 50)
    wrong = [row for row in dumped(path) if row["problem"]]
    assert [row["position"] for row in wrong] == [0]


@pytest.mark.parametrize(
    "name",
    [
        *(SEGMENT, INDEX, "topics/t/0/tail", "topics/t/topic.json", "merkql.json", "clean"),
        *("groups/g/offsets", "groups/g/assignment", "groups/g/lock", "topics/t/0/tree/h00"),
        "topics/secret/0/tree/salts",
    ],
)
@pytest.mark.parametrize("hurt", ["cut", "empty", "noise", "zeros", "longer"])
def test_no_damage_stops_dump(log: Path, name: str, hurt: str) -> None:
    path = log / name
    content = path.read_bytes()
    if hurt == "cut":
        shorten(path, 1 + len(content) // 3)
    elif hurt == "longer":
        append_garbage(path, b"\x00\xfe" * 50)
    else:
        junk = {"empty": b"", "noise": b"\x9e\x00\xff" * 999, "zeros": bytes(len(content))}
        path.write_bytes(junk[hurt])
    for words in ((), ("-r",)):
        dumped(path, *words)
        assert merkql(".", "dump", path, *words).status in (0, 3)


def test_a_terminal_is_not_acted_on_by_a_dump(log: Path) -> None:
    with Broker.open(log) as broker:
        broker.producer().send("t", b"\x1b]0;title\x07\nnext", partition=1)
    done = merkql(".", "dump", "-r", log / "topics/t/1/00000000000000000000.log")
    assert b"\x1b" not in done.out
    assert b"\\x1b]0;title\\x07\\nnext" in done.out


def test_what_is_no_file_of_ours(log: Path) -> None:
    assert "a directory" in refused(".", "dump", log).err
    assert "No such file" in refused(".", "dump", log / "topics/t/0/tale").err
    assert "--as KIND" in refused(".", "dump", __file__).err
    assert "FILE" in refused(".", "dump").err
