"""Measures the records of a write and decides where one batch ends and the next begins."""

from libc.limits cimport INT_MAX, LLONG_MAX, LLONG_MIN
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from merkql._core.accumulator cimport PendingRecord, RecordAccumulator
from merkql._core.batch_header cimport HEADER_SIZE
from merkql._core.varint cimport load_be32, varint_size

cdef enum:
    GIL_RELEASE_COUNT = 4096        # records; fewer are measured in no time


cdef int make_plan(Plan* plan, list accumulators, size_t batch_size) except -1:
    cdef int failed
    plan.gathered = NULL
    plan.batches = NULL
    plan.batch_count = 0
    plan.batch_capacity = 0
    plan.size = 0
    plan.lengths = <int*>malloc(plan.count * sizeof(int))
    if plan.lengths is NULL:
        raise MemoryError
    if len(accumulators) == 1:
        plan.records = (<RecordAccumulator>accumulators[0]).records
    else:
        _gather(plan, accumulators)
    if plan.count >= GIL_RELEASE_COUNT:
        with nogil:
            failed = _cut(plan, batch_size)
    else:
        failed = _cut(plan, batch_size)
    if failed:
        raise MemoryError
    return 0


cdef void free_plan(Plan* plan) noexcept:
    free(plan.gathered)
    free(plan.lengths)
    free(plan.batches)


cdef int _gather(Plan* plan, list accumulators) except -1:
    """Puts the records of all accumulators into one array."""
    cdef RecordAccumulator accumulator
    cdef PendingRecord* at
    plan.gathered = <PendingRecord*>malloc(plan.count * sizeof(PendingRecord))
    if plan.gathered is NULL:
        raise MemoryError
    plan.records = at = plan.gathered
    for accumulator in accumulators:
        if accumulator.count:
            memcpy(at, accumulator.records, accumulator.count * sizeof(PendingRecord))
        at += accumulator.count
    return 0


cdef int _cut(Plan* plan, size_t batch_size) noexcept nogil:
    """Measures every record and decides where batches end. Returns -1 out of memory."""
    cdef Batch* batch = NULL
    cdef const PendingRecord* record
    cdef Py_ssize_t index
    cdef Py_ssize_t length
    cdef size_t size = 0
    cdef bint is_full
    for index in range(plan.count):
        record = &plan.records[index]
        if batch is not NULL and _fits(batch, record):
            length = _record_length(
                record, record.timestamp_ms - batch.base_timestamp_ms, batch.count
            )
            size = <size_t>length + varint_size(length)
            is_full = batch.size - HEADER_SIZE + size > batch_size
        else:
            is_full = True
        if is_full:
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
    """False where the timestamp is too far from the batch's base, or no count is left."""
    cdef long long base = batch.base_timestamp_ms
    if batch.count == INT_MAX:
        return False
    if base >= 0:
        return record.timestamp_ms >= base + LLONG_MIN
    return record.timestamp_ms <= base + LLONG_MAX


cdef Batch* _open_batch(Plan* plan, Py_ssize_t first, long long timestamp_ms) noexcept nogil:
    """Begins a batch with the record number `first`; NULL: out of memory."""
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
    cdef unsigned int _index
    cdef int size
    for _index in range(2 * count):
        size = <int>load_be32(at)
        total += varint_size(size)
        at += 4
        if size > 0:
            total += <size_t>size
            at += size
    return total
