"""Keeps a fork from happening in the middle of one of our lazy imports.

Modules that few programs need are imported at first use, by whichever thread comes first. A child
forked in that moment would find the import lock held by a thread it does not have, and wait for
ever. So the forking thread imports all of them first; later forks find them loaded.
"""

from __future__ import annotations

import logging as logging  # so that its fork hook is registered before ours: see the end
import os
from importlib import import_module

LOADED_LATE = (
    "_core.batch_erasure",
    "consumer",
    "consumer_arguments",
    "erasures",
    "group_names",
    "groups",
    "proof",
    "proofs",
    "proved_reading",
    "storage.checkpoint_file",
    "storage.collecting",
    "storage.entry_runs",
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
)  # the modules imported inside functions; a test compares


def load_all() -> None:
    """Import every lazily loaded module. Cost: some 30 ms, once."""
    for name in LOADED_LATE:
        import_module(f"merkql.{name}")


# Hooks run in reverse order; that of `logging` takes a lock that importing our modules needs.
os.register_at_fork(before=load_all)
