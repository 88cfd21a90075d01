"""Plain text as one string, for models that read characters or subwords one after the other."""

from pathlib import Path

from heedful._errors import DataError
from heedful.data._entries import natural_key, reading
from heedful.data.text._lines import shown_path, whole
from heedful.data.text.hub import hub_rows, is_hub

__all__ = ["read_plain"]


def read_plain(source: str | Path, text: str = "text") -> str:
    r"""The whole text of a source.

    - A file, or its .gz: its text, with \n for \r\n.
    - A folder: the .txt and .txt.gz files in it and below, in natural order of their paths, a blank line between them.
    - A data set of Hugging Face (`hf:NAMESPACE/NAME/CONFIG:SPLIT` or `hf:FOLDER`): its texts, a blank line between them.

    Args:
        source: the file, folder or data set.
        text: the column of texts of a data set.

    Raises:
        DataError: the source cannot be read, is no text, or is empty; the message begins with the place.
        ModuleNotFoundError: a data set of Hugging Face is asked for and the package for it is not installed.
    """
    place = shown_path(source)
    if is_hub(source):
        found = _joined([values[0] for _, values in hub_rows(str(source), [text])])
    elif Path(source).is_dir():
        with reading(place, "a readable folder"):
            files = [file for file in Path(source).rglob("*") if file.is_file() and _is_text(file)]
        if not files:
            raise DataError(f"{place}: must hold .txt or .txt.gz files: got a folder without any")
        found = _joined([whole(file) for file in sorted(files, key=lambda file: natural_key(file.as_posix()))])
    else:
        found = whole(source)
    if not found or found.isspace():
        raise DataError(f"{place}: must hold text: got none")
    return found


def _is_text(file: Path) -> bool:
    return file.name.lower().removesuffix(".gz").endswith(".txt") and not file.name.startswith(".")


def _joined(texts: list[str]) -> str:
    stripped = [text.strip("\n") for text in texts]
    return "\n\n".join([text for text in stripped if text]) + "\n"
