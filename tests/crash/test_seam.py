"""Does anything reach the disk past the seam? The recorder's journal beside strace's, call by call.

The crash states are those of the journal: a call that is not in it is a state nobody visits.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RECORDED = """
import json, os, sys
from merkql import BrokerConfig, ProducerRecord, RetentionConfig
from merkql.broker import Broker
from merkql.storage import maintenance
from merkql.storage.files import Files
from support.recorder import RecordingFiles

class HonestFiles(RecordingFiles):
    def sync(self, descriptor):
        super().sync(descriptor)
        Files.sync(self, descriptor)

    def sync_directory(self, path):
        super().sync_directory(path)
        Files.sync_directory(self, path)

maintenance.Maintenance.wake = lambda self: None
root = sys.argv[1]
files = HonestFiles(root)
for turn in range(2):
    with Broker(BrokerConfig(root), files) as broker:
        if turn == 0:
            broker.create_topic("t", partitions=2, segment_bytes=4096, erasable=True,
                                retention=RetentionConfig(max_records=8))
        producer = broker.producer()
        for number in range(5):
            producer.send_batch([ProducerRecord("t", bytes(700), partition=n % 2)
                                 for n in range(4)])
            maintenance.sync_segments(broker._engine.writer, broker._engine)
        broker.apply_retention()
        broker.topic("t").partition(0).compact()
        broker.topic("t").add_partitions(3 + turn)
        with broker.consumer("g", auto_commit=False) as consumer:
            consumer.assign([("t", 0)])
            for offset in (3, 4):
                consumer.commit_sync({("t", 0): offset})
        broker.create_topic("u")
        broker.delete_topic("u")
print(json.dumps([[e[0], *[len(p) if isinstance(p, bytes) else p for p in e[1:]]]
                  for e in files.journal], default=str))
"""
# Not sync_file_range: what it begins to write out may reach the disk at any time anyway.
CHANGING = "pwrite64,pwritev,pwritev2,write,ftruncate,truncate,fallocate,fdatasync,fsync,rename"
CHANGING += ",renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat"
CHANGING += ",msync,copy_file_range,sendfile,symlink,chmod,fchmod"
KINDS = {
    "pwrite64": "write",
    "pwritev2": "write",
    "pwritev": "write",
    "fdatasync": "sync",
    "fsync": "syncdir",
    "fallocate": "grow",
    "ftruncate": "truncate",
    "unlink": "remove",
    "rmdir": "remove",
}


def traced(trace: str, root: str) -> list[tuple[str, str]]:
    """What strace saw done below the root: kind and path."""
    done = []
    for line in trace.splitlines():
        match = re.match(r"(?:\d+ +)?(\w+)\((.*)", line)
        if match is None or root not in line or " = -1 E" in line:  # what failed did nothing
            continue
        call, rest = match.groups()
        path = re.search(rf"[<\"]{re.escape(root)}/?([^>\"]*)[>\"]", rest)
        if path is not None:
            done.append((KINDS.get(call, call), path[1]))
    return done


def recorded(journal: list[list[object]]) -> list[tuple[str, str]]:
    """The same, as the recorder has it; files are numbered there, and may be renamed later."""
    names: dict[object, str] = {}
    done = []
    for kind, what, *rest in journal:
        if kind == "create":
            names[rest[0]] = str(what)
            continue
        path = names[what] if isinstance(what, int) else str(what)
        if kind == "rename":
            source, target = str(what), str(rest[0])
            for node, name in names.items():
                if name == source or name.startswith(source + "/"):
                    names[node] = target + name[len(source) :]
        done.append((str(kind), path))
    return done


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_nothing_bypasses_the_seam(tmp_path: Path) -> None:
    root, trace = f"{tmp_path}/data", tmp_path / "trace"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["strace", "-f", "-qq", "-y", "-s", "300", "-e", f"trace={CHANGING}", "-o", trace]
    done = subprocess.run(
        [*command, sys.executable, "-c", RECORDED, root],
        check=False,
        capture_output=True,
        env=environment,
    )
    if done.returncode != 0 and b"ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr.decode()
    journal = recorded(json.loads(done.stdout.splitlines()[-1]))
    calls = [one for one in traced(trace.read_text(), root) if one[1]]
    assert len(calls) > 200
    mine = [one for one in journal if one[1] not in ("", "..")]
    assert calls == mine, "\n".join(f"{a} {b}" for a, b in zip(calls, mine, strict=False) if a != b)
