"""Forked processes that talk through a pipe and are killed."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
import traceback

from soak.ledger import Ledger
from soak.program import PROGRAMS, sayer


class Process:
    """A program of `soak.program` in a process of its own."""

    def __init__(self, name: str, root: str, seed: int) -> None:
        self.name = name
        self._pipe, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(root, seed, theirs)
        os.close(theirs)
        self._rest = b""

    def _run(self, root: str, seed: int, pipe: int) -> None:
        try:
            os.close(self._pipe)
            PROGRAMS[self.name](root, seed, sayer(pipe))
        except BaseException as error:
            off = [os.strerror(errno.EIO), os.strerror(errno.EROFS)]
            if not any(text in str(error) for text in off):  # of a disk that is off
                traceback.print_exc()
        os._exit(1)

    def listen(self, ledger: Ledger, seconds: float) -> None:
        """Take in what it says for so long; raises `EOFError` if it ended by itself."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._pipe], [], [], left)[0]:
                return
            if not self._take(ledger):
                raise EOFError(f"{self.name} ended by itself")

    def kill(self, ledger: Ledger) -> None:
        """SIGKILL, and what it had said until then."""
        os.kill(self.pid, signal.SIGKILL)
        while self._take(ledger):
            pass
        os.close(self._pipe)
        os.waitpid(self.pid, 0)

    def _take(self, ledger: Ledger) -> bool:
        data = os.read(self._pipe, 1 << 20)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            ledger.hear(line)
        return bool(data)
