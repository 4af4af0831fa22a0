"""Creates the directories of new partitions."""

from __future__ import annotations

from merkql.storage import layout
from merkql.storage.file_pool import FilePool


def make_partition_directories(pool: FilePool, topic_directory: str, indexes: range) -> None:
    """Create directories for new partitions, with durable names; recovery creates the rest.

    Each gets an empty tail page, so that copies which leave out empty directories keep it.
    """
    for index in indexes:
        directory, files = layout.partition_directory(topic_directory, index), pool.files
        for path in (directory, layout.tree_directory(directory)):
            if files.status(path) is None:  # else left by an interrupted addition
                files.make_directory(path)
        files.close(files.open(layout.tail_page(directory), write=True, create=True))
    pool.files.sync_directory(topic_directory)
