"""The upper part of a tree in memory, checked once, so that a proof hashes only what is below.

Every whole node from one stored level up. A node never changes once it is whole, so the top only
grows. Which hash files the lower part is read from, somebody else knows.
Format of the tree: docs/formats/merkle-log.md.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.ref cimport Py_INCREF
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

cimport cython

from merkql._core.frontier cimport (
    HASH_SIZE, LEVEL_COUNT, LEVEL_STRIDE, Frontier as RightEdge, Hash, as_bytes, bit_length,
    tree_size_max, u64, whole_number
)
from merkql._core.sha256 cimport node_hash_many

cdef enum:
    ROW_SIZE = 16       # hashes of one stored level below one of the next
    ROW_MAX = LEVEL_COUNT // LEVEL_STRIDE
    ROW_NODES = 31      # a row and what is hashed from it, up to its one hash of the next level

ROW_BYTES = ROW_SIZE * HASH_SIZE


@cython.final
cdef class Treetop:
    """All whole nodes from `level`, a stored one above 0, up. One thread at a time may use it.

    Memory: 64 bytes a node of that level.
    """

    cdef readonly int level
    cdef u64 counts[LEVEL_COUNT + 1]
    cdef u64 capacities[LEVEL_COUNT]
    cdef Hash* nodes[LEVEL_COUNT]       # by level

    def __init__(self, int level):
        if not 0 < level < LEVEL_COUNT or level % LEVEL_STRIDE:
            raise ValueError(f"level {level} is not a stored one above 0")
        self.level = level

    def __dealloc__(self):
        cdef int level
        for level in range(LEVEL_COUNT):
            free(self.nodes[level])

    @property
    def count(self) -> int:
        """How many nodes of the lowest level there are."""
        return self.counts[self.level]

    def extend(self, bytes hashes not None) -> None:
        """Add the next nodes of the lowest level and hash what they make whole."""
        cdef u64 more = <u64>PyBytes_GET_SIZE(hashes) // HASH_SIZE, whole
        cdef int level = self.level
        if <u64>PyBytes_GET_SIZE(hashes) != more * HASH_SIZE:
            raise ValueError(f"{PyBytes_GET_SIZE(hashes)} bytes are not hashes of {HASH_SIZE}")
        if not more:
            return
        self._make_room(level, self.counts[level] + more)
        memcpy(self.nodes[level] + self.counts[level], PyBytes_AS_STRING(hashes), more * HASH_SIZE)
        self.counts[level] += more
        while self.counts[level] > 1 and level + 1 < LEVEL_COUNT:
            whole = self.counts[level] // 2
            self._make_room(level + 1, whole)
            more = self.counts[level + 1]
            node_hash_many(self.nodes[level][2 * more].at, whole - more,
                           self.nodes[level + 1][more].at)
            self.counts[level + 1] = whole
            level += 1

    cdef int _make_room(self, int level, u64 count) except -1:
        cdef Hash* grown
        cdef u64 wanted
        if count > self.capacities[level]:
            wanted = max(count, 2 * self.capacities[level])
            grown = <Hash*>realloc(self.nodes[level], wanted * HASH_SIZE)
            if grown == NULL:
                raise MemoryError
            self.nodes[level] = grown
            self.capacities[level] = wanted
        return 0

    def leads_to(self, RightEdge frontier not None) -> bool:
        """Whether these are the nodes of the tree with this right edge: all of them, and right."""
        cdef u64 size = frontier.leaf_count
        cdef int level
        if self.counts[self.level] != size >> self.level:
            return False
        for level in range(self.level, LEVEL_COUNT):
            if size >> level & 1 and memcmp(
                    &self.nodes[level][(size >> level) - 1], &frontier.peak[level], HASH_SIZE):
                return False
        return True

    def prove(self, index, RightEdge frontier not None, bytes rows not None) -> tuple | None:
        """(leaf hash, inclusion path) of a leaf in the tree, present or past, with this right edge.

        `rows`: of each stored level below, the 16 hashes of which one is above the leaf, from
        level 0 up. None if they are not all there or do not lead to the node above them, or if that
        is not whole.
        """
        cdef Hash hashed[ROW_MAX * ROW_NODES]
        cdef u64 size = frontier.leaf_count
        cdef u64 leaf = whole_number(index, "index", 0, tree_size_max() - 1)
        cdef u64 node = leaf >> self.level
        cdef int count = self.level // LEVEL_STRIDE
        if PyBytes_GET_SIZE(rows) != count * ROW_SIZE * HASH_SIZE:
            return None
        if node >= size >> self.level or size >> self.level > self.counts[self.level]:
            return None
        memcpy(hashed, PyBytes_AS_STRING(rows), count * ROW_SIZE * HASH_SIZE)
        hash_rows(hashed, count)
        if not rows_lead_to(&self.nodes[self.level][node], hashed, count, leaf):
            return None
        return as_bytes(row_node(hashed, count, 0, 0, leaf)), self._path(hashed, frontier, leaf)

    cdef tuple _path(self, Hash* hashed, RightEdge frontier, u64 leaf):
        """The path, first through the rows, then through the nodes here."""
        cdef u64 size = frontier.leaf_count, number
        cdef int inner = bit_length(leaf ^ (size - 1)), below = self.level // LEVEL_STRIDE
        cdef int row, step, level, peak
        cdef const Hash* path[2 * LEVEL_COUNT]
        cdef int count = 0
        for row in range(below):
            for step in range(LEVEL_STRIDE):
                level = row * LEVEL_STRIDE + step
                path[count] = row_node(hashed, below, row, step, leaf ^ <u64>1 << level)
                count += 1
        for level in range(self.level, LEVEL_COUNT):
            number = leaf >> level
            if level == inner - 1 and size & (((<u64>1) << level) - 1):
                # What the tree ends with is not whole: its peaks below this level, folded.
                peak = bit_length(size & (((<u64>1) << level) - 1)) - 1
                path[count] = frontier.folded() + peak
            elif level < inner:
                path[count] = &self.nodes[level][number ^ 1]
            elif number & 1:
                path[count] = &self.nodes[level][number - 1]  # a whole tree to the left
            elif number:
                continue
            else:
                break
            count += 1
        return hashes_as_tuple(path, count)


cdef tuple hashes_as_tuple(const Hash** path, int count):
    cdef tuple hashes = PyTuple_New(count)
    cdef int i
    for i in range(count):
        value = as_bytes(path[i])
        Py_INCREF(value)  # the tuple takes a reference without asking
        PyTuple_SET_ITEM(hashes, i, value)
    return hashes


# Rows: hashing every row whole, and all of them side by side, costs less than hashing what the path
# needs one after the other, and checks each row on the way: it has to end in the hash above it.


cdef inline Hash* row_node(Hash* hashed, int count, int row, int step, u64 leaf) noexcept:
    """The node `step` levels above a row's hashes that is above a leaf."""
    cdef int begin = count * (2 * ROW_SIZE - (2 * ROW_SIZE >> step))
    cdef u64 place = (leaf >> (row * LEVEL_STRIDE)) % ROW_SIZE >> step
    return hashed + begin + row * (ROW_SIZE >> step) + place


cdef void hash_rows(Hash* hashed, int count) noexcept:
    """Hashes rows that lie side by side; what each step makes of them lies behind them."""
    cdef int step, pairs
    for step in range(LEVEL_STRIDE):
        pairs = count * (ROW_SIZE // 2 >> step)
        node_hash_many(hashed.at, pairs, hashed[2 * pairs].at)
        hashed += 2 * pairs


cdef bint rows_lead_to(const Hash* top, Hash* hashed, int count, u64 leaf) noexcept:
    """Whether every row is hashed to what stands above it, the last one to `top`."""
    cdef const Hash* above
    cdef int row
    for row in range(count):
        above = top
        if row + 1 < count:
            above = row_node(hashed, count, row + 1, 0, leaf)
        if memcmp(row_node(hashed, count, row, LEVEL_STRIDE, leaf), above, HASH_SIZE):
            return False
    return True
