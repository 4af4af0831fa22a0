"""Where the command begins: outside the package, whose import takes a tenth of a second in which
Ctrl-C would otherwise print a traceback."""

from __future__ import annotations

import os
import signal


def main() -> int:
    """Run ``merkql.cli.process``; until it is loaded Ctrl-C ends the process at once, silently."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # ignored stays ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from merkql.cli.process import main
    except KeyboardInterrupt:  # it came before the line above, or an import made it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)  # so that a shell knows, and ends its loop too
        return 128 + signal.SIGINT
    return main()
