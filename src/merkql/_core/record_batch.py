"""Kafka RecordBatch v2, the bytes of a .log file, from records and back. Format: docs/formats/kafka-record-batch.md.

The door to four modules: batch_header walks batches, batch_encoder writes them, batch_decoder reads them (with
batch_compression), leaf says what the tree commits to.
"""

from __future__ import annotations

from merkql._core.batch_decoder import DecodeResult, decode, leaf_hashes
from merkql._core.batch_encoder import EncodedBatches, encode
from merkql._core.batch_header import BatchError, ScanResult, scan
from merkql._core.leaf import entry, record_digest, record_leaf_hash

__all__ = [
    "BatchError",
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
