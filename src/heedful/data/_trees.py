"""Folders and archives: both are a tree of files, listed first and read one by one, never unpacked to disk."""

import os
import posixpath
import re
import tarfile
import zipfile
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any

from heedful._errors import DataError
from heedful.data._entries import ImageFile, listed, natural_key, printable, reading
from heedful.data._limits import (
    LARGEST_FILE,
    LONGEST_HEADER,
    PIECE,
    Budget,
    check_path,
    files_below,
    open_unpacked,
    read_file,
)

# Files that lie among pictures; hidden ones are left out too.
_IGNORED_NAMES = ("thumbs.db", "desktop.ini", "license", "readme")
_IGNORED_ENDINGS = (".txt", ".md", ".html", ".json", ".csv", ".tsv", ".xml", ".yaml", ".yml")
_TRAINING = {"train", "training"}
_SPLITS = _TRAINING | {"test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation", "holdout"}
_TAR_BLOCK = 512
_LINKS = 40  # to links


@dataclass
class Tree:
    """What a folder or an archive holds; paths are relative to it, with slashes."""

    location: str
    budget: Budget
    files: dict[str, tuple[Callable[[str], bytes], int]] = field(default_factory=dict)  # path: (load(place), position)
    folders: set[str] = field(default_factory=set)
    again: bool = True  # whether its files can be read at any time, by several processes
    ignored: tuple[str, ...] = _IGNORED_ENDINGS  # ends of the names of files that are left out

    def add(self, path: str, load: Callable[[str], bytes], position: int = 0) -> None:
        """Takes in one file, unless it is hidden or known not to be a picture."""
        self.budget.take(size=len(path), items=1)
        path = self._relative(path)
        name = posixpath.basename(path).lower()
        if not _hidden(path) and name not in _IGNORED_NAMES and not name.endswith(self.ignored):
            self.files[path] = (load, position)
            self.add_folder(posixpath.dirname(path))

    def add_folder(self, path: str) -> None:
        """Takes in a folder and those above it."""
        path = self._relative(path)
        while path and not _hidden(path) and path not in self.folders:
            self.budget.take(size=len(path), items=1)
            self.folders.add(path)
            path = posixpath.dirname(path)

    def _relative(self, path: str) -> str:
        check_path(path, self.location)
        return _relative(path)

    def below(self, inner: str) -> "Tree":
        """What lies below a folder of the tree, or the one file of that path."""
        if inner in self.files:
            return Tree(
                f"{self.location}/{posixpath.dirname(inner)}".rstrip("/"),
                self.budget,
                {posixpath.basename(inner): self.files[inner]},
                again=self.again,
            )
        start = inner + "/"
        if inner not in self.folders:
            raise DataError(f"{self.location}: must hold '{inner}': got {listed(self.tops()) or 'nothing'} at its top")
        return Tree(
            f"{self.location}/{inner}",
            self.budget,
            {path.removeprefix(start): file for path, file in self.files.items() if path.startswith(start)},
            {path.removeprefix(start) for path in self.folders if path.startswith(start)},
            self.again,
        )

    def tops(self) -> list[str]:
        """The folders at the top, in natural order."""
        return sorted((path for path in self.folders if "/" not in path), key=natural_key)

    def loose(self) -> list[str]:
        """The files at the top, in natural order."""
        return sorted((path for path in self.files if "/" not in path), key=natural_key)


def class_entries(tree: Tree, known: Collection[str]) -> list[ImageFile]:
    """One folder a class: the pictures class by class, after stepping over a lone folder around the class folders."""
    while len(tree.tops()) == 1 and not tree.loose() and tree.tops()[0] not in known:
        inside = tree.below(tree.tops()[0])
        if inside.loose() or not inside.tops():
            break
        tree = inside
    classes = tree.tops()
    if splits := _splits(tree, known):
        choices = " or ".join(f"'{tree.location}/{name}'" for name in splits)
        raise DataError(f"{tree.location}: must be one split: got several, name one: {choices}")
    if loose := tree.loose():
        raise DataError(
            f"{tree.location}/{loose[0]}: must lie in a folder that is named like its class: got it beside those folders, or without any"
        )
    if not classes:
        raise DataError(f"{tree.location}: must hold one folder a class: got no picture")
    filled = {path.split("/", 1)[0] for path in tree.files}
    if empty := [name for name in classes if name not in filled]:
        raise DataError(f"{tree.location}/{empty[0]}: a class folder must hold at least one picture: got none")
    return [_entry(tree, path, path.split("/", 1)[0]) for path in _ordered(tree)]


