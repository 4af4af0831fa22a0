"""Power cuts on real file systems: a loop-mounted ext4 or XFS, shut down by ioctl under writers.

The ioctl makes the file system forget everything that is not on its (loop) disk at that instant,
names and sizes included; mounting it again replays its journal.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
import shutil
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from merkql import Broker
from soak.ledger import Ledger
from soak.processes import Process

SHUTDOWN = 0x8004587D  # FS_IOC_GOINGDOWN
NO_LOG_FLUSH = 2
IMAGE_BYTES = 400 << 20
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}
CUTS_A_DIRECTORY = 40


def why_not(kind: str) -> str:
    """Why this machine cannot do it; empty if it can."""
    if os.geteuid() != 0:
        return "needs root, for mounts"
    if shutil.which(MAKE[kind][0]) is None:
        return f"{MAKE[kind][0]} is not installed"
    try:
        with mounted_image(kind):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"cannot mount here: {error}"


class Disk:
    """A file system in a file."""

    def __init__(self, kind: str, place: Path, size: int = IMAGE_BYTES) -> None:
        self.image, self.mount_point = place / "image", place / "mounted"
        self.mount_point.mkdir()
        with self.image.open("wb") as file:
            file.truncate(size)
        subprocess.run([*MAKE[kind], str(self.image)], check=True, capture_output=True)

    def mount(self, *options: str) -> None:
        command = ["mount", "-o", ",".join(["loop", *options]), self.image, self.mount_point]
        subprocess.run(command, check=True, capture_output=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.mount_point], check=True, capture_output=True)

    def cut_power(self) -> None:
        descriptor = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def mounted_image(kind: str, size: int = IMAGE_BYTES) -> Iterator[Disk]:
    place = Path(tempfile.mkdtemp(prefix="merkql-disk-"))
    try:
        disk = Disk(kind, place, size)
        disk.mount()
        try:
            yield disk
        finally:
            command = ["umount", "--lazy", disk.mount_point]  # a test that failed has files open
            subprocess.run(command, check=False, capture_output=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def run(kind: str, cuts: int, seed: int = 1) -> Counter[str]:
    """So many cuts on that file system; ``AssertionError`` where the log broke a promise."""
    logging.disable(logging.CRITICAL)
    draw = random.Random(seed)
    totals: Counter[str] = Counter()
    with mounted_image(kind) as disk:
        while totals["cuts"] < cuts:
            ledger = Ledger()
            for _ in range(min(CUTS_A_DIRECTORY, cuts - totals["cuts"])):
                _cut(disk, ledger, draw)
                totals["cuts"] += 1
            _check(disk, ledger, whole=True)
            totals.update(ledger.counts)
            shutil.rmtree(disk.mount_point / "data")
    return totals


def _cut(disk: Disk, ledger: Ledger, draw: random.Random) -> None:
    root = str(disk.mount_point / "data")
    names = [*["write"] * draw.choice([1, 1, 3]), "read", "consume"]
    processes = [Process(name, root, draw.getrandbits(32)) for name in names]
    try:
        for process in processes:
            process.listen(ledger, draw.uniform(0.005, 0.06))
        disk.cut_power()  # a call that succeeds after this did so without power: none may
    finally:
        for process in processes:
            process.kill(ledger)
    disk.unmount()
    disk.mount()
    _check(disk, ledger, whole=False)


def _check(disk: Disk, ledger: Ledger, *, whole: bool) -> None:
    root = str(disk.mount_point / "data")
    with Broker.open(root) as broker:
        ledger.check(broker, power_cut=True, whole=whole)
    assert not ledger.wrong, "\n".join(ledger.wrong[:20])
