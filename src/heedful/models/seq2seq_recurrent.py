"""Recurrent encoder and decoder with attention between them: what attention was invented for.

    source [S, M] -> embedding -> GRU in both directions -> [S, M, D]
    target so far [B, N] -> embedding -> GRU -> its states attend to the encoded source -> further GRUs -> [B, N, D] -> logits

With input feeding, what a token was predicted from goes into the first layer with that token.

Source: Bahdanau et al. 2015; Luong et al. 2015.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from heedful._checks import check_positive
from heedful._types import Float, Int, Tensor
from heedful.data.batch_types import TokenBatch
from heedful.models.encoders import NORMALIZERS, SCORES, NormalizerName, ScoreName
from heedful.models.seq2seq_base import DecoderState, EncodedSource, SequenceToSequence
from heedful.nn._values import register_values, values_of
from heedful.nn.dropout import Dropout
from heedful.ops import Hard, Normalizer, Score, Soft, attention, attention_weights

_MAX_STORED = 2**22  # numbers that a step may store for its scores
_HARD, _SOFT = Hard(), Soft()


class RecurrentState(DecoderState):
    """The states of the decoder's layers, with input feeding also what it feeds, and the keys that they attend to."""

    def __init__(self, source: EncodedSource, memory: Tensor, states: list[Tensor]) -> None:
        self.source, self.memory, self.states = source, memory, states

    def repeat(self, targets: int) -> None:
        """Makes states of as many targets, of which each source has equally many."""
        count = len(self.states[0])
        if targets != count:
            self.states = [state.repeat_interleave(targets // count, 0) for state in self.states]

    def reorder(self, index: Int[Tensor, "b"]) -> None:
        self.states = [state.index_select(0, index) for state in self.states]

    def select(self, index: Int[Tensor, "b"], sources: Int[Tensor, "s"]) -> None:
        self.reorder(index)
        self.source = self.source.select(sources)
        self.memory = self.memory[:, : self.source.tokens.shape[1]].index_select(0, sources)


Look = Callable[[Tensor, RecurrentState], Tensor]


class BidirectionalGRU(nn.Module):
    """A recurrent network that reads padded texts from both ends.

    Each direction is a network of its own that reads padded texts, the backward one reversed, so that all of them begin together.
    PyTorch's packed sequences are not used: their gradient fills a whole batch with zeros at every step.

    Args:
        width: the features of the input, and of each direction.
        layers: how many.
        dropout: share of what goes from one layer to the next that is set to 0 in training.
    """

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.ahead, self.back = (
            nn.ModuleList(nn.GRU(2 * width if layer else width, width, batch_first=True) for layer in range(layers))
            for _ in range(2)
        )
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "S M D"], lengths: Int[Tensor, " S"]) -> Float[Tensor, "S M E"]:
        """The states of both directions, side by side; those of padding mean nothing."""
        index = torch.arange(x.shape[1], device=x.device)
        reversed_ = torch.where(index < lengths[:, None], lengths[:, None] - 1 - index, index)[..., None]
        for layer, (ahead, back) in enumerate(zip(self.ahead, self.back, strict=True)):
            x = self.dropout(x) if layer else x
            backwards, _ = back(x.take_along_dim(reversed_, 1))
            x = torch.cat([ahead(x)[0], backwards.take_along_dim(reversed_, 1)], -1)
        return x


