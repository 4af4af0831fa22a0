"""Records to Kafka RecordBatch v2 bytes and leaf hashes, in one pass without the GIL.

Plan the cuts, write the batches, hash, compress where asked. Formats: docs/formats/kafka-record-batch.md, record.md.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.limits cimport INT_MAX, LLONG_MAX, LLONG_MIN
from libc.stdlib cimport free, malloc, realloc
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
    varint_size,
    write_varint,
)

import lz4.frame

cdef object _compress_lz4 = lz4.frame.compress

cdef extern from "Python.h":
    enum: PyBUF_READ

cdef enum:
    BATCH_SIZE_MAX = 1 << 30        # of the records; one larger record makes a batch of its own
    GIL_RELEASE_SIZE = 32768        # below it, hashing is over before another thread would be awake


cdef struct Batch:
    Py_ssize_t first                # index of its first record
    Py_ssize_t count
    size_t size                     # of the whole batch
    long long base_timestamp_ms
    long long max_timestamp_ms


cdef struct Plan:
    const PendingRecord* records
    Py_ssize_t count
    int* lengths                    # what each record's length field says
    Batch* batches
    Py_ssize_t batch_count
    Py_ssize_t batch_capacity
    size_t size                     # of all batches
    long long first_offset
    const unsigned char* salts      # NULL: none


@cython.final
@cython.no_gc
cdef class EncodedBatches:
    """Batches back to back in `data`, the hash of every leaf, and one tuple a batch.

    A tuple of `batches` is (first offset, position in data, size, record count, largest timestamp).
    """

    cdef readonly bytes data
    cdef readonly bytes leaf_hashes
    cdef readonly list batches
    cdef readonly Py_ssize_t count
    cdef readonly long long first_offset
    cdef readonly long long max_timestamp_ms

    def __repr__(self):
        return (
            f"EncodedBatches({self.count} records from offset {self.first_offset}, {len(self.batches)} batches, "
            f"{len(self.data)} bytes)"
        )


def encode(
    list accumulators not None, long long first_offset, *, str compression not None="none",
    Py_ssize_t batch_size_bytes=16384, bytes salts=None,
):
    """Encodes the accumulators' records in order, as the offsets from `first_offset` on.

    A batch is closed before its records would pass `batch_size_bytes`; it always holds one. `compression` is
    "none" or "lz4"; a batch that LZ4 does not shrink stays plain. `salts` is 16 bytes a record. The GIL is
    released but for small writes. Raises ValueError for nothing to encode and for offsets beyond 64 bits.
    """
    cdef RecordAccumulator accumulator
    cdef Py_ssize_t count = 0
    cdef Plan plan
    if compression not in ("none", "lz4"):
        raise ValueError(f'compression must be "none" or "lz4", not {compression!r}')
    for accumulator in accumulators:
        if accumulator is None:
            raise TypeError("accumulators must be a list of RecordAccumulator, not None")
        count += accumulator.count
    if count == 0:
        raise ValueError("there are no records to encode")
    if first_offset < 0 or first_offset > LLONG_MAX - count:
        raise ValueError(f"{count} records from offset {first_offset} on do not fit in 64 bits")
    if salts is not None and len(salts) != count * SALT_SIZE:
        raise ValueError(f"salts must have {SALT_SIZE} bytes a record, {count * SALT_SIZE}, not {len(salts)}")
    plan.count = count
    plan.first_offset = first_offset
    plan.salts = NULL
    if salts is not None:
        plan.salts = <const unsigned char*>PyBytes_AS_STRING(salts)
    for accumulator in accumulators:
        accumulator.readers += 1
    try:
        return _encode(&plan, accumulators, compression == "lz4", min(max(batch_size_bytes, 1), BATCH_SIZE_MAX))
    finally:
        for accumulator in accumulators:
            accumulator.readers -= 1


cdef EncodedBatches _encode(Plan* plan, list accumulators, bint compressed, Py_ssize_t batch_size):
    cdef EncodedBatches encoded = EncodedBatches.__new__(EncodedBatches)
    cdef PendingRecord* gathered = NULL
    cdef unsigned char* out
    cdef unsigned char* hashes
    cdef int failed
    plan.lengths = NULL
    plan.batches = NULL
    try:
        if len(accumulators) == 1:
            plan.records = (<RecordAccumulator>accumulators[0]).records
        else:
            gathered = _gather(accumulators, plan.count)
            plan.records = gathered
        _make_plan(plan, batch_size)
        encoded.data = PyBytes_FromStringAndSize(NULL, plan.size)
        encoded.leaf_hashes = PyBytes_FromStringAndSize(NULL, plan.count * HASH_SIZE)
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
        free(gathered)
        free(plan.lengths)
        free(plan.batches)


cdef PendingRecord* _gather(list accumulators, Py_ssize_t count) except NULL:
    """Returns the records of all accumulators in one array, to be freed."""
    cdef RecordAccumulator accumulator
    cdef PendingRecord* gathered = <PendingRecord*>malloc(count * sizeof(PendingRecord))
    cdef PendingRecord* at = gathered
    if gathered is NULL:
        raise MemoryError
    for accumulator in accumulators:
        if accumulator.count:
            memcpy(at, accumulator.records, accumulator.count * sizeof(PendingRecord))
        at += accumulator.count
    return gathered


cdef int _make_plan(Plan* plan, size_t batch_size) except -1:
    """Measures every record and decides where batches end."""
    cdef int failed
    plan.batch_count = 0
    plan.batch_capacity = 0
    plan.size = 0
    plan.lengths = <int*>malloc(plan.count * sizeof(int))
    if plan.lengths is NULL:
        raise MemoryError
    if plan.count > 1024:
        with nogil:
            failed = _cut(plan, batch_size)
    else:
        failed = _cut(plan, batch_size)
    if failed:
        raise MemoryError
    return 0


cdef int _cut(Plan* plan, size_t batch_size) noexcept nogil:
    cdef Batch* batch = NULL
    cdef const PendingRecord* record
    cdef Py_ssize_t index
    cdef Py_ssize_t length
    cdef size_t size = 0
    for index in range(plan.count):
        record = &plan.records[index]
        if batch is not NULL and _fits(batch, record):
            length = _record_length(record, record.timestamp_ms - batch.base_timestamp_ms, batch.count)
            size = <size_t>length + varint_size(length)
        if batch is NULL or not _fits(batch, record) or batch.size - HEADER_SIZE + size > batch_size:
            batch = _open_batch(plan, index, record.timestamp_ms)
            if batch is NULL:
                return -1
            length = _record_length(record, 0, 0)
            size = <size_t>length + varint_size(length)
        plan.lengths[index] = <int>length
        plan.size += size
        batch.size += size
        batch.count += 1
        if record.timestamp_ms > batch.max_timestamp_ms:
            batch.max_timestamp_ms = record.timestamp_ms
    return 0


cdef inline bint _fits(const Batch* batch, const PendingRecord* record) noexcept nogil:
    """False where the timestamp is more than 63 bits from the batch's, or the batch is full of records."""
    cdef long long base = batch.base_timestamp_ms
    if batch.count == INT_MAX:
        return False
    if base >= 0:
        return record.timestamp_ms >= base + LLONG_MIN
    return record.timestamp_ms <= base + LLONG_MAX


