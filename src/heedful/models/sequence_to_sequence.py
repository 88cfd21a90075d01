"""Sequence to sequence: a source in, for each position of what is written the probabilities of the next token out.

Two kinds write by one interface, with one embedding for source, target and output, and with or without copying:

- `Transformer`: an encoder, and a decoder whose every layer attends to what was written and to the source.
- `Recurrent`: what attention was invented for. A recurrent encoder reads the source in both directions; before each token, the
  state of a recurrent decoder asks what of the source is relevant now, by an additive, general or dot score.

Source: Vaswani et al. 2017; Bahdanau et al. 2015; Luong et al. 2015; the shared embedding: Press and Wolf 2017.
"""

import abc
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction, check_positive
from heedful._types import Bool, Float, Int, Tensor
from heedful.models.encoders import (
    NORMALIZERS,
    SCORES,
    NormalizerName,
    PositionName,
    ScoreName,
    build_decoder,
    build_encoder,
    padding,
    placed,
    visible,
)
from heedful.models.text_classifier import Pieces
from heedful.nn import LearnedPositions, SinusoidalPositions, TransformerDecoder, TransformerEncoder
from heedful.nn._values import held, hold
from heedful.nn.cross_entropy import linear_cross_entropy
from heedful.nn.decoder import DecoderCache
from heedful.nn.dropout import Dropout
from heedful.ops import Global, Normalizer, Pattern, Score, attention, attention_weights

_GLOBAL = Global()
_STORED = 2**22  # numbers that a step may store for its scores


class Source(NamedTuple):
    """What an encoder made of a batch of texts.

    Attributes:
        tokens: `[S, M]`, their tokens, padded at the ends.
        lengths: `[S]`, how many tokens each has.
        features: `[S, M, D]`, what the encoder made of them.
    """

    tokens: Int[Tensor, "S M"]
    lengths: Int[Tensor, " S"]
    features: Float[Tensor, "S M D"]

    def seen(self) -> Pattern:
        """Which tokens are no padding."""
        return padding(self.lengths, self.tokens.shape[1])

    def select(self, sources: Int[Tensor, " s"]) -> "Source":
        """Those with these numbers, as long as the longest of them."""
        lengths = self.lengths.index_select(0, sources)
        longest = int(lengths.max())
        return Source(
            self.tokens[:, :longest].index_select(0, sources),
            lengths,
            self.features[:, :longest].index_select(0, sources),
        )


class State(abc.ABC):
    """What is kept from token to token while several targets are written; neighbouring targets may share a source.

    Attributes:
        source: what is written about.
    """

    source: Source

    @abc.abstractmethod
    def reorder(self, index: Int[Tensor, "b"]) -> None:
        """Target i goes on with what target `index[i]` holds, which must have the same source."""

    @abc.abstractmethod
    def select(self, index: Int[Tensor, "b"], sources: Int[Tensor, "s"]) -> None:
        """Keeps the targets `index` and the sources `sources`."""


class CopyAttention(nn.Module):
    """Where a token would be copied from, and how probable it is that it is not.

    Args:
        width: the features of source and target.

    Source: See et al. 2017, section 2.2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 1)
        nn.init.constant_(self.gate.bias, 2.0)  # in the beginning, nearly everything is written

    def forward(
        self, features: Float[Tensor, "B N D"], source: Source
    ) -> tuple[Float[Tensor, "B N M"], Float[Tensor, "B N 1"]]:
        """The weights of the source's tokens, and the probability that a token is written and not copied."""
        query = self.query(features).view(
            len(source.tokens), 1, -1, features.shape[-1]
        )  # targets of one source together
        weights = attention_weights(query, self.key(source.features)[:, None], pattern=source.seen())
        gate = self.gate(features)
        gate = gate.float() if gate.itemsize < 4 else gate  # half precision would be certain, and learn no more
        return weights.view(*features.shape[:2], -1), gate.sigmoid()


