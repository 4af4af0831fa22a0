"""The record types. Attributes are set at construction, and are exact str, bytes, int and tuple."""


cdef class Record:
    cdef readonly str topic
    cdef readonly int partition
    cdef readonly bint erased           # beside the other int: it takes no space there
    cdef readonly long long offset
    cdef readonly long long timestamp_ms
    cdef readonly bytes key
    cdef readonly bytes value
    cdef readonly tuple headers


cdef class RecordMetadata:
    cdef readonly str topic
    cdef readonly int partition
    cdef readonly long long offset
    cdef readonly long long timestamp_ms


cdef class ProducerRecord:
    cdef readonly str topic
    cdef readonly bytes value
    cdef readonly bytes key
    cdef readonly tuple headers
    cdef readonly object partition      # int or None
    cdef readonly object timestamp_ms   # int or None


# What a caller may give, made exact; the TypeError or ValueError names `field`.
cdef bytes exact_bytes(object given, str field)
cdef tuple exact_headers(object given)
cdef long long exact_timestamp(object given) except? -1
