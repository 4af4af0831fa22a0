"""The table of docs/reference/bad-input.md: each row a test, by its number.

Every refusal names the thing and the way out; nothing is written and nothing is lost by it.
"""

from __future__ import annotations

import copy
import errno
import json
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from merkql import (
    Broker,
    BrokerConfig,
    ClosedError,
    CorruptionError,
    DirectoryLockedError,
    FormatError,
    OffsetOutOfRangeError,
    ProducerRecord,
    ReadOnlyError,
    Record,
    RecordMetadata,
    RecordTooLargeError,
    RetentionConfig,
    TopicExistsError,
    UnknownPartitionError,
    UnknownTopicError,
)
from merkql.storage.files import explaining_unwritable
from support import children
from support.faulty_files import FullDisk

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "bad-input.md"
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
ROWS = {int(number): row for number, *row in ROW.findall(PAGE.read_text(encoding="utf-8"))}
CASES: dict[int, Callable[[Broker], object]] = {}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker.open(tmp_path / "data", auto_create_topics=False) as broker:
        broker.create_topic("t", partitions=2, segment_bytes=4096)
        broker.producer().send("t", b"kept", partition=0)
        yield broker


def files_below(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def case(number: int) -> Callable[[Callable[[Broker], object]], Callable[[Broker], object]]:
    def register(function: Callable[[Broker], object]) -> Callable[[Broker], object]:
        assert number not in CASES
        CASES[number] = function
        return function

    return register


def sends(number: int, *arguments: object, **options: object) -> None:
    CASES[number] = lambda broker: broker.producer().send(*arguments, **options)  # type: ignore[arg-type]


def creates(number: int, *arguments: object, **options: object) -> None:
    CASES[number] = lambda broker: broker.create_topic(*arguments, **options)  # type: ignore[arg-type]


def reads(number: int, method: str, *arguments: object) -> None:
    CASES[number] = lambda broker: getattr(broker.topic("t").partition(0), method)(*arguments)


# Arguments of a record
sends(1, "t", 5)
sends(2, "t", b"v", key=1.5)
sends(3, "t", b"v", headers=[("h",)])
sends(4, "t", b"v", headers=[(b"h", b"x")])
sends(5, "t", b"v", headers=[("h", 1)])
sends(6, "t", b"v", headers=5)
sends(7, "t", b"v", timestamp_ms="now")
sends(8, "t", b"v", timestamp_ms=1 << 63)
sends(9, "t", b"v", partition=2)
sends(10, "t", b"v", partition=-1)
sends(11, "t", b"v", partition="0")
sends(12, "unknown", b"v")
sends(13, "t", b"v" * 5000)
sends(14, ProducerRecord("t", b"v"), b"w")
sends(15, None, b"v")


@case(16)
def _(broker: Broker) -> object:
    return broker.producer().send_batch([b"v"])  # type: ignore[list-item]


@case(17)
def _(broker: Broker) -> object:
    return broker.producer().send_values("t", [b"a", 5, b"c"], partition=0)  # type: ignore[list-item]


@case(18)
def _(broker: Broker) -> object:
    return broker.producer().send_values("t", [b"a"], keys=[b"a", b"b"])


@case(19)
def _(broker: Broker) -> object:
    return broker.producer(partitioner="murmur2")  # type: ignore[arg-type]


@case(20)
def _(broker: Broker) -> object:
    return broker.producer(partitioner=lambda key, count: count).send("t", b"v", key=b"k")


def sends_values(number: int, **options: object) -> None:
    CASES[number] = lambda broker: broker.producer().send_values("t", [b"a", b"b"], **options)  # type: ignore[arg-type]


sends_values(21, keys="ab")
sends_values(22, keys=(key for key in (b"a", b"b")))
sends_values(23, timestamps_ms=5)
CASES[24] = lambda broker: broker.producer().flush(-1)
CASES[25] = lambda broker: broker.producer().flush("x")  # type: ignore[arg-type]
CASES[26] = lambda broker: broker.producer().flush(math.nan)

CASES[27] = lambda broker: Record("t", 0, 1.5, 0, None, None)  # type: ignore[arg-type]
CASES[28] = lambda broker: RecordMetadata("t", 0, 1 << 63, 0)

# Names
creates(30, "..")
creates(31, "a/b")
creates(32, "a\0b")
creates(33, "a" * 250)
creates(34, "")
creates(35, "tÿpe")
creates(36, b"t")
creates(37, "t")
CASES[38] = lambda broker: broker.topic("nowhere")
CASES[39] = lambda broker: broker.delete_topic("nowhere")
CASES[40] = lambda broker: broker.consumer("../group")
CASES[41] = lambda broker: broker.consumer("g").subscribe("t")
CASES[42] = lambda broker: broker.consumer("g").assign([("t", 7)])
CASES[43] = lambda broker: broker.delete_topic(None)  # type: ignore[arg-type]
CASES[44] = lambda broker: broker.delete_topic([])  # type: ignore[arg-type]
CASES[45] = lambda broker: broker.consumer("g").assign(None)  # type: ignore[arg-type]

# Numbers and options
creates(50, "n", partitions=0)
creates(51, "n", partitions=1 << 40)
creates(52, "n", segment_bytes=1)
creates(53, "n", segment_bytes=1 << 40)
creates(54, "n", durability="paper")
creates(55, "n", compression="zip")
creates(56, "n", partitions=True)
creates(57, "n", retention=5)
creates(58, "n", colour="red")
CASES[59] = lambda broker: RetentionConfig(max_records=0)
CASES[60] = lambda broker: RetentionConfig(max_bytes=-1)
CASES[61] = lambda broker: RetentionConfig(max_age_ms=1.5)  # type: ignore[arg-type]
CASES[62] = lambda broker: broker.topic("t").add_partitions(1)
CASES[63] = lambda broker: broker.topic("t").partition(2)
CASES[64] = lambda broker: broker.consumer("g", offset_reset="middle")
CASES[65] = lambda broker: broker.consumer("g").poll(timeout=-1)
CASES[66] = lambda broker: broker.consumer("g").poll(max_records=0)
CASES[67] = lambda broker: broker.consumer("g", clock=5)  # type: ignore[arg-type]
CASES[68] = lambda broker: RetentionConfig(max_records=1 << 70)
CASES[69] = lambda broker: BrokerConfig("data", writer_timeout=math.inf)

# Offsets and proofs
reads(70, "read", 1)
reads(71, "read", -1)
reads(72, "read", "0")
reads(73, "read_range", 0, 2)
reads(74, "root", 2)
reads(75, "proof", 1)
reads(76, "consistency_proof", 0)
reads(77, "find", b"short")
reads(80, "offset_for_timestamp", True)
for number, given in ((81, 5), (82, None)):
    CASES[number] = lambda broker, given=given: (  # type: ignore[misc]
        broker.topic("t").partition(0).proof(0).verify(given)
    )
for number, given in ((83, 5), (84, [{}])):
    CASES[number] = lambda broker, given=given: (  # type: ignore[misc]
        broker.topic("t").partition(0).prove_range(0, 1).verify(given)
    )

reads(85, "salts", "0", 1)
reads(86, "salts", 0, 2)
reads(87, "verify", 5)
reads(88, "evidence", 0, 1, b"evidence.zip")
reads(89, "keep", 5)


@case(78)
def _(broker: Broker) -> object:
    consumer = broker.consumer("g")
    consumer.assign([("t", 0)])
    return consumer.commit_sync({("t", 0): 2})


@case(79)
def _(broker: Broker) -> object:
    consumer = broker.consumer("g")
    consumer.assign([("t", 0)])
    return consumer.commit_sync({("t", 0): -1})


@pytest.mark.parametrize("number", sorted(CASES))
def test_refused_with_a_word_and_without_a_trace(broker: Broker, number: int) -> None:
    assert number in ROWS, f"row {number} is missing in {PAGE.name}"
    _, error, words = ROWS[number]
    topics = Path(broker._directory, "topics")
    before = files_below(topics)
    with pytest.raises(Exception) as caught:  # the table says which
        CASES[number](broker)
    assert type(caught.value).__name__ == error.strip("`")
    assert re.search(words.strip("`"), str(caught.value)), str(caught.value)
    assert files_below(topics) == before
    assert broker.producer().send("t", b"goes on", partition=0).offset == 1


# Directories


def refusal(number: int, work: Callable[[], object]) -> None:
    """``work`` raises what the row says."""
    _, error, words = ROWS[number]
    with pytest.raises(Exception) as caught:  # the table says which
        work()
    assert type(caught.value).__name__ == error.strip("`")
    assert re.search(words.strip("`"), str(caught.value)), str(caught.value)


def test_90_directory_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    refusal(90, lambda: Broker.open(path))
    assert path.read_text() == "mine"


def test_91_directory_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    refusal(91, lambda: Broker.open(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_92_directory_of_a_newer_format(tmp_path: Path) -> None:
    Broker.open(tmp_path).close()
    mark = tmp_path / "merkql.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "format": 99}))
    refusal(92, lambda: Broker.open(tmp_path))


def test_93_directory_that_another_process_writes(tmp_path: Path) -> None:
    holder = """
import sys
from merkql import Broker
with Broker.open(sys.argv[1], exclusive=True) as broker:
    print("open", flush=True)
    sys.stdin.readline()
"""
    with children.start(holder, tmp_path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        refusal(93, lambda: Broker.open(tmp_path))
        with pytest.raises(DirectoryLockedError, match=f"process {child.pid}"):
            Broker.open(tmp_path)
        child.communicate("\n")
    Broker.open(tmp_path).close()


def test_94_directory_that_another_broker_here_writes(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        refusal(94, lambda: Broker.open(tmp_path, exclusive=True))
        assert broker.producer().send("t", b"x").offset == 0


def test_95_directory_that_may_not_be_written(tmp_path: Path) -> None:
    """As root nothing is forbidden, so this runs as nobody where it can."""
    data = tmp_path / "data"
    Broker.open(data).close()
    program = """
import os, sys
from merkql import Broker
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
try:
    Broker.open(sys.argv[1])
except OSError as error:
    print(type(error).__name__, error)
"""
    for path in [data, *data.parents]:
        if path.is_relative_to(tmp_path):
            path.chmod(0o755)
    os.chmod(data / "lock", 0o444)
    os.chmod(data / "merkql.json", 0o444)
    with pytest.MonkeyPatch.context():
        output = subprocess.run(
            [sys.executable, "-c", program, str(data)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
    if output.returncode:
        pytest.skip("the interpreter or the temporary directory cannot be read as nobody")
    assert output.stdout.startswith("PermissionError")
    assert str(data) in output.stdout


def test_a_file_that_may_not_be_written_passed_for_its_directory(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    with (
        pytest.raises(PermissionError, match="or not its file 'lock'; read instead"),
        explaining_unwritable(str(tmp_path), "read instead"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied", str(lock))


def test_96_directory_that_is_not_there_for_a_reader(tmp_path: Path) -> None:
    refusal(96, lambda: Broker.open(tmp_path / "nowhere", read_only=True))
    assert not (tmp_path / "nowhere").exists()


def test_97_directory_without_its_mark(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        broker.producer().send("t", b"x")
    (tmp_path / "merkql.json").unlink()
    refusal(97, lambda: Broker.open(tmp_path))


def test_98_disk_is_full(tmp_path: Path) -> None:
    files = FullDisk()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        broker.producer().send("t", b"kept")
        files.arm(0)
        refusal(98, lambda: broker.producer().send("t", b"x" * (1 << 20)))
        assert broker.topic("t").partition(0).read(0).value == b"kept"
        files.heal()
        assert broker.producer().send("t", b"x" * (1 << 20)).offset == 1


def test_99_writing_read_only(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        broker.producer().send("t", b"x")
    with Broker.open(tmp_path, read_only=True) as broker:
        refusal(99, broker.producer)
        for work in (
            lambda: broker.create_topic("new"),
            lambda: broker.delete_topic("t"),
            lambda: broker.topic("t").add_partitions(3),
            lambda: broker.topic("t").alter(retention=RetentionConfig()),
            lambda: broker.topic("t").partition(0).compact(),
            broker.apply_retention,
        ):
            with pytest.raises(ReadOnlyError):
                work()


def test_100_after_close(tmp_path: Path) -> None:
    broker = Broker.open(tmp_path)
    producer, consumer = broker.producer(), broker.consumer("g")
    producer.send("t", b"x")
    topic = broker.topic("t")
    partition = topic.partition(0)
    broker.close()
    refusal(100, lambda: producer.send("t", b"x"))
    for work in (
        lambda: broker.topic("t"),
        broker.topics,
        broker.producer,
        consumer.poll,
        lambda: partition.read(0),
        lambda: partition.read_range(0, 1),
        lambda: partition.fetch(0),
        partition.root,
        lambda: partition.proof(0),
        lambda: partition.end_offset,
        lambda: partition.start_offset,
        partition.verify,
        partition.salvage,
        partition.compact,
        lambda: partition.offset_for_timestamp(0),
        partition.checkpoints,
        lambda: topic.alter(durability="disk"),
        lambda: topic.add_partitions(2),
        lambda: broker.create_topic("n"),
        lambda: broker.ensure_topic("t"),
        lambda: broker.delete_topic("t"),
        broker.groups,
        broker.apply_retention,
        broker.__enter__,
        producer.__enter__,
        consumer.__enter__,
    ):
        with pytest.raises(ClosedError):
            work()


def test_101_config_with_options(tmp_path: Path) -> None:
    refusal(101, lambda: Broker.open(BrokerConfig(tmp_path), read_only=True))
    refusal(102, lambda: Broker.open(tmp_path, colour="red"))
    refusal(103, lambda: BrokerConfig(tmp_path, default_partitions=0))
    refusal(104, lambda: BrokerConfig(5))  # type: ignore[arg-type]
    refusal(106, lambda: Broker("./events"))  # type: ignore[arg-type]


def test_107_copies(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        delivery = producer.send_nowait("t", b"x")
        topic = broker.topic("t")
        ours = (broker, producer, delivery, topic, topic.partition(0), broker.consumer("g"))
        for one in ours:
            refusal(107, partial(pickle.dumps, one))
            refusal(107, partial(copy.copy, one))
            refusal(107, partial(copy.deepcopy, one))
        assert delivery.result(20).offset == 0


def test_105_names_that_differ_by_case_only_on_a_folding_file_system(tmp_path: Path) -> None:
    """Where the file system folds names, the second topic's directory is the first's."""

    class FoldingFiles(FullDisk):
        def status(self, path: str) -> os.stat_result | None:
            folded = os.path.join(os.path.dirname(path), os.path.basename(path).lower())
            return super().status(folded) or super().status(path)

    with Broker(BrokerConfig(tmp_path), FoldingFiles()) as broker:
        broker.create_topic("orders")
        refusal(105, lambda: broker.create_topic("Orders"))
        assert broker.topics() == ["orders"]


def test_every_row_is_a_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    tested = set(CASES) | {int(number) for number in re.findall(r"refusal\((\d+),", source)} | {95}
    assert set(ROWS) == tested


def test_names_used_above_are_what_the_page_says() -> None:
    """The page names only errors that exist."""
    known = {
        CorruptionError,
        DirectoryLockedError,
        FormatError,
        OffsetOutOfRangeError,
        RecordTooLargeError,
        TopicExistsError,
        UnknownPartitionError,
        UnknownTopicError,
        ReadOnlyError,
        ClosedError,
        TypeError,
        ValueError,
        OSError,
        NotADirectoryError,
        PermissionError,
    }
    assert {error.strip("`") for _, error, _ in ROWS.values()} <= {e.__name__ for e in known}


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    """A link planted in the place of a file of ours is refused, and its target is untouched."""
    with Broker.open(tmp_path / "data") as broker:
        broker.producer().send("t", b"x")
    segment = tmp_path / "data/topics/t/0/00000000000000000000.log"
    target = tmp_path / "target"
    shutil.move(segment, target)
    segment.symlink_to(target)
    before = target.read_bytes()
    with Broker.open(tmp_path / "data") as broker, pytest.raises((OSError, CorruptionError)):
        broker.producer().send("t", b"y")
    assert target.read_bytes() == before