def _splits(tree: Tree, known: Collection[str]) -> list[str]:
    """The top folders that are parts of the data and no classes, training first: by their names, or since all hold the same folders."""
    tops = tree.tops()
    words = {top: set(re.split(r"[\W\d_]+", top.lower())) for top in tops}
    tops.sort(key=lambda top: not words[top] & _TRAINING)
    around = words[tops[0]] - _TRAINING if tops else set()  # "seg" of "seg_train" and "seg_test"
    named = [top for top in tops if words[top] & _SPLITS and words[top] - _SPLITS == around]
    inside: dict[str, set[str]] = {top: set() for top in tops}
    for path in tree.files:
        top, _, rest = path.partition("/")
        if rest:
            inside[top].add(rest.rpartition("/")[0].split("/")[0])  # "" of a picture in the top folder itself
    first = inside[tops[0]] if tops else set()
    same = len(tops) > 1 and len(first) > 1 and "" not in first and all(folders == first for folders in inside.values())
    splits = tops if same else named if len(named) > 1 and words[named[0]] & _TRAINING else []
    return [] if set(splits) <= set(known) else splits


def all_entries(tree: Tree) -> list[ImageFile]:
    """Every picture at any depth, unlabeled."""
    return [_entry(tree, path, None) for path in _ordered(tree)]


def _ordered(tree: Tree) -> list[str]:
    return sorted(tree.files, key=lambda path: [natural_key(part) for part in path.split("/")])


def _entry(tree: Tree, path: str, label: str | None) -> ImageFile:
    load, position = tree.files[path]
    location = f"{tree.location}/{path}"
    return ImageFile(path, location, label, partial(load, location), position, tree.again)


def folder_tree(path: Path, ignored: tuple[str, ...] = _IGNORED_ENDINGS) -> Tree:
    """The files below a folder; links are followed."""
    tree = Tree(str(path), Budget(str(path)), ignored=ignored)
    for file, inner in files_below(path, Budget(str(path))):
        if inner.endswith("/"):
            tree.add_folder(inner)
        else:
            tree.add(inner, partial(read_file, file))
    return tree


def is_archive(path: Path) -> bool:
    """Whether the name is one of an archive."""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))


class _Counted:
    """A file as the readers of archives ask for it: what they read, and what they unpack to get further, is counted.

    One that is not packed is read at its own position, whatever other processes read that share the open file.
    """

    def __init__(self, file: Any, budget: Budget) -> None:
        self._file, self._budget, self._position = file, budget, 0
        self.shared = isinstance(file, BufferedReader) and hasattr(os, "pread")
        self._unpacks = not isinstance(file, BufferedReader)
        self.listing = True  # what is read later are the members, each of which has a budget of its own

    def read(self, size: int = -1) -> bytes:
        content = bytearray()
        while part := self._part(PIECE if size < 0 else min(PIECE, size - len(content))):
            self._budget.take(size=len(part) * self.listing)
            content += part
            if max(size, len(content)) > LONGEST_HEADER:
                raise DataError(
                    f"{self._budget.location}: a header in an archive must have at most {LONGEST_HEADER:,} bytes: got more"
                )
        return bytes(content)

    def _part(self, size: int) -> bytes:
        if not self.shared:
            part: bytes = self._file.read(size)
            return part
        part = os.pread(self._file.fileno(), size, self._position)
        self._position += len(part)
        return part

    def seek(self, position: int, whence: int = 0) -> int:
        if self.shared:
            start = (0, self._position, os.fstat(self._file.fileno()).st_size)[whence]
            if start + position < 0:
                raise OSError(f"a position in a file must not be negative: got {start + position}")
            self._position = start + position
            return self._position
        if self._unpacks and self.listing:
            before = self._file.tell()
            while (left := position - self._file.tell()) > 0 and self._file.read(min(left, PIECE)):
                self._budget.take(size=self._file.tell() - before)
                before = self._file.tell()
        place: int = self._file.seek(position, whence)
        return place

    def tell(self) -> int:
        place: int = self._position if self.shared else self._file.tell()
        return place

    def seekable(self) -> bool:
        return True


