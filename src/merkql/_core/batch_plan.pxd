"""Which records go into which batch, measured before anything is written."""

from merkql._core.accumulator cimport PendingRecord


cdef struct Batch:
    Py_ssize_t first                # index of its first record
    Py_ssize_t count
    size_t size                     # of the whole batch
    long long base_timestamp_ms
    long long max_timestamp_ms


cdef struct Plan:
    const PendingRecord* records    # borrowed from the accumulators, or `gathered`
    PendingRecord* gathered
    Py_ssize_t count
    int* lengths                    # what each record's length field says
    Batch* batches
    Py_ssize_t batch_count
    Py_ssize_t batch_capacity
    size_t size                     # of all batches
    long long first_offset
    const unsigned char* salts      # NULL: none
    bint hashed                     # whether the leaves are hashed as well


# Plans the records of the accumulators. free_plan releases what it set aside, also when it fails.
cdef int make_plan(Plan* plan, list accumulators, size_t batch_size) except -1
cdef void free_plan(Plan* plan) noexcept
