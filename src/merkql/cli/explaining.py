"""Errors in a line of words, with the way out where there is one."""

from __future__ import annotations

import errno

from merkql.cli.parsing import UsageError
from merkql.cli.status import BUG, DAMAGED, FAILED, MISUSED
from merkql.errors import (
    CorruptionError,
    DirectoryLockedError,
    MerkqlError,
    UnknownTopicError,
    UnprovenRecordError,
)


def explained(error: Exception) -> tuple[str, int]:
    """An error as one line, and the status it leads to."""
    if isinstance(error, UsageError):
        return f"{error.message} (see `{error.program} --help`)", MISUSED
    if isinstance(error, (CorruptionError, UnprovenRecordError)):
        return str(error), DAMAGED
    if isinstance(error, UnknownTopicError):
        was_deleted = "deleted" in error.hint
        hint = "it was deleted" if was_deleted else "`merkql topics` lists what there is"
        return f"no topic {error.topic!r}; {hint}", FAILED
    if isinstance(error, DirectoryLockedError):
        return f"{error.path} is being written by {error.holder}: wait for it, or end it", FAILED
    if isinstance(error, MerkqlError):
        return str(error), FAILED
    if isinstance(error, OSError):
        return in_words(error), FAILED
    if isinstance(error, ValueError):  # the library refused what was typed
        return str(error), MISUSED
    if isinstance(error, MemoryError):
        return "out of memory", FAILED
    text = f"{type(error).__name__}: {error}"
    return f"a mistake of merkql's own, please report it: {text}", BUG


def in_words(error: OSError) -> str:
    """What the system refused: the file, the reason, the way out; without its number."""
    reason = error.strerror or str(error)
    where = f"{error.filename}: " if error.filename else ""
    is_told = error.errno != errno.ENOSPC or "free" in reason  # as the library words it
    space = "" if is_told else "; free some space and go on"
    return f"{where}{reason}{space}"
