"""Folders and archives: both are a tree of files, listed first and read one by one, never unpacked to disk."""

import os
import posixpath
import tarfile
import zipfile
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from heedful._errors import DataError
from heedful.data._entries import ImageFile, check_size, listed, natural_key, printable, read_file, reading

# Files that lie among pictures; hidden ones are left out too.
_IGNORED_NAMES = ("thumbs.db", "desktop.ini", "license", "readme")
_IGNORED_ENDINGS = (".txt", ".md", ".html", ".json", ".csv", ".tsv", ".xml", ".yaml", ".yml")
_SPLITS = {"test", "val", "valid", "validation"}
_TAR_BLOCK = 512


@dataclass
class Tree:
    """What a folder or an archive holds; paths are relative to it, with slashes."""

    location: str
    files: dict[str, tuple[Callable[[str], bytes], int]] = field(default_factory=dict)  # path: (load(place), position)
    folders: set[str] = field(default_factory=set)

    def add(self, path: str, load: Callable[[str], bytes], position: int = 0) -> None:
        """Takes in one file, unless it is hidden or known not to be a picture."""
        path = _relative(path)
        name = posixpath.basename(path).lower()
        if not _hidden(path) and name not in _IGNORED_NAMES and not name.endswith(_IGNORED_ENDINGS):
            self.files[path] = (load, position)
            self.add_folder(posixpath.dirname(path))

    def add_folder(self, path: str) -> None:
        """Takes in a folder and those above it."""
        path = _relative(path)
        while path and not _hidden(path) and path not in self.folders:
            self.folders.add(path)
            path = posixpath.dirname(path)

    def below(self, inner: str) -> "Tree":
        """What lies below a folder of the tree, or the one file of that path."""
        if inner in self.files:
            return Tree(
                f"{self.location}/{posixpath.dirname(inner)}".rstrip("/"),
                {posixpath.basename(inner): self.files[inner]},
            )
        start = inner + "/"
        if inner not in self.folders:
            raise DataError(f"{self.location}: must hold '{inner}': got {listed(self.tops()) or 'nothing'} at its top")
        return Tree(
            f"{self.location}/{inner}",
            {path.removeprefix(start): file for path, file in self.files.items() if path.startswith(start)},
            {path.removeprefix(start) for path in self.folders if path.startswith(start)},
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
    if "train" in classes and (others := sorted(_SPLITS.intersection(classes))):
        choices = " or ".join(f"'{tree.location}/{name}'" for name in ("train", *others))
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


def all_entries(tree: Tree) -> list[ImageFile]:
    """Every picture at any depth, unlabeled."""
    return [_entry(tree, path, None) for path in _ordered(tree)]


def _ordered(tree: Tree) -> list[str]:
    return sorted(tree.files, key=lambda path: [natural_key(part) for part in path.split("/")])


def _entry(tree: Tree, path: str, label: str | None) -> ImageFile:
    load, position = tree.files[path]
    location = f"{tree.location}/{path}"
    return ImageFile(path, location, label, partial(load, location), position)


def folder_tree(path: Path) -> Tree:
    """The files below a folder; links are followed."""

    def fail(error: OSError) -> None:
        raise error

    tree = Tree(str(path))
    with reading(str(path), "a readable folder"):
        for folder, _, files in os.walk(path, onerror=fail, followlinks=True):
            relative = Path(folder).relative_to(path)
            tree.add_folder(str(relative))
            for name in files:
                tree.add(str(relative / name), partial(read_file, Path(folder, name)))
    return tree


def is_archive(path: Path) -> bool:
    """Whether the name is one of an archive."""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))


def archive_tree(path: Path, stack: ExitStack) -> Tree:
    """The files in an archive, which stays open until `stack` is closed."""
    with reading(str(path), "a whole archive"):
        return _zip_tree(path, stack) if path.suffix.lower() == ".zip" else _tar_tree(path, stack)


def _zip_tree(path: Path, stack: ExitStack) -> Tree:
    archive = stack.enter_context(zipfile.ZipFile(path))
    tree = Tree(str(path))
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")  # some writers on Windows
        if info.flag_bits & 1:
            raise DataError(f"{path}: must not be encrypted: got '{printable(name)}', which needs a password")
        if name.endswith("/"):
            tree.add_folder(name)
        else:
            tree.add(name, partial(_read_zipped, archive, info), info.header_offset)
    return tree


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, location: str) -> bytes:
    check_size(info.file_size, location)
    return archive.read(info)


def _tar_tree(path: Path, stack: ExitStack) -> Tree:
    mode: Literal["r:", "r:gz"] = "r:" if path.suffix.lower() == ".tar" else "r:gz"
    archive = stack.enter_context(tarfile.TarFile.open(path, mode))
    tree = Tree(str(path))
    for member in archive:
        if member.isdir():
            tree.add_folder(member.name)
        elif member.isfile() or member.islnk() or member.issym():
            tree.add(member.name, partial(_read_tarred, archive, member), member.offset)
    # tarfile takes a damaged header for the end: the true end is a block of zeros.
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(_TAR_BLOCK) != bytes(_TAR_BLOCK):
        raise DataError(
            f"{path}: must be a whole archive: got damage or the end of the file at byte {archive.offset:,}"
        )
    while archive.fileobj.read(1 << 20):
        pass  # to the end: there gzip compares its checksum
    return tree


def _read_tarred(archive: tarfile.TarFile, member: tarfile.TarInfo, location: str) -> bytes:
    check_size(member.size, location)
    file = archive.extractfile(member)
    if file is None:
        raise DataError(f"{location}: must be a file: got a link to something else")
    return file.read()


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
