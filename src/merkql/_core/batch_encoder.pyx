"""Records to Kafka RecordBatch v2 bytes and, in the same pass, leaf hashes, without the GIL.

Follows a plan of where batches end (batch_plan), compresses where asked. Formats:
docs/formats/kafka-record-batch.md and docs/formats/record.md.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.limits cimport LLONG_MAX
from libc.string cimport memcpy, memmove

from merkql._core.accumulator cimport PendingRecord, RecordAccumulator
from merkql._core.batch_header cimport (
    AT_ATTRIBUTES,
    AT_CRC,
    CODEC_LZ4,
    HEADER_SIZE,
    LENGTH_BEGIN,
    MAGIC,
)
from merkql._core.batch_plan cimport Batch, Plan, free_plan, make_plan
from merkql._core.crc32c cimport crc32c_update
from merkql._core.leaf cimport (
    HASH_SIZE,
    SALT_SIZE,
    LeafRun,
    RecordView,
    leaf_run_add,
    leaf_run_begin,
    leaf_run_end,
    leaf_run_flush,
)
from merkql._core.varint cimport (
    load_be32,
    store_be16,
    store_be32,
    store_be64,
    write_varint,
)

import lz4.frame

cdef object _compress_lz4 = lz4.frame.compress

cdef extern from "Python.h":
    enum: PyBUF_READ

cdef enum:
    BATCH_SIZE_MAX = 0x40000000     # of the records; one larger record makes a batch of its own
    GIL_RELEASE_SIZE = 32768        # below it, hashing is over before another thread would be awake


@cython.final
@cython.no_gc
cdef class EncodedBatches:
    """Batches back to back in `data`, the hash of every leaf if asked for, and one tuple a batch.

    A tuple of `batches` is (first offset, position in data, size, record count, largest
    timestamp).
    """

    cdef readonly bytes data
    cdef readonly bytes leaf_hashes
    cdef readonly list batches
    cdef readonly Py_ssize_t count
    cdef readonly long long first_offset
    cdef readonly long long max_timestamp_ms

    def __repr__(self):
        return (
            f"EncodedBatches({self.count} records from offset {self.first_offset}, "
            f"{len(self.batches)} batches, {len(self.data)} bytes)"
        )


def encode(
    list accumulators not None, long long first_offset, *, str compression not None="none",
    Py_ssize_t batch_size_bytes=16384, bytes salts=None, bint hashed=True,
):
    """Encodes the accumulators' records in order, as the offsets from `first_offset` on.

    A batch is closed before its records would pass `batch_size_bytes`; it always holds one.
    `compression` is "none" or "lz4"; a batch that LZ4 does not shrink stays plain. `salts` is 16
    bytes a record. Without `hashed` there are no leaf hashes: batch_leaves makes them of the data.
    The GIL is released but for small writes.

    Raises ValueError for nothing to encode and for offsets beyond 64 bits.
    """
    cdef list held = list(accumulators)
    cdef RecordAccumulator accumulator
    cdef Py_ssize_t count = 0
    cdef Plan plan
    if compression not in ("none", "lz4"):
        raise ValueError(f'compression must be "none" or "lz4", not {compression!r}')
    for accumulator in held:
        if accumulator is None:
            raise TypeError("accumulators must be a list of RecordAccumulator, not None")
        count += accumulator.count
    if count == 0:
        raise ValueError("there are no records to encode")
    if first_offset < 0 or first_offset > LLONG_MAX - count:
        raise ValueError(f"{count} records from offset {first_offset} on do not fit in 64 bits")
    if salts is not None and len(salts) != count * SALT_SIZE:
        raise ValueError(f"{count} records need {SALT_SIZE} bytes of salts each, not {len(salts)}")
    plan.count = count
    plan.first_offset = first_offset
    plan.hashed = hashed
    plan.salts = NULL
    if salts is not None:
        plan.salts = <const unsigned char*>PyBytes_AS_STRING(salts)
    for accumulator in held:
        accumulator.readers += 1
    try:
        batch_size_bytes = min(max(batch_size_bytes, 1), BATCH_SIZE_MAX)
        return _encode(&plan, held, compression == "lz4", batch_size_bytes)
    finally:
        for accumulator in held:
            accumulator.readers -= 1


cdef EncodedBatches _encode(
    Plan* plan, list accumulators, bint compressed, Py_ssize_t batch_size
):
    cdef EncodedBatches encoded = EncodedBatches.__new__(EncodedBatches)
    cdef unsigned char* out
    cdef unsigned char* hashes
    cdef int failed
    try:
        make_plan(plan, accumulators, batch_size)
        encoded.data = PyBytes_FromStringAndSize(NULL, plan.size)
        encoded.leaf_hashes = PyBytes_FromStringAndSize(NULL, plan.count * HASH_SIZE * plan.hashed)
        out = <unsigned char*>PyBytes_AS_STRING(encoded.data)
        hashes = <unsigned char*>PyBytes_AS_STRING(encoded.leaf_hashes)
        if plan.size >= GIL_RELEASE_SIZE:
            with nogil:
                failed = _write(plan, out, hashes, not compressed)
        else:
            failed = _write(plan, out, hashes, not compressed)
        if failed:
            raise MemoryError
        if compressed:
            encoded.data = _compress(plan, encoded.data)
        encoded.count = plan.count
        encoded.first_offset = plan.first_offset
        _describe(plan, encoded)
        return encoded
    finally:
        free_plan(plan)


cdef int _write(
    const Plan* plan, unsigned char* out, unsigned char* hashes, bint with_checksum
) noexcept nogil:
    """Writes every batch, and hashes it. Returns -1 out of memory."""
    cdef LeafRun run
    cdef Py_ssize_t index
    cdef int failed = leaf_run_begin(&run, hashes)
    for index in range(plan.batch_count):
        if failed:
            break
        failed = _write_batch(plan, &plan.batches[index], out, &run)
        if with_checksum:
            _seal(out, plan.batches[index].size, 0)
        out += plan.batches[index].size
    if not failed:
        leaf_run_flush(&run)
    leaf_run_end(&run)
    return failed


cdef int _write_batch(
    const Plan* plan, const Batch* batch, unsigned char* at, LeafRun* run
) noexcept nogil:
    cdef const PendingRecord* record
    cdef const unsigned char* salt = NULL
    cdef RecordView view
    cdef Py_ssize_t index
    at = _write_header(plan, batch, at)
    for index in range(batch.first, batch.first + batch.count):
        record = &plan.records[index]
        at = write_varint(at, plan.lengths[index])
        at = _write_record(
            at, record, record.timestamp_ms - batch.base_timestamp_ms, index - batch.first
        )
        if not plan.hashed:
            continue
        view.key = record.key
        view.key_size = record.key_size
        view.value = record.value
        view.value_size = record.value_size
        view.headers = record.headers
        view.headers_size = record.headers_size
        view.header_count = 0 if record.headers is NULL else 1
        view.offset = plan.first_offset + index
        view.timestamp_ms = record.timestamp_ms
        view.erased_digest = NULL
        if plan.salts is not NULL:
            salt = plan.salts + index * SALT_SIZE
        if leaf_run_add(run, &view, salt, True):
            return -1
    return 0


cdef unsigned char* _write_header(
    const Plan* plan, const Batch* batch, unsigned char* at
) noexcept nogil:
    at = store_be64(at, <unsigned long long>(plan.first_offset + batch.first))
    at = store_be32(at, <unsigned int>(batch.size - LENGTH_BEGIN))
    at = store_be32(at, 0)                              # partition leader epoch
    at[0] = MAGIC
    at = store_be32(at + 1, 0)                          # checksum: written last
    at = store_be16(at, 0)                              # attributes
    at = store_be32(at, <unsigned int>(batch.count - 1))
    at = store_be64(at, <unsigned long long>batch.base_timestamp_ms)
    at = store_be64(at, <unsigned long long>batch.max_timestamp_ms)
    at = store_be64(at, <unsigned long long>(-1))       # producer id, epoch and sequence: none
    at = store_be16(at, 0xFFFF)
    at = store_be32(at, <unsigned int>(-1))
    return store_be32(at, <unsigned int>batch.count)


cdef inline unsigned char* _write_record(
    unsigned char* at, const PendingRecord* record, long long timestamp_delta,
    long long offset_delta
) noexcept nogil:
    at[0] = 0
    at = write_varint(at + 1, timestamp_delta)
    at = write_varint(at, offset_delta)
    at = write_varint(at, record.key_size)
    if record.key_size > 0:
        memcpy(at, record.key, record.key_size)
        at += record.key_size
    at = write_varint(at, record.value_size)
    if record.value_size > 0:
        memcpy(at, record.value, record.value_size)
        at += record.value_size
    if record.headers is NULL:
        at[0] = 0
        return at + 1
    return _write_headers(at, record.headers)


cdef unsigned char* _write_headers(unsigned char* at, const unsigned char* listed) noexcept nogil:
    cdef unsigned int count = load_be32(listed)
    cdef unsigned int _index
    cdef int size
    at = write_varint(at, count)
    listed += 4
    for _index in range(2 * count):
        size = <int>load_be32(listed)
        at = write_varint(at, size)
        listed += 4
        if size > 0:
            memcpy(at, listed, size)
            at += size
            listed += size
    return at


cdef void _seal(unsigned char* batch, size_t size, unsigned int codec) noexcept nogil:
    """Writes what depends on the records' final bytes: length, codec and checksum."""
    store_be32(batch + 8, <unsigned int>(size - LENGTH_BEGIN))
    store_be16(batch + AT_ATTRIBUTES, codec)
    store_be32(batch + AT_CRC, crc32c_update(0, batch + AT_ATTRIBUTES, size - AT_ATTRIBUTES))


