"""SHA-256 of many messages at once, and the leaf and node hashes of the merkle tree.

Leaves out hashing a message piece by piece: hashlib does that. The instructions used are chosen
once, in c/sha256.c; the portable_ functions always run the plain C, for tests. Tree hashes: RFC
9162, 2.1.1.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc

cdef extern from "sha256.h" nogil:
    const size_t SHA256_DIGEST_SIZE
    const size_t SHA256_LEAF_ENTRY_SIZE
    const size_t SHA256_NODE_PAIR_SIZE

    ctypedef struct Engine "const struct sha256_engine":
        pass

    Engine* sha256_fast()
    Engine* sha256_portable()
    const char* sha256_name(Engine* engine)
    void sha256_messages(Engine* engine, const unsigned char* const* messages, const size_t* sizes,
                         size_t count, unsigned char* digests)
    void sha256_leaves(Engine* engine, const unsigned char* entries, size_t count,
                       unsigned char* hashes)
    void sha256_nodes(Engine* engine, const unsigned char* pairs, size_t count,
                      unsigned char* hashes)

ctypedef void (*HashFixed)(Engine*, const unsigned char*, size_t, unsigned char*) noexcept nogil

cdef enum:
    # Below this much input, giving the GIL up and taking it back costs more than it frees.
    GIL_RELEASE_SIZE = 4096


cdef void sha256_many(const unsigned char* const* messages, const size_t* sizes, size_t count,
                      unsigned char* digests) noexcept nogil:
    sha256_messages(sha256_fast(), messages, sizes, count, digests)


cdef void leaf_hash_many(const unsigned char* entries, size_t count,
                         unsigned char* hashes) noexcept nogil:
    sha256_leaves(sha256_fast(), entries, count, hashes)


cdef void node_hash_many(const unsigned char* pairs, size_t count,
                         unsigned char* hashes) noexcept nogil:
    sha256_nodes(sha256_fast(), pairs, count, hashes)


def digest_many(messages) -> bytes:
    """Return the digests of bytes-like messages, 32 bytes each, back to back."""
    return _digest_many(sha256_fast(), messages)


def leaf_hashes(entries) -> bytes:
    """Return SHA-256(0x00 | entry) of entries of 49 bytes, back to back.

    Raises ValueError when the size is not a multiple of 49.
    """
    return _hash_fixed(sha256_fast(), sha256_leaves, entries, SHA256_LEAF_ENTRY_SIZE)


def node_hashes(pairs) -> bytes:
    """Return SHA-256(0x01 | left | right) of pairs of hashes (64 bytes), back to back.

    Raises ValueError when the size is not a multiple of 64.
    """
    return _hash_fixed(sha256_fast(), sha256_nodes, pairs, SHA256_NODE_PAIR_SIZE)


def backend() -> str:
    """Return what computes the hashes here: "sha-ni", "armv8" or "portable"."""
    return sha256_name(sha256_fast()).decode("ascii")


def portable_digest_many(messages) -> bytes:
    """Return what digest_many returns, computed by the plain C."""
    return _digest_many(sha256_portable(), messages)


def portable_leaf_hashes(entries) -> bytes:
    """Return what leaf_hashes returns, computed by the plain C."""
    return _hash_fixed(sha256_portable(), sha256_leaves, entries, SHA256_LEAF_ENTRY_SIZE)


def portable_node_hashes(pairs) -> bytes:
    """Return what node_hashes returns, computed by the plain C."""
    return _hash_fixed(sha256_portable(), sha256_nodes, pairs, SHA256_NODE_PAIR_SIZE)


cdef bytes _digest_many(Engine* engine, messages):
    # A tuple of our own: nobody else can shorten it while its buffers are in use.
    cdef tuple held = tuple(messages)
    cdef size_t count = len(held), taken = 0, total = 0
    cdef bytes digests = PyBytes_FromStringAndSize(NULL, SHA256_DIGEST_SIZE * count)
    cdef unsigned char* target = <unsigned char*>PyBytes_AS_STRING(digests)
    cdef Py_buffer* views = <Py_buffer*>PyMem_Malloc(count * sizeof(Py_buffer))
    cdef const unsigned char** starts = <const unsigned char**>PyMem_Malloc(count * sizeof(void*))
    cdef size_t* sizes = <size_t*>PyMem_Malloc(count * sizeof(size_t))
    try:
        if views == NULL or starts == NULL or sizes == NULL:
            raise MemoryError
        for message in held:
            PyObject_GetBuffer(message, &views[taken], PyBUF_SIMPLE)
            starts[taken] = <const unsigned char*>views[taken].buf
            sizes[taken] = <size_t>views[taken].len
            total += sizes[taken]
            taken += 1
        if total < GIL_RELEASE_SIZE:
            sha256_messages(engine, starts, sizes, count, target)
        else:
            with nogil:
                sha256_messages(engine, starts, sizes, count, target)
    finally:
        while taken > 0:
            taken -= 1
            PyBuffer_Release(&views[taken])
        PyMem_Free(views)
        PyMem_Free(starts)
        PyMem_Free(sizes)
    return digests


cdef bytes _hash_fixed(Engine* engine, HashFixed hash_fixed, inputs, size_t input_size):
    cdef Py_buffer view
    cdef bytes hashes
    cdef unsigned char* target
    cdef size_t count
    PyObject_GetBuffer(inputs, &view, PyBUF_SIMPLE)
    try:
        if <size_t>view.len % input_size != 0:
            raise ValueError(f"{view.len} bytes are not a multiple of {input_size}")
        count = <size_t>view.len // input_size
        hashes = PyBytes_FromStringAndSize(NULL, SHA256_DIGEST_SIZE * count)
        target = <unsigned char*>PyBytes_AS_STRING(hashes)
        if <size_t>view.len < GIL_RELEASE_SIZE:
            hash_fixed(engine, <const unsigned char*>view.buf, count, target)
        else:
            with nogil:
                hash_fixed(engine, <const unsigned char*>view.buf, count, target)
    finally:
        PyBuffer_Release(&view)
    return hashes
