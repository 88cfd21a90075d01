"""Which columns of a table are wanted, and whether its first row is a header: by names, then by contents."""

import difflib
import re
from collections import Counter
from collections.abc import Collection, Sequence
from statistics import fmean

from heedful._errors import DataError
from heedful.data._entries import listed, printable, separated

__all__ = ["all_named", "by_contents", "by_names", "taken", "wanted_number"]

# What people call columns, by the name that nobody chose; "review_text" and "reviews" are known by "review".
KNOWN = {
    "text": "text sentence transcript transcription review content tweet comment document message utterance body headline",
    "label": "label class category sentiment target stars rating polarity topic intent y",
    "source": "source src input document article text original dialogue",
    "target": "target tgt output summary highlight reference translation abstract",
    "image": "image img picture photo",
    "caption": "caption captions comment sentence sentences text description",
    "path": "path file filename file_name filepath file_path image image_path image_name img picture "
    "recording audio sound wav clip audio_path audio_file audio_filepath wav_path",
    "speaker": "speaker speaker_id spk client_id voice label class category",
    "start": "start begin offset onset start_time",
    "end": "end stop end_time",
    "duration": "duration",
}
_KNOWN = {role: frozenset(names.split()) for role, names in KNOWN.items()}
_LANGUAGES = (
    "af am ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu ha he hi hr hu hy id ig is it ja ka kk "
    "km kn ko ku ky la lo lt lv mg mk ml mn mr ms mt my nb ne nl nn no or pa pl ps pt ro ru rw sd si sk sl so sq sr sv "
    "sw ta te tg th ti tk tl tr tt ug uk ur uz vi wo xh yi yo zh zu"
)
_SURE_SHARE, _UNSURE_SHARE = 0.01, 0.1  # of pairs that look like names, so that the first one is a header; perhaps one
_MANY = 20  # rows from which such a share is taken

Columns = Sequence[str | int]


def wanted_number(column: str | int, location: str) -> str | int:
    """A column as it is wanted: its name, or its number from 1."""
    number = int(column) if str(column).isdecimal() and len(str(column)) < 10 else column
    if isinstance(number, int) and number < 1:
        raise DataError(f"{location}: a column must be a name or a number from 1: got {number}")
    return number


def by_names(there: Sequence[str], wanted: Columns, location: str) -> list[int | None]:
    """Where the wanted columns stand among names, from 0; None for a name that nobody chose, where nothing like it is there.

    Raises:
        DataError: a name that was chosen is not there, or several may be meant.
    """
    names = [name.strip().lower() for name in there]
    indices: list[int | None] = []
    for column in wanted:
        if isinstance(column, int):
            if column > len(there):
                got = f"{len(there)}, {listed([*there])}{separated([*there])}"
                raise DataError(f"{location}: must have a column {column}: got {got}")
            indices.append(column - 1)
            continue
        name = column.strip().lower()
        if names.count(name) > 1:
            raise DataError(f"{location}: must have one column '{printable(name)}': got {listed([*there])}")
        if name not in names and name not in _KNOWN:
            raise missing(there, column, location)
        indices.append(names.index(name) if name in names else None)
    for position, column in enumerate(wanted):
        if indices[position] is None:
            role = str(column).strip().lower()
            alike = [i for i, name in enumerate(names) if i not in indices and _is_known(name, role)]
            if len(alike) > 1:
                got = listed([there[i] for i in alike])
                choose = (
                    "" if "path" in wanted else f"; choose one: data.{role}=NAME"
                )  # a table of pictures has no setting
                raise DataError(f"{location}: one column must be the {role}: got {got}{choose}")
            indices[position] = alike[0] if alike else None
    if tuple(wanted) == ("source", "target") and None in indices:
        languages: list[int | None] = [
            i for i, name in enumerate(names) if re.split("[-_]", name)[0] in _LANGUAGES.split()
        ]
        return languages if len(languages) == 2 else indices
    return indices


def missing(there: Sequence[str], column: str, location: str, *, numbers: bool = True) -> DataError:
    """The error that a column is not there."""
    name = column.strip().lower()
    near = difflib.get_close_matches(name, [other.strip().lower() for other in there], n=1)
    hint = "name the columns" + (", or number them from 1" if numbers else "")
    hint += f": data.{name}=..." if name in _KNOWN else ""
    hint = f"did you mean '{printable(near[0])}'?" if near else hint
    hint = separated([*there]) or f"; {hint}"
    return DataError(f"{location}: must have a column '{printable(name)}': got {listed([*there]) or 'nothing'}{hint}")


def all_named(there: Sequence[str], wanted: Columns, location: str) -> list[int]:
    """`by_names` of a table that has names for sure.

    Raises:
        DataError: a column is not there, or several may be meant.
    """
    indices = by_names(there, wanted, location)
    for column, index in zip(wanted, indices, strict=True):
        if index is None:
            raise missing(there, str(column), location, numbers=False)
    return [index for index in indices if index is not None]


