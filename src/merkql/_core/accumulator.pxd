"""The records of one write, as the encoder reads them without the GIL."""

cdef struct PendingRecord:
    # Borrowed from objects the accumulator holds. Sizes of -1 are null.
    const unsigned char* key
    const unsigned char* value
    const unsigned char* headers    # the canonical list (leaf.pxd); NULL: no headers
    Py_ssize_t key_size
    Py_ssize_t value_size
    Py_ssize_t headers_size
    long long timestamp_ms


cdef class RecordAccumulator:
    cdef PendingRecord* records     # `count` of them; they move when one is added
    cdef Py_ssize_t count
    cdef Py_ssize_t _capacity
    cdef Py_ssize_t readers         # encoders at work: while there are any, nothing can be added
    cdef long long _now_ms
    cdef list _held                 # every object whose bytes are borrowed
    cdef readonly Py_ssize_t size_bytes
    cdef readonly Py_ssize_t largest_size_bytes

    cdef PendingRecord* _reserve(self, Py_ssize_t more) except NULL
    cdef int _count_in(self, Py_ssize_t more) except -1
    cdef int _hold(self, bytes key, bytes value, bytes headers) except -1
