"""Entry point of the command: ``merkql``, or ``python -m merkql``. Commands: merkql.cli."""

from __future__ import annotations

import os
import signal
import sys

from merkql.cli.running import INTERRUPTED, UNREAD, run
from merkql.cli.terminal import of_process

_ENDS: dict[int, int] = {INTERRUPTED: signal.SIGINT, UNREAD: signal.SIGPIPE}


def main() -> int:
    """Run the command with this process's arguments; returns the exit status.

    After Ctrl-C, or a broken pipe, the process ends by that signal, so that a shell loop around it
    stops too.
    """
    received: list[int] = []
    sys.argv[0] = "merkql"  # the name other processes see in messages

    def end(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for one in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(one) is signal.SIG_DFL:  # stays ignored under nohup
                signal.signal(one, end)
        status = run(sys.argv[1:], of_process(os.environ))
    except KeyboardInterrupt:
        status = INTERRUPTED
    if status in _ENDS:
        number = received[0] if received and status == INTERRUPTED else _ENDS[status]
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from what is left to do
    return status


if __name__ == "__main__":
    sys.exit(main())
