"""The settings and the vocabulary of transcribe."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from heedful.models.conformer import FrameWindow
from heedful.tasks.sound_settings import SoundData, SoundVocabulary
from heedful.training.settings import (
    LossSettings,
    Section,
    TaskSettings,
    TrainingSettings,
    defaults,
    follows_data,
)

TokenKind = Literal["words", "characters", "subwords"]
DecoderName = Literal["ctc", "attention", "joint"]


class TranscribeData(SoundData):
    """Which recordings and texts, and what becomes of them before the model hears them."""

    text: str = Field("text", min_length=1, description="the column of texts; usual others are known")
    tokenizer: TokenKind = follows_data(
        description="what the model writes: auto: words where there are few and each occurs often, otherwise characters"
    )
    vocabulary_size: int = Field(500, ge=300, description="subwords: how many are learned")
    lowercase: bool = Field(False, description="whether texts are learned in lower case")
    max_seconds: float = Field(30.0, gt=0, description="longer recordings are left out of the training")


class TranscriberModel(Section):
    """Convolutions to fewer frames, layers with attention over a window, CTC and an attention decoder."""

    subsampling: Literal[1, 2, 4] = Field(2, description="so many frames of 10 ms become one of the encoder")
    width: int = Field(96, ge=1, description="features of a frame")
    heads: int = Field(4, ge=1, description="attention heads of a layer")
    layers: int = Field(4, ge=1, description="layers of the encoder")
    ffn_width: int = Field(256, ge=1, description="width of each feed-forward network; a layer has two")
    kernel: int = Field(15, ge=1, le=10_001, description="frames of each layer's convolution; odd")
    convolution: Literal["causal", "symmetric"] = Field(
        "causal",
        description="which frames convolutions see: earlier ones alone, as a stream needs it, or as many later ones",
    )
    before: int = Field(48, ge=-1, description="frames of the encoder before its own that a frame attends to; -1: all")
    after: int = Field(8, ge=-1, description="frames after its own, in each layer; -1: all; a stream waits for them")
    chunk: int = Field(
        0, ge=0, description="frames attend to a chunk of so many that ends together, in place of `after`; 0: no chunks"
    )
    window: Literal["fixed", "random"] = Field(
        "random",
        description="the window of a training step: as above, or a random one, so that one model serves every window",
    )
    decoder_layers: int = Field(1, ge=0, description="layers of the attention decoder; 0: there is none, CTC alone")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of each sublayer's output")

    def own_window(self) -> FrameWindow:
        """The window of the settings."""
        return window_of(self.before, self.after, self.chunk)


class SoundAugmentation(Section):
    """How training recordings are changed."""

    speed: tuple[Annotated[float, Field(ge=0.25, le=4)], ...] = Field(
        (0.9, 1.0, 1.1), description="speeds, one of which is drawn; pitch follows"
    )
    gain: float = Field(6.0, ge=0, le=100, description="louder or softer by at most so many dB")
    noise: float = Field(0.3, ge=0, le=1, description="probability that white noise is added")
    noise_snr: tuple[float, float] = Field((10.0, 30.0), description="how many dB below the sound the noise is")
    join: int = Field(1, ge=1, description="up to so many recordings of a batch are joined to one")
    pause: tuple[float, float] = Field(
        (0.05, 0.4), description="seconds between joined recordings, filled with noise of their ends"
    )
    silence: float = Field(
        0.2, ge=0, le=1, description="probability that a step also hears a recording in which nothing is said"
    )
    time_masks: int = Field(2, ge=0, description="stretches of frames that are hidden (SpecAugment)")
    time_width: int = Field(8, ge=0, description="frames of 10 ms that such a stretch has at most")
    band_masks: int = Field(2, ge=0, description="stretches of bands that are hidden")
    band_width: int = Field(6, ge=0, description="bands that such a stretch has at most")

    @model_validator(mode="after")
    def _ordered(self) -> "SoundAugmentation":
        for name in ("noise_snr", "pause"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"`{name}` must be a lower and a higher number: got {low:g} and {high:g}")
        if not self.speed or self.pause[0] < 0:
            raise ValueError("`speed` must name at least one, and `pause` begin at 0 or later")
        return self


@defaults(label_smoothing=0.1)
class TranscribeLoss(LossSettings):
    """What is minimized."""

    ctc_weight: float = Field(
        0.5, ge=0, le=1, description="share of the loss of CTC beside that of the decoder; 1 where there is no decoder"
    )


class TranscribeSearch(Section):
    """How texts are found."""

    decoder: DecoderName = Field(
        "ctc", description="ctc, which streams; attention: token after token; joint: texts of CTC, chosen by both"
    )
    beams: int = Field(1, ge=1, le=1000, description="texts that are followed; 1: the best one alone")
    settle: float = Field(
        0.0,
        ge=0,
        description="seconds after which a word of the best of several beams is final; 0: when all beams have it",
    )


@defaults(batch_size=32, ema_decay=0.99, weight_decay=0.01)
class TranscribeTraining(TrainingSettings):
    """How the model is trained."""

    epochs: int = follows_data(
        ge=1, description="passes over the training data; auto: 40, or more where these are fewer than 2,000 steps"
    )


class TranscribeSettings(TaskSettings):
    """All settings of transcribe."""

    data: TranscribeData = TranscribeData()
    model: TranscriberModel = TranscriberModel()
    augmentation: SoundAugmentation = SoundAugmentation()
    loss: TranscribeLoss = TranscribeLoss()
    search: TranscribeSearch = TranscribeSearch()
    training: TranscribeTraining = TranscribeTraining()


class TranscribeOptions(Section):
    """How recordings are heard, and what is told."""

    before: int | None = Field(None, ge=-1, description="frames before its own that a frame attends to; -1: all")
    after: int | None = Field(None, ge=-1, description="frames after its own, in each layer; -1: all")
    chunk: int | None = Field(None, ge=0, description="frames of a chunk, in place of `after`; 0: no chunks")
    decoder: DecoderName | None = Field(None, description="ctc, attention, or joint")
    beams: int | None = Field(None, ge=1, le=1000, description="texts that are followed; 1: the best one alone")
    settle: float | None = Field(
        None, ge=0, description="seconds after which a word of several beams is final; 0: never"
    )
    n_best: int = Field(1, ge=1, le=1000, description="how many texts for each recording, the best first")
    scores: bool = Field(False, description="behind a tab, the log probability of each text")
    stream: bool = Field(False, description="raw samples on standard input; each word is told when it was spoken")
    rate: int = Field(16_000, ge=1000, le=1_000_000, description="with --stream: samples a second")
    encoding: Literal["s16", "f32"] = Field(
        "s16", description="with --stream: 16-bit whole numbers, or 32-bit floats from -1 to 1; the lower byte first"
    )
    subtitles: Literal["srt", "vtt", "ctm"] = Field("srt", description="with --out: what each file is")


class TranscribeVocabulary(SoundVocabulary):
    """What the weights know by number, and what they hear."""

    tokenizer: str
    loud: float  # from which mean of its bands on a frame is spoken
    quiet: float  # below which a frame is quieter than any of the training


def window_of(before: int, after: int, chunk: int) -> FrameWindow:
    """A window from settings, in which -1 means all."""
    return FrameWindow(None if before < 0 else before, None if after < 0 else after, chunk)