class SequenceToSequence(nn.Module, abc.ABC):
    """What both kinds have in common: the embedding, the probabilities of tokens, the loss.

    Args:
        vocabulary: how many tokens there are.
        width: the features of a token, D.
        end: the token that ends a target; it stands before the first one, too.
        dropout: share of the embedded features that is set to 0 in training.
        copy: whether tokens can be copied from the source.
    """

    def __init__(self, *, vocabulary: int, width: int, end: int, dropout: float = 0.0, copy: bool = False) -> None:
        super().__init__()
        check_positive("vocabulary", vocabulary)
        check_fraction("dropout", dropout)
        if not 0 <= end < vocabulary:
            raise ValueError(f"`end` must be a token, 0 to {vocabulary - 1}: got {end}.")
        self.vocabulary, self.width, self.end = vocabulary, width, end
        self.embedding, self.dropout = nn.Embedding(vocabulary, width), Dropout(dropout)
        self.copy = CopyAttention(width) if copy else None
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    @abc.abstractmethod
    def encode(self, source: Pieces) -> Source:
        """Reads sources."""

    @abc.abstractmethod
    def begin(self, source: Source) -> State:
        """The state before the first token, one target for each source."""

    @abc.abstractmethod
    def features(self, source: Source, given: Int[Tensor, "B N"], state: State | None = None) -> Float[Tensor, "B N D"]:
        """What the next token behind each of `given` is told from; with a state, `given` goes on where that ends."""

    def forward(self, source: Pieces, given: Int[Tensor, "B N"]) -> Float[Tensor, "B N vocabulary"]:
        """The logarithms of the next tokens' probabilities.

        Args:
            source: what is written about.
            given: what was written, behind the token `end`.
        """
        read = self.encode(source)
        return self.log_probabilities(self.features(read, given), read)

    def step(self, tokens: Int[Tensor, "B"], state: State) -> Float[Tensor, "B vocabulary"]:
        """The logarithms of the next tokens' probabilities behind one more token of each target."""
        return self.log_probabilities(self.features(state.source, tokens[:, None], state), state.source)[:, 0]

    def log_probabilities(self, features: Float[Tensor, "B N D"], source: Source) -> Float[Tensor, "B N vocabulary"]:
        """Of all tokens; with copying `log(g softmax(features E') + (1 - g) weights onehot(source))`."""
        written: Tensor = self._logits(features).log_softmax(-1)
        if self.copy is None:
            return written
        weights, gate = self.copy(features, source)
        each = len(features) // len(source.tokens)
        tokens = source.tokens.repeat_interleave(each, 0)[:, None].expand_as(weights)
        copied = torch.zeros_like(written).scatter_add(-1, tokens, (1 - gate) * weights)
        found: Tensor = gate * written.exp() + copied
        return found.log()

    def copied(
        self, features: Float[Tensor, "B N D"], source: Source, asked: Int[Tensor, "B N"]
    ) -> Bool[Tensor, "B N"]:
        """Whether each token is rather copied than written."""
        if self.copy is None:
            return torch.zeros_like(asked, dtype=torch.bool)
        weights, gate = self.copy(features, source)
        same = asked[..., None] == source.tokens[:, None]
        written = self._logits(features).softmax(-1).gather(-1, asked[..., None])[..., 0]
        copied: Tensor = ((1 - gate) * weights * same).sum(-1) - gate[..., 0] * written
        return copied > 0

    def loss(self, source: Pieces, target: Pieces, label_smoothing: float = 0.0) -> Float[Tensor, ""]:
        """The mean cross entropy of the targets' tokens and ends.

        Args:
            source: what is written about.
            target: what should be written, without an end.
            label_smoothing: the share of each target token that is spread over all that can be written.
        """
        read = self.encode(source)
        given = F.pad(target.tokens, (1, 0), value=self.end)
        asked = F.pad(target.tokens, (0, 1)).scatter(1, target.lengths[:, None], self.end)
        features = self.features(read, given)  # [B, N + 1, D]
        real = torch.arange(given.shape[1], device=given.device) <= target.lengths[:, None]
        count = target.lengths.sum() + len(given)
        if self.copy is None:
            total: Tensor = linear_cross_entropy(features[real], self.embedding.weight, asked[real], label_smoothing)
            return total / count
        weights, gate = self.copy(features, read)
        logits = self._logits(features)
        written = logits.gather(-1, asked[..., None])[..., 0] - logits.logsumexp(-1)
        copied = ((1 - gate) * weights * (asked[..., None] == read.tokens[:, None])).sum(-1)
        losses = -(gate[..., 0] * written.exp() + copied + 1e-9).log()
        if label_smoothing:
            spread = logits.logsumexp(-1) - logits.mean(-1)
            losses = (1 - label_smoothing) * losses + label_smoothing * spread
        whole: Tensor = losses[real].sum()
        return whole / count

    def _logits(self, features: Float[Tensor, "B N D"]) -> Float[Tensor, "B N vocabulary"]:
        logits: Tensor = F.linear(features, self.embedding.weight)
        return logits.float() if logits.itemsize < 4 else logits  # half precision would lose what is improbable

    def _embed(self, tokens: Int[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        return self.embedding(tokens) * self.width**0.5  # type: ignore[no-any-return]


class TransformerState(State):
    """Keys and values of all layers."""

    def __init__(self, source: Source, caches: list[DecoderCache]) -> None:
        self.source, self.caches = source, caches

    def reorder(self, index: Int[Tensor, "b"]) -> None:
        for cache in self.caches:
            cache.reorder(index)

    def select(self, index: Int[Tensor, "b"], sources: Int[Tensor, "s"]) -> None:
        self.source = self.source.select(sources)
        longest = self.source.tokens.shape[1]
        for cache in self.caches:
            cache.select(index, sources)
            if cache.source is not None:
                key, value = cache.source
                cache.source = key[:, :, :longest], value[:, :, :longest]


class Transformer(SequenceToSequence):
    """Encoder and decoder.

    Args:
        vocabulary: how many tokens there are.
        end: the token that ends a target.
        encoder: lets the source's tokens attend to each other.
        decoder: lets what was written attend to itself and to the source.
        source_positions: is added to the source; None where the encoder itself knows the distances, or nobody.
        target_positions: is added to the target.
        window: a token sees those of its own text up to so many positions away; 0: all.
        dropout: share of the embedded features that is set to 0 in training.
        copy: whether tokens can be copied from the source.

    Source: Vaswani et al. 2017.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        end: int,
        encoder: TransformerEncoder,
        decoder: TransformerDecoder,
        source_positions: LearnedPositions | SinusoidalPositions | None = None,
        target_positions: LearnedPositions | SinusoidalPositions | None = None,
        window: int = 0,
        dropout: float = 0.0,
        copy: bool = False,
    ) -> None:
        super().__init__(vocabulary=vocabulary, width=encoder.width, end=end, dropout=dropout, copy=copy)
        self.encoder, self.decoder = encoder, decoder
        self.source_positions, self.target_positions = source_positions, target_positions
        self.window = window
        self.pattern, self.past = visible(window), visible(window, causal=True)

    def encode(self, source: Pieces) -> Source:
        x = self.dropout(placed(self._embed(source.tokens), self.source_positions))
        real = padding(source.lengths, x.shape[1])
        return Source(source.tokens, source.lengths, self.encoder(x, pattern=self.pattern & real))

    def begin(self, source: Source) -> TransformerState:
        return TransformerState(source, self.decoder.caches())

    def features(self, source: Source, given: Int[Tensor, "B N"], state: State | None = None) -> Float[Tensor, "B N D"]:
        caches = state.caches if isinstance(state, TransformerState) else None
        start = caches[0].length if caches else 0
        x = self.dropout(placed(self._embed(given), self.target_positions, start))
        # One position that sees the whole past is a plain case, with the fastest way through the operator.
        past = _GLOBAL if caches and given.shape[1] == 1 and not self.window else self.past
        return self.decoder(  # type: ignore[no-any-return]
            x, source.features if not start else None, pattern=past, source_pattern=source.seen(), caches=caches
        )


class RecurrentState(State):
    """Hidden states of the decoder, and what was gathered of the source last."""

    def __init__(self, source: Source, memory: Tensor, parts: list[Tensor]) -> None:
        self.source, self.memory, self.parts = source, memory, parts

    def reorder(self, index: Int[Tensor, "b"]) -> None:
        self.parts = [part.index_select(0, index) for part in self.parts]

    def select(self, index: Int[Tensor, "b"], sources: Int[Tensor, "s"]) -> None:
        self.reorder(index)
        self.source = self.source.select(sources)
        self.memory = self.memory[:, : self.source.tokens.shape[1]].index_select(0, sources)


class BothWays(nn.Module):
    """A recurrent network that reads padded texts from both ends.

    Each direction is a network of its own whose texts begin together, so that one step takes all of them, and the gradient of
    PyTorch's packed sequences, which fills a whole batch with zeros at every step, is not needed.

    Args:
        width: the features of the input, and of each direction.
        layers: how many.
        dropout: share of what goes from one layer to the next that is set to 0 in training.
    """

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        widths = [width, *[2 * width] * (layers - 1)]
        self.ahead = nn.ModuleList(nn.GRU(given, width, batch_first=True) for given in widths)
        self.back = nn.ModuleList(nn.GRU(given, width, batch_first=True) for given in widths)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "S M D"], lengths: Int[Tensor, " S"]) -> Float[Tensor, "S M E"]:
        """The states of both directions, side by side; what stands at padding is of no use."""
        places = torch.arange(x.shape[1], device=x.device)
        turned = torch.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)[..., None]
        for layer, (ahead, back) in enumerate(zip(self.ahead, self.back, strict=True)):
            x = self.dropout(x) if layer else x
            backwards, _ = back(x.take_along_dim(turned, 1))
            x = torch.cat([ahead(x)[0], backwards.take_along_dim(turned, 1)], -1)
        return x


class SourceAttention(nn.Module):
    """What of the source is relevant to the state of a decoder.

    Args:
        width: the features of state and source.
        score: additive, with projections of its own for both; any other compares the state with the source as it is.
        normalize: what makes weights of the scores.

    Source: Bahdanau et al. 2015, appendix A.1.2; Luong et al. 2015, section 3.1.
    """

    def __init__(self, width: int, score: ScoreName, normalize: Normalizer) -> None:
        super().__init__()
        made: Score = SCORES[score](1, width)
        hold(self, score=made, normalize=normalize)
        projected = score == "additive"
        self.query = nn.Linear(width, width, bias=False) if projected else nn.Identity()
        self.key = nn.Linear(width, width) if projected else nn.Identity()

    def forward(
        self, states: Float[Tensor, "B N D"], memory: Float[Tensor, "S M D"], source: Source
    ) -> Float[Tensor, "B N D"]:
        """What was gathered; `memory` is `self.key` of the source's features. Neighbouring states may share a source."""
        query = self.query(states).view(len(memory), 1, -1, memory.shape[-1])
        # A single query has as many scores as there are keys: stored, all samples are computed together.
        engine: Literal["reference"] | None = "reference" if query.shape[2] * memory.numel() <= _STORED else None
        found: Tensor = attention(
            query, memory[:, None], source.features[:, None], **held(self), pattern=source.seen(), engine=engine
        )
        return found.view_as(states)


class Recurrent(SequenceToSequence):
    """A recurrent encoder and decoder with attention between them.

    The decoder's first layer reads what was written; each of its states asks the source, c = attend(s, source). The layers above
    it read [s, c], and the next token is told from W [s, c]. What was gathered does not go back into the first layer: in training
    each layer reads all positions, and all of them ask, in one call. Each layer adds to what it read, and is normed.

    Args:
        vocabulary: how many tokens there are.
        width: the features of tokens and states.
        end: the token that ends a target.
        layers: of the encoder, and of the decoder above the one that asks.
        score: how relevant a token of the source is to the state; "none": every token is as relevant as any other.
        normalize: what makes weights of the scores.
        dropout: share of what layers give that is set to 0 in training.
        copy: whether tokens can be copied from the source.

    Source: Luong et al. 2015, section 3; that the lowest layer asks for all: Wu et al. 2016, section 3; layer norm: Chen et al.
    2018, section 3.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        end: int,
        layers: int = 1,
        score: ScoreName | Literal["none"] = "additive",
        normalize: NormalizerName = "softmax",
        dropout: float = 0.0,
        copy: bool = False,
    ) -> None:
        super().__init__(vocabulary=vocabulary, width=width, end=end, dropout=dropout, copy=copy)
        check_positive("layers", layers)
        self.encoder = BothWays(width, layers, dropout)
        self.joined, self.source_norm = nn.Linear(2 * width, width), nn.LayerNorm(width)
        self.first = nn.Linear(width, (layers + 1) * width)
        self.attention = None if score == "none" else SourceAttention(width, score, NORMALIZERS[normalize])
        widths = [width, *[2 * width] * layers]
        self.decoder = nn.ModuleList(nn.GRU(given, width, batch_first=True) for given in widths)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.decoder)
        self.out, self.out_norm = nn.Linear(2 * width, width), nn.LayerNorm(width)

    def encode(self, source: Pieces) -> Source:
        x = self.dropout(self._embed(source.tokens))
        read = self.encoder(x, source.lengths)
        return Source(source.tokens, source.lengths, self.source_norm(x + self.joined(self.dropout(read))))

    def begin(self, source: Source) -> RecurrentState:
        mean = self._mean(source)
        states = self.first(mean).tanh().chunk(len(self.decoder), -1)
        memory = mean[:, None] if self.attention is None else self.attention.key(source.features)
        return RecurrentState(source, memory, [*states])

    def features(self, source: Source, given: Int[Tensor, "B N"], state: State | None = None) -> Float[Tensor, "B N D"]:
        state = self.begin(source) if state is None else state
        assert isinstance(state, RecurrentState)
        x = self.dropout(self._embed(given))
        x = self._added(0, x, x, state)
        context = self.dropout(self._gathered(x, state))
        for layer in range(1, len(self.decoder)):
            x = self._added(layer, x, torch.cat([x, context], -1), state)
        return self.dropout(self.out_norm(self.out(torch.cat([x, context], -1))))  # type: ignore[no-any-return]

    def _added(
        self, layer: int, x: Float[Tensor, "B N D"], read: Tensor, state: RecurrentState
    ) -> Float[Tensor, "B N D"]:
        """What a layer makes of what it reads, added to `x`."""
        states, last = self.decoder[layer](read, state.parts[layer][None])
        state.parts[layer] = last[0]
        return self.norms[layer](x + self.dropout(states))  # type: ignore[no-any-return]

    def _gathered(self, states: Float[Tensor, "B N D"], state: RecurrentState) -> Float[Tensor, "B N D"]:
        if self.attention is not None:
            return self.attention(states, state.memory, state.source)  # type: ignore[no-any-return]
        return state.memory.repeat_interleave(len(states) // len(state.memory), 0).expand_as(states)

    @staticmethod
    def _mean(source: Source) -> Float[Tensor, "S D"]:
        """What attention gathers where every token is as relevant as any other."""
        ones = source.features.new_ones(len(source.tokens), 1, 1, 1)
        values = source.features[:, None]
        return attention(0 * ones, 0 * values[..., :1], values, pattern=source.seen())[:, 0, 0]


def sequence_to_sequence(
    *,
    vocabulary: int,
    end: int,
    kind: Literal["transformer", "recurrent"] = "transformer",
    width: int = 128,
    heads: int = 4,
    layers: int = 4,
    hidden: int = 256,
    dropout: float = 0.1,
    drop_path: float = 0.0,
    norm: Literal["pre", "post"] = "pre",
    score: ScoreName | Literal["none"] = "scaled-dot",
    normalize: NormalizerName = "softmax",
    positions: PositionName = "rotary",
    window: int = 0,
    longest: int = 1024,
    copy: bool = False,
) -> SequenceToSequence:
    """Builds the parts and puts them together.

    Args:
        vocabulary: how many tokens there are, of source and target together.
        end: the token that ends a target.
        kind: "transformer" or "recurrent".
        width: the features of a token.
        heads: attention heads of a layer; one, where it is recurrent.
        layers: of the encoder, and of the decoder.
        hidden: features inside each layer's network.
        dropout: share of each sublayer's output that is dropped in training.
        drop_path: probability that a sample skips the encoder's last layer in training.
        norm: "pre" or "post".
        score: a name of `SCORES`; of a recurrent one also "none".
        normalize: a name of `NORMALIZERS`.
        positions: as in `build_encoder`.
        window: a token sees those of its own text up to so many positions away; 0: all.
        longest: the most positions that learned ones know.
        copy: whether tokens can be copied from the source.

    Example:
        >>> model = sequence_to_sequence(vocabulary=30, end=3, width=8, heads=2, layers=1, hidden=16)
        >>> source = Pieces(torch.tensor([[5, 6, 7, 3]]), torch.tensor([4]))
        >>> model(source, torch.tensor([[3, 8, 9]])).shape
        torch.Size([1, 3, 30])
    """
    if kind == "recurrent":
        return Recurrent(
            vocabulary=vocabulary, width=width, end=end, layers=layers, score=score, normalize=normalize, dropout=dropout,
            copy=copy,
        )  # fmt: skip
    if score == "none":
        raise ValueError("`score` must be a score, since a Transformer is made of attention: got 'none'.")
    encoder = build_encoder(
        width=width, heads=heads, layers=layers, hidden=hidden, dropout=dropout, drop_path=drop_path, norm=norm,
        score=score, normalize=normalize, positions=positions, longest=longest,
    )  # fmt: skip
    decoder = build_decoder(
        width=width, heads=heads, layers=layers, hidden=hidden, dropout=dropout, norm=norm, score=score,
        normalize=normalize, positions=positions, longest=longest,
    )  # fmt: skip
    return Transformer(
        vocabulary=vocabulary, end=end, encoder=encoder.layers, decoder=decoder.layers, source_positions=encoder.positions,
        target_positions=decoder.positions, window=window, dropout=dropout, copy=copy,
    )  # fmt: skip
