"""The records of the API: as read (Record), to be written (ProducerRecord), where one went.

Small immutable objects outside the garbage collector's lists: they hold only str, bytes, int and
tuples of those, so no cycle is possible. What a digest covers: docs/formats/record.md.
"""

import datetime

cimport cython
from cpython.bytes cimport PyBytes_CheckExact
from cpython.unicode cimport PyUnicode_AsUTF8String, PyUnicode_CheckExact, PyUnicode_FromObject

cdef object _EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
cdef object _timedelta = datetime.timedelta


@cython.final
@cython.no_gc
@cython.freelist(4096)
cdef class Record:
    """A record as it was read. A `value` of None is a tombstone, as in Kafka.

    Or, where `erased` is true, all that is left of one: its place and its time. Then key and value
    are None and there are no headers. Immutable and hashable; two records are equal when every
    attribute is.
    """

    __match_args__ = ("topic", "partition", "offset", "timestamp_ms", "key", "value", "headers")

    def __init__(
        self, object topic, object partition, object offset, object timestamp_ms,
        bytes key, bytes value, object headers=(), *, bint erased=False,
    ):
        if erased and (key is not None or value is not None or headers):
            raise ValueError("a record that is erased has no key, value or headers")
        self.topic = _exact_topic(topic)
        self.partition = _exact_int(partition, 32, "partition")
        self.erased = erased
        self.offset = _exact_int(offset, 64, "offset")
        self.timestamp_ms = _exact_int(timestamp_ms, 64, "timestamp_ms")
        self.key = key
        self.value = value
        self.headers = exact_headers(headers)

    @property
    def datetime(self):
        """The timestamp as an aware datetime in UTC; OverflowError outside the years 1 to 9999."""
        return _EPOCH + _timedelta(milliseconds=self.timestamp_ms)

    def __eq__(self, other):
        cdef Record that
        if type(other) is not Record:
            return NotImplemented
        that = other
        return (
            self.offset == that.offset and self.timestamp_ms == that.timestamp_ms
            and self.partition == that.partition and self.topic == that.topic
            and self.key == that.key and self.value == that.value and self.headers == that.headers
            and self.erased == that.erased
        )

    def __hash__(self):
        return hash((
            self.topic, self.partition, self.offset, self.timestamp_ms, self.key, self.value,
            self.headers,
        ))

    def __repr__(self):
        return (
            f"Record(topic={self.topic!r}, partition={self.partition}, offset={self.offset}, "
            f"timestamp_ms={self.timestamp_ms}, key={_shown(self.key)}, "
            f"value={_shown(self.value)}, headers={self.headers!r}"
            f"{', erased=True' if self.erased else ''})"
        )

    def __reduce__(self):
        made = _erased_record if self.erased else Record
        return made, (
            self.topic, self.partition, self.offset, self.timestamp_ms, self.key, self.value,
            self.headers,
        )


def _erased_record(*fields):
    """For pickle."""
    return Record(*fields, erased=True)


@cython.final
@cython.no_gc
@cython.freelist(4096)
cdef class RecordMetadata:
    """Where a record was written, and the timestamp it was given."""

    __match_args__ = ("topic", "partition", "offset", "timestamp_ms")

    def __init__(self, object topic, object partition, object offset, object timestamp_ms):
        self.topic = _exact_topic(topic)
        self.partition = _exact_int(partition, 32, "partition")
        self.offset = _exact_int(offset, 64, "offset")
        self.timestamp_ms = _exact_int(timestamp_ms, 64, "timestamp_ms")

    def __eq__(self, other):
        cdef RecordMetadata that
        if type(other) is not RecordMetadata:
            return NotImplemented
        that = other
        return (
            self.offset == that.offset and self.timestamp_ms == that.timestamp_ms
            and self.partition == that.partition and self.topic == that.topic
        )

    def __hash__(self):
        return hash((self.topic, self.partition, self.offset, self.timestamp_ms))

    def __repr__(self):
        return (
            f"RecordMetadata(topic={self.topic!r}, partition={self.partition}, "
            f"offset={self.offset}, timestamp_ms={self.timestamp_ms})"
        )

    def __reduce__(self):
        return RecordMetadata, (self.topic, self.partition, self.offset, self.timestamp_ms)


