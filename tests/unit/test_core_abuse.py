"""The extension, used as nobody should: wrong types everywhere, objects that turn on their users.

Goal: an exception, whatever is passed, never a crash of the interpreter and never a SystemError.
Method: every function, class and method of `merkql._core`, found by looking, is called with odd
values; what calls back changes what it was called about; threads share every object. Worth most on
the debug build and under sanitizers, which run this too (`make debug`, tools/test_sanitized.sh).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import merkql._core
from merkql import ProducerRecord
from merkql._core import merkle
from merkql._core.accumulator import RecordAccumulator
from merkql._core.batch_decoder import decode
from merkql._core.batch_encoder import encode
from merkql._core.crc32c import crc32c
from merkql._core.frontier import Frontier
from merkql._core.sha256 import leaf_hashes

CALLS = 150  # of each function
ARGUMENTS_MAX = 7


class Evil:
    """Each way it is looked at fails in another way, or takes something away."""

    def __init__(self, victim: list[Any]) -> None:
        self.victim = victim

    def __len__(self) -> int:
        self.victim.clear()
        return 1 << 40

    def __iter__(self) -> Iterator[Any]:
        self.victim.clear()
        raise RuntimeError("no")

    def __index__(self) -> int:
        self.victim.clear()
        return -(1 << 40)

    def __getitem__(self, key: Any) -> Any:
        self.victim.clear()
        return self

    def __del__(self) -> None:
        self.victim.append(self.victim)
        del self.victim[:]


def odd_values(draw: random.Random) -> list[Any]:
    victim: list[Any] = [b"v", b"v", b"v"]
    return [
        *(
            None,
            True,
            -1,
            0,
            1,
            7,
            1 << 31,
            1 << 62,
            1 << 63,
            -(1 << 63),
            1 << 70,
            1.5,
            float("nan"),
        ),
        *(
            "",
            "x",
            "\ud800",
            b"",
            b"x" * 61,
            bytes(4096),
            bytearray(b"y" * 32),
            draw.randbytes(200),
        ),
        *(memoryview(b"abcdef")[::2], memoryview(bytearray(64)), (), (b"k", b"v"), [("h", b"v")]),
        *([b"a", "b", None], {"h": b"v"}, {1: 2}, object(), type, len, Evil(victim), victim),
        *(
            lambda *a: b"x" * 32,
            lambda *a: victim.clear(),
            iter([b"x"]),
            range(3),
            RecordAccumulator(0),
        ),
        *(Frontier(), ProducerRecord("t", b"v"), slice(1), NotImplemented),
    ]


def core_modules() -> list[ModuleType]:
    names = [one.name for one in pkgutil.iter_modules(merkql._core.__path__)]
    return [importlib.import_module(f"merkql._core.{name}") for name in names]


def callables(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, one in vars(module).items():
        if callable(one) and getattr(one, "__module__", None) == module.__name__:
            yield f"{module.__name__}.{name}", one


def abuse(name: str, work: Callable[..., Any], draw: random.Random) -> list[Any]:
    """Call it with anything; what it returned."""
    made = []
    for _ in range(CALLS):
        values = odd_values(draw)
        arguments = draw.choices(values, k=draw.randrange(ARGUMENTS_MAX))
        try:
            made.append(work(*arguments))
        except SystemError as error:
            raise AssertionError(f"{name}{arguments!r}") from error
        except Exception:
            continue
    return made


@pytest.mark.parametrize("module", core_modules(), ids=lambda one: one.__name__.split(".")[-1])
def test_anything_passed_anywhere_is_at_most_an_exception(module: ModuleType) -> None:
    draw = random.Random(module.__name__)
    for name, one in callables(module):
        made = abuse(name, one, draw)
        if not inspect.isclass(one) or issubclass(one, BaseException):
            continue
        try:
            made.append(one.__new__(one))  # never initialised
        except TypeError:
            pass
        for instance in made[-3:]:
            for method in dir(instance):
                if method in ("__class__", "__init_subclass__", "__subclasshook__"):
                    continue
                try:
                    found = getattr(instance, method)
                except Exception:
                    continue
                if callable(found):
                    abuse(f"{name}.{method}", found, draw)


def test_a_buffer_in_use_may_be_changed_and_not_taken_away() -> None:
    """The checksums release the GIL: what is read then may change, its memory may not go."""
    data, ends = bytearray(1 << 20), threading.Event()

    def change() -> None:
        while not ends.is_set():
            data[0] ^= 1
            try:
                data.extend(b"x")
                del data[-1:]
            except BufferError:
                continue

    thread = threading.Thread(target=change)
    thread.start()
    for _ in range(50):
        assert 0 <= crc32c(data) < 1 << 32
        assert len(leaf_hashes(bytes(49 * 100))) == 3200
    ends.set()
    thread.join()


def test_many_threads_on_each_object_leave_it_whole() -> None:
    accumulator, frontier = RecordAccumulator(0), Frontier()
    records: list[Any] = []
    filled = RecordAccumulator(0)
    filled.extend_values([b"%d" % n for n in range(500)])
    batch = encode([filled], 0, batch_size_bytes=1 << 20)

    def work(number: int) -> None:
        for n in range(200):
            accumulator.add(b"k", b"%d" % n, [("h", b"v")], n)
            len(accumulator), accumulator.size_bytes
            frontier.append(bytes([number]) * 32)
            frontier.root(), frontier.peaks, frontier.copy()
            decode(
                batch.data, "t", 0, first_offset=0, stop_offset=500, max_records=7, records=records
            )
            if n % 20 == 0:
                records.clear()

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accumulator) == 800
    assert frontier.size == 800


def test_what_calls_back_may_change_what_it_was_called_about() -> None:
    accumulator = RecordAccumulator(0)

    class Header(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            accumulator.add(b"k", b"inner", (), 1)
            self.clear()
            return super().__iter__()

    class Values(list[Any]):
        def __getitem__(self, at: Any) -> Any:
            self.clear()
            return b""

    for headers in (Header([("a", b"b")]), Header()):
        try:
            accumulator.add(b"k", b"outer", headers, 1)
        except (TypeError, ValueError, RuntimeError):
            continue
    for values in (Values([b"1", b"2"]), [b"1", Evil([b"x"]), b"2"]):
        try:
            accumulator.extend_values(values)
        except (TypeError, ValueError, RuntimeError):
            continue
    data = encode([accumulator], 0, batch_size_bytes=1 << 20)
    assert data.count == len(accumulator)

    hashes: list[bytes] = [bytes(32)] * 8

    def read(requests: list[Any]) -> list[bytes]:
        answer = [bytes(32 * count) for _, _, count in requests]
        requests.clear()
        merkle.root_at(5, lambda again: [bytes(32 * count) for _, _, count in again])
        hashes.clear()
        return answer

    for size in (1, 5, 8, 1000):
        assert len(merkle.root_at(size, read)) == 32
