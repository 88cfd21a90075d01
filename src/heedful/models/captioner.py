"""Models that say in a sentence what is on a picture: a reader of pictures, and a decoder as translation has it."""

from collections.abc import Sequence
from typing import Any, Literal

from heedful.models.encoders import build_decoder
from heedful.models.picture_reader import PictureReader
from heedful.models.seq2seq_base import SequenceToSequence
from heedful.models.seq2seq_hard import HardRecurrent
from heedful.models.seq2seq_recurrent import Recurrent
from heedful.models.seq2seq_transformer import Transformer


def captioner(
    *,
    vocabulary_size: int,
    end: int,
    architecture: Literal["soft", "hard", "pooled", "transformer"] = "soft",
    stages: Sequence[int] = (32, 64),
    width: int = 128,
    layers: int = 1,
    dropout: float = 0.0,
    heads: int = 4,
    ffn_width: int = 256,
    draws: int = 6,
    soft_share: float = 0.5,
    entropy: float = 0.01,
) -> SequenceToSequence:
    """Builds a reader of pictures and a decoder.

    Args:
        vocabulary_size: how many tokens there are.
        end: the token that ends a caption.
        architecture: recurrent with additive attention, which is soft or hard; "pooled": with the mean of all places in its stead, and
            as many parameters; or a Transformer.
        stages: as of `PictureReader`.
        width: the features of a place and of a token.
        layers: of the decoder; of a recurrent one, above its first.
        dropout: share of each layer's output that is set to 0 in training.
        heads: of the Transformer, in each layer.
        ffn_width: of the Transformer, features inside each layer's network.
        draws: as of `HardRecurrent`.
        soft_share: likewise.
        entropy: likewise.

    Raises:
        ValueError: the sizes do not fit each other.

    Example:
        >>> import torch
        >>> model = captioner(vocabulary_size=30, end=3, stages=[8], width=16)
        >>> model(torch.zeros(1, 3, 8, 12, dtype=torch.uint8), torch.tensor([[3, 8, 9]])).shape
        torch.Size([1, 3, 30])

    Source: Xu et al. 2015.
    """
    reader = PictureReader(stages, width)
    if architecture == "transformer":
        decoder = build_decoder(width=width, heads=heads, layers=layers, ffn_width=ffn_width, dropout=dropout)
        return Transformer(
            vocabulary_size=vocabulary_size, end=end, decoder=decoder.layers, dropout=dropout, reader=reader
        )
    shared: dict[str, Any] = {
        "vocabulary_size": vocabulary_size, "end": end, "width": width, "layers": layers, "dropout": dropout, "reader": reader
    }  # fmt: skip
    shared |= {"feeding": True, "score": "pooled" if architecture == "pooled" else "additive"}
    if architecture == "hard":
        return HardRecurrent(draws=draws, soft_share=soft_share, entropy=entropy, **shared)
    return Recurrent(**shared)
