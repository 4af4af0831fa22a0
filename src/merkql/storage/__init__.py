"""One partition's bytes on disk; knows files, not topics."""
