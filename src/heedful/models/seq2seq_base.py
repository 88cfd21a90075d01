"""What all sequence-to-sequence models have in common: one embedding for source, target and output, the loss, and decoding.

Source: the shared embedding: Press and Wolf 2017.
"""

import abc
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction, check_positive
from heedful._types import Bool, Float, Int, Tensor
from heedful.data.batch_types import TokenBatch
from heedful.models.encoders import padding
from heedful.models.pointer import PointerGenerator, mixed
from heedful.nn.cross_entropy import linear_cross_entropy
from heedful.nn.dropout import Dropout
from heedful.ops import Pattern


class EncodedSource(NamedTuple):
    """What an encoder made of a batch of sources.

    Attributes:
        tokens: `[S, M]`, padded at their ends.
        lengths: `[S]`, how many tokens each source has.
        features: `[S, M, D]`, of each token.
    """

    tokens: Int[Tensor, "S M"]
    lengths: Int[Tensor, " S"]
    features: Float[Tensor, "S M D"]

    @classmethod
    def of(cls, features: Float[Tensor, "S M D"]) -> "EncodedSource":
        """Sources that are no texts, such as the places of pictures, M of each."""
        tokens = torch.zeros(features.shape[:2], dtype=torch.long, device=features.device)
        return cls(tokens, tokens.new_full((len(tokens),), tokens.shape[1]), features)

    def pattern(self) -> Pattern:
        """Which tokens are no padding."""
        return padding(self.lengths, self.tokens.shape[1])

    def select(self, sources: Int[Tensor, " s"]) -> "EncodedSource":
        """The sources with these numbers, as long as the longest of them."""
        lengths = self.lengths.index_select(0, sources)
        longest = int(lengths.max())
        return EncodedSource(
            self.tokens[:, :longest].index_select(0, sources),
            lengths,
            self.features[:, :longest].index_select(0, sources),
        )


Source = TokenBatch | Tensor | EncodedSource  # texts, or what a model's reader takes; or what was made of them


class DecoderState(abc.ABC):
    """What a decoder keeps from token to token; neighboring targets may share a source.

    Attributes:
        source: the encoded sources.
    """

    source: EncodedSource

    @abc.abstractmethod
    def reorder(self, index: Int[Tensor, "b"]) -> None:
        """Target i becomes what target `index[i]` is now, which must have the same source."""

    @abc.abstractmethod
    def select(self, index: Int[Tensor, "b"], sources: Int[Tensor, "s"]) -> None:
        """Keeps the targets `index` and the sources `sources`."""


