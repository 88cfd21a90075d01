"""From sound to timed words, as it arrives: features, encoder, search, words.

    samples -> log-mel frames -> encoder -> probabilities of tokens -> texts that are followed -> words, when they are settled

A recording and a stream take the same way, so that they get the same text. Where the window does not end, or convolutions see later
frames, all frames are encoded at once, when the recording has ended.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._types import Float, Tensor
from heedful.data.log_mel import SHIFT, LogMel
from heedful.data.text.word_tokens import Tokens, WholeWords
from heedful.models.conformer import FrameWindow
from heedful.models.ctc import BLANK, PrefixBeamSearch, TimedToken
from heedful.models.transcriber import EncoderStream, Transcriber
from heedful.tasks.transcripts import TimedWord

_STEP = 15  # frames of 10 ms that a stream encodes at once, at least: fewer would cost as much
_GAP = 0.6  # seconds between two tokens, at which a word ends
_LONGEST = 1.5  # seconds that a word lasts at most
_REMEMBERED = 10.0  # seconds of which it is remembered where sound was loud
_AT_ONCE = 512  # frames that are forgotten together
Samples = NDArray[np.float32]


class Piece(NamedTuple):
    """What the encoder told with some samples.

    Attributes:
        features: of the next frames of the encoder, `[n, D]`.
        loudness: of the next frames, `[m]`: the mean of the bands; they come before the features.
    """

    features: Float[Tensor, "n D"]
    loudness: NDArray[np.float32]


def encoded_pieces(
    model: Transcriber, features: LogMel, blocks: Iterable[Samples], window: FrameWindow
) -> Iterator[Piece]:
    """The encoder's frames of a recording that comes in blocks, at the rate of the features."""
    make, waiting = features.stream(), torch.zeros(0, features.bands)
    stream = EncoderStream(model, window) if window.streams and model.encoder.causal else None
    frames: list[Tensor] = []
    for block in blocks:
        new = make(block)
        if stream is None:
            frames.append(new)
            continue
        waiting = torch.cat([waiting, new])
        if len(waiting) >= _STEP:
            whole = len(waiting) // model.factor * model.factor
            yield Piece(stream.push(waiting[:whole]), _loudness(waiting[:whole], model.factor))
            waiting = waiting[whole:]
    if stream is not None:
        whole = len(waiting) // model.factor * model.factor
        yield Piece(stream.push(waiting), _loudness(waiting[:whole], model.factor))
        yield Piece(stream.finish(), np.zeros(0, np.float32))
        return
    together = torch.cat([torch.zeros(0, features.bands), *frames])
    with torch.inference_mode():
        encoded = model.encode(together[None], torch.tensor([len(together)]), window)
    whole = len(together) // model.factor * model.factor
    yield Piece(encoded.features[0], _loudness(together[:whole], model.factor))


def _loudness(frames: Float[Tensor, "n bands"], factor: int) -> NDArray[np.float32]:
    loudness: NDArray[np.float32] = frames.mean(1).view(-1, factor).mean(1).numpy()
    return loudness


