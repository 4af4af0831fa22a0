"""Everything below a topic: partitions on disk, the write-ahead log, the group commit, recovery."""
