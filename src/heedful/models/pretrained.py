"""Heads on a pretrained encoder: a class of a text, labels of words, a class of a picture.

    tokens [B, N] or picture [B, C, h, w] -> network -> [B, N, D] -> the class token, the mean, or the first token of each word -> linear

The network is a module of Hugging Face's library, or one that is called as those are. Its parameters learn at a share of the rate,
which may fall from layer to layer.

Source: Devlin et al. 2019, section 3.2 (a class token, the first token of a word); Howard and Ruder 2018, section 3.2 (rates by layer).
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from heedful._types import Bool, Float, Int, Tensor
from heedful.data.batch_types import PieceBatch, TokenBatch
from heedful.models.pictures import standardized
from heedful.nn.dropout import Dropout

Pooling = Literal["auto", "class-token", "mean"]
_LAYER = re.compile(r".*?\.\d+(?=\.)")


class PretrainedEncoder(nn.Module):
    """Runs a pretrained network.

    Args:
        network: takes `input_ids` and `attention_mask`, or `pixel_values`, and gives `last_hidden_state`.
        frozen: whether it stays in evaluation mode, without dropout.
    """

    def __init__(self, network: Any, *, frozen: bool = False) -> None:
        super().__init__()
        self.network, self.frozen = network, frozen
        self.width = int(network.config.hidden_size)
        self.pad = getattr(network.config, "pad_token_id", None) or 0

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        return super().train(mode and not self.frozen)

    def forward(self, tokens: Int[Tensor, "B N"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B N D"]:
        """The vectors of tokens, padded at their ends; those of padding mean nothing."""
        real = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        # A graph is for all lengths.
        mask = real.long() if torch.compiler.is_exporting() or not bool(real.all()) else None
        output = self.network(input_ids=torch.where(real, tokens, self.pad), attention_mask=mask)
        return output.last_hidden_state  # type: ignore[no-any-return]

    def try_texts(self) -> None:
        """Raises ValueError where the network does not give a vector of its width for each of some tokens."""
        lengths, training = torch.tensor([5, 3]), self.training
        try:
            with torch.no_grad():
                shape = self.eval()(torch.zeros(2, 5, dtype=torch.long), lengths).shape
        except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"the pretrained encoder must run on texts: {error}") from None
        if shape != (2, 5, self.width):
            raise ValueError(
                f"the pretrained encoder must give {self.width} numbers for each token: got shape {list(shape)}"
            )
        self.train(training)

    def pictures(self, pixels: Float[Tensor, "B C h w"]) -> Float[Tensor, "B N D"]:
        """The vectors of patches, behind those of other tokens."""
        vectors: Tensor = self.network(pixel_values=pixels).last_hidden_state
        if vectors.dim() != 3:
            raise ValueError(
                f"the pretrained encoder must give a vector for each patch: got shape {list(vectors.shape)}"
            )
        return vectors


def rates(module: nn.Module, encoder_rate: float, layer_decay: float) -> dict[str, float]:
    """The share of the learning rate of each parameter of pretrained encoders in a module, by its name.

    What stands behind the last layer has `encoder_rate`, each layer `layer_decay` times what the one above it has, and what
    stands before the first layer is one more.

    Example:
        >>> from types import SimpleNamespace
        >>> network = nn.Sequential(nn.Embedding(5, 2), nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]))
        >>> network.config = SimpleNamespace(hidden_size=2)
        >>> found = rates(nn.ModuleDict({"encoder": PretrainedEncoder(network)}), 1.0, 0.5)
        >>> found["encoder.network.0.weight"], found["encoder.network.1.0.bias"], found["encoder.network.1.1.bias"]
        (0.25, 0.5, 1.0)
    """
    found: dict[str, float] = {}
    for path, encoder in module.named_modules():
        if not isinstance(encoder, PretrainedEncoder):
            continue
        depths: dict[str, int] = {}
        layers: dict[str, int] = {}
        for name, _ in encoder.network.named_parameters():
            layer = _LAYER.match(name)
            depths[name] = len(layers) if layer is None else layers.setdefault(layer[0], len(layers) + 1)
        top = len(layers)
        found |= {f"{path}.network.{name}": encoder_rate * layer_decay ** (top - own) for name, own in depths.items()}
    return found


class PretrainedTextClassifier(nn.Module):
    """Classifies texts.

    Args:
        encoder: of texts.
        pooling: "class-token": the vector of the first token, behind a layer with tanh where the encoder learns; "mean": that of all.
        classes: how many.
        mask: the token that stands for a hidden one.
        dropout: share of the pooled vector that is set to 0 in training.
    """

    def __init__(
        self,
        encoder: PretrainedEncoder,
        *,
        pooling: Literal["class-token", "mean"],
        classes: int,
        mask: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.pooling, self.mask = encoder, pooling, mask
        trained = pooling == "class-token" and not encoder.frozen
        self.dense = _head(encoder.width, encoder.width) if trained else None
        self.dropout, self.head = Dropout(dropout), _head(encoder.width, classes)

    def forward(self, batch: TokenBatch, masked: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B classes"]:
        """The logits.

        Args:
            batch: texts.
            masked: tokens that the model must not read.
        """
        tokens = batch.tokens if masked is None else torch.where(masked, self.mask, batch.tokens)
        vectors = self.encoder(tokens, batch.lengths)
        if self.pooling == "class-token":
            pooled = vectors[:, 0] if self.dense is None else self.dense(vectors[:, 0]).tanh()
        else:
            real = torch.arange(tokens.shape[1], device=tokens.device) < batch.lengths[:, None]
            pooled = (vectors * real[..., None]).sum(1) / batch.lengths[:, None]
        return self.head(self.dropout(pooled))  # type: ignore[no-any-return]


class PretrainedTagger(nn.Module):
    """Labels each word of a sentence, by its first token.

    Args:
        encoder: of texts.
        labels: how many labels each column has; the first column is predicted.
        dropout: share of a vector that is set to 0 in training.
    """

    def __init__(self, encoder: PretrainedEncoder, *, labels: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder, self.dropout = encoder, Dropout(dropout)
        self.heads = nn.ModuleList(_head(encoder.width, count) for count in labels)

    def forward(self, batch: PieceBatch) -> Float[Tensor, "B W D"]:
        """The vectors of the words."""
        vectors = self.encoder(batch.tokens, batch.token_lengths)  # [B, N, D]
        first = batch.first[..., None].expand(-1, -1, self.encoder.width)
        return self.dropout(vectors.gather(1, first))  # type: ignore[no-any-return]

    def logits(self, encoded: Float[Tensor, "*axes D"], column: int = 0) -> Float[Tensor, "*axes labels"]:
        """The logits of a column's labels."""
        return self.heads[column](encoded)  # type: ignore[no-any-return]


class PretrainedImageClassifier(nn.Module):
    """Classifies pictures of one size.

    Args:
        encoder: of pictures.
        pooling: "class-token": the vector of the first token; "mean": that of all.
        channels: of the pictures.
        classes: how many.
        dropout: share of the pooled vector that is set to 0 in training.

    The mean and the standard deviation of a channel by which the network was trained are buffers, `mean` and `std`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: PretrainedEncoder,
        *,
        pooling: Literal["class-token", "mean"],
        channels: int,
        classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling
        self.dropout, self.head = Dropout(dropout), _head(encoder.width, classes)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, pictures: Tensor) -> Float[Tensor, "B classes"]:
        """The logits of pictures `[B, C, h, w]`, uint8 or from 0 to 1."""
        vectors = self.encoder.pictures(standardized(pictures, self.mean, self.std))
        pooled = vectors[:, 0] if self.pooling == "class-token" else vectors.mean(1)
        return self.head(self.dropout(pooled))  # type: ignore[no-any-return]


def _head(width: int, outputs: int) -> nn.Linear:
    head = nn.Linear(width, outputs)
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head