cdef bytes _compress(Plan* plan, bytes data):
    """Compresses each batch where that shrinks it, moving down what follows."""
    cdef unsigned char* source = <unsigned char*>PyBytes_AS_STRING(data)
    cdef unsigned char* target = source
    cdef Py_ssize_t records_size
    cdef Py_ssize_t index
    cdef bytes compressed
    for index in range(plan.batch_count):
        records_size = plan.batches[index].size - HEADER_SIZE
        compressed = _compress_lz4(
            PyMemoryView_FromMemory(<char*>source + HEADER_SIZE, records_size, PyBUF_READ),
            block_linked=False,
        )
        if len(compressed) < records_size:
            memmove(target, source, HEADER_SIZE)
            memcpy(target + HEADER_SIZE, PyBytes_AS_STRING(compressed), len(compressed))
            source += plan.batches[index].size
            plan.batches[index].size = HEADER_SIZE + len(compressed)
            _seal(target, plan.batches[index].size, CODEC_LZ4)
        else:
            memmove(target, source, plan.batches[index].size)
            source += plan.batches[index].size
            _seal(target, plan.batches[index].size, 0)
        target += plan.batches[index].size
    return data[:target - <unsigned char*>PyBytes_AS_STRING(data)]


cdef int _describe(const Plan* plan, EncodedBatches encoded) except -1:
    cdef list batches = []
    cdef size_t position = 0
    cdef Py_ssize_t index
    cdef const Batch* batch
    encoded.max_timestamp_ms = plan.batches[0].max_timestamp_ms
    for index in range(plan.batch_count):
        batch = &plan.batches[index]
        batches.append(
            (plan.first_offset + batch.first, position, batch.size, batch.count,
             batch.max_timestamp_ms)
        )
        position += batch.size
        encoded.max_timestamp_ms = max(encoded.max_timestamp_ms, batch.max_timestamp_ms)
    encoded.batches = batches
    return 0
