"""The command as a process of its own: its signals, its streams, and how it ends."""

from __future__ import annotations

import os
import signal
import sys

from merkql.cli.running import run
from merkql.cli.status import INTERRUPTED, UNREAD
from merkql.cli.terminal import of_process

_ENDS: dict[int, int] = {INTERRUPTED: signal.SIGINT, UNREAD: signal.SIGPIPE}


def main() -> int:
    """Run the command with the arguments of this process; its exit status.

    Ended by Ctrl-C or by a reader that went away, the process ends by that signal, so that a shell
    knows: a loop around it stops too.
    """
    received: list[int] = []
    sys.argv[0] = "merkql"  # what others are told: who writes, who reads

    def end(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for one in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(one) is signal.SIG_DFL:  # ignored is to stay so, as nohup wants
                signal.signal(one, end)
        status = run(sys.argv[1:], of_process(os.environ))
    except KeyboardInterrupt:
        status = INTERRUPTED
    if status in _ENDS:
        number = received[0] if received and status == INTERRUPTED else _ENDS[status]
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what is left to do leaves no traceback
    return status