def by_contents(
    first: Sequence[str],
    rest: Sequence[Sequence[str]],
    wanted: Columns,
    location: str,
    classes: Collection[str] | None = None,
) -> tuple[list[int], bool]:
    """Where the wanted columns stand in a table of as many, not all of them named, and whether its first row is a header.

    Labels are fewer and shorter than texts, and recur. A header has short names, and its label occurs in no other row.

    Args:
        first: the first row.
        rest: the other rows.
        wanted: one or two columns.
        location: of the first row, for errors.
        classes: the known classes, where there are some.

    Raises:
        DataError: the contents do not tell.
    """
    indices = by_names(first, wanted, location)
    classes = None if classes is None else set(classes)
    if len(wanted) == 1:
        return [0], False
    roles = [None if isinstance(column, int) else column.strip().lower() for column in wanted]
    named = [index for index, role in zip(indices, roles, strict=True) if role is not None and index is not None]
    lacking = missing(first, str(wanted[indices.index(None)]), location)
    if {*roles, None} <= {"source", "target", None}:
        if named:
            raise lacking
        order = indices if None in roles else [("source", "target").index(str(role)) for role in roles]
        return _filled(order), _pairs_begin_with_names(first, rest, location)
    if not {*roles, None} <= {"text", "label", None}:
        raise lacking
    label = roles.index("label") if "label" in roles else 1 - roles.index("text")
    if named:
        order = _filled(indices)
        labels = {row[order[label]] for row in rest}
        if (not rest or 2 * len(labels) > len(rest)) and not labels & set(classes or ()):
            raise lacking
        if first[1 - named[0]] not in [row[1 - named[0]] for row in rest]:
            return order, True
    column = _label_column(first, rest, indices, label, location, classes)
    order = [column, column]
    order[1 - label] = 1 - column
    return order, _labels_begin_with_a_name(first, rest, column, location, classes)


def taken(path: str, there: Sequence[str], wanted: Columns, indices: Sequence[int], header: bool) -> str | None:
    """A note of what was taken for what, unless each column was there by its own name or chosen by its number."""
    pairs = [(column, index) for column, index in zip(wanted, indices, strict=True) if isinstance(column, str)]
    if header and all(there[index].strip().lower() == column.strip().lower() for column, index in pairs):
        return None
    if not pairs:
        return None
    if header:
        words = [f"'{printable(there[index].strip())}' is the {column}" for column, index in pairs]
    else:
        words = [f"column {index + 1} is the {column}" for column, index in pairs]
    return f"{path}: {', '.join(words)}{'' if header else '; there is no header'}"


def _is_known(name: str, role: str) -> bool:
    name = re.sub("[ -]+", "_", name.strip().lower())
    alike = {name, name.removesuffix("s"), *([name.removesuffix("_text")] if role == "text" else ())}
    return bool(alike & _KNOWN.get(role, frozenset()))


def _filled(indices: Sequence[int | None]) -> list[int]:
    """The columns that are left, in order, where there is None."""
    left = iter(sorted(set(range(len(indices))) - set(indices)))
    return [next(left) if index is None else index for index in indices]


def _label_column(
    first: Sequence[str],
    rest: Sequence[Sequence[str]],
    indices: Sequence[int | None],
    label: int,
    location: str,
    classes: Collection[str] | None,
) -> int:
    """Which of two columns has the labels: the one whose values are classes, or fewer, or shorter; otherwise the second wanted."""
    chosen = indices[label], indices[1 - label]
    if isinstance(chosen[0], int):
        return chosen[0]
    if isinstance(chosen[1], int):
        return 1 - chosen[1]
    rows = [row for row in rest if all(cell.strip() for cell in row)] or [first]
    columns = [[row[column].strip() for row in rows] for column in (0, 1)]
    if classes is not None:
        known = [sum(value in classes for value in column) for column in columns]
        if known[0] != known[1]:
            return int(known[1] > known[0])
    distinct = [len(set(column)) for column in columns]
    lengths = [fmean(map(len, column)) for column in columns]
    if min(distinct) * 2 <= len(rows):
        if max(distinct) >= 2 * min(distinct):
            return distinct.index(min(distinct))
        if max(lengths) < 2 * min(lengths):
            raise DataError(
                f"{location}: the contents must tell texts from labels: got {listed([*first])}, two columns of recurring "
                f"values; number the columns, data.text=1 and data.label=2, or name them"
            )
    if max(lengths) >= 2 * min(lengths) and len(rows) > 2:
        return lengths.index(min(lengths))
    return 1


def _labels_begin_with_a_name(
    first: Sequence[str],
    rest: Sequence[Sequence[str]],
    column: int,
    location: str,
    classes: Collection[str] | None,
) -> bool:
    label, text = first[column].strip(), first[1 - column]
    others = Counter(row[column].strip() for row in rest)
    if classes is not None:
        return label not in classes and any(other in classes for other in others) and _is_name(text)
    if not rest or label in others or 2 * len(others) > len(rest) or not (_is_name(label) and _is_name(text)):
        return False
    if all(re.fullmatch(r"[+-]?\d+([.,]\d+)?", other) for other in others):
        return True
    if 2 * len(text) <= fmean(len(row[1 - column]) for row in rest):
        return True
    raise _unsure(first, location, "text", "label")


def _pairs_begin_with_names(first: Sequence[str], rest: Sequence[Sequence[str]], location: str) -> bool:
    if not all(map(_is_word, first)) or not rest:
        return False
    alike = sum(all(_is_word(cell) for cell in row if cell.strip()) for row in rest) / len(rest)
    if alike >= _UNSURE_SHARE:
        return False
    if alike <= _SURE_SHARE and len(rest) >= _MANY:
        return True
    raise _unsure(first, location, "source", "target")


def _unsure(first: Sequence[str], location: str, one: str, other: str) -> DataError:
    return DataError(
        f"{location}: the first row must be clearly a header or none: got {listed([*first])}; name the columns of a header, "
        f"data.{one}=NAME and data.{other}=NAME, or number them where there is none, data.{one}=1 and data.{other}=2"
    )


def _is_word(cell: str) -> bool:
    return re.fullmatch(r"[^\W\d][\w-]*", cell.strip()) is not None


def _is_name(cell: str) -> bool:
    """Whether a cell may be the name of a column: up to three words without signs."""
    return re.fullmatch(r"[^\W\d][\w-]*([ .#:/(]+[\w-]+\)?){0,2}", cell.strip()) is not None and len(cell) <= 40
