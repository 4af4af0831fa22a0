"""The machine's boot id: tells whether a file was written since the last reboot.

What was written before it and never synced, a power cut may have undone.
"""

from __future__ import annotations

import functools
import sys


@functools.cache
def boot_id() -> bytes:
    """Sixteen bytes that differ after every boot; zeros where the system does not tell."""
    try:
        return bytes.fromhex(_boot_uuid().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)  # then no live writer's tail page is trusted, and segments are scanned


def _boot_uuid() -> str:
    if sys.platform == "darwin":
        import subprocess  # slow to import and needed only here

        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, check=False, text=True).stdout
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read()