class SourceAttention(nn.Module):
    """Attention of a decoder's state to the source.

    Args:
        width: the features of state and source.
        score: additive, with projections of its own for both; any other compares the state with the source as it is.
        normalize: what makes weights of the scores.
        hard: outside of training, the source's token of the largest weight alone is taken.

    Source: Bahdanau et al. 2015, appendix A.1.2; Luong et al. 2015, section 3.1.
    """

    def __init__(self, width: int, score: ScoreName, normalize: Normalizer, *, hard: bool = False) -> None:
        super().__init__()
        self.hard = hard
        built: Score = SCORES[score](1, width)
        register_values(self, score=built, normalize=normalize)
        projected = score == "additive"
        self.query = nn.Linear(width, width, bias=False) if projected else nn.Identity()
        self.key = nn.Linear(width, width) if projected else nn.Identity()

    def forward(
        self, states: Float[Tensor, "B N D"], memory: Float[Tensor, "S M D"], source: EncodedSource
    ) -> Float[Tensor, "B N D"]:
        """The context of each state; `memory` is `self.key` of the source's features. Neighboring states may share a source."""
        query = self._queries(states, memory)
        # Of one query the scores are as many as the keys: few enough to be stored, and then all samples are computed together.
        engine: Literal["reference"] | None = "reference" if query.shape[2] * memory.numel() <= _MAX_STORED else None
        context: Tensor = attention(
            query, memory[:, None], source.features[:, None], **values_of(self), pattern=source.pattern(),
            select=_HARD if self.hard and not self.training else _SOFT, engine=engine,
        )  # fmt: skip
        return context.view_as(states)

    def weights(
        self, states: Float[Tensor, "B N D"], memory: Float[Tensor, "S M D"], source: EncodedSource
    ) -> Float[Tensor, "B N M"]:
        """The weight of each token of the source for each state, stored; the arguments are those of `forward`."""
        query = self._queries(states, memory)
        weights = attention_weights(query, memory[:, None], **values_of(self), pattern=source.pattern())
        return weights.view(*states.shape[:2], -1)

    def _queries(self, states: Tensor, memory: Tensor) -> Float[Tensor, "S 1 Q D"]:
        queries: Tensor = self.query(states).view(len(memory), 1, -1, memory.shape[-1])
        return queries


