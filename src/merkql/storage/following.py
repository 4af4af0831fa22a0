"""Brings a partition's state up to date with what another process wrote."""

from __future__ import annotations

from merkql.storage import tail_page
from merkql.storage.partition_log import PartitionLog


def catch_up(log: PartitionLog, session: int) -> bool:
    """Apply the tail page of the last writer; False if there is none to be trusted.

    Only pages written in ``session`` are. For a holder of the log's ``state_lock``, while this
    process does not write the partition. Cost: one small read if nothing changed.
    """
    known = log.writer == session
    found, page = b"", None
    for _ in range(tail_page.ATTEMPTS):
        found = tail_page.read_bytes(log.pool, log.tail_path)
        if known and log.page and found.startswith(log.page):
            return True
        page = tail_page.decode(found)
        if page is not None or not found:
            break
    if page is not None and page.writer == session and not page.clean:
        log.follow(page, found[: tail_page.size_of(page)])
        return True
    # Opened in this session and not written to since: its page is from an earlier one.
    return known and not log.page
