"""Pictures that a file names, found in folders and archives beside it."""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from heedful._errors import DataError
from heedful.data._entries import ImageFile, listed, printable
from heedful.data._limits import read_file
from heedful.data._trees import Tree, archive_tree, is_archive

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_MOST = 1000  # folders that are looked into
_FIRST = 3  # names by which the folder is found


class PicturesBeside:
    """Where the pictures that a file names lie: in one folder, or in one archive, beside it; of a .json also one folder above.

    Args:
        file: names the pictures.
        names: of the pictures, as the file has them.
        stack: keeps an archive open.

    Raises:
        DataError: a name that leads elsewhere.
    """

    def __init__(self, file: Path, names: Sequence[str], stack: ExitStack) -> None:
        self.file = printable(str(file))
        above = (file.parent, file.parent.parent) if file.suffix.lower() == ".json" else (file.parent,)
        folders = [one for base in above for one in (base, *_inside(base))]
        self.folder = next(
            (one for one in folders if any((one / name).is_file() for name in names[:_FIRST] if _lies_below(name))),
            None,
        )
        self.tree: Tree | None = None
        archives = [one for base in above for one in sorted(base.iterdir()) if is_archive(one) and one.is_file()]
        for archive in archives if self.folder is None else ():
            tree = archive_tree(archive, stack)
            inside = [tree, *(tree.below(top) for top in tree.tops())]
            self.tree = next((one for one in inside if any(name in one.files for name in names[:_FIRST])), None)
            if self.tree is not None:
                break
        self.looked = listed([str(one) for one in (above if self.folder is None else [self.folder])])

    def entry(self, name: str, location: str) -> ImageFile:
        """A picture by its name; `location` is where it is named.

        Raises:
            DataError: there is none.
        """
        shown = printable(name)
        if not _lies_below(name):
            raise DataError(f"{location}: a picture must lie below a folder: got '{shown}'")
        if self.tree is not None and name in self.tree.files:
            load, position = self.tree.files[name]
            where = f"{self.tree.location}/{shown}"
            return ImageFile(shown, where, None, partial(load, where), position, self.tree.again)
        if self.folder is None or not (self.folder / name).is_file():
            looked = f"'{self.tree.location}'" if self.tree is not None else self.looked
            raise DataError(f"{location}: must have a picture '{shown}' below {looked}: there is none")
        where = printable(str(self.folder / name))
        return ImageFile(shown, where, None, partial(read_file, self.folder / name, where))


def _lies_below(name: str) -> bool:
    return bool(name.strip()) and not Path(name).is_absolute() and ".." not in Path(name).parts and not _URL.match(name)


def _inside(folder: Path) -> list[Path]:
    """The folders in a folder, and those in them."""
    inner = sorted(one for one in folder.iterdir() if one.is_dir())[:_MOST]
    return [*inner, *(two for one in inner for two in sorted(one.iterdir())[:_MOST] if two.is_dir())][:_MOST]
