"""Pascal VOC: an XML file a picture, and lists of pictures.

    Annotations/*.xml    JPEGImages/*.jpg    ImageSets/Main/train.txt

A folder of XML files beside their pictures, as labeling programs write them, is read, too.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from xml.parsers import expat  # nosec B407: it loads nothing, and a DOCTYPE, which could make much of little, is refused

from heedful._errors import DataError
from heedful.data._annotations import FoundBox, FoundImage, number_of
from heedful.data._entries import ImageFile, listed, natural_key, printable
from heedful.data._limits import Budget, open_file, read_file

_LARGEST = 1 << 22  # bytes of one XML file
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
_LISTS = Path("ImageSets") / "Main"


@dataclass
class Element:
    """A part of an XML file: its name, its line, its text, the parts in it."""

    name: str
    line: int
    text: str = ""
    parts: list["Element"] = field(default_factory=list)

    def get(self, path: str) -> str | None:
        """The text of the first part of that path, `size/width`, without blanks around it; None where there is none."""
        name, _, rest = path.partition("/")
        part = next((one for one in self.parts if one.name == name), None)
        return None if part is None else part.get(rest) if rest else part.text.strip()


def parse(raw: bytes, location: str) -> Element:
    """The root of an XML file.

    Raises:
        DataError: it is none, or has a DOCTYPE, by which a small file could become huge or name other files.
    """
    parser, root, doctype = expat.ParserCreate(), Element("", 0), []
    stack = [root]

    def start(name: str, attributes: dict[str, str]) -> None:
        stack.append(Element(name, parser.CurrentLineNumber))
        stack[-2].parts.append(stack[-1])

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse(*declaration: object) -> None:
        doctype.append(parser.CurrentLineNumber)
        raise ValueError

    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler, parser.StartDoctypeDeclHandler = lambda name: stack.pop(), refuse
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise DataError(f"{location}:{error.lineno}: must be an XML file: got {reason}") from None
    except ValueError:
        line = doctype[0] if doctype else parser.CurrentLineNumber
        raise DataError(f"{location}:{line}: must be an XML file without a DOCTYPE: got one") from None
    return root.parts[0]


def is_voc(path: Path) -> bool:
    """Whether it is a folder of VOC's layout, a list of it, or a folder with XML files."""
    if path.is_dir():
        return (path / "Annotations").is_dir() or any(path.glob("*.xml"))
    return path.suffix == ".txt" and (_root_of(path) / "Annotations").is_dir()


def voc_images(path: Path) -> list[FoundImage]:
    """Every picture of a folder or a list, in natural order or that of the list.

    Raises:
        DataError: a file is missing or is not what it should be; or the folder has several lists.
    """
    if path.is_file():
        root = _root_of(path)
        names = [line.split()[0] for line in _lines(path) if line.strip()]
        if not names:
            raise DataError(f"{printable(str(path))}: must name at least one picture: got an empty list")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{printable(str(path))}: must name each picture once: got '{printable(twice)}' twice")
        files = [_inside(root / "Annotations", f"{name}.xml", printable(str(path))) for name in names]
    else:
        lists = sorted((path / _LISTS).glob("*.txt"))
        if len(lists) == 1:
            return voc_images(lists[0])
        if lists:
            choices = " or ".join(f"'{printable(str(one))}'" for one in lists)
            raise DataError(f"{printable(str(path))}: must be one list of pictures: got several, name one: {choices}")
        folder = path / "Annotations" if (path / "Annotations").is_dir() else path
        root = path
        files = sorted(folder.glob("*.xml"), key=lambda file: natural_key(file.name))
        if not files:
            raise DataError(f"{printable(str(folder))}: must hold XML files: got none")
    pictures = root / "JPEGImages" if (root / "JPEGImages").is_dir() else root
    budget = Budget(printable(str(path)))
    return [_image(file, pictures, budget) for file in files]


def _root_of(file: Path) -> Path:
    """The folder above `ImageSets/Main/train.txt`."""
    return file.absolute().parent.parent.parent


def _lines(path: Path) -> list[str]:
    location = printable(str(path))
    with open_file(path, location) as file:
        raw = Budget(location).read(file)
    try:
        return raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{location}: must be a list of names in UTF-8: got other bytes") from None


def _inside(folder: Path, name: str, location: str) -> Path:
    """A file in a folder; a name may not lead out of it."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"{location}: must name files below its folder: got '{printable(name)}'")
    return folder / name


def _image(file: Path, pictures: Path, budget: Budget) -> FoundImage:
    """The picture that an XML file is about, with its boxes."""
    location = printable(str(file))
    if not file.is_file():
        raise DataError(f"{location}: must be a file: there is none")
    raw = read_file(file, location)
    budget.take(size=len(raw), items=1)
    if len(raw) > _LARGEST:
        raise DataError(f"{location}: must have at most {_LARGEST:,} bytes: got {len(raw):,}")
    root = parse(raw, location)
    if root.name != "annotation":
        raise DataError(f"{location}:{root.line}: must begin with `annotation`: got `{printable(root.name)[:80]}`")
    picture = _picture(root, file, pictures, location)
    name = printable(str(picture))
    boxes = [one for one in root.parts if one.name == "object"]
    width, height = (number_of(root.get(f"size/{key}") or 0, key, location) for key in ("width", "height"))
    return FoundImage(
        ImageFile(name, name, None, partial(read_file, picture, name)),
        tuple(_box(one, number, location) for number, one in enumerate(boxes, start=1)),
        declared=(int(width), int(height)) if width and height else None,
        location=location,
    )


def _picture(root: Element, file: Path, pictures: Path, location: str) -> Path:
    """The file that the XML file names, which must have its name; the ending may be missing or another."""
    named = root.get("filename") or file.stem
    own = named.removesuffix(Path(named).suffix) if Path(named).suffix.lower() in _PICTURES else named
    if own != file.stem:
        raise DataError(f"{location}: must name its own picture, '{file.stem}': got '{printable(named)}'")
    choices = [pictures / named, *(pictures / f"{file.stem}{end}" for end in _PICTURES)]
    found = next((one for one in choices if one.is_file()), None)
    if found is None:
        raise DataError(f"{location}: must have a picture '{printable(str(pictures / named))}': there is none")
    return found


def _box(one: Element, number: int, location: str) -> FoundBox:
    """A box; VOC counts pixels from 1, and the last one belongs to the box."""
    label = one.get("name")
    location = f"{location}:{one.line}: object {number}" + (f" ('{printable(label)[:80]}')" if label else "")
    if not label:
        raise DataError(f"{location}: must have a `name`: got none")
    if one.get("bndbox/xmin") is None:
        kinds = listed([part.name for part in one.parts])
        raise DataError(f"{location}: must have a `bndbox` with xmin, ymin, xmax, ymax: got {kinds}")
    x0, y0, x1, y1 = (number_of(one.get(f"bndbox/{key}"), key, location) for key in ("xmin", "ymin", "xmax", "ymax"))
    if x0 >= x1 or y0 >= y1:
        return FoundBox(location, label, (x0, y0, x0, y0))  # no area
    return FoundBox(location, label, (x0 - 1, y0 - 1, x1, y1), one.get("difficult") == "1")
