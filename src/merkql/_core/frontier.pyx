"""The right edge of a merkle tree: all that appending to it needs, and the nodes to be stored.

The tree is that of RFC 6962 and RFC 9162. Node (level, index) is the whole subtree of 2 ** level
leaves that begins at leaf index << level. Format: docs/formats/merkle-log.md.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
)
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cimport cython

from merkql._core.sha256 cimport node_hash_many

cdef enum:
    # Up to this many leaves are hashed on the stack and with the GIL: that takes a few µs.
    SMALL_COUNT = 64
    SMALL_SCRATCH = 51  # what grow() needs for them: 64 // 2 + 1 + 64 // 4 + 2 hashes
    STORED_LEVELS = 16  # 0, 4, … 60

HASH_BYTES = HASH_SIZE
STORED_LEVEL_STRIDE = LEVEL_STRIDE
EMPTY_ROOT = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


@cython.final
cdef class Frontier:
    """The right edge of a tree: its size and its peaks, the roots of the whole trees in it.

    Enough to append and to know the root. One thread at a time may append; who reads meanwhile
    sees the state before or after, but on a Python without the GIL has to be kept out as well.
    Raises ValueError unless peaks are 32 bytes for every bit set in the size, tallest first.
    """

    def __init__(self, size=0, peaks=b""):
        cdef u64 leaf_count = whole_number(size, "size", 0, tree_size_max())
        cdef bytes hashes = bytes(memoryview(peaks))
        cdef const Hash* at = <const Hash*>PyBytes_AS_STRING(hashes)
        cdef int level, count = bin(leaf_count).count("1")
        if PyBytes_GET_SIZE(hashes) != count * HASH_SIZE:
            raise ValueError(
                f"a tree of {leaf_count} leaves has {count} peaks of {HASH_SIZE} bytes, "
                f"not {PyBytes_GET_SIZE(hashes)} bytes of them")
        for level in range(LEVEL_COUNT - 1, -1, -1):
            if leaf_count >> level & 1:
                self.peak[level] = at[0]
                at += 1
        self.leaf_count = leaf_count

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self.leaf_count

    @property
    def peaks(self) -> bytes:
        """The peaks, 32 bytes each, tallest first."""
        cdef Hash hashes[LEVEL_COUNT]
        return PyBytes_FromStringAndSize(<char*>hashes, self.collect(hashes) * HASH_SIZE)

    def root(self) -> bytes:
        """The root of the tree; EMPTY_ROOT while it has no leaves."""
        cdef int level = LEVEL_COUNT - 1
        if self.leaf_count == 0:
            return EMPTY_ROOT
        while not self.leaf_count >> level & 1:
            level -= 1
        return as_bytes(&self.folded()[level])

    def copy(self) -> Frontier:
        """Another frontier in the same state."""
        cdef Frontier other = Frontier.__new__(Frontier)
        other.leaf_count = self.leaf_count
        other.peak = self.peak
        return other

    def append(self, leaf_hashes) -> list:
        """Append leaves, 32 bytes each; return the nodes to store: (level, first index, hashes).

        Only levels that gain nodes are listed, level 0 first. An exception leaves all as it was.
        """
        cdef bytes leaves = (
            leaf_hashes if PyBytes_CheckExact(leaf_hashes) else bytes(memoryview(leaf_hashes)))
        cdef const Hash* nodes = <const Hash*>PyBytes_AS_STRING(leaves)
        cdef size_t count = <size_t>PyBytes_GET_SIZE(leaves) // HASH_SIZE
        cdef u64 old = self.leaf_count, changed
        cdef Hash* stored[STORED_LEVELS]
        cdef Hash fresh[LEVEL_COUNT]
        cdef Hash small[SMALL_SCRATCH]
        cdef Hash* scratch = small
        cdef int level
        if <size_t>PyBytes_GET_SIZE(leaves) != count * HASH_SIZE:
            raise ValueError(f"{PyBytes_GET_SIZE(leaves)} bytes are not hashes of {HASH_SIZE}")
        if count > tree_size_max() - old:
            raise ValueError(f"a tree has at most {tree_size_max()} leaves")
        if count == 0:
            return []
        additions = room_for_additions(old, old + count, leaves, stored)
        if count <= SMALL_COUNT:
            changed = grow(self.peak, old, nodes, count, stored, scratch, fresh)
        else:
            scratch = <Hash*>malloc((count // 2 + 1 + count // 4 + 2) * HASH_SIZE)
            if scratch == NULL:
                raise MemoryError()
            with nogil:
                changed = grow(self.peak, old, nodes, count, stored, scratch, fresh)
            free(scratch)
        assert self.leaf_count == old, "two threads append to one frontier"
        for level in range(LEVEL_COUNT):
            if changed >> level & 1:
                self.peak[level] = fresh[level]
        self.leaf_count = old + count
        return additions

    cdef const Hash* folded(self) noexcept:
        """The edge, hashed once for all who ask before the tree grows."""
        cdef int level, below = -1
        if self.edge_count != self.leaf_count:
            for level in range(LEVEL_COUNT):
                if self.leaf_count >> level & 1:
                    self.edge[level] = self.peak[level]
                    if below >= 0:
                        join(&self.peak[level], &self.edge[below], &self.edge[level])
                    below = level
            self.edge_count = self.leaf_count
        return self.edge

    cdef int collect(self, Hash* hashes) noexcept:
        """Copies the peaks, tallest first; returns how many."""
        cdef int level, count = 0
        for level in range(LEVEL_COUNT - 1, -1, -1):
            if self.leaf_count >> level & 1:
                hashes[count] = self.peak[level]
                count += 1
        return count


cdef list room_for_additions(u64 old, u64 new, bytes leaves, Hash** stored):
    """What append returns, the hashes above the leaves still to be filled in through `stored`."""
    cdef list additions = [(0, old, leaves)]
    cdef int level
    for level in range(LEVEL_STRIDE, LEVEL_COUNT, LEVEL_STRIDE):
        if new >> level == old >> level:
            break
        hashes = PyBytes_FromStringAndSize(
            NULL, <Py_ssize_t>((new >> level) - (old >> level)) * HASH_SIZE)
        stored[level // LEVEL_STRIDE] = <Hash*>PyBytes_AS_STRING(hashes)
        additions.append((level, old >> level, hashes))
    return additions


cdef u64 grow(const Hash* peak, u64 old, const Hash* nodes, size_t count, Hash** stored,
              Hash* scratch, Hash* fresh) noexcept nogil:
    """Hashes what `count` new leaves complete, a level at a time, so that many are hashed at once.

    Writes whole nodes of levels 4, 8, … to `stored`, new peaks to `fresh`, by level; returns the
    levels of these as bits. `scratch` holds (count // 2 + 1) + (count // 4 + 2) hashes.
    """
    cdef Hash* out = scratch
    cdef Hash* other = scratch + (count // 2 + 1)
    cdef u64 first = old, changed = 0
    cdef size_t joined
    cdef int level = 0
    while True:
        joined = 0
        if first & 1:  # the first new node is the right half of one whose left half is a peak
            join(&peak[level], nodes, out)
            nodes += 1
            count -= 1
            joined = 1
        if count & 1:
            fresh[level] = nodes[count - 1]
            changed |= <u64>1 << level
        if count > 1:
            node_hash_many(nodes.at, count // 2, out[joined].at)
        count = joined + count // 2
        if count == 0:
            return changed
        level += 1
        first >>= 1
        nodes = out
        out, other = other, out
        if level % LEVEL_STRIDE == 0:
            memcpy(stored[level // LEVEL_STRIDE], nodes, count * HASH_SIZE)


cdef u64 whole_number(object value, str name, u64 low, u64 high) except? 0:
    cdef long long number
    try:
        number = value
    except OverflowError:
        number = -1
    if number < 0 or not low <= <u64>number <= high:
        raise ValueError(f"{name} is {value}, not from {low} to {high}")
    return <u64>number
