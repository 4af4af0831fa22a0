"""Scrubs erased records from WAL files that recovery had set aside.

Such files hold records that their partition could not take back.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping

from merkql.storage import layout
from merkql.storage.files import Files
from merkql.storage.shared_state import LivePartition
from merkql.storage.wal_reader import frames_of

logger = logging.getLogger("merkql.recovery")


def scrub_kept_frames(
    files: Files, directory: str, seed: int, erased: Mapping[LivePartition, Iterable[int]]
) -> None:
    """Overwrite every frame that holds one of these records with zeros, durably.

    The group's other records go with it; their partition had lost them already.
    """
    for name in sorted(files.list_directory(directory)):
        if not name.endswith(layout.KEPT_SUFFIX):
            continue
        path = os.path.join(directory, name)
        descriptor = files.open(path, write=True)
        try:
            for one in frames_of(files, path, seed):
                places = {
                    (section.topic_id, section.partition): range(
                        section.first_offset, section.first_offset + section.record_count
                    )
                    for section in one.sections
                }
                if any(
                    o in places.get(key, ()) for key, offsets in erased.items() for o in offsets
                ):
                    files.write(descriptor, bytes(one.next_position - one.position), one.position)
                    logger.warning("%s: a group with erased records was overwritten", path)
            files.sync(descriptor)
        finally:
            files.close(descriptor)
