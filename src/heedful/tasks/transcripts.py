"""What was said in a recording, word by word, and its formats: SRT, VTT, CTM."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from heedful._errors import HeedfulError
from heedful._terminal import visible

SubtitleFormat = Literal["srt", "vtt", "ctm"]
_PAUSE = 0.8  # seconds without a word, at which a subtitle ends
_LONGEST = 42  # characters of a subtitle


class TimedWord(NamedTuple):
    """A word, and the seconds at which it begins and ends."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Transcript:
    """What a recording says; of silence nothing.

    Attributes:
        input: the recording, as it was given.
        output: the text.
        words: each word with the seconds at which it begins and ends.
        rank: 0 is the best of several.
        score: by which they are ranked, nats.
        scored: whether the printed line shows the score.
        spoken: whether it is a word of a stream, of which the printed line shows the times in place of the input.
    """

    input: str
    output: str
    words: list[tuple[str, float, float]]
    rank: int = 0
    score: float = 0.0
    scored: bool = field(default=False, metadata={"json": False})
    spoken: bool = field(default=False, metadata={"json": False})

    def to_format(self) -> str:
        """A line of a table of recordings and texts."""
        return f"{' '.join(self.input.split())}\t{self.output}"

    def __str__(self) -> str:
        """One line to read."""
        score = f"\t{self.score:.4f}" if self.scored else ""
        if self.spoken:
            _, start, end = self.words[0]
            return f"{start:8.2f} {end:8.2f}  {visible(self.output)}{score}"
        return f"{visible(self.input)}: {visible(self.output)}{score}"


def subtitles(transcripts: Iterable[Transcript], format: SubtitleFormat) -> Iterator[str]:
    """The lines of a file of subtitles, or of words (CTM), as soon as each is known.

    Raises:
        HeedfulError: they are of more than one recording, where the format has no place for names.
    """
    best = (one for one in transcripts if one.rank == 0)
    if format == "ctm":
        for one in best:
            name = re.sub(r"\s+", "_", Path(one.input).stem) or "recording"
            yield from (f"{name} 1 {start:.2f} {end - start:.2f} {word}" for word, start, end in one.words)
        return
    if format == "vtt":
        yield "WEBVTT\n"
    point = "," if format == "srt" else "."
    for number, cue in enumerate(_cues(_words_of_one(best, format)), start=1):
        times = f"{_clock(cue[0].start, point)} --> {_clock(max(cue[-1].end, cue[0].start + 0.01), point)}"
        heading = f"{number}\n" if format == "srt" else ""
        yield f"{heading}{times}\n{' '.join(one.word for one in cue)}\n"


def _words_of_one(transcripts: Iterable[Transcript], format: str) -> Iterator[TimedWord]:
    name = None
    for one in transcripts:
        if name not in (None, one.input):
            raise HeedfulError(f"--format {format} is for one recording: --out FOLDER writes a file for each.")
        name = one.input
        yield from (TimedWord(*word) for word in one.words)


def _cues(words: Iterable[TimedWord]) -> Iterator[list[TimedWord]]:
    """Words of a subtitle each: it ends at a pause, or where it would be too long."""
    cue: list[TimedWord] = []
    for one in words:
        length = sum(len(word) + 1 for word, _, _ in cue) + len(one.word)
        if cue and (one.start - cue[-1].end > _PAUSE or length > _LONGEST):
            yield cue
            cue = []
        cue.append(one)
    if cue:
        yield cue


def _clock(seconds: float, point: str) -> str:
    """Example: 00:01:02,345."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def words_text(words: Sequence[TimedWord]) -> str:
    """The words between blanks."""
    return " ".join(one.word for one in words)
