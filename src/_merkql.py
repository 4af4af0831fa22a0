"""Where the installed command begins: outside the package, whose import takes a tenth of a second
in which Ctrl-C would otherwise print a traceback."""

from __future__ import annotations

import signal


def main() -> int:
    """Run ``merkql.__main__``; until it is loaded Ctrl-C ends the process at once, in silence."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # ignored stays ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from merkql.__main__ import main

    return main()
