"""Which start of the machine this is: nothing is trusted that a power cut may have undone."""

from __future__ import annotations

import functools
import sys


@functools.cache
def boot_id() -> bytes:
    """Sixteen bytes that differ after every start of the machine; zeros where it does not tell."""
    try:
        return bytes.fromhex(_boot_uuid().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)  # then no page of a live writer is trusted, and segments are scanned


def _boot_uuid() -> str:
    if sys.platform == "darwin":
        import subprocess  # dear to import, and needed here alone

        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, check=False, text=True).stdout
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read()
