"""Go's own checksum-database code and ours, both ways: keys, notes, tiles, entries, proofs."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from merkql import Broker
from merkql.proof import root_from_range, roots_from_consistency
from merkql.transparency.checkpointer import Signer
from merkql.transparency.monitor import Monitor
from merkql.transparency.note import SigningKey, parse_note
from merkql.transparency.policy import Policy
from merkql.transparency.sources import PathSource
from support.naive_tree import leaf

SOURCE = Path(__file__).parent / "sumdb"
LOG = SigningKey("log.example", bytes(range(32)))
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program, built; skipped where its one module cannot be had."""
    place = tmp_path_factory.mktemp("go")
    shutil.copytree(SOURCE, place / "sumdb")
    environment = {**os.environ, "GOFLAGS": "-mod=mod -modcacherw", "GOPATH": str(place / "path")}

    def go(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["go", *words],
            cwd=place / "sumdb",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    got = go("mod", "download")
    if got.returncode:
        pytest.skip(f"golang.org/x/mod cannot be had: {got.stderr.strip()[:200]}")
    built = go("build", "-o", str(place / "program"), ".")
    assert not built.returncode, built.stderr
    return str(place / "program")


def run(program: str, directory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = [program, str(directory), *more]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_go_reads_and_proves_every_record(program: str, tmp_path: Path) -> None:
    public = tmp_path / "public"
    with Broker.open(
        tmp_path / "data", signing_key=Signer(LOG), default_durability="disk"
    ) as broker:
        for count in (1, 254, 1, 1, 5000):
            broker.producer().send_values("t", [b"x"] * count)
            partition = broker.topic("t").partition(0)
            kept = partition.checkpoint()
            partition.publish(public)
            key = str(LOG.verifier.named(kept.origin))
            done = run(program, public, key)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.split() == [str(kept.size), base64.b64encode(kept.root).decode()]
    other = SigningKey.generate(kept.origin).verifier
    assert run(program, public, str(other)).returncode == 1
    tile = public / "tile/0/003"
    tile.write_bytes(bytes([tile.read_bytes()[0] ^ 1]) + tile.read_bytes()[1:])
    assert run(program, public, key).returncode == 1


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 70_000])
def test_we_follow_and_prove_what_go_wrote(program: str, tmp_path: Path, size: int) -> None:
    public, policy = tmp_path / "public", Policy.of_keys([LOG.verifier])
    done = run(program, public, LOG.text(), str(size))
    assert (done.returncode, done.stderr) == (0, "")
    status = Monitor(policy, tmp_path / "state").look(PathSource(str(public)))
    assert (status.alarm, status.message, status.size) == ("", "", size)
    root = policy.check(parse_note((public / "checkpoint").read_bytes())).root
    for line in done.stdout.splitlines():
        what, number, *encoded = line.split(" ")
        at, hashes = int(number), [base64.b64decode(one) for one in encoded]
        if what == "record":
            assert root_from_range([leaf(b"entry %d" % at)], at, size, hashes) == root
        else:
            older, *path = hashes
            assert roots_from_consistency(at, size, older, path) == (older, root)