@cython.final
@cython.no_gc
@cython.freelist(1024)
cdef class ProducerRecord:
    """A record to be written.

    A str key or value is encoded as UTF-8; headers are pairs of a name and a value, or a mapping.
    Without `partition` the key chooses one; without `timestamp_ms` the time of writing is taken.

    Raises TypeError or ValueError, naming the field, for what a record cannot hold.
    """

    __match_args__ = ("topic", "value", "key", "headers", "partition", "timestamp_ms")

    def __init__(
        self, object topic, object value, object key=None, object headers=(),
        object partition=None, object timestamp_ms=None,
    ):
        self.topic = _exact_topic(topic)
        self.value = exact_bytes(value, "value")
        self.key = exact_bytes(key, "key")
        self.headers = exact_headers(headers)
        self.partition = None if partition is None else _exact_partition(partition)
        self.timestamp_ms = None if timestamp_ms is None else exact_timestamp(timestamp_ms)

    def __eq__(self, other):
        cdef ProducerRecord that
        if type(other) is not ProducerRecord:
            return NotImplemented
        that = other
        return (
            self.topic == that.topic and self.value == that.value and self.key == that.key
            and self.headers == that.headers and self.partition == that.partition
            and self.timestamp_ms == that.timestamp_ms
        )

    def __hash__(self):
        return hash((
            self.topic, self.value, self.key, self.headers, self.partition, self.timestamp_ms
        ))

    def __repr__(self):
        return (
            f"ProducerRecord(topic={self.topic!r}, value={_shown(self.value)}, "
            f"key={_shown(self.key)}, headers={self.headers!r}, partition={self.partition}, "
            f"timestamp_ms={self.timestamp_ms})"
        )

    def __reduce__(self):
        return ProducerRecord, (
            self.topic, self.value, self.key, self.headers, self.partition, self.timestamp_ms
        )


cdef str _exact_topic(object given):
    if PyUnicode_CheckExact(given):
        return given
    if not isinstance(given, str):
        raise TypeError(f"topic must be str, not {type(given).__name__}")
    return PyUnicode_FromObject(given)  # a member of a StrEnum becomes its plain text


cdef bytes exact_bytes(object given, str field):
    if given is None or PyBytes_CheckExact(given):
        return given
    if isinstance(given, str):
        try:
            return PyUnicode_AsUTF8String(given)
        except UnicodeEncodeError as error:
            raise ValueError(f"{field} cannot be encoded as UTF-8: {error}") from None
    if isinstance(given, (bytes, bytearray, memoryview)):
        return memoryview(given).tobytes()
    raise TypeError(f"{field} must be bytes, str or None, not {type(given).__name__}")


cdef tuple exact_headers(object given):
    cdef list pairs
    if given is None or (type(given) is tuple and len(<tuple>given) == 0):
        return ()
    if isinstance(given, (str, bytes)):
        raise _not_headers(given)
    if hasattr(given, "items"):
        given = given.items()
    pairs = []
    try:
        iterator = iter(given)
    except TypeError:
        raise _not_headers(given) from None
    for pair in iterator:
        pairs.append(_exact_pair(pair, len(pairs)))
    return tuple(pairs)


cdef object _not_headers(object given):
    kind = type(given).__name__
    return TypeError(f"headers must be pairs of a name and a value, or a mapping, not {kind}")


cdef tuple _exact_pair(object pair, Py_ssize_t index):
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"headers[{index}] must be a pair of a name and a value, not {pair!r}")
    name, value = pair
    if not isinstance(name, str):
        raise TypeError(f"the name of headers[{index}] must be str, not {type(name).__name__}")
    name = PyUnicode_FromObject(name)
    exact_bytes(name, f"the name of headers[{index}]")
    return name, exact_bytes(value, f"the value of headers[{index}]")


cdef object _exact_partition(object given):
    if not isinstance(given, int) or isinstance(given, bool):
        raise TypeError(f"partition must be int or None, not {type(given).__name__}")
    if not 0 <= given <= 0x7FFFFFFF:
        raise ValueError(f"partition must be between 0 and 2147483647, not {given}")
    return int(given)


cdef long long _exact_int(object given, int bits, str field) except? -1:
    cdef long long value
    if not isinstance(given, int) or isinstance(given, bool):
        raise TypeError(f"{field} must be int, not {type(given).__name__}")
    try:
        value = given
        if bits == 64 or value == <int>value:
            return value
    except OverflowError:
        pass
    raise ValueError(f"{field} must fit in {bits} bits, not {given}")


cdef long long exact_timestamp(object given) except? -1:
    if not isinstance(given, int) or isinstance(given, bool):
        raise TypeError(f"timestamp_ms must be int or None, not {type(given).__name__}")
    try:
        return given
    except OverflowError:
        raise ValueError(f"timestamp_ms must fit in 64 bits, not {given}") from None


cdef str _shown(bytes data):
    if data is None or len(data) <= 80:
        return repr(data)
    return f"{data[:64]!r}... ({len(data)} bytes)"
