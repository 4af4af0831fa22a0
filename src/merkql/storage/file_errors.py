"""Completes the system's file errors: which file, and what the caller can do about it."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import sys
from collections.abc import Callable
from typing import TypeVar, cast

WAYS_OUT = {
    errno.ENOSPC: "free space, or keep less (retention, apply_retention), and try again: "
    "what this call brought is not acknowledged",
    errno.EDQUOT: "free space within the quota, or have it raised, and try again: "
    "what this call brought is not acknowledged",
    errno.EFBIG: "have the limit on file sizes raised (ulimit -f), or use a smaller segment_bytes",
    errno.EIO: "the disk or its connection fails: look into the system's log, then open the "
    "directory again",
    errno.EMFILE: "this process may have no more files open: have the limit raised (ulimit -n)",
    errno.ENFILE: "the system may have no more files open: close some",
}
_PATH_SIZE = 1024  # of F_GETPATH
_Operation = TypeVar("_Operation", bound=Callable[..., object])


def explained(error: OSError, target: int | str) -> OSError:
    """The same error with what the system leaves out: the file, and the way out.

    ``target``: the path or descriptor it is about. ``errno`` and the exception class stay the same.
    """
    way_out = WAYS_OUT.get(error.errno or 0)
    if error.errno is None or (way_out is None and error.filename is not None):
        return error
    if way_out is not None and way_out in str(error.strerror):
        return error  # an inner call explained it already
    path = error.filename or (target if isinstance(target, str) else path_of(target))
    reason = error.strerror or os.strerror(error.errno)
    text = f"{reason}: {way_out}" if way_out else reason
    if error.filename2 is not None:
        fresh = OSError(error.errno, text, path, None, error.filename2)
    else:
        fresh = OSError(error.errno, text, path)
    return fresh.with_traceback(error.__traceback__)


def explaining(operation: _Operation) -> _Operation:
    """Decorator for methods whose first argument is a path or descriptor: see ``explained``."""

    @functools.wraps(operation)
    def call(files: object, target: int | str, *arguments: object, **options: object) -> object:
        try:
            return operation(files, target, *arguments, **options)
        except OSError as error:
            raise explained(error, target) from None

    return cast("_Operation", call)


def path_of(descriptor: int) -> str | None:
    """The path of an open file as the kernel reports it; None where it does not."""
    try:
        if sys.platform == "darwin":
            name = fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(_PATH_SIZE))
            return os.fsdecode(name.rstrip(b"\0"))
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return None  # there is no such file system, or no such descriptor