class PooledContext(nn.Module):
    """The mean of the source through a network with as many parameters as additive attention: what attention is compared with.

    Args:
        width: the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, mean: Float[Tensor, "S D"]) -> Float[Tensor, "S D"]:
        """The context, the same for each token of a target."""
        return mean + self.scale * self.second(self.first(mean).tanh())  # type: ignore[no-any-return]


class Recurrent(SequenceToSequence):
    """A recurrent encoder and decoder with attention between them.

    The decoder's first layer reads the target so far; each of its states s attends to the source, c = attention(s, source). The
    layers above it read [s, c], and the next token is predicted from W [s, c]. Each layer is residual, and normalized. Without input
    feeding c does not go back into the first layer, so that in training each layer reads all positions in one call.

    Args:
        vocabulary_size: how many tokens there are.
        width: the features of tokens and states.
        end: the token that ends a target.
        layers: of the encoder, and of the decoder above its first.
        score: of a state and a token of the source; "none": every token has the same weight; "pooled": likewise, through a network
            with as many parameters as "additive" has.
        normalize: what makes weights of the scores.
        dropout: share of each layer's output that is set to 0 in training.
        pointer: whether tokens can be copied from the source.
        reader: as of `SequenceToSequence`; there is no encoder then.
        hard: outside of training, each state takes the source's token of the largest weight alone.
        feeding: whether the first layer reads [token, what it was predicted from]: then where the decoder looks depends on what it has
            seen before, and not on the tokens alone.

    Source: Luong et al. 2015, section 3; input feeding: section 3.3; the context of the lowest layer for all: Wu et al. 2016, section 3;
    layer norm: Chen et al. 2018, section 3.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        width: int,
        end: int,
        layers: int = 1,
        score: ScoreName | Literal["none", "pooled"] = "additive",
        normalize: NormalizerName = "softmax",
        dropout: float = 0.0,
        pointer: bool = False,
        reader: nn.Module | None = None,
        hard: bool = False,
        feeding: bool = False,
    ) -> None:
        super().__init__(
            vocabulary_size=vocabulary_size, width=width, end=end, dropout=dropout, pointer=pointer, reader=reader
        )
        check_positive("layers", layers)
        if reader is None:
            self.encoder = BidirectionalGRU(width, layers, dropout)
            self.joined, self.source_norm = nn.Linear(2 * width, width), nn.LayerNorm(width)
        self.first = nn.Linear(width, (layers + 1) * width)
        self.attention = (
            None
            if score == "none" or score == "pooled"
            else SourceAttention(width, score, NORMALIZERS[normalize], hard=hard)
        )
        self.pooled = PooledContext(width) if score == "pooled" else nn.Identity()
        self.feeding = feeding
        widths = [2 * width if feeding else width, *[2 * width] * layers]
        self.decoder = nn.ModuleList(nn.GRU(size, width, batch_first=True) for size in widths)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.decoder)
        self.out, self.out_norm = nn.Linear(2 * width, width), nn.LayerNorm(width)

    def _encode_texts(self, source: TokenBatch) -> EncodedSource:
        x = self.dropout(self._embed(source.tokens))
        states = self.encoder(x, source.lengths)
        return EncodedSource(source.tokens, source.lengths, self.source_norm(x + self.joined(self.dropout(states))))

    def begin(self, source: EncodedSource) -> RecurrentState:
        mean = self._mean(source)
        states = self.first(mean).tanh().chunk(len(self.decoder), -1)
        memory = self.pooled(mean)[:, None] if self.attention is None else self.attention.key(source.features)
        fed = [torch.zeros_like(mean)] if self.feeding else []
        return RecurrentState(source, memory, [*states, *fed])

    def features(
        self, source: EncodedSource, prefix: Int[Tensor, "B N"], state: DecoderState | None = None
    ) -> Float[Tensor, "B N D"]:
        state = self.begin(source) if state is None else state
        assert isinstance(state, RecurrentState)
        state.repeat(len(prefix))
        return self._read(self._embed(prefix), state, self._context)

    def _read(self, tokens: Float[Tensor, "B N D"], state: RecurrentState, look: Look) -> Float[Tensor, "B N D"]:
        """What follows embedded tokens; `look` gives the contexts of states of the first layer."""
        x = self.dropout(tokens)
        if not self.feeding:
            return self._layers(x, x, state, look)
        outputs = []
        for token in x.split(1, 1):
            outputs.append(self._layers(token, torch.cat([token, state.states[-1][:, None]], -1), state, look))
            state.states[-1] = outputs[-1][:, 0]
        return torch.cat(outputs, 1)

    def _layers(
        self, x: Float[Tensor, "B N D"], inputs: Float[Tensor, "B N E"], state: RecurrentState, look: Look
    ) -> Float[Tensor, "B N D"]:
        x = self._layer(0, x, inputs, state)
        context = self.dropout(look(x, state))
        for layer in range(1, len(self.decoder)):
            x = self._layer(layer, x, torch.cat([x, context], -1), state)
        return self.dropout(self.out_norm(self.out(torch.cat([x, context], -1))))  # type: ignore[no-any-return]

    def _layer(
        self, layer: int, x: Float[Tensor, "B N D"], inputs: Tensor, state: RecurrentState
    ) -> Float[Tensor, "B N D"]:
        """The output of a layer for its inputs, added to `x`."""
        states, last = self.decoder[layer](inputs, state.states[layer][None])
        state.states[layer] = last[0]
        return self.norms[layer](x + self.dropout(states))  # type: ignore[no-any-return]

    def _context(self, states: Float[Tensor, "B N D"], state: RecurrentState) -> Float[Tensor, "B N D"]:
        if self.attention is not None:
            return self.attention(states, state.memory, state.source)  # type: ignore[no-any-return]
        return state.memory.repeat_interleave(len(states) // len(state.memory), 0).expand_as(states)

    @staticmethod
    def _mean(source: EncodedSource) -> Float[Tensor, "S D"]:
        """The context where every token has the same weight."""
        ones = source.features.new_ones(len(source.tokens), 1, 1, 1)
        values = source.features[:, None]
        return attention(0 * ones, 0 * values[..., :1], values, pattern=source.pattern())[:, 0, 0]
