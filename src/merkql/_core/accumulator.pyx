"""The records of one write to one partition: checked, held, not copied, ready to be encoded.

Which offset each gets is decided by `record_batch.encode`; the form of headers is in leaf.pxd.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdlib cimport free, realloc

from merkql._core.leaf cimport canonical_headers
from merkql._core.murmur2 cimport murmur2_hash
from merkql._core.record cimport (
    ProducerRecord,
    RecordMetadata,
    exact_bytes,
    exact_headers,
    exact_timestamp,
)
from merkql._core.varint cimport load_be32

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    RECORD_OVERHEAD_MAX = 21        # lengths, deltas and counts of a record without headers
    RECORD_SIZE_MAX = 0x7FFFFBFF     # 2 ** 31 - 1 - 1024, as a literal for the debug build


@cython.final
cdef class RecordAccumulator:
    """Collects the records of one write; `now_ms` is the timestamp of those that carry none.

    Keeps references to the bytes it is given until it goes itself. Not for two threads at once;
    adding while its records are being encoded raises BufferError.
    """

    def __cinit__(self, long long now_ms):
        self._now_ms = now_ms
        self._held = []

    def __dealloc__(self):
        free(self.records)

    def __len__(self):
        return self.count

    def add(self, object key, object value, object headers=(), object timestamp_ms=None):
        """Adds one record.

        Raises TypeError or ValueError, naming the field, for what a record cannot hold.
        """
        cdef bytes exact_key = exact_bytes(key, "key")
        cdef bytes exact_value = exact_bytes(value, "value")
        cdef bytes listed = _listed(exact_headers(headers))
        cdef PendingRecord* pending = self._reserve(1)
        pending.timestamp_ms = self._now_ms
        if timestamp_ms is not None:
            pending.timestamp_ms = exact_timestamp(timestamp_ms)
        _point(pending, exact_key, exact_value, listed)
        self._hold(exact_key, exact_value, listed)
        self._count_in(1)

    def add_record(self, ProducerRecord record not None):
        """Adds a ProducerRecord; its topic and partition play no part."""
        cdef bytes listed = None
        cdef PendingRecord* pending = self._reserve(1)
        if len(record.headers):
            listed = _listed(record.headers)
        pending.timestamp_ms = self._now_ms
        if record.timestamp_ms is not None:
            pending.timestamp_ms = record.timestamp_ms
        _point(pending, record.key, record.value, listed)
        self._count_in(1)
        self._held.append(record)
        if listed is not None:
            self._held.append(listed)

    def add_within(self, ProducerRecord record not None, Py_ssize_t size_max, long long now_ms):
        """Adds a record that takes at most `size_max` bytes; returns the most it can take.

        One that can take more is not added. `now_ms` is its timestamp if it carries none.
        """
        cdef bytes listed = _listed(record.headers) if len(record.headers) else None
        cdef PendingRecord* pending = self._reserve(1)
        cdef Py_ssize_t size
        pending.timestamp_ms = now_ms if record.timestamp_ms is None else record.timestamp_ms
        _point(pending, record.key, record.value, listed)
        size = _size_max(pending)
        if size <= size_max:
            self._count_in(1)
            self._held.append(record)
            if listed is not None:
                self._held.append(listed)
        return size

    def extend_values(self, object values, object keys=None, object timestamps_ms=None):
        """Adds a record for each value, with the key and timestamp of the same index where given.

        All or nothing: a value, key or timestamp that a record cannot hold, or another number of
        them, is a TypeError or ValueError, and nothing is added.
        """
        cdef tuple held_values = _tuple(values, "values")
        cdef tuple held_keys = None if keys is None else _tuple(keys, "keys")
        cdef tuple held_times = None
        cdef Py_ssize_t count = len(held_values)
        cdef Py_ssize_t held_before = len(self._held)
        cdef PendingRecord* pending
        if timestamps_ms is not None:
            held_times = _tuple(timestamps_ms, "timestamps_ms")
        if held_keys is not None and len(held_keys) != count:
            raise ValueError(f"{count} values but {len(held_keys)} keys")
        if held_times is not None and len(held_times) != count:
            raise ValueError(f"{count} values but {len(held_times)} timestamps")
        if count == 0:
            return
        pending = self._reserve(count)
        try:
            _point_values(pending, held_values, self._held)
            _point_keys(pending, held_keys, count, self._held)
            _point_times(pending, held_times, count, self._now_ms)
            self._count_in(count)
        except BaseException:
            del self._held[held_before:]
            raise
        self._held.append(held_values)
        self._held.append(held_keys)

    def timestamp_ms(self, Py_ssize_t index):
        """Returns the timestamp of the record at `index`; IndexError where there is none."""
        if not 0 <= index < self.count:
            raise IndexError(f"record {index} of {self.count}")
        return self.records[index].timestamp_ms

    def metadata(self, str topic not None, int partition, long long first_offset):
        """Returns a RecordMetadata a record, the first at `first_offset`."""
        cdef list result = []
        cdef RecordMetadata one
        cdef Py_ssize_t index
        for index in range(self.count):
            one = RecordMetadata.__new__(RecordMetadata)
            one.topic = topic
            one.partition = partition
            one.offset = first_offset + index
            one.timestamp_ms = self.records[index].timestamp_ms
            result.append(one)
        return result

    cdef PendingRecord* _reserve(self, Py_ssize_t more) except NULL:
        """Returns room for `more` records, not yet counted."""
        cdef Py_ssize_t needed = self.count + more
        cdef PendingRecord* grown
        if self.readers:
            raise BufferError("records are being encoded: nothing can be added to them")
        if needed > self._capacity:
            needed = max(needed, 2 * self._capacity)
            grown = <PendingRecord*>realloc(self.records, needed * sizeof(PendingRecord))
            if grown is NULL:
                raise MemoryError
            self.records = grown
            self._capacity = needed
        return self.records + self.count

    cdef int _count_in(self, Py_ssize_t more) except -1:
        """Takes in the records written to what _reserve returned."""
        cdef Py_ssize_t total = 0
        cdef Py_ssize_t largest = 0
        cdef Py_ssize_t size
        cdef Py_ssize_t index
        for index in range(self.count, self.count + more):
            size = _size_max(&self.records[index])
            if size > largest:
                largest = size
            total += size
        if largest > RECORD_SIZE_MAX:
            raise ValueError(f"a record of {largest} bytes is too large: {RECORD_SIZE_MAX} at most")
        self.count += more
        self.size_bytes += total
        if largest > self.largest_size_bytes:
            self.largest_size_bytes = largest
        return 0

    cdef int _hold(self, bytes key, bytes value, bytes headers) except -1:
        self._held.append((key, value, headers))
        return 0


def add_by_key(
    list records not None, Py_ssize_t begin, str topic not None, list parts not None,
    list order not None,
):
    """Adds records from `begin` on where Kafka's default partitioner sends their keys.

    `parts` has an entry a partition: a pair of a number and an accumulator, or None. The numbers go
    to `order`. Stops before a record of another topic, without key, with a partition of its own, of
    no part yet, or that is no ProducerRecord; returns its index.
    """
    cdef Py_ssize_t index = begin
    cdef Py_ssize_t count = len(parts)
    cdef ProducerRecord record
    cdef object part
    cdef RecordAccumulator accumulator
    while index < len(records) and type(records[index]) is ProducerRecord:
        record = records[index]
        if record.key is None or record.partition is not None:
            break
        if record.topic is not topic and record.topic != topic:
            break
        part = parts[
            (murmur2_hash(<const unsigned char*>PyBytes_AS_STRING(record.key), len(record.key))
             & 0x7FFFFFFF) % count
        ]
        if part is None:
            break
        accumulator = (<tuple?>part)[1]
        accumulator.add_record(record)
        order.append((<tuple>part)[0])
        index += 1
    return index


cdef bytes _listed(tuple headers):
    return canonical_headers(headers) if len(headers) else None


cdef tuple _tuple(object given, str field):
    if isinstance(given, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"{field} must be a sequence of them, not {type(given).__name__}")
    return tuple(given)


cdef inline Py_ssize_t _size_max(const PendingRecord* record) noexcept nogil:
    """No less than the encoded size: a varint is at most 5 bytes, a canonical size 4."""
    cdef Py_ssize_t size = RECORD_OVERHEAD_MAX
    if record.key_size > 0:
        size += record.key_size
    if record.value_size > 0:
        size += record.value_size
    if record.headers is not NULL:
        size += record.headers_size + 2 * <Py_ssize_t>load_be32(record.headers)
    return size


cdef inline void _point(PendingRecord* pending, bytes key, bytes value, bytes headers):
    pending.key = NULL
    pending.key_size = -1
    pending.value = NULL
    pending.value_size = -1
    pending.headers = NULL
    pending.headers_size = 0
    if key is not None:
        pending.key = <const unsigned char*>PyBytes_AS_STRING(key)
        pending.key_size = PyBytes_GET_SIZE(key)
    if value is not None:
        pending.value = <const unsigned char*>PyBytes_AS_STRING(value)
        pending.value_size = PyBytes_GET_SIZE(value)
    if headers is not None:
        pending.headers = <const unsigned char*>PyBytes_AS_STRING(headers)
        pending.headers_size = PyBytes_GET_SIZE(headers)


cdef int _point_at(
    const unsigned char** data, Py_ssize_t* size, object given, str field, Py_ssize_t index,
    list held
) except -1:
    """Points at the bytes of what a key or value may be; a copy of what could change is held."""
    if PyBytes_CheckExact(given):
        data[0] = <const unsigned char*>PyBytes_AS_STRING(given)
        size[0] = PyBytes_GET_SIZE(given)
    elif given is None:
        data[0] = NULL
        size[0] = -1
    elif PyUnicode_CheckExact(given):
        try:
            data[0] = <const unsigned char*>PyUnicode_AsUTF8AndSize(given, size)
        except UnicodeEncodeError as error:
            raise ValueError(f"{field}[{index}] cannot be encoded as UTF-8: {error}") from None
    else:
        given = exact_bytes(given, f"{field}[{index}]")
        held.append(given)
        data[0] = <const unsigned char*>PyBytes_AS_STRING(given)
        size[0] = PyBytes_GET_SIZE(given)
    return 0


cdef int _point_values(PendingRecord* pending, tuple values, list held) except -1:
    cdef Py_ssize_t index = 0
    cdef object value
    for value in values:
        if PyBytes_CheckExact(value):
            pending[index].value = <const unsigned char*>PyBytes_AS_STRING(value)
            pending[index].value_size = PyBytes_GET_SIZE(value)
        else:
            _point_at(
                &pending[index].value, &pending[index].value_size, value, "values", index, held
            )
        pending[index].headers = NULL
        pending[index].headers_size = 0
        index += 1
    return 0


cdef int _point_keys(PendingRecord* pending, tuple keys, Py_ssize_t count, list held) except -1:
    cdef Py_ssize_t index
    if keys is None:
        for index in range(count):
            pending[index].key = NULL
            pending[index].key_size = -1
        return 0
    for index in range(count):
        _point_at(&pending[index].key, &pending[index].key_size, keys[index], "keys", index, held)
    return 0


cdef int _point_times(
    PendingRecord* pending, tuple times, Py_ssize_t count, long long now_ms
) except -1:
    cdef Py_ssize_t index
    cdef object given
    for index in range(count):
        given = None if times is None else times[index]
        pending[index].timestamp_ms = now_ms if given is None else exact_timestamp(given)
    return 0
