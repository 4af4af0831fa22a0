"""Private key files: text, mode 0600, outside of every data directory.

No message contains a key: errors name the file.
"""

from __future__ import annotations

import os
import stat

from merkql.storage import layout
from merkql.storage.files import Files, read_file, write_new_file
from merkql.transparency.note import NoteError, SigningKey

KEY_FILE_MAX = 4096


def write_key(path: str | os.PathLike[str], key: SigningKey) -> None:
    """Create a key file; durable when it returns. ``FileExistsError`` if it exists.

    ``ValueError`` inside a data directory: whoever copies the log would have the key.
    """
    place = os.path.abspath(os.fspath(path))
    refuse_data_directory(place)
    write_new_file(Files(), place, f"{key.text()}\n".encode())


def read_key(path: str | os.PathLike[str]) -> SigningKey:
    """The key in a file. ``ValueError`` for a file that others may read, or that is no key."""
    place = os.path.abspath(os.fspath(path))
    files = Files()
    status = files.status(os.path.realpath(place))
    if status is None:
        raise FileNotFoundError(2, "no such key file; make one with: merkql keygen", place)
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"{place}: others may read this key; take it from them: chmod 600")
    content = read_file(files, os.path.realpath(place), KEY_FILE_MAX)
    try:
        return SigningKey.parse(content.decode("ascii"))
    except (NoteError, UnicodeDecodeError):
        raise ValueError(f"{place}: not a signing key, as merkql keygen makes them") from None


def refuse_data_directory(path: str) -> None:
    """``ValueError`` if ``path`` lies in a data directory."""
    files, directory = Files(), os.path.dirname(os.path.realpath(path))
    while True:
        if files.status(layout.directory_mark(directory)) is not None:
            raise ValueError(
                f"{path}: a key does not belong in a data directory: whoever copies {directory} "
                "would have it; choose another place"
            )
        above = os.path.dirname(directory)
        if above == directory:
            return
        directory = above
