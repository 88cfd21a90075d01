"""What a person types for a source, and which reader it means."""

import difflib
import os
import re
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from heedful._errors import DataError
from heedful.data._embedded import EMBEDDED, EmbeddedSplit, embedded_entries
from heedful.data._entries import ImageFile, printable, reading
from heedful.data._idx import idx_entries, is_idx
from heedful.data._limits import LARGEST_FILE, Budget, file_kind, read_file
from heedful.data._rows import RowLog
from heedful.data._tables import is_table, table_entries
from heedful.data._trees import Tree, all_entries, archive_tree, class_entries, folder_tree, is_archive

_LABELED = "a folder with one folder a class, a .zip, .tar, .tar.gz or .tgz of one, an IDX image file, a .csv or a .tsv"
_UNLABELED = "a picture, a folder, a .zip, .tar, .tar.gz or .tgz, an IDX image file, a .csv or a .tsv"


def split_slice(source: str) -> tuple[str, slice]:
    """The source without its slice, and the slice.

    Examples:
        >>> split_slice("digits[100:200]")
        ('digits', slice(100, 200, None))
        >>> split_slice("digits")
        ('digits', slice(None, None, None))
    """
    bracketed = re.fullmatch(r"(.+)\[([^\[\]]*)\]", source, re.DOTALL)
    if bracketed is None or os.path.exists(source):
        return source, slice(None)
    base, text = bracketed.groups()
    bounds = re.fullmatch(r"(-?\d{1,18})?:(-?\d{1,18})?(?::(-?\d{1,18})?)?", text, re.ASCII)
    start, stop, step = (int(bound) if bound else None for bound in bounds.groups()) if bounds else (0, 0, 0)
    if step == 0:
        raise DataError(
            f"{printable(source)}: a slice must look like [:8000], [8000:] or [::2]: got '[{printable(text)}]'"
        )
    return base, slice(start, stop, step)


def labeled_entries(
    source: str,
    split: EmbeddedSplit,
    known: Collection[str],
    stack: ExitStack,
    log: RowLog,
    *,
    optional: bool = False,
) -> list[ImageFile]:
    """Every picture of a labeled source, in the source's order; nothing is decoded. `optional` labels of a table may be blank."""
    if source in EMBEDDED:
        return embedded_entries(source, split)
    path, inner = locate(source, _LABELED)
    if path.is_dir() or is_archive(path):
        return class_entries(_tree(path, inner, stack), known)
    if is_idx(path):
        return idx_entries(path, labeled=True)
    if is_table(path):
        return table_entries(path, log, labeled=True, optional=optional)
    raise DataError(f"{path}: must be {_LABELED}: got a file named '{path.name}'")


def unlabeled_entries(source: str, split: EmbeddedSplit, stack: ExitStack, log: RowLog) -> list[ImageFile]:
    """Every picture of a source, labels not looked for; a file of no other kind is one picture.

    Several sources may follow each other, so that a picture in a folder or an archive is named by its whole path.
    """
    if source in EMBEDDED:
        return embedded_entries(source, split)
    path, inner = locate(source, _UNLABELED)
    if path.is_dir() or is_archive(path):
        return [replace(entry, name=entry.location) for entry in all_entries(_tree(path, inner, stack))]
    if is_idx(path):
        return idx_entries(path, labeled=False)
    if is_table(path):
        return table_entries(path, log, labeled=False)
    return [_picture_entry(path)]


def _tree(path: Path, inner: str, stack: ExitStack) -> Tree:
    tree = folder_tree(path) if path.is_dir() else archive_tree(path, stack)
    return tree.below(printable(inner)) if inner else tree


def locate(source: str, expected: str, embedded: Collection[str] = EMBEDDED) -> tuple[Path, str]:
    """The folder or file, and the path that continues behind an archive; the names `embedded` are told where there is none."""
    path = Path(source)
    with reading(printable(source), "a path"):
        if path.is_dir():
            return path, ""
        found = next((candidate for candidate in (path, *path.parents) if candidate.is_file()), None)
        if found is None and path.exists():
            raise DataError(f"{printable(source)}: must be {expected}: got {file_kind(path)}")
    if found is None or (found != path and not is_archive(found)):
        near = difflib.get_close_matches(source.lower(), embedded, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; embedded data: {', '.join(embedded)}"
        raise DataError(f"{printable(source)}: must be {expected}: got a path where no file or folder is{hint}")
    return found, "" if found == path else path.relative_to(found).as_posix()


def _picture_entry(path: Path) -> ImageFile:
    name = printable(str(path))
    return ImageFile(name, name, None, partial(read_file, path, name))


def stream_entry(stream: BinaryIO) -> ImageFile:
    """The one picture that a binary stream holds."""
    name = getattr(stream, "name", None)
    name = printable(name) if isinstance(name, str) else "stream"
    return ImageFile(name, name, None, lambda: Budget(name, largest=LARGEST_FILE).read(stream))
