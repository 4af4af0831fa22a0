"""What a crash may leave on a disk, given the journal of a `RecordingFiles`.

The model. A file is its durable bytes and the operations since its last sync; any of them may be
there or not, a write also in part. A directory is its durable entries and the changes since its
last sync; they persist in order. A sync of a file says nothing about its name.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from support.recorder import Entry

SECTOR = 512
GROWN, GARBAGE = -1, -2  # in place of a first byte: the file has its new size
TEARS_MAX = 12  # places where one write is torn: all of a small one, a choice of a large one's
TEARS_OF_NEWS = 3

Image = dict[str, bytes | None]  # by path; None for a directory


@dataclass
class _Directory:
    """Entries by name; a node number is a file, a `_Directory` a directory."""

    entries: dict[str, int | _Directory] = field(default_factory=dict)


@dataclass
class _NameChange:
    directory: _Directory
    name: str
    node: int | _Directory | None  # None: removed
    source: str | None = None  # renamed from

    def apply(self, entries: dict[str, int | _Directory]) -> None:
        if self.source is not None:
            entries.pop(self.source, None)
        if self.node is None:
            entries.pop(self.name, None)
        else:
            entries[self.name] = self.node


class DiskModel:
    """Follows a journal; `states` are the images a crash at this moment may leave."""

    def __init__(self, root: str = "", nodes: dict[str, int] | None = None) -> None:
        self._now = _Directory()  # the tree of directories as the running process sees it
        self._durable: dict[int, dict[str, int | _Directory]] = {id(self._now): {}}
        self._directories = [self._now]  # keeps them alive: `_durable` is keyed by identity
        self._changes: list[_NameChange] = []
        self._content: dict[int, bytearray] = {}  # durable
        self._frozen: dict[int, bytes] = {}  # the same, of those asked for since they changed
        self._pending: dict[int, list[Entry]] = {}
        self._touched: int | str = -1  # what the last operation was done to
        self._cached: dict[int, bytearray] = {}  # what processes see, of files whose sync failed
        if root:
            self._adopt(root, nodes or {})

    def follow(self, entry: Entry) -> None:
        """Take one line of the journal into account."""
        kind = entry[0]
        self._touched = entry[1]
        if kind in ("write", "grow", "truncate"):
            self._pending[entry[1]].append(entry)
            if entry[1] in self._cached:
                _apply(self._cached[entry[1]], entry)
        elif kind == "failed sync":
            self._fail_sync(entry[1])
        elif kind == "sync":
            if self._pending[entry[1]]:
                self._frozen.pop(entry[1], None)
            for one in self._pending[entry[1]]:
                _apply(self._content[entry[1]], one)
            self._pending[entry[1]] = []
        elif kind == "syncdir":
            self._sync_names(self._directory(entry[1]))
        elif kind == "create":
            self._content[entry[2]] = bytearray()
            self._pending[entry[2]] = []
            self._change(entry[1], entry[2])
        elif kind == "mkdir":
            self._change(entry[1], self._new_directory())
        elif kind == "remove":
            self._change(entry[1], None)
        elif kind == "link":
            parent, _, name = entry[1].rpartition("/")
            self._change(entry[2], self._directory(parent).entries[name])
        elif kind == "rename":
            self._rename(entry[1], entry[2])

    def _fail_sync(self, node: int) -> None:
        """The page cache keeps what was not written and calls it clean: no later sync writes it."""
        content, operations = self._content[node], self._pending[node]
        self._frozen.pop(node, None)
        if node not in self._cached:
            cached = self._cached[node] = bytearray(content)
            for one in operations:
                _apply(cached, one)
        for one in operations:
            if one[0] == "write":
                _extend(content, one[2] + len(one[3]))  # sizes are metadata, and not lost
            else:
                _apply(content, one)
        self._pending[node] = []

    def durable(self, node: int) -> bytes:
        """What a file holds without what was not synced."""
        if node not in self._frozen:
            self._frozen[node] = bytes(self._content[node])
        return self._frozen[node]

    def running(self) -> Image:
        """What the running system sees: every operation done."""
        return self._image(None, {n: _whole(ops) for n, ops in self._pending.items()})

    def states(
        self, rng: random.Random, *, news: bool = False
    ) -> Iterator[tuple[str, Callable[[], Image]]]:
        """Every image of the model (a choice where there are too many), with a word for it.

        ``news``: of files that the last operation did not touch, only *nothing* and *everything*,
        and a torn write among whole ones only.
        Images are made when called for, which has to be before the journal is followed further.
        """
        names = list(self._name_states())
        everything = {n: _whole(ops) for n, ops in self._pending.items()}
        for label, keep in names:
            yield f"{label}, no unsynced data", partial(self._image, keep, {})
            yield f"{label}, all data", partial(self._image, keep, everything)
        first, last = names[0], names[-1]
        for node, operations in self._pending.items():
            fully = not news or node == self._touched
            tears = TEARS_OF_NEWS if news else TEARS_MAX
            some = _data_states(operations, rng, tears) if fully else _nothing(operations)
            for what, parts in some:
                label = f"file {node}: {what}"
                alone, among = {node: parts}, {**everything, node: parts}
                yield f"{last[0]}, {label}, others whole", partial(self._image, last[1], among)
                if news and " torn, " in label:
                    continue
                yield f"{last[0]}, {label}", partial(self._image, last[1], alone)
                if first is not last:
                    yield (
                        f"{first[0]}, {label}, others whole",
                        partial(self._image, first[1], among),
                    )

    def _name_states(self) -> Iterator[tuple[str, list[_NameChange]]]:
        count = len(self._changes)
        for kept in range(count + 1):
            yield f"{kept} of {count} names", self._changes[:kept]
        for directory in {id(c.directory): c.directory for c in self._changes}.values():
            own = [c for c in self._changes if c.directory is directory]
            others = [c for c in self._changes if c.directory is not directory]
            if own and others:
                yield "names of one directory", own
                yield "names but those of one directory", others
        yield f"{count} of {count} names", self._changes

    def _image(self, changes: list[_NameChange] | None, parts: dict[int, list[_Part]]) -> Image:
        image: Image = {}
        _Image(self, changes, parts).fill(image, self._now, "")
        return image

    def _adopt(self, root: str, nodes: dict[str, int]) -> None:
        """Begin with what lies in a real directory, all of it durable."""
        for path, _, _ in os.walk(root):
            name = os.path.relpath(path, root)
            if name != ".":
                self._change(name, self._new_directory())
        for name, node in nodes.items():
            with open(os.path.join(root, name), "rb") as file:
                self._content[node] = bytearray(file.read())
            self._pending[node] = []
            self._change(name, node)
        for directory in self._directories:
            self._sync_names(directory)

    def _new_directory(self) -> _Directory:
        directory = _Directory()
        self._directories.append(directory)
        self._durable[id(directory)] = {}
        return directory

    def _directory(self, path: str) -> _Directory:
        directory = self._now
        for name in path.split("/") if path else []:
            found = directory.entries[name]
            assert isinstance(found, _Directory), path
            directory = found
        return directory

    def _change(self, path: str, node: int | _Directory | None) -> None:
        parent, _, name = path.rpartition("/")
        directory = self._directory(parent)
        change = _NameChange(directory, name, node)
        change.apply(directory.entries)
        self._changes.append(change)

    def _rename(self, source: str, target: str) -> None:
        parent, _, old = source.rpartition("/")
        target_parent, _, new = target.rpartition("/")
        assert parent == target_parent, "the engine renames within a directory only"
        directory = self._directory(parent)
        change = _NameChange(directory, new, directory.entries[old], old)
        change.apply(directory.entries)
        self._changes.append(change)

    def _sync_names(self, directory: _Directory) -> None:
        for change in [c for c in self._changes if c.directory is directory]:
            change.apply(self._durable[id(directory)])
        self._changes = [c for c in self._changes if c.directory is not directory]


class _Image:
    """One image being put together: which name changes and which parts of the data are there."""

    def __init__(
        self, model: DiskModel, changes: list[_NameChange] | None, parts: dict[int, list[_Part]]
    ) -> None:
        self._model = model
        self._changes = changes
        self._parts = parts

    def fill(self, image: Image, directory: _Directory, path: str) -> None:
        for name, node in self._entries(directory).items():
            below = f"{path}/{name}" if path else name
            if isinstance(node, _Directory):
                image[below] = None
                self.fill(image, node, below)
            else:
                image[below] = self._bytes(node)

    def _entries(self, directory: _Directory) -> dict[str, int | _Directory]:
        if self._changes is None:
            return directory.entries
        entries = dict(self._model._durable[id(directory)])
        for change in self._changes:
            if change.directory is directory:
                change.apply(entries)
        return entries

    def _bytes(self, node: int) -> bytes:
        if self._changes is None and node in self._model._cached:
            return bytes(self._model._cached[node])
        parts = self._parts.get(node)
        if not parts:
            return self._model.durable(node)
        content = bytearray(self._model._content[node])
        for operation, low, high in parts:
            _apply(content, operation, low, high)
        return bytes(content)


_Part = tuple[Entry, int, "int | None"]  # an operation and which of its bytes are there


def _whole(operations: list[Entry]) -> list[_Part]:
    return [(operation, 0, None) for operation in operations]


def _apply(content: bytearray, operation: Entry, low: int = 0, high: int | None = None) -> None:
    kind = operation[0]
    if kind == "write":
        _, _, position, data = operation
        high = len(data) if high is None else high
        if low >= 0:
            _extend(content, position + high)
            content[position + low : position + high] = data[low:high]
        else:  # the file has grown, only a head is written: the rest is old content or anything
            old_size = len(content)
            _extend(content, position + len(data))
            if low == GARBAGE:
                fresh = max(old_size, position)
                content[fresh:] = random.Random(position).randbytes(len(content) - fresh)
            content[position : position + high] = data[:high]
    elif kind == "grow":
        _extend(content, operation[2])
    elif operation[2] < len(content):
        del content[operation[2] :]
    else:
        _extend(content, operation[2])


def _extend(content: bytearray, size: int) -> None:
    if len(content) < size:
        content.extend(bytes(size - len(content)))


def _data_states(
    operations: list[Entry], rng: random.Random, tears: int
) -> Iterator[tuple[str, list[_Part]]]:
    """Subsets of one file's unsynced operations, and each write torn behind those before it."""
    count = len(operations)
    if not count:
        return
    subsets = [tuple(range(n)) for n in _some(range(1, count + 1), 6, rng)]
    subsets += [tuple(i for i in range(count) if i != n) for n in _some(range(count - 1), 4, rng)]
    subsets += [(n,) for n in _some(range(1, count), 4, rng)]
    for subset in dict.fromkeys(subsets):
        yield f"operations {subset} of {count}", _whole([operations[i] for i in subset])
    for number in _some(range(count), 4, rng):
        operation = operations[number]
        if operation[0] != "write":
            continue
        before = _whole(operations[:number])
        for what, low, high in _tears(operation, rng, tears):
            yield f"operation {number} torn, {what}", [*before, (operation, low, high)]