class SequenceToSequence(nn.Module, abc.ABC):
    """A source in, for each position of a target the probabilities of its next token out.

    Args:
        vocabulary_size: how many tokens there are.
        width: the features of a token, D.
        end: the token that ends a target; it stands before the first one, too.
        dropout: share of the embedded features that is set to 0 in training.
        pointer: whether tokens can be copied from the source.
        reader: makes features `[S, M, width]` of sources that are no texts; None: sources are texts.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        width: int,
        end: int,
        dropout: float = 0.0,
        pointer: bool = False,
        reader: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_positive("vocabulary_size", vocabulary_size)
        check_fraction("dropout", dropout)
        if not 0 <= end < vocabulary_size:
            raise ValueError(f"`end` must be a token, 0 to {vocabulary_size - 1}: got {end}.")
        self.vocabulary_size, self.width, self.end = vocabulary_size, width, end
        self.embedding, self.dropout = nn.Embedding(vocabulary_size, width), Dropout(dropout)
        self.pointer = PointerGenerator(width) if pointer else None
        self.reader = reader
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def encode(self, source: Source) -> EncodedSource:
        """Encodes sources: texts, or what the model's reader takes; what is encoded stays."""
        if isinstance(source, EncodedSource):
            return source
        if isinstance(source, TokenBatch):
            return self._encode_texts(source)
        assert self.reader is not None
        return EncodedSource.of(self.reader(source))

    @abc.abstractmethod
    def _encode_texts(self, source: TokenBatch) -> EncodedSource:
        """Encodes texts."""

    @abc.abstractmethod
    def begin(self, source: EncodedSource) -> DecoderState:
        """The state before the first token, one target for each source."""

    @abc.abstractmethod
    def features(
        self, source: EncodedSource, prefix: Int[Tensor, "B N"], state: DecoderState | None = None
    ) -> Float[Tensor, "B N D"]:
        """What the next token behind each of `prefix` is predicted from; with a state, `prefix` continues where that ends.

        B is a multiple of the number of sources; the targets of one stand together.
        """

    def forward(self, source: Source, prefix: Int[Tensor, "B N"]) -> Float[Tensor, "B N vocabulary"]:
        """The logarithms of the next tokens' probabilities.

        Args:
            source: the sources.
            prefix: the token `end`, then the first tokens of the targets.
        """
        encoded = self.encode(source)
        return self.log_probabilities(self.features(encoded, prefix), encoded)

    def step(self, tokens: Int[Tensor, "B"], state: DecoderState) -> Float[Tensor, "B vocabulary"]:
        """The logarithms of the next tokens' probabilities behind one more token of each target."""
        return self.log_probabilities(self.features(state.source, tokens[:, None], state), state.source)[:, 0]

    def log_probabilities(
        self, features: Float[Tensor, "B N D"], source: EncodedSource
    ) -> Float[Tensor, "B N vocabulary"]:
        """Of all tokens; with a pointer `log(g softmax(features E') + (1 - g) weights onehot(source))`."""
        generated: Tensor = self._logits(features).log_softmax(-1)
        if self.pointer is None:
            return generated
        weights, gate = self.pointer(features, source.features, source.pattern())
        return mixed(generated, weights, gate, source.tokens)

    def copied(
        self, features: Float[Tensor, "B N D"], source: EncodedSource, targets: Int[Tensor, "B N"]
    ) -> Bool[Tensor, "B N"]:
        """Whether each target token is more probably copied than generated."""
        if self.pointer is None:
            return torch.zeros_like(targets, dtype=torch.bool)
        weights, gate = self.pointer(features, source.features, source.pattern())
        same = targets[..., None] == source.tokens[:, None]
        generated = self._logits(features).softmax(-1).gather(-1, targets[..., None])[..., 0]
        difference: Tensor = ((1 - gate) * weights * same).sum(-1) - gate[..., 0] * generated
        return difference > 0

    def loss(self, source: Source, target: TokenBatch, label_smoothing: float = 0.0) -> Float[Tensor, ""]:
        """The mean cross entropy of the targets' tokens and ends.

        Args:
            source: the sources.
            target: the targets, without an end, as many for each source.
            label_smoothing: the share of each target token that is spread over all that can be generated.
        """
        encoded = self.encode(source)
        prefix, targets, real = self._shifted(target)
        features = self.features(encoded, prefix)  # [B, N + 1, D]
        count = target.lengths.sum() + len(prefix)
        if self.pointer is None:
            total: Tensor = linear_cross_entropy(features[real], self.embedding.weight, targets[real], label_smoothing)
            return total / count
        weights, gate = self.pointer(features, encoded.features, encoded.pattern())
        logits = self._logits(features)
        generated = logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(-1)
        copied = ((1 - gate) * weights * (targets[..., None] == encoded.tokens[:, None])).sum(-1)
        losses = -(gate[..., 0] * generated.exp() + copied + 1e-9).log()
        if label_smoothing:
            uniform = logits.logsumexp(-1) - logits.mean(-1)
            losses = (1 - label_smoothing) * losses + label_smoothing * uniform
        summed: Tensor = losses[real].sum()
        return summed / count

    def _shifted(self, target: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
        """What is read and what is predicted of targets, each with an end, and which of it is no padding: `[B, N + 1]` each."""
        prefix = F.pad(target.tokens, (1, 0), value=self.end)
        targets = F.pad(target.tokens, (0, 1)).scatter(1, target.lengths[:, None], self.end)
        return prefix, targets, torch.arange(prefix.shape[1], device=prefix.device) <= target.lengths[:, None]

    def _logits(self, features: Float[Tensor, "B N D"]) -> Float[Tensor, "B N vocabulary"]:
        logits: Tensor = F.linear(features, self.embedding.weight)
        return logits.float() if logits.itemsize < 4 else logits  # half precision would lose what is improbable

    def _embed(self, tokens: Int[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        return self.embedding(tokens) * self.width**0.5  # type: ignore[no-any-return]
