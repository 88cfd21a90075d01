"""The Transformer: an encoder, and a decoder whose every layer attends to the target so far and to the source.

    source [S, M] -> embedding + positions -> encoder -> [S, M, D]
    target so far [B, N] -> embedding + positions -> decoder, which attends to the encoded source -> [B, N, D] -> logits

Source: Vaswani et al. 2017.
"""

from torch import nn

from heedful._types import Float, Int, Tensor
from heedful.data.batch_types import TokenBatch
from heedful.models.encoders import add_positions, attention_pattern, padding
from heedful.models.seq2seq_base import DecoderState, EncodedSource, SequenceToSequence
from heedful.nn import LearnedPositions, SinusoidalPositions, TransformerDecoder, TransformerEncoder
from heedful.nn.decoder import DecoderCache
from heedful.ops.mechanism import GLOBAL


class TransformerState(DecoderState):
    """Keys and values of all layers."""

    def __init__(self, source: EncodedSource, caches: list[DecoderCache]) -> None:
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
        vocabulary_size: how many tokens there are.
        end: the token that ends a target.
        encoder: lets the source's tokens attend to each other; None with a reader.
        decoder: lets the target's tokens attend to those before them and to the source.
        source_positions: is added to the source; None where the encoder itself knows the distances, or nobody.
        target_positions: is added to the target.
        window: a token sees those of its own text up to so many positions away; 0: all.
        dropout: share of the embedded features that is set to 0 in training.
        pointer: whether tokens can be copied from the source.
        reader: as of `SequenceToSequence`.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        end: int,
        encoder: TransformerEncoder | None = None,
        decoder: TransformerDecoder,
        source_positions: LearnedPositions | SinusoidalPositions | None = None,
        target_positions: LearnedPositions | SinusoidalPositions | None = None,
        window: int = 0,
        dropout: float = 0.0,
        pointer: bool = False,
        reader: nn.Module | None = None,
    ) -> None:
        super().__init__(
            vocabulary_size=vocabulary_size, width=decoder.width, end=end, dropout=dropout, pointer=pointer, reader=reader
        )  # fmt: skip
        self.encoder, self.decoder = encoder, decoder
        self.source_positions, self.target_positions = source_positions, target_positions
        self.window = window
        self.pattern, self.past = attention_pattern(window), attention_pattern(window, causal=True)

    def _encode_texts(self, source: TokenBatch) -> EncodedSource:
        assert self.encoder is not None
        x = self.dropout(add_positions(self._embed(source.tokens), self.source_positions))
        real = padding(source.lengths, x.shape[1])
        return EncodedSource(source.tokens, source.lengths, self.encoder(x, pattern=self.pattern & real))

    def begin(self, source: EncodedSource) -> TransformerState:
        return TransformerState(source, self.decoder.caches())

    def features(
        self, source: EncodedSource, prefix: Int[Tensor, "B N"], state: DecoderState | None = None
    ) -> Float[Tensor, "B N D"]:
        caches = state.caches if isinstance(state, TransformerState) else None
        start = caches[0].length if caches else 0
        x = self.dropout(add_positions(self._embed(prefix), self.target_positions, start))
        # One position that sees the whole past needs no pattern, and so takes the fastest way through the operator.
        past = GLOBAL if caches and prefix.shape[1] == 1 and not self.window else self.past
        return self.decoder(  # type: ignore[no-any-return]
            x, source.features if not start else None, pattern=past, source_pattern=source.pattern(), caches=caches
        )
