"""Folders and archives of recordings: LibriSpeech, texts beside sounds, a folder for each label."""

import posixpath
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from heedful._errors import DataError
from heedful.data._entries import natural_key, printable
from heedful.data._recording_files import Archives, SoundClip, of_tree, sounds_of
from heedful.data._rows import RowLog
from heedful.data._trees import Tree, class_entries

_TRANSCRIPT = ".trans.txt"  # of LibriSpeech: the name of a file and its text a line
_BESIDE = (".txt", ".lab", ".trn")  # a text beside a sound of the same name


def folder_recordings(
    path: Path, inner: str, kind: str, labeled: bool, known: Collection[str], log: RowLog
) -> Iterator[SoundClip]:
    """The recordings below a folder or in an archive, in natural order.

    - With transcripts of LibriSpeech (`84/121123/84-121123.trans.txt`): their texts; labels are the speakers, the first part of a name.
    - Texts: of files beside the sounds, `a.wav` and `a.txt`.
    - Labels: the name of the folder in which a sound lies.

    Raises:
        DataError: there is no sound, or one has no text or label.
    """
    archives = Archives()
    tree = archives.tree(path)
    whole = tree.below(inner) if inner else tree
    found = sorted(sounds_of(whole), key=lambda one: [natural_key(part) for part in one.split("/")])
    if not found:
        raise DataError(f"{whole.location}: must hold at least one sound: got none")
    prefix = f"{inner}/" if inner and inner in tree.folders else ""
    if inner and not prefix:  # the path of one file
        prefix = posixpath.dirname(inner) + "/" * ("/" in inner)

    def recording(one: str, answer: str | None, name: str = "") -> SoundClip:
        return of_tree(archives, path, prefix + one, printable(f"{whole.location}/{one}"), answer, name or one)

    transcripts = [one for one in whole.files if one.endswith(_TRANSCRIPT)]
    if not labeled:
        yield from (recording(one, None, f"{whole.location}/{one}") for one in found)
    elif transcripts:
        yield from _of_transcripts(whole, transcripts, found, kind, recording, log)
    elif kind == "text":
        for one in found:
            try:
                yield recording(one, _text_beside(whole, one))
            except DataError as error:
                log.bad(error)
    else:
        folders = {posixpath.dirname(one) for one in found}
        sounds = Tree(whole.location, whole.budget, {one: whole.files[one] for one in found})
        sounds.folders = {above for one in folders for above in _with_parents(one)}
        for entry in class_entries(sounds, known):
            yield recording(entry.location.removeprefix(f"{whole.location}/"), entry.label)


def _with_parents(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = posixpath.dirname(folder)


def _of_transcripts(
    whole: Tree, transcripts: list[str], found: list[str], kind: str, recording: Callable[..., SoundClip], log: RowLog
) -> Iterator[SoundClip]:
    """LibriSpeech: lines `84-121123-0001 GO DO YOU HEAR`, beside `84-121123-0001.flac`."""
    stems = {one.rpartition(".")[0]: one for one in found}
    for transcript in sorted(transcripts, key=natural_key):
        folder = posixpath.dirname(transcript)
        location = printable(f"{whole.location}/{transcript}")
        for number, line in enumerate(_decoded(whole, transcript, location).splitlines(), start=1):
            name, _, text = line.strip().partition(" ")
            if not name:
                continue
            try:
                stem = posixpath.join(folder, name)
                if stem not in stems:
                    raise DataError(f"{location}:{number}: must name a sound beside it: got '{printable(name)}'")
                yield recording(stems[stem], text.strip() if kind == "text" else name.partition("-")[0], name)
            except DataError as error:
                log.bad(error)


def _text_beside(whole: Tree, one: str) -> str:
    stem = one.rpartition(".")[0]
    for end in _BESIDE:
        if stem + end in whole.files:
            return " ".join(_decoded(whole, stem + end, printable(f"{whole.location}/{stem}{end}")).split())
    raise DataError(
        f"{printable(f'{whole.location}/{one}')}: must have a text beside it, {printable(stem)}.txt: got none"
    )


def _decoded(whole: Tree, inner: str, location: str) -> str:
    raw = whole.files[inner][0](location)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{location}: must be text in UTF-8: got byte {raw[error.start]:#04x} at {error.start:,}"
        ) from None