cdef Batch* _open_batch(Plan* plan, Py_ssize_t first, long long timestamp_ms) noexcept nogil:
    cdef Batch* grown
    cdef Batch* batch
    if plan.batch_count == plan.batch_capacity:
        plan.batch_capacity = 2 * plan.batch_capacity + 8
        grown = <Batch*>realloc(plan.batches, plan.batch_capacity * sizeof(Batch))
        if grown is NULL:
            return NULL
        plan.batches = grown
    batch = &plan.batches[plan.batch_count]
    batch.first = first
    batch.count = 0
    batch.size = HEADER_SIZE
    batch.base_timestamp_ms = timestamp_ms
    batch.max_timestamp_ms = timestamp_ms
    plan.batch_count += 1
    plan.size += HEADER_SIZE
    return batch


cdef inline Py_ssize_t _record_length(
    const PendingRecord* record, long long timestamp_delta, long long offset_delta
) noexcept nogil:
    """Returns the bytes of a record after its length field."""
    cdef size_t size = 1 + varint_size(timestamp_delta) + varint_size(offset_delta)
    size += varint_size(record.key_size) + varint_size(record.value_size)
    if record.key_size > 0:
        size += <size_t>record.key_size
    if record.value_size > 0:
        size += <size_t>record.value_size
    return <Py_ssize_t>(size + (1 if record.headers is NULL else _headers_size(record)))


cdef size_t _headers_size(const PendingRecord* record) noexcept nogil:
    cdef const unsigned char* at = record.headers + 4
    cdef unsigned int count = load_be32(record.headers)
    cdef size_t total = varint_size(count)
    cdef unsigned int index
    cdef int size
    for index in range(2 * count):
        size = <int>load_be32(at)
        total += varint_size(size)
        at += 4
        if size > 0:
            total += <size_t>size
            at += size
    return total


cdef int _write(Plan* plan, unsigned char* out, unsigned char* hashes, bint with_checksum) noexcept nogil:
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


cdef int _write_batch(const Plan* plan, const Batch* batch, unsigned char* at, LeafRun* run) noexcept nogil:
    cdef const PendingRecord* record
    cdef const unsigned char* salt = NULL
    cdef RecordView view
    cdef Py_ssize_t index
    at = _write_header(plan, batch, at)
    for index in range(batch.first, batch.first + batch.count):
        record = &plan.records[index]
        at = write_varint(at, plan.lengths[index])
        at = _write_record(at, record, record.timestamp_ms - batch.base_timestamp_ms, index - batch.first)
        view.key = record.key
        view.key_size = record.key_size
        view.value = record.value
        view.value_size = record.value_size
        view.headers = record.headers
        view.headers_size = record.headers_size
        view.header_count = 0 if record.headers is NULL else 1
        view.offset = plan.first_offset + index
        view.timestamp_ms = record.timestamp_ms
        if plan.salts is not NULL:
            salt = plan.salts + index * SALT_SIZE
        if leaf_run_add(run, &view, salt, True):
            return -1
    return 0


cdef unsigned char* _write_header(const Plan* plan, const Batch* batch, unsigned char* at) noexcept nogil:
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
    unsigned char* at, const PendingRecord* record, long long timestamp_delta, long long offset_delta
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
    cdef unsigned int index
    cdef int size
    at = write_varint(at, count)
    listed += 4
    for index in range(2 * count):
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
    """Compresses each batch where that shrinks it, moving what follows down; returns the shorter bytes."""
    cdef unsigned char* source = <unsigned char*>PyBytes_AS_STRING(data)
    cdef unsigned char* target = source
    cdef Py_ssize_t records_size
    cdef Py_ssize_t index
    cdef bytes compressed
    for index in range(plan.batch_count):
        records_size = plan.batches[index].size - HEADER_SIZE
        compressed = _compress_lz4(
            PyMemoryView_FromMemory(<char*>source + HEADER_SIZE, records_size, PyBUF_READ), block_linked=False
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
            (plan.first_offset + batch.first, position, batch.size, batch.count, batch.max_timestamp_ms)
        )
        position += batch.size
        encoded.max_timestamp_ms = max(encoded.max_timestamp_ms, batch.max_timestamp_ms)
    encoded.batches = batches
    return 0
