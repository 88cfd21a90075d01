"""The texts of one recording: by CTC as it arrives, by the decoder token after token, or by both."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._errors import SettingsError
from heedful.models.ctc import TimedToken, best_alignment
from heedful.models.search import beam_search
from heedful.models.seq2seq_base import EncodedSource
from heedful.models.transcriber import Transcriber
from heedful.tasks.hearing import Piece, WordBuilder
from heedful.tasks.transcripts import TimedWord, Transcript, words_text

if TYPE_CHECKING:
    from heedful.tasks.transcribe import Transcribe

_JOINT_BEAMS = 8  # texts of CTC between which both choose, at least
_TOKENS_A_FRAME = 1  # of the decoder, at most


def decoded(
    task: "Transcribe", model: Transcriber, name: str, pieces: Iterable[Piece], options: Any
) -> list[Transcript]:
    """The best texts of a recording, as many as are asked for."""
    decoder = options.decoder or task.settings.search.decoder
    if decoder != "ctc" and model.decoder is None:
        raise SettingsError(f"`decoder` must be ctc: this run has no attention decoder: got {decoder}.")
    if decoder == "ctc" and options.n_best == 1:
        return [_as_it_arrives(task, model, name, pieces, options)]
    least = max(options.n_best, _JOINT_BEAMS if decoder == "joint" else 1)
    beams = max(options.beams or task.settings.search.beams, least)
    hearing = task.hearing(model, options.model_copy(update={"beams": beams, "settle": 0.0}))
    features, rows, loudness = [], [], []
    for piece in pieces:
        features.append(piece.features)
        loudness.append(piece.loudness)
        rows.append(hearing.rows(piece))
    probabilities, heard = np.concatenate(rows), np.concatenate(loudness)
    source = _source(torch.cat(features))
    if decoder == "attention":
        texts = _by_decoder(task, model, source, beams)
    else:
        settled = hearing.search.push(probabilities)  # what all texts begin with
        texts = [(path.log_probability, settled + path.tokens) for path in hearing.search.best(beams)]
    if decoder == "joint":
        share = task.settings.loss.ctc_weight
        texts = [(share * p + (1 - share) * _decoder_score(model, source, tokens), tokens) for p, tokens in texts]
        texts.sort(key=lambda one: -one[0])
    transcripts = []
    for rank, (score, tokens) in enumerate(texts[: options.n_best]):
        builder = WordBuilder(task.tokenizer, hearing.seconds, task.vocabulary["loud"])
        builder.hear(heard)
        timed = _timed(probabilities, tokens) if decoder == "attention" else tokens
        words = builder.add(timed) + builder.finish()
        transcripts.append(Transcript(name, words_text(words), list(words), rank, score, options.scores))
    return transcripts


def _as_it_arrives(
    task: "Transcribe", model: Transcriber, name: str, pieces: Iterable[Piece], options: Any
) -> Transcript:
    hearing, words = task.hearing(model, options), list[TimedWord]()
    for piece in pieces:
        words += hearing.push(piece)
    score = hearing.search.best(1)[0].log_probability
    words += hearing.finish()
    return Transcript(name, words_text(words), list(words), 0, score, options.scores)


def _source(features: torch.Tensor) -> EncodedSource:
    tokens = torch.zeros(1, len(features), dtype=torch.long)
    return EncodedSource(tokens, torch.tensor([len(features)]), features[None])


def _by_decoder(
    task: "Transcribe", model: Transcriber, source: EncodedSource, beams: int
) -> list[tuple[float, list[TimedToken]]]:
    """The texts of a beam search, by their log probabilities for their length."""
    assert model.decoder is not None
    limit = max(source.features.shape[1] * _TOKENS_A_FRAME, 1)
    suppress = [token for token in range(4) if token != task.tokenizer.end]
    (texts,) = beam_search(model.decoder, source, limit, beams=beams, suppress=suppress)
    return [(one.score, [TimedToken(token, 0) for token in one.tokens]) for one in texts]


def _decoder_score(model: Transcriber, source: EncodedSource, tokens: Sequence[TimedToken]) -> float:
    """The log probability of a text and its end by the decoder."""
    assert model.decoder is not None
    numbers = torch.tensor([[*(one.token for one in tokens), model.end]])
    prefix = torch.cat([torch.tensor([[model.end]]), numbers[:, :-1]], 1)
    with torch.inference_mode():
        log_p = model.decoder.log_probabilities(model.decoder.features(source, prefix), source)
    return float(log_p.gather(-1, numbers[..., None]).sum())


def _timed(rows: NDArray[np.floating], tokens: Sequence[TimedToken]) -> list[TimedToken]:
    """The tokens of the decoder where CTC finds them; evenly spaced where they do not fit."""
    numbers = [one.token for one in tokens]
    try:
        path = np.array(best_alignment(np.maximum(rows, -1e4), numbers))
    except ValueError:
        return [TimedToken(token, (2 * i + 1) * len(rows) // (2 * len(numbers))) for i, token in enumerate(numbers)]
    return [TimedToken(token, int(np.flatnonzero(path == i)[-1])) for i, token in enumerate(numbers)]
