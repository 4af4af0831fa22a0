from typing import final

from merkql._core.accumulator import RecordAccumulator
from merkql._core.batch_header import BatchInfo

@final
class EncodedBatches:
    @property
    def data(self) -> bytes: ...
    @property
    def leaf_hashes(self) -> bytes: ...
    @property
    def batches(self) -> list[BatchInfo]: ...
    @property
    def count(self) -> int: ...
    @property
    def first_offset(self) -> int: ...
    @property
    def max_timestamp_ms(self) -> int: ...

def encode(
    accumulators: list[RecordAccumulator],
    first_offset: int,
    *,
    compression: str = "none",
    batch_size_bytes: int = 16384,
    salts: bytes | None = None,
    hashed: bool = True,
) -> EncodedBatches: ...