class WordBuilder:
    """Puts tokens together to words, as they are settled, and finds where the words lie.

    A token is most probable at the end of what it stands for, or behind it. So a word ends with the last loud frame until then, and
    begins where that loud stretch does, or where the word before it ends.

    Args:
        tokenizer: of the tokens.
        seconds: of a frame.
        loud: from which loudness on a frame is spoken.
    """

    def __init__(self, tokenizer: Tokens, seconds: float, loud: float) -> None:
        self._tokenizer, self._seconds, self._loud = tokenizer, seconds, loud
        self._gap, self._longest = round(_GAP / seconds), round(_LONGEST / seconds)
        self._open: list[TimedToken] = []
        self._heard: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._first, self._end = 0, 0  # the first frame that is remembered; where the last word ended

    def hear(self, loudness: NDArray[np.float32]) -> None:
        """The loudness of the next frames."""
        self._heard = np.concatenate([self._heard, loudness >= self._loud])

    def add(self, tokens: Sequence[TimedToken], settled: int | None = None) -> list[TimedWord]:
        """The words that are whole with these tokens.

        Args:
            tokens: in their order.
            settled: no further token lies before this frame; None: that is not known.
        """
        words = []
        for one in tokens:
            text = self._tokenizer.decode([one.token])
            if self._open and (
                isinstance(self._tokenizer, WholeWords)
                or text[:1].isspace()
                or one.frame - self._open[-1].frame > self._gap
            ):
                words += self.finish()
            self._open.append(one)
            if isinstance(self._tokenizer, WholeWords):
                words += self.finish()
        if self._open and settled is not None and settled - self._open[-1].frame > self._gap:
            words += self.finish()
        if settled is not None:
            self._forget(settled)
        return words

    def finish(self) -> list[TimedWord]:
        """The word that is not ended, where there is one."""
        tokens, self._open = self._open, []
        word = " ".join(self._tokenizer.decode([one.token for one in tokens]).split())
        if not word:
            return []
        frames = [one.frame for one in tokens if not self._tokenizer.decode([one.token]).isspace()]
        last, start = self._spoken_at(frames[-1]), self._spoken_at(frames[0])
        while start > max(self._end, last - self._longest) and self._is_loud(start - 1):
            start -= 1
        start, end = max(start, self._end), max(last + 1, self._end + 1)
        self._end = end
        return [TimedWord(word, round(start * self._seconds, 3), round(end * self._seconds, 3))]

    def _spoken_at(self, frame: int) -> int:
        """The last loud frame until then, if it is near."""
        for earlier in range(frame, max(self._end, frame - self._gap) - 1, -1):
            if self._is_loud(earlier):
                return earlier
        return frame

    def _is_loud(self, frame: int) -> bool:
        index = frame - self._first
        return 0 <= index < len(self._heard) and bool(self._heard[index])

    def _forget(self, settled: int) -> None:
        frame = min([settled, *(one.frame for one in self._open)]) - round(_REMEMBERED / self._seconds)
        if (count := min(frame - self._first, len(self._heard))) > _AT_ONCE:
            self._heard, self._first = self._heard[count:], self._first + count


class Hearing:
    """The words of one recording, as they are found; the memory does not grow with its length.

    Args:
        model: in evaluation mode.
        tokenizer: of its tokens.
        beams: texts that are followed.
        settle: seconds after which a word of several beams is final; 0: when all have it.
        loud: from which loudness on a frame is spoken.
        quiet: below which loudness a frame is silence, in which nothing is said: nothing of the training was so quiet.

    Attributes:
        search: the texts that are followed.
        builder: what makes words of tokens.
        seconds: of a frame.
    """

    def __init__(
        self, model: Transcriber, tokenizer: Any, *, beams: int, settle: float, loud: float, quiet: float
    ) -> None:
        self.seconds = SHIFT * model.factor
        self._model, self._quiet, self._beams = model, quiet, beams
        self._settle = round(settle / self.seconds) if settle else None
        self.search = PrefixBeamSearch(beams, self._settle)
        self.builder = WordBuilder(tokenizer, self.seconds, loud)
        self._silent: NDArray[np.bool_] = np.zeros(0, np.bool_)  # of the frames that were not searched yet

    def push(self, piece: Piece) -> list[TimedWord]:
        """The words that are settled now."""
        return self.builder.add(self.search.push(self.rows(piece)), self._settled())

    def finish(self) -> list[TimedWord]:
        """The words that were not settled when the recording ended."""
        return self.builder.add(self.search.finish()) + self.builder.finish()

    def rows(self, piece: Piece) -> NDArray[np.floating]:
        """The logarithms of the tokens' probabilities, `[n, tokens]`; in silence, blank is sure."""
        self.builder.hear(piece.loudness)
        self._silent = np.concatenate([self._silent, piece.loudness < self._quiet])
        with torch.inference_mode():
            rows: NDArray[np.floating] = self._model.log_probabilities(piece.features).double().numpy()
        silent, self._silent = self._silent[: len(rows)], self._silent[len(rows) :]
        silent = np.pad(silent, (0, len(rows) - len(silent)), constant_values=True)  # of no whole frame of sound
        rows = rows.copy()
        rows[silent] = -np.inf
        rows[silent, BLANK] = 0.0
        return rows

    def _settled(self) -> int | None:
        """Before which frame all tokens are settled."""
        if self._beams == 1:
            return self.search.frame
        return None if self._settle is None else self.search.frame - self._settle
