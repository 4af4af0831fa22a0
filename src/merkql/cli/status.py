"""How a run of the command ends: its exit status."""

from __future__ import annotations

OK = 0
FAILED = 1  # an error, named on standard error
MISUSED = 2  # what was typed cannot be done
DAMAGED = 3  # bytes on disk are wrong
BUG = 70  # our own mistake, as sysexits.h has it
INTERRUPTED = 130  # Ctrl-C, as shells count
UNREAD = 141  # nobody reads the output any more
