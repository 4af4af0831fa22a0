"""Files of ours whose checksums are right and whose numbers are not: somebody who can compute them.

Goal: never a hang, never memory for what is not there, never an error of our own making; records
that are sound are never served wrong. Method: each number of each small file in turn is replaced,
the checksum mended, and everything done that one does with a log.
"""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crash.test_hostile_directories import bounded, build, use
from merkql import groups
from merkql._core import frame
from merkql.storage import directory, offset_index, shared_state, start_file, tail_page
from merkql.storage.directory import read_mark
from merkql.storage.files import Files

__all__ = ["bounded"]  # the fixture

FEW = ((1 << 64) - 1,)
MANY = (1, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 62) + 1, 1 << 63, (1 << 64) - 1)
PAGE = [one.name for one in dataclasses.fields(tail_page.TailState) if one.type in ("int", int)]
STATE = [
    one.name for one in dataclasses.fields(shared_state.SharedState) if one.type in ("int", int)
]
FRAME = ("epoch", "sequence", "durable_sequence", "floor_sequence")
SECTION = ("first_offset", "record_count")

Lie = Callable[[Path, int], None]


def page(name: str, topic: str, root: Path, number: int) -> None:
    path = root / f"topics/{topic}/0/tail"
    state = tail_page.decode(path.read_bytes())
    assert state is not None
    changes: dict[str, object] = {name: number}
    if name == "end_offset":
        changes["peaks"] = bytes(32 * number.bit_count())
    if name == "largest_timestamp_ms":
        changes[name] = number % (1 << 63)
    path.write_bytes(tail_page.encode(dataclasses.replace(state, **changes)))  # type: ignore[arg-type]


def state(name: str, root: Path, number: int) -> None:
    path = root / "state"
    found = shared_state.decode(path.read_bytes())
    assert found is not None
    if name in ("process", "next_number", "live_count"):
        number %= 1 << 32
    path.write_bytes(shared_state.encode(dataclasses.replace(found, **{name: number})))


def start(root: Path, number: int) -> None:
    (root / "topics/t/0/start").write_bytes(start_file.encode_start(number))


def clean_mark(root: Path, number: int) -> None:
    (root / "clean").write_bytes(directory.encode_clean(number))


def committed(root: Path, number: int) -> None:
    path = root / "groups/g/offsets"
    found = groups.decode_slot(path.read_bytes()[:4096], 4096)
    assert found is not None
    offsets = {place: one._replace(offset=number) for place, one in found[1].items()}
    path.write_bytes(groups.encode_slot(found[0], offsets, 4096))


def commit_sequence(root: Path, number: int) -> None:
    path = root / "groups/g/offsets"
    found = groups.decode_slot(path.read_bytes()[:4096], 4096)
    assert found is not None
    path.write_bytes(groups.encode_slot(number, found[1], 4096))


def index(field: int, root: Path, number: int) -> None:
    sizes = (64, 32, 63)
    for path in root.glob("topics/t/0/*.index"):
        entries = [entry for entry, _ in offset_index.decode_entries(path.read_bytes())]
        numbers = list(entries[0])
        numbers[field] = number % (1 << sizes[field])
        entries[0] = offset_index.IndexEntry(*numbers)
        path.write_bytes(b"".join(map(offset_index.encode_entry, entries)))


def frames(root: Path, change: Callable[[frame.Frame], frame.Frame]) -> None:
    """Change the third frame there is."""
    seed = read_mark(Files(), str(root)).seed
    path = min((root / "wal").glob("*.wal"))
    data, position, found = bytearray(path.read_bytes()), 0, []
    while (one := frame.decode(data[position:], position, seed)) is not None:
        found.append(one)
        position = one.next_position
    changed = b"".join(map(bytes, frame.encode(change(found[2]), seed)))
    data[found[2].position : found[2].position + len(changed)] = changed
    path.write_bytes(data)


def frame_header(name: str, root: Path, number: int) -> None:
    frames(root, lambda one: one._replace(**{name: number}))


def frame_section(name: str, root: Path, number: int) -> None:
    number %= 1 << (32 if name == "record_count" else 64)
    frames(
        root,
        lambda one: one._replace(
            sections=tuple(section._replace(**{name: number}) for section in one.sections)
        ),
    )


def lies(*, clean: bool) -> Iterator[tuple[str, Lie]]:
    """Each number of each file, by name."""
    for name, topic in itertools.product(PAGE, ("t", "fine")):
        yield f"page {name}", lambda *a, n=name, t=topic: page(n, t, *a)
    for name in () if clean else STATE:
        yield f"state {name}", lambda *a, n=name: state(n, *a)
    for field in range(3):
        yield f"index {field}", lambda *a, f=field: index(f, *a)
    for name in () if clean else FRAME:
        yield f"frame {name}", lambda *a, n=name: frame_header(n, *a)
    for name in () if clean else SECTION:
        yield f"section {name}", lambda *a, n=name: frame_section(n, *a)
    for lie in (start, clean_mark, committed, commit_sequence):
        yield lie.__name__, lie


@pytest.fixture
def root() -> Iterator[Path]:
    """In memory where there is some: every use of the log syncs."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as path:
        yield Path(path)


@pytest.mark.parametrize("clean", [True, False], ids=["closed", "crashed"])
@pytest.mark.parametrize(
    "numbers", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_numbers_that_check_out_and_lie(root: Path, numbers: tuple[int, ...], clean: bool) -> None:
    build(root / "before", clean=clean)
    for (name, lie), number in itertools.product(lies(clean=clean), numbers):
        for read_only in (True, False) if number == numbers[-1] else (False,):
            signal.alarm(20)  # for each
            shutil.copytree(root / "before", root / "after")
            lie(root / "after", number)
            try:
                use(root / "after", read_only=read_only)
            except Exception as error:
                raise AssertionError(f"{name} {number}, read_only={read_only}") from error
            shutil.rmtree(root / "after")
