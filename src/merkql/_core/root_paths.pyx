"""From leaves up to the root they lead to by a path: what a verifier computes, at the core's speed.

`merkql.proof` does the same from the documents alone, and judges. Knows no stored hash.
Format: docs/formats/merkle-log.md.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from merkql._core.frontier cimport (
    HASH_SIZE, Hash, as_bytes, bit_length, join, tree_size_max, u64, whole_number
)
from merkql._core.sha256 cimport node_hash_many


def root_from_inclusion(bytes leaf_hash not None, index, size, path) -> bytes:
    """The root of the tree of `size` leaves in which a leaf stands at `index` (RFC 9162 §2.1.3).

    What merkql.proof computes, faster. Raises ValueError unless all hashes are of 32 bytes and the
    path is exactly as long as that place in that tree needs.
    """
    cdef u64 leaf_count = whole_number(size, "size", 1, tree_size_max())
    cdef u64 leaf = whole_number(index, "index", 0, leaf_count - 1)
    cdef int inner = bit_length(leaf ^ (leaf_count - 1)), count = inner, level
    cdef u64 above = leaf >> inner
    cdef tuple siblings = tuple(path)
    cdef Hash node
    cdef const Hash* sibling
    while above:
        count += above & 1
        above >>= 1
    if len(siblings) != count:
        raise ValueError(f"path: not the {count} hashes that these sizes need")
    check_hash(leaf_hash)
    node = (<const Hash*>PyBytes_AS_STRING(leaf_hash))[0]
    for level in range(count):
        value = siblings[level]
        check_hash(value)
        sibling = <const Hash*>PyBytes_AS_STRING(value)
        if level >= inner or leaf >> level & 1:
            join(sibling, &node, &node)
        else:
            join(&node, sibling, &node)
    return as_bytes(&node)


def root_from_range(bytes leaf_hashes not None, first, size, path) -> bytes:
    """The root of the tree of `size` leaves in which these stand from index `first` on.

    What merkql.proof computes, faster: a level at a time. Raises ValueError unless all hashes are
    of 32 bytes and the path is exactly as long as that place in that tree needs.
    """
    cdef u64 leaf_count = whole_number(size, "size", 1, tree_size_max())
    cdef u64 low = whole_number(first, "first", 0, leaf_count - 1)
    cdef u64 count = <u64>PyBytes_GET_SIZE(leaf_hashes) // HASH_SIZE
    cdef tuple siblings = tuple(path)
    cdef Hash* row
    if count * HASH_SIZE != <u64>PyBytes_GET_SIZE(leaf_hashes) or not count:
        raise ValueError(f"{len(leaf_hashes)} bytes are not hashes of {HASH_SIZE}")
    if count > leaf_count - low:
        raise ValueError(f"{count} leaves from {low} on are more than the tree of {leaf_count} has")
    for value in siblings:
        check_hash(value)
    row = <Hash*>malloc((count + 2) * HASH_SIZE)
    if row == NULL:
        raise MemoryError
    try:
        memcpy(row + 1, PyBytes_AS_STRING(leaf_hashes), count * HASH_SIZE)
        return fold_range(row, low, low + count - 1, leaf_count - 1, siblings)
    finally:
        free(row)


cdef bytes fold_range(Hash* row, u64 low, u64 high, u64 last, tuple siblings):
    """The root above the nodes `low` to `high` of a level, which begin at `row[1]`.

    The path has what is left of them from the leaves up to where one node is above them all, then
    what is right of them, then what is beside that node.
    """
    cdef int meeting = bit_length(low ^ high)  # from this level up there is one node
    cdef int lefts = bit_count(low & ((<u64>1 << max(meeting - 1, 0)) - 1))
    cdef int used = 0, rights = lefts, level = 0
    cdef u64 begin, count
    if lefts > PyTuple_GET_SIZE(siblings):
        raise ValueError("path: fewer hashes than these sizes need")
    while last:
        begin, count = 1, high - low + 1
        if low & 1:
            if level < meeting - 1:
                put_sibling(row, siblings, used, lefts)
                used += 1
            else:
                put_sibling(row, siblings, rights, PyTuple_GET_SIZE(siblings))
                rights += 1
            begin, count = 0, count + 1
        if not high & 1 and high < last:
            put_sibling(row + begin + count, siblings, rights, PyTuple_GET_SIZE(siblings))
            rights += 1
            count += 1
        hash_up(row, begin, count)
        low >>= 1
        high >>= 1
        last >>= 1
        level += 1
    if used != lefts or rights != PyTuple_GET_SIZE(siblings):
        raise ValueError("path: more hashes than these sizes need")
    return as_bytes(row + 1)


cdef int bit_count(u64 number) noexcept:
    cdef int count = 0
    while number:
        number &= number - 1
        count += 1
    return count


cdef int put_sibling(Hash* place, tuple siblings, Py_ssize_t number, Py_ssize_t end) except -1:
    if number >= end:
        raise ValueError("path: fewer hashes than these sizes need")
    place[0] = (<const Hash*>PyBytes_AS_STRING(siblings[number]))[0]
    return 0


cdef void hash_up(Hash* row, u64 begin, u64 count) noexcept nogil:
    """Hashes `count` nodes from `row[begin]` on in pairs, to `row[1]` on; an odd one stays."""
    node_hash_many(row[begin].at, count // 2, row[begin].at)
    if count & 1:
        row[begin + count // 2] = row[begin + count - 1]
    if begin != 1:
        memmove(row + 1, row + begin, (count + 1) // 2 * HASH_SIZE)


cdef int check_hash(value) except -1:
    if type(value) is not bytes or PyBytes_GET_SIZE(value) != HASH_SIZE:
        raise ValueError(f"a hash has {HASH_SIZE} bytes: {value!r}")
    return 0
