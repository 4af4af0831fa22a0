"""System calls of a microsecond, made without giving the interpreter's lock (GIL) away.

Python's `os` gives it up around each. Where threads wait for it, whoever leads a group commit would
then wait for all of them a dozen times a group, with the disk idle. So only calls that stay in the
page cache and take little are made here; the rest, and all that wait, are `os`'s. What is to be
read and is not in the cache is waited for without the GIL.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno

cdef extern from *:
    """
    #include <fcntl.h>
    #include <errno.h>
    #include <sys/file.h>
    #include <sys/uio.h>
    #include <unistd.h>
    static Py_ssize_t read_cached(int descriptor, void* buffer, size_t size, long long position) {
    #if defined(__linux__) && defined(RWF_NOWAIT)
        struct iovec part = {buffer, size};
        return preadv2(descriptor, &part, 1, position, RWF_NOWAIT);
    #else
        (void)descriptor; (void)buffer; (void)size; (void)position;
        return -1;
    #endif
    }
    #ifdef __linux__
    static int begin_write_out(int descriptor, long long position, long long size) {
        return sync_file_range(descriptor, position, size, SYNC_FILE_RANGE_WRITE);
    }
    #else
    static int begin_write_out(int descriptor, long long position, long long size) {
        (void)descriptor; (void)position; (void)size;
        return 0;
    }
    #endif
    """
    int begin_write_out(int descriptor, long long position, long long size) noexcept nogil
    # What of it is in the page cache; -1 where none is, or where the system cannot tell.
    Py_ssize_t read_cached(int descriptor, void* buffer, size_t size, long long position)
    Py_ssize_t pread(int descriptor, void* buffer, size_t size, long long position) nogil
    Py_ssize_t pwrite(int descriptor, const void* data, size_t size, long long position)
    int flock(int descriptor, int operation)

BRIEF_SIZE_MAX = 4096  # of what is read or written: one page

cdef enum:
    BUFFER_SIZE = 4096


def start_write_out(int descriptor, long long position, long long size):
    """Starts writing a range to disk without waiting for it: Linux's `sync_file_range`.

    Does nothing on other systems. Errors are not reported here: the next sync of the file reports
    them. This one gives the GIL up: queueing the range takes a while.
    """
    with nogil:
        begin_write_out(descriptor, position, size)


def read_briefly(int descriptor, Py_ssize_t size, long long position):
    """Returns at most `size` bytes, which is at most BRIEF_SIZE_MAX; OSError as `os.pread`."""
    cdef char buffer[BUFFER_SIZE]
    cdef Py_ssize_t done
    if not 0 <= size <= BUFFER_SIZE:
        raise ValueError(f"{size} bytes are not read briefly: {BUFFER_SIZE} at most")
    done = read_cached(descriptor, buffer, size, position)
    if done == size:
        return buffer[:done]
    done = -1
    while done < 0:         # the file ends there, or a disk has to be waited for
        with nogil:
            done = pread(descriptor, buffer, size, position)
        if done < 0:
            _raise_unless_interrupted()
    return buffer[:done]


def write_briefly(int descriptor, bytes data not None, long long position):
    """Returns how many bytes were written; OSError as `os.pwrite`."""
    cdef Py_ssize_t done = -1
    while done < 0:
        done = pwrite(descriptor, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), position)
        if done < 0:
            _raise_unless_interrupted()
    return done


def lock_briefly(int descriptor, int operation):
    """As `fcntl.flock` with an operation that does not wait; False where another has the lock."""
    while flock(descriptor, operation) < 0:
        if errno == EAGAIN:         # as EWOULDBLOCK everywhere
            return False
        _raise_unless_interrupted()
    return True


cdef int _raise_unless_interrupted() except -1:
    """A call that a signal interrupted is made again, once the signal's handler has run."""
    if errno != EINTR:
        PyErr_SetFromErrno(OSError)
    PyErr_CheckSignals()
    return 0
