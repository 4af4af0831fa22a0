# The numbers of the tree, its hashes as C sees them, and the right edge that appending needs.

from cpython.bytes cimport PyBytes_FromStringAndSize

from merkql._core.sha256 cimport node_hash_many

ctypedef unsigned long long u64

cdef enum:
    HASH_SIZE = 32      # bytes of a hash
    LEVEL_STRIDE = 4    # levels 0, 4, 8, … are stored: a node of one is over 16 of the one before
    LEVEL_COUNT = 63    # levels of the largest tree, 2 ** 62 leaves

cdef struct Hash:
    unsigned char at[HASH_SIZE]

cdef class Frontier:
    cdef u64 leaf_count
    cdef Hash peak[LEVEL_COUNT]  # by level; the bits set in leaf_count say which of them count
    cdef Hash edge[LEVEL_COUNT]  # by level of a peak: the root of it and all lower ones
    cdef u64 edge_count          # of leaves when the edge was made
    cdef const Hash* folded(self) noexcept
    cdef int collect(self, Hash* hashes) noexcept

# A Python int as the number of leaves or of one; ValueError by `name` unless low <= value <= high.
cdef u64 whole_number(object value, str name, u64 low, u64 high) except? 0

# 2 ** 62, the most leaves a tree has.
cdef inline u64 tree_size_max() noexcept nogil:
    return <u64>1 << 62


cdef inline void join(const Hash* left, const Hash* right, Hash* out) noexcept nogil:
    cdef Hash pair[2]
    pair[0] = left[0]
    pair[1] = right[0]
    node_hash_many(pair[0].at, 1, out.at)


cdef inline void fold(const Hash* hashes, int count, Hash* out) noexcept:
    """The root of whole trees side by side, each smaller than the one to its left."""
    cdef int i
    out[0] = hashes[count - 1]
    for i in range(count - 2, -1, -1):
        join(&hashes[i], out, out)


cdef inline int bit_length(u64 number) noexcept nogil:
    cdef int length = 0
    while number:
        number >>= 1
        length += 1
    return length


cdef inline bytes as_bytes(const Hash* value):
    return PyBytes_FromStringAndSize(<char*>value.at, HASH_SIZE)
