"""Speech to text: frames of sound in, tokens out, by connectionist temporal classification (CTC), an attention decoder, or both.

    log-mel [B, T, bands] -> convolutions to a half or a quarter of the frames -> conformer layers over a window -> CTC: a token or blank
                                                                                 -> decoder: token after token

Source: joint training: Watanabe et al. 2017; a second pass by the decoder: Zhang et al. 2020 (U2).
"""

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction, check_positive
from heedful._types import Float, Int, Tensor
from heedful.data.batch_types import TokenBatch
from heedful.models.conformer import Conformer, FrameWindow, LayerState
from heedful.models.encoders import build_decoder
from heedful.models.seq2seq_base import DecoderState, EncodedSource, SequenceToSequence
from heedful.models.seq2seq_transformer import TransformerState
from heedful.nn.dropout import Dropout
from heedful.ops import Causal
from heedful.ops.mechanism import GLOBAL

BLANK = 0  # the token of padding, which no text holds
WHOLE = FrameWindow()  # every frame attends to every frame
_KERNEL = 3


class Subsampling(nn.Module):
    """Two convolutions over time and frequency, of which each sees earlier frames alone: `[B, T, bands] -> [B, T // factor, width]`.

    Args:
        bands: of the input.
        width: of the output.
        factor: 1, 2 or 4 frames become one.
        channels: of the convolutions.

    Example:
        >>> Subsampling(40, 8, factor=2)(torch.randn(3, 11, 40)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(self, bands: int, width: int, *, factor: int = 2, channels: int = 32) -> None:
        super().__init__()
        if factor not in (1, 2, 4):
            raise ValueError(f"`factor` must be 1, 2 or 4: got {factor}.")
        self.factor, self.bands = factor, check_positive("bands", bands)
        self.strides = {1: (1, 1), 2: (2, 1), 4: (2, 2)}[factor]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, channels, _KERNEL, stride=(stride, 2), padding=(0, 1))
            for inputs, stride in zip((1, channels), self.strides, strict=True)
        )
        self.out = nn.Linear(channels * -(-bands // 4), width)

    def buffers_of(self) -> list[Tensor]:
        """What stands before a recording: nothing, for each convolution as much as it reaches back to."""
        like, rows = self.out.weight, (self.bands, -(-self.bands // 2))
        sizes = zip((1, self.convolutions[0].out_channels), self.strides, rows, strict=True)
        return [like.new_zeros(1, c, _KERNEL - stride, r) for c, stride, r in sizes]  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "B T bands"], buffers: list[Tensor] | None = None) -> Float[Tensor, "B n width"]:
        """Of a whole recording; or of the next frames of a stream, whose buffers are changed."""
        kept = self.buffers_of() if buffers is None else buffers
        x = x[:, None]
        for i, (convolution, stride) in enumerate(zip(self.convolutions, self.strides, strict=True)):
            x = torch.cat([kept[i].expand(len(x), -1, -1, -1), x], 2)
            count = max((x.shape[2] - _KERNEL) // stride + 1, 0)
            kept[i] = x[:, :, count * stride :]
            x = x[:, :, : max((count - 1) * stride + _KERNEL, 0)]
            if not count:
                return x.new_zeros(len(x), 0, self.out.out_features)
            x = F.relu(convolution(x))
        return self.out(x.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class AttentionDecoder(SequenceToSequence):
    """Generates tokens from encoded frames; `beam_search` takes the frames as its source.

    Args:
        vocabulary_size: how many tokens there are.
        end: the token that ends a text.
        width: the features of a frame and of a token.
        heads: attention heads of a layer.
        layers: how many.
        ffn_width: features inside each layer's network.
        dropout: share of each sublayer's output that is set to 0 in training.
    """

    def __init__(
        self, *, vocabulary_size: int, end: int, width: int, heads: int, layers: int, ffn_width: int, dropout: float
    ) -> None:
        super().__init__(vocabulary_size=vocabulary_size, width=width, end=end, dropout=dropout)
        self.decoder = build_decoder(
            width=width, heads=heads, layers=layers, ffn_width=ffn_width, dropout=dropout
        ).layers

    def _encode_texts(self, source: TokenBatch) -> EncodedSource:
        raise TypeError("`source` must be encoded frames: got texts.")

    def begin(self, source: EncodedSource) -> TransformerState:
        return TransformerState(source, self.decoder.caches())

    def features(
        self, source: EncodedSource, prefix: Int[Tensor, "B N"], state: DecoderState | None = None
    ) -> Float[Tensor, "B N D"]:
        caches = state.caches if isinstance(state, TransformerState) else None
        begun = caches is not None and caches[0].length > 0
        past = GLOBAL if caches and prefix.shape[1] == 1 else Causal("end")
        return self.decoder(  # type: ignore[no-any-return]
            self.dropout(self._embed(prefix)), None if begun else source.features, pattern=past,
            source_pattern=source.pattern(), caches=caches,
        )  # fmt: skip


class Transcriber(nn.Module):
    """Frames of sound in, for each frame of the encoder the probabilities of tokens out, and a decoder.

    Args:
        vocabulary_size: how many tokens there are; 0 is blank.
        end: the token that ends a text.
        bands: of the features.
        subsampling: 1, 2 or 4 frames of the input become one of the encoder.
        width: the features of a frame.
        heads: attention heads of a layer.
        layers: of the encoder.
        ffn_width: features inside each network.
        kernel: frames of each layer's convolution; odd.
        causal: whether these see earlier frames alone, as a stream needs it.
        decoder_layers: of the attention decoder; 0: there is none.
        dropout: share of each sublayer's output that is set to 0 in training.

    Attributes:
        mean: of each band, which is taken off; at first 0.
        std: by which it is divided then; at first 1.

    Example:
        >>> model = Transcriber(vocabulary_size=9, end=3, width=8, heads=2, layers=1, ffn_width=16).eval()
        >>> encoded = model.encode(torch.randn(2, 21, 40), torch.tensor([21, 8]), FrameWindow(4, 2))
        >>> encoded.lengths.tolist(), model.log_probabilities(encoded.features).shape
        ([10, 4], torch.Size([2, 10, 9]))
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        end: int,
        bands: int = 40,
        subsampling: int = 2,
        width: int = 96,
        heads: int = 4,
        layers: int = 4,
        ffn_width: int = 256,
        kernel: int = 15,
        causal: bool = True,
        decoder_layers: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.end, self.bands = end, bands
        self.subsampling = Subsampling(bands, width, factor=subsampling)
        self.dropout = Dropout(check_fraction("dropout", dropout))
        self.encoder = Conformer(
            width, heads, layers, ffn_width=ffn_width, kernel=kernel, causal=causal, dropout=dropout
        )
        self.head = nn.Linear(width, vocabulary_size)
        self.decoder: AttentionDecoder | None = None
        if decoder_layers:
            self.decoder = AttentionDecoder(
                vocabulary_size=vocabulary_size, end=end, width=width, heads=heads, layers=decoder_layers,
                ffn_width=ffn_width, dropout=dropout,
            )  # fmt: skip
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("std", torch.ones(bands))

    @property
    def factor(self) -> int:
        """How many frames of the input become one of the encoder."""
        return self.subsampling.factor

    def normalize(self, frames: Float[Tensor, "B T bands"]) -> Float[Tensor, "B T bands"]:
        """Each band with mean 0 and standard deviation 1, over the training data."""
        return (frames - self.mean) / self.std

    def encode(
        self, frames: Float[Tensor, "B T bands"], lengths: Int[Tensor, " B"], window: FrameWindow = WHOLE
    ) -> EncodedSource:
        """Encodes recordings of `lengths` frames, padded at their ends; a recording has at least one frame of the encoder."""
        real = torch.arange(frames.shape[1], device=frames.device)[:, None] < lengths[:, None, None]
        frames = F.pad(self.normalize(frames) * real, (0, 0, 0, max(self.factor - frames.shape[1], 0)))
        x = self.dropout(self.subsampling(frames))
        lengths = (lengths // self.factor).clamp_min(1)
        tokens = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
        return EncodedSource(tokens, lengths, self.encoder(x, lengths, window))

    def log_probabilities(self, features: Float[Tensor, "B N D"]) -> Float[Tensor, "B N vocabulary"]:
        """The logarithms of the probabilities of each token, or of none (blank), at each frame of the encoder."""
        return self.head(features).float().log_softmax(-1)  # type: ignore[no-any-return]

    def loss(
        self, encoded: EncodedSource, target: TokenBatch, *, ctc_weight: float, label_smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """The weighted mean of both losses, each in nats a token.

        Args:
            encoded: recordings.
            target: their tokens, without an end.
            ctc_weight: of CTC, from 0 to 1; the other share is the decoder's.
            label_smoothing: of the decoder.
        """
        total = encoded.features.new_zeros(())
        if ctc_weight:
            total = ctc_weight * self.ctc_loss(encoded, target) / (target.lengths.sum() + len(target.lengths))
        if ctc_weight < 1:
            assert self.decoder is not None
            total = total + (1 - ctc_weight) * self.decoder.loss(encoded, target, label_smoothing)
        return total

    def ctc_loss(self, encoded: EncodedSource, target: TokenBatch) -> Float[Tensor, ""]:
        """The sum of -log p of the texts; a text that does not fit into its frames counts as 0."""
        return F.ctc_loss(
            self.log_probabilities(encoded.features).transpose(0, 1), target.tokens, encoded.lengths, target.lengths,
            blank=BLANK, reduction="sum", zero_infinity=True,
        )  # fmt: skip


class EncoderStream:
    """The frames of one recording, encoded as they come; the memory does not grow.

    What `push` and `finish` give together is what `encode` gives for all frames at once, but for rounding.

    Args:
        model: in evaluation mode, with causal convolutions.
        window: must end on both sides.

    Raises:
        ValueError: the window or the model cannot stream.

    Example:
        >>> model = Transcriber(vocabulary_size=9, end=3, width=8, heads=2, layers=1, ffn_width=16).eval()
        >>> stream = EncoderStream(model, FrameWindow(4, 2))
        >>> [stream.push(torch.randn(5, 40)).shape[0] for _ in range(4)], stream.finish().shape
        ([0, 3, 2, 3], torch.Size([2, 8]))
    """

    def __init__(self, model: Transcriber, window: FrameWindow) -> None:
        if not window.streams or not model.encoder.causal:
            raise ValueError(f"a stream needs a window that ends and causal convolutions: got {window}.")
        self.model, self.window = model, window
        self._buffers: list[Tensor] = model.subsampling.buffers_of()
        self._states: list[LayerState] = model.encoder.states()
        self._begun = False

    @torch.inference_mode()
    def push(self, frames: Float[Tensor, "n bands"]) -> Float[Tensor, "m D"]:
        """The features that can be told with these frames."""
        return self._step(frames, last=False)

    @torch.inference_mode()
    def finish(self) -> Float[Tensor, "m D"]:
        """The features of the end of the recording."""
        missing = 0 if self._begun else self.model.factor  # a recording has at least one frame of the encoder
        return self._step(self.model.mean.expand(missing, -1), last=True)

    def _step(self, frames: Float[Tensor, "n bands"], last: bool) -> Float[Tensor, "m D"]:
        x = self.model.subsampling(self.model.normalize(frames)[None], self._buffers)
        self._begun = self._begun or x.shape[1] > 0
        return self.model.encoder.step(x, self._states, self.window, last)[0]