def _nothing(operations: list[Entry]) -> Iterator[tuple[str, list[_Part]]]:
    if operations:
        yield "nothing unsynced", []


def _tears(
    operation: Entry, rng: random.Random, most: int
) -> Iterator[tuple[str, int, int | None]]:
    """The ways one write may be half there, cut where sectors end."""
    _, _, position, data = operation
    first = SECTOR - position % SECTOR
    for cut in _some(range(first, len(data), SECTOR), most, rng):
        yield f"head to {cut}", 0, cut
        yield f"head to {cut}, grown", GROWN, cut
        yield f"head to {cut}, grown by garbage", GARBAGE, cut
        yield f"tail from {cut}", cut, None
    yield "grown", GROWN, 0
    yield "grown by garbage", GARBAGE, 0


def _some(numbers: range, most: int, rng: random.Random) -> list[int]:
    """All of a short range; of a long one its ends and a choice between."""
    if len(numbers) <= most:
        return list(numbers)
    inner = rng.sample(numbers[1:-1], most - 2)
    return [numbers[0], *sorted(inner), numbers[-1]]


def write_image(image: Image, root: str) -> None:
    """Put an image into an empty or missing directory; runs of zeros at the end become holes."""
    os.makedirs(root, exist_ok=True)
    for name, content in image.items():
        path = os.path.join(root, name)
        if content is None:
            os.makedirs(path, exist_ok=True)
            continue
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        written = _without_zeros_behind(content)
        os.write(descriptor, written)
        if len(written) < len(content):
            os.truncate(descriptor, len(content))
        os.close(descriptor)


@functools.lru_cache(maxsize=1000)
def _without_zeros_behind(content: bytes) -> bytes:
    return content.rstrip(b"\0")


def read_image(root: str) -> Image:
    """What a real directory holds."""
    image: Image = {}
    _read_below(root, "", image)
    return image


def _read_below(directory: str, above: str, image: Image) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            name = above + entry.name
            if entry.is_dir(follow_symlinks=False):
                image[name] = None
                _read_below(entry.path, f"{name}/", image)
                continue
            descriptor = os.open(entry.path, os.O_RDONLY)
            image[name] = os.read(descriptor, os.fstat(descriptor).st_size)
            os.close(descriptor)
