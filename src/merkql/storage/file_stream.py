"""A file written as a stream that replaces another atomically once it is complete."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from merkql.storage import layout
from merkql.storage.files import Files

if TYPE_CHECKING:
    from typing_extensions import Buffer


class FileStream(io.RawIOBase):
    """A seekable stream over one open file of ``Files``."""

    def __init__(self, files: Files, descriptor: int) -> None:
        self._files, self._descriptor = files, descriptor
        self._position = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}
        begin = begins[whence] if whence in begins else self._files.size(self._descriptor)
        self._position = begin + offset
        return self._position

    def write(self, data: Buffer) -> int:
        self._files.write(self._descriptor, data, self._position)
        count = memoryview(data).nbytes
        self._position += count
        return count


@contextmanager
def replacing_file(files: Files, path: str) -> Iterator[FileStream]:
    """Replace ``path`` with what is written to the stream: atomic, and durable at the end.

    After an error ``path`` is unchanged and nothing is left behind.
    """
    temporary = layout.temporary(path)
    descriptor = files.open(temporary, write=True, create=True)
    try:
        try:
            files.truncate(descriptor, 0)
            yield FileStream(files, descriptor)
            files.sync(descriptor)
        finally:
            files.close(descriptor)
        files.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            files.remove(temporary)
        raise
    files.sync_directory(os.path.dirname(path))
