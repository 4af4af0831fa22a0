"""The programs of docs/guide/processes.md, run as the page says, with real servers and forks."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest

from merkql import Broker

PAGE = Path(__file__).parents[2] / "docs/guide/processes.md"
PROGRAM = re.compile(r"^```py\n# ([\w.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the page's programs, and the log they expect."""
    for name, text in PROGRAM.findall(PAGE.read_text()):
        (tmp_path / name).write_text(text)
    with Broker.open(tmp_path / "events") as broker:
        broker.create_topic("requests", partitions=4)
    return tmp_path


def values(place: Path) -> list[str]:
    with Broker.open(place / "events", read_only=True) as broker:
        return sorted(
            (record.value or b"").decode()
            for partition in broker.topic("requests").partitions()
            for record in partition.read_range(0, partition.end_offset)
        )


def run(place: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (place / "events/clean").exists(), "the last to go closed it"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(place: Path, method: str) -> None:
    run(place, "fan_out.py", method)
    parent = ["from the parent", "from the parent, meanwhile"]
    assert values(place) == sorted([*(f"{n}/{i}" for n in range(3) for i in range(10)), *parent])


def test_concurrent_futures(place: Path) -> None:
    run(place, "pool.py")
    assert values(place) == sorted(f"job {number}" for number in range(30))


@contextmanager
def serving(place: Path, *arguments: str) -> Iterator[tuple[str, list[str], int]]:
    """A server's address, what it says on its standard error, and its process; ended in order."""
    if importlib.util.find_spec(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} is not installed")
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:  # so who comes early waits
        number, port = listening.fileno(), listening.getsockname()[1]
        command = [sys.executable, "-m", *(one.format(number) for one in arguments)]
        with subprocess.Popen(
            command, cwd=place, stderr=subprocess.PIPE, text=True, pass_fds=[number]
        ) as server:
            reading = threading.Thread(target=lambda: said.extend(server.stderr or []))
            reading.start()
            try:
                yield f"http://127.0.0.1:{port}", said, server.pid
                server.send_signal(signal.SIGTERM)
                assert server.wait(60) == 0, "".join(said)
            finally:
                server.kill()
                reading.join(60)


def post(address: str, body: str) -> str:
    with urllib.request.urlopen(f"{address}/{body}", body.encode(), timeout=60) as answer:
        text: str = answer.read().decode()
    return text


@pytest.mark.parametrize(
    "arguments",
    [
        ("gunicorn", "app:application", "--bind", "fd://{}"),
        ("uvicorn", "service:application", "--workers", "3", "--fd", "{}"),
    ],
    ids=["gunicorn", "uvicorn"],
)
def test_a_server_with_several_workers(place: Path, arguments: tuple[str, ...]) -> None:
    bodies = [f"request-{number}" for number in range(60)]
    with serving(place, *arguments) as (address, said, _), ThreadPoolExecutor(8) as clients:
        places = list(clients.map(lambda body: post(address, body), bodies))
        held = values(place)  # while the server runs
    assert held == sorted(bodies)
    assert len(set(places)) == len(bodies)
    assert not [line for line in said if "Error" in line or "Traceback" in line]


def workers_of(server: int) -> list[int]:
    with open(f"/proc/{server}/task/{server}/children", encoding="utf-8") as file:
        return [int(pid) for pid in file.read().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the workers")
def test_a_killed_worker_loses_nothing_that_was_answered(place: Path) -> None:
    answered: dict[str, str] = {}
    unanswered: list[str] = []

    def ask(number: int) -> None:
        body = f"request-{number}"
        try:
            answered[body] = post(address, body)
        except (OSError, HTTPException):  # its worker was killed with it in hand
            unanswered.append(body)

    command = ("gunicorn", "app:application", "--bind", "fd://{}")
    with serving(place, *command) as (address, _, server), ThreadPoolExecutor(8) as clients:
        for first in range(0, 120, 40):
            asked = [clients.submit(ask, number) for number in range(first, first + 40)]
            wait(asked[:10])
            os.kill(workers_of(server)[0], signal.SIGKILL)
            wait(asked)
        assert post(address, "the-last") not in answered.values()
        held = values(place)
    assert answered.keys() | {"the-last"} <= set(held) <= {*answered, *unanswered, "the-last"}
    assert len(set(held)) == len(held)
    assert len(unanswered) < 60, "a killed worker has few in hand"
    assert len(set(answered.values())) == len(answered)
