from merkql._core.batch_header import BatchInfo

def encode_entries(
    batches: list[BatchInfo], base_position: int, largest_ms: int
) -> tuple[bytes, int]: ...
