from collections.abc import Iterable
from typing import final

from merkql._core.record import ProducerRecord, RecordMetadata, _Bytes, _Headers

@final
class RecordAccumulator:
    def __new__(cls, now_ms: int) -> RecordAccumulator: ...
    def __len__(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def largest_size_bytes(self) -> int: ...
    def add(
        self,
        key: _Bytes | None,
        value: _Bytes | None,
        headers: _Headers = (),
        timestamp_ms: int | None = None,
    ) -> None: ...
    def add_record(self, record: ProducerRecord) -> None: ...
    def add_within(self, record: ProducerRecord, size_max: int, now_ms: int) -> int: ...
    def extend_values(
        self,
        values: Iterable[_Bytes | None],
        keys: Iterable[_Bytes | None] | None = None,
        timestamps_ms: Iterable[int | None] | None = None,
    ) -> None: ...
    def timestamp_ms(self, index: int) -> int: ...
    def metadata(self, topic: str, partition: int, first_offset: int) -> list[RecordMetadata]: ...

def add_by_key(
    records: list[ProducerRecord],
    begin: int,
    topic: str,
    parts: list[tuple[int, RecordAccumulator] | None],
    order: list[int],
) -> int: ...
