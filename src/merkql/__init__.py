"""An embedded event log: Kafka's programming model, with a merkle tree under every partition.

``proof`` stands alone; ``errors`` is on it; ``_core`` computes on bytes; ``storage`` alone touches
files; ``topic``, ``groups``, ``producer`` and ``consumer`` are the model; ``broker`` opens a
directory and hands them out (the whole table: docs/architecture.md). This file only lists the
public names; each is loaded at first use (PEP 562), so that an import costs only what it uses.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from merkql._core.record import ProducerRecord as ProducerRecord
    from merkql._core.record import Record as Record
    from merkql._core.record import RecordMetadata as RecordMetadata
    from merkql.broker import Broker as Broker
    from merkql.broker_config import BrokerConfig as BrokerConfig
    from merkql.consumer import Consumer as Consumer
    from merkql.delivery import Delivery as Delivery
    from merkql.errors import ClosedError as ClosedError
    from merkql.errors import CorruptionError as CorruptionError
    from merkql.errors import DirectoryLockedError as DirectoryLockedError
    from merkql.errors import FormatError as FormatError
    from merkql.errors import GroupLockedError as GroupLockedError
    from merkql.errors import HistoryError as HistoryError
    from merkql.errors import MerkqlError as MerkqlError
    from merkql.errors import NoOffsetError as NoOffsetError
    from merkql.errors import NoSigningKeyError as NoSigningKeyError
    from merkql.errors import NotErasableError as NotErasableError
    from merkql.errors import OffsetOutOfRangeError as OffsetOutOfRangeError
    from merkql.errors import ReadOnlyError as ReadOnlyError
    from merkql.errors import RecordTooLargeError as RecordTooLargeError
    from merkql.errors import StaleGenerationError as StaleGenerationError
    from merkql.errors import TopicExistsError as TopicExistsError
    from merkql.errors import UnknownPartitionError as UnknownPartitionError
    from merkql.errors import UnknownTopicError as UnknownTopicError
    from merkql.errors import UnprovenRecordError as UnprovenRecordError
    from merkql.errors import WriterFailedError as WriterFailedError
    from merkql.errors import WriterTimeoutError as WriterTimeoutError
    from merkql.positions import TopicPartition as TopicPartition
    from merkql.producer import Producer as Producer
    from merkql.proof import ProofError as ProofError
    from merkql.proofs import ConsistencyProof as ConsistencyProof
    from merkql.proofs import Proof as Proof
    from merkql.proofs import RangeProof as RangeProof
    from merkql.storage.history import KeptCheckpoint as KeptCheckpoint
    from merkql.storage.partition import Partition as Partition
    from merkql.storage.partition_identity import CheckpointSchedule as CheckpointSchedule
    from merkql.storage.retention import RetentionConfig as RetentionConfig
    from merkql.storage.salvage import SalvagedRange as SalvagedRange
    from merkql.storage.verification import VerifyReport as VerifyReport
    from merkql.topic import Topic as Topic
    from merkql.topic_config import TopicConfig as TopicConfig
    from merkql.transparency.checkpointer import Signer as Signer
    from merkql.transparency.publisher import PublishReport as PublishReport

__version__ = "0.1.0"

__all__ = [
    "Broker",
    "BrokerConfig",
    "CheckpointSchedule",
    "ClosedError",
    "ConsistencyProof",
    "Consumer",
    "CorruptionError",
    "Delivery",
    "DirectoryLockedError",
    "FormatError",
    "GroupLockedError",
    "HistoryError",
    "KeptCheckpoint",
    "MerkqlError",
    "NoOffsetError",
    "NoSigningKeyError",
    "NotErasableError",
    "OffsetOutOfRangeError",
    "Partition",
    "Producer",
    "ProducerRecord",
    "Proof",
    "ProofError",
    "PublishReport",
    "RangeProof",
    "ReadOnlyError",
    "Record",
    "RecordMetadata",
    "RecordTooLargeError",
    "RetentionConfig",
    "SalvagedRange",
    "Signer",
    "StaleGenerationError",
    "Topic",
    "TopicConfig",
    "TopicExistsError",
    "TopicPartition",
    "UnknownPartitionError",
    "UnknownTopicError",
    "UnprovenRecordError",
    "VerifyReport",
    "WriterFailedError",
    "WriterTimeoutError",
]

# Usable as `merkql.errors` and `merkql.proof` after `import merkql` alone.
_MODULES = ("errors", "proof")
_HOMES = {
    "Broker": "merkql.broker",
    "BrokerConfig": "merkql.broker_config",
    "CheckpointSchedule": "merkql.storage.partition_identity",
    "ClosedError": "merkql.errors",
    "ConsistencyProof": "merkql.proofs",
    "Consumer": "merkql.consumer",
    "CorruptionError": "merkql.errors",
    "Delivery": "merkql.delivery",
    "DirectoryLockedError": "merkql.errors",
    "FormatError": "merkql.errors",
    "GroupLockedError": "merkql.errors",
    "HistoryError": "merkql.errors",
    "KeptCheckpoint": "merkql.storage.history",
    "MerkqlError": "merkql.errors",
    "NoOffsetError": "merkql.errors",
    "NoSigningKeyError": "merkql.errors",
    "NotErasableError": "merkql.errors",
    "OffsetOutOfRangeError": "merkql.errors",
    "Partition": "merkql.storage.partition",
    "Producer": "merkql.producer",
    "ProducerRecord": "merkql._core.record",
    "Proof": "merkql.proofs",
    "ProofError": "merkql.proof",
    "PublishReport": "merkql.transparency.publisher",
    "RangeProof": "merkql.proofs",
    "ReadOnlyError": "merkql.errors",
    "Record": "merkql._core.record",
    "RecordMetadata": "merkql._core.record",
    "RecordTooLargeError": "merkql.errors",
    "RetentionConfig": "merkql.storage.retention",
    "SalvagedRange": "merkql.storage.salvage",
    "Signer": "merkql.transparency.checkpointer",
    "StaleGenerationError": "merkql.errors",
    "Topic": "merkql.topic",
    "TopicConfig": "merkql.topic_config",
    "TopicExistsError": "merkql.errors",
    "TopicPartition": "merkql.positions",
    "UnknownPartitionError": "merkql.errors",
    "UnknownTopicError": "merkql.errors",
    "UnprovenRecordError": "merkql.errors",
    "VerifyReport": "merkql.storage.verification",
    "WriterFailedError": "merkql.errors",
    "WriterTimeoutError": "merkql.errors",
}


def __getattr__(name: str) -> object:
    """Load a public name from where it is defined, once."""
    if name in _MODULES:
        return import_module(f"merkql.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'merkql' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
