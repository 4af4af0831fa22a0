"""No fork in the middle of an import of ours.

What few programs need is loaded at its first use, by whichever thread comes there first. A child
forked in that moment would find the module's import lock taken by a thread that it does not have,
and wait for it for ever. So the thread that forks loads all of it first; later forks find it there.
"""

from __future__ import annotations

import logging as logging  # its hook is to be registered before ours: see the end
import os
from importlib import import_module

LOADED_LATE = (
    "_core.batch_erasure",
    "consumer",
    "consumer_arguments",
    "erasures",
    "groups",
    "proof",
    "proofs",
    "proved_reading",
    "storage.checkpoint_file",
    "storage.collecting",
    "storage.eraser",
    "storage.erasure",
    "storage.erasure_check",
    "storage.evidence",
    "storage.history",
    "storage.rewriting",
    "storage.salts",
    "storage.salvage",
    "storage.verification",
    "transparency.checkpointer",
    "transparency.publisher",
    "transparency.schedule",
)  # by methods; a test compares


def load_all() -> None:
    """Load what is loaded late. Cost: some 30 ms, once."""
    for name in LOADED_LATE:
        import_module(f"merkql.{name}")


# Hooks run last come, first served; that of `logging` takes a lock which modules want as they load.
os.register_at_fork(before=load_all)
