"""CRC-32C (Castagnoli), the checksum of Kafka record batches: RFC 3720, appendix B.4.

The instructions used are chosen once, in c/crc32c.c; portable_crc32c always runs the plain C, for
tests.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t

cdef extern from "crc32c.h" nogil:
    uint32_t crc32c_fast(uint32_t crc, const unsigned char* data, size_t size)
    uint32_t crc32c_portable(uint32_t crc, const unsigned char* data, size_t size)
    const char* crc32c_backend()

ctypedef uint32_t (*Update)(uint32_t, const unsigned char*, size_t) noexcept nogil

cdef enum:
    # Below this much input, giving the GIL up and taking it back costs more than it frees.
    GIL_RELEASE_SIZE = 4096


cdef unsigned int crc32c_update(unsigned int crc, const unsigned char* data,
                                size_t size) noexcept nogil:
    return crc32c_fast(crc, data, size)


def crc32c(data, crc: int = 0) -> int:
    """Return the CRC-32C of a bytes-like object, continuing from `crc`.

    Raises OverflowError when `crc` is not an unsigned 32-bit number.
    """
    return _checksum(crc32c_fast, data, crc)


def portable_crc32c(data, crc: int = 0) -> int:
    """Return what crc32c returns, computed by the plain C."""
    return _checksum(crc32c_portable, data, crc)


def backend() -> str:
    """Return what computes the checksum here: "sse4.2", "armv8" or "portable"."""
    return crc32c_backend().decode("ascii")


cdef _checksum(Update update, data, uint32_t crc):
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if view.len < GIL_RELEASE_SIZE:
            return update(crc, <const unsigned char*>view.buf, <size_t>view.len)
        with nogil:
            crc = update(crc, <const unsigned char*>view.buf, <size_t>view.len)
        return crc
    finally:
        PyBuffer_Release(&view)
