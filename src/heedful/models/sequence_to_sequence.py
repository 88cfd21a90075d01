"""Builds sequence-to-sequence models from the names of their parts.

seq2seq_base.py         what they have in common: the embedding, the loss, one step of decoding
seq2seq_transformer.py  attention throughout
seq2seq_recurrent.py    recurrent networks with attention between them
pointer.py              tokens that are copied from the source
search.py               beam search and sampling
"""

from typing import Literal

from heedful.models.encoders import NormalizerName, PositionName, ScoreName, build_decoder, build_encoder
from heedful.models.seq2seq_base import SequenceToSequence
from heedful.models.seq2seq_recurrent import Recurrent
from heedful.models.seq2seq_transformer import Transformer

__all__ = ["SequenceToSequence", "sequence_to_sequence"]


def sequence_to_sequence(
    *,
    vocabulary_size: int,
    end: int,
    architecture: Literal["transformer", "recurrent"] = "transformer",
    width: int = 128,
    heads: int = 4,
    layers: int = 4,
    ffn_width: int = 256,
    dropout: float = 0.1,
    drop_path: float = 0.0,
    norm: Literal["pre", "post"] = "pre",
    score: ScoreName | Literal["none"] = "scaled-dot",
    normalize: NormalizerName = "softmax",
    positions: PositionName = "rotary",
    window: int = 0,
    max_positions: int = 1024,
    pointer: bool = False,
) -> SequenceToSequence:
    """Builds the parts and puts them together.

    Args:
        vocabulary_size: how many tokens there are, of source and target together.
        end: the token that ends a target.
        architecture: "transformer" or "recurrent".
        width: the features of a token.
        heads: attention heads of a layer; one, where it is recurrent.
        layers: of the encoder, and of the decoder.
        ffn_width: features inside each layer's network.
        dropout: share of each sublayer's output that is dropped in training.
        drop_path: probability that a sample skips the encoder's last layer in training.
        norm: "pre" or "post".
        score: a name of `SCORES`; of a recurrent one also "none".
        normalize: a name of `NORMALIZERS`.
        positions: as in `build_encoder`.
        window: a token sees those of its own text up to so many positions away; 0: all.
        max_positions: the most positions that learned ones know.
        pointer: whether tokens can be copied from the source.

    Example:
        >>> import torch
        >>> from heedful.data.batch_types import TokenBatch
        >>> model = sequence_to_sequence(vocabulary_size=30, end=3, width=8, heads=2, layers=1, ffn_width=16)
        >>> source = TokenBatch(torch.tensor([[5, 6, 7, 3]]), torch.tensor([4]))
        >>> model(source, torch.tensor([[3, 8, 9]])).shape
        torch.Size([1, 3, 30])
    """
    if architecture == "recurrent":
        return Recurrent(
            vocabulary_size=vocabulary_size, width=width, end=end, layers=layers, score=score, normalize=normalize, dropout=dropout,
            pointer=pointer,
        )  # fmt: skip
    if score == "none":
        raise ValueError("`score` must be a score, since a Transformer is made of attention: got 'none'.")
    encoder = build_encoder(
        width=width, heads=heads, layers=layers, ffn_width=ffn_width, dropout=dropout, drop_path=drop_path, norm=norm,
        score=score, normalize=normalize, positions=positions, max_positions=max_positions,
    )  # fmt: skip
    decoder = build_decoder(
        width=width, heads=heads, layers=layers, ffn_width=ffn_width, dropout=dropout, norm=norm, score=score,
        normalize=normalize, positions=positions, max_positions=max_positions,
    )  # fmt: skip
    return Transformer(
        vocabulary_size=vocabulary_size, end=end, encoder=encoder.layers, decoder=decoder.layers, source_positions=encoder.positions,
        target_positions=decoder.positions, window=window, dropout=dropout, pointer=pointer,
    )  # fmt: skip
