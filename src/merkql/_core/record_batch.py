"""Kafka RecordBatch v2, the bytes of a .log file, from records and back.

The door to five modules: batch_header walks batches, batch_encoder writes them, batch_decoder reads
them, batch_leaves and leaf hash them. Format: docs/formats/kafka-record-batch.md.
"""

from __future__ import annotations

from merkql._core.batch_decoder import DecodeResult, decode
from merkql._core.batch_encoder import EncodedBatches, encode
from merkql._core.batch_header import BatchError, BatchInfo, ScanResult, scan
from merkql._core.batch_leaves import leaf_hashes
from merkql._core.leaf import entry, record_digest, record_leaf_hash

__all__ = [
    "BatchError",
    "BatchInfo",
    "DecodeResult",
    "EncodedBatches",
    "ScanResult",
    "decode",
    "encode",
    "entry",
    "leaf_hashes",
    "record_digest",
    "record_leaf_hash",
    "scan",
]
