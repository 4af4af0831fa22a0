"""Network file systems are told by the kernel's list of mounts."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from merkql.storage import mounts

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:51 / /mnt/share rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2
41 22 0:52 / /mnt/odd\\040name rw - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        (os.makedev(254, 0), "ext4"),
        (os.makedev(0, 51), "nfs4"),
        (os.makedev(0, 52), "fuse.sshfs"),
        (os.makedev(9, 9), None),
    ],
)
def test_type_of_a_mount_is_found_by_its_device(device: int, kind: str | None) -> None:
    assert mounts.file_system_type(MOUNTS, device) == kind


def test_opening_on_a_network_file_system_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "file_system_type", lambda text, device: "nfs4")
    monkeypatch.setattr(mounts, "_local", set())
    with caplog.at_level(logging.WARNING, "merkql.storage"):
        mounts.warn_of_network(str(tmp_path))
    assert str(tmp_path) in caplog.text
    assert "nfs4" in caplog.text


def test_a_local_directory_is_not_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "merkql.storage"):
        mounts.warn_of_network(str(tmp_path))
    assert not caplog.records