def archive_tree(path: Path, stack: ExitStack, ignored: tuple[str, ...] = _IGNORED_ENDINGS) -> Tree:
    """The files in an archive, which stays open until `stack` is closed."""
    tree = Tree(str(path), Budget(str(path)), ignored=ignored)
    with reading(str(path), "a whole archive"):
        file = _Counted(stack.enter_context(open_unpacked(path, str(path))), tree.budget)
        list_files = _list_zip if path.suffix.lower() == ".zip" else _list_tar
        list_files(file, tree, stack)
        file.listing, tree.again = False, file.shared
    return tree


def _list_zip(file: Any, tree: Tree, stack: ExitStack) -> None:
    archive = stack.enter_context(zipfile.ZipFile(file))
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")  # some writers on Windows
        if info.flag_bits & 1:
            raise DataError(f"{tree.location}: must not be encrypted: got '{printable(name)}', which needs a password")
        if name.endswith("/"):
            tree.add_folder(name)
        else:
            tree.add(name, partial(_read_zipped, archive, info), info.header_offset)


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, location: str) -> bytes:
    # In small pieces: a piece of bzip2 or LZMA is unpacked as a whole, whatever it unpacks to.
    with archive.open(info) as file:
        return Budget(location, largest=LARGEST_FILE).read(file, 1 << 12)


def _list_tar(file: Any, tree: Tree, stack: ExitStack) -> None:
    archive = stack.enter_context(tarfile.TarFile.open(fileobj=file, mode="r:"))
    members: dict[str, tarfile.TarInfo] = {}
    while (member := archive.next()) is not None:
        member.pax_headers = {}  # every member has a copy of those of the whole archive
        if member.isdir():
            tree.add_folder(member.name)
        elif member.isfile() or member.islnk() or member.issym():
            members[posixpath.normpath(member.name)] = member
            tree.add(member.name, partial(_read_tarred, archive, members, member), member.offset)
    # tarfile takes a damaged header for the end: the true end is a block of zeros.
    file.seek(archive.offset)
    if file.read(_TAR_BLOCK) != bytes(_TAR_BLOCK):
        raise DataError(
            f"{tree.location}: must be a whole archive: got damage or the end of the file at byte {archive.offset:,}"
        )
    while file.read(PIECE):
        pass  # to the end: there gzip compares its checksum


def _read_tarred(
    archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], member: tarfile.TarInfo, location: str
) -> bytes:
    target: tarfile.TarInfo | None = member
    for _ in range(_LINKS):  # tarfile would look through all members for each link
        if target is None or not (target.issym() or target.islnk()):
            break
        beside = posixpath.dirname(target.name) if target.issym() else ""
        target = members.get(posixpath.normpath(posixpath.join(beside, target.linkname)))
    file = None if target is None or not target.isfile() else archive.extractfile(target)
    if file is None:
        raise DataError(f"{location}: must be a file: got a link to something that is not in the archive")
    return Budget(location, largest=LARGEST_FILE).read(file)


def _relative(path: str) -> str:
    """The path as an archive's index should have it.

    Examples:
        >>> _relative("./cats//1.png"), _relative("/cats/"), _relative(".")
        ('cats/1.png', 'cats', '')
    """
    path = posixpath.normpath(printable(path)).lstrip("/")
    return "" if path == "." else path


def _hidden(path: str) -> bool:
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in path.split("/"))
