"""Kafka's murmur2, and the partition it gives a key in Kafka's Java, Python and Go clients."""


def murmur2(bytes data not None) -> int:
    """Returns Kafka's murmur2 of `data` as the signed 32-bit integer its Java client prints."""
    return <int>murmur2_hash(<const unsigned char*><const char*>data, len(data))


def partition_for_key(bytes key not None, long count) -> int:
    """Returns the partition, of `count`, that Kafka's default partitioner gives `key`."""
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    return (murmur2_hash(<const unsigned char*><const char*>key, len(key)) & 0x7FFFFFFF) % count
