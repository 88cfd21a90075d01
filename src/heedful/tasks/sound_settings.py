"""What tasks on sound share: the settings of features, and what a vocabulary holds of them."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import torch
from pydantic import Field, model_validator

from heedful.data.log_mel import LogMel, mean_and_std_of, with_features
from heedful.data.recordings import Recordings
from heedful.training.schema import Schema
from heedful.training.settings import RowSettings

Band = Annotated[int, Field(ge=4, le=128)]
Rate = Annotated[int, Field(ge=1000, le=192_000)]


class SoundData(RowSettings):
    """How recordings are read, and what they become before the model hears them."""

    path: str = Field("path", min_length=1, description="the column of paths; usual others are known")
    rate: int = Field(
        0,
        ge=0,
        le=192_000,
        description="samples a second that recordings are brought to; 0: those of the first, at most 16000",
    )
    bands: Band = Field(40, description="bands of the mel scale")
    cache_mb: int = Field(
        2000, ge=0, description="megabytes of features that are kept; others are computed again in each epoch"
    )


class SoundVocabulary(Schema):
    """The features that a model takes."""

    rate: Rate
    bands: Band
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]

    @model_validator(mode="after")
    def _of_one_size(self) -> Self:
        if not len(self.mean) == len(self.std) == self.bands:
            raise ValueError("must have a mean and a deviation of each band")
        return self


def prepared(recordings: Recordings, data: SoundData, known: Mapping[str, Any] | None, *, least: int = 1) -> Recordings:
    """Recordings with features: those that a trained model takes, or that the settings say.

    Raises:
        DataError: a recording cannot be decoded, or has fewer frames than `least`; the message names it.
    """
    rate = data.rate if known is None else known["rate"]
    features = LogMel(
        rate or min(recordings.recordings[0].rate(), 16_000), data.bands if known is None else known["bands"]
    )
    return with_features(recordings, features, most=data.cache_mb * 10**6, skip=data.skip, least=least)


def learned(training: Recordings) -> dict[str, Any]:
    """What `SoundVocabulary` holds of the training recordings."""
    assert training.store is not None
    features = training.store.features
    mean, std = mean_and_std_of(training)
    return {"rate": features.rate, "bands": features.bands, "mean": mean, "std": std}


def padded(features: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features `[frames, bands]` each as one batch `[B, N, bands]`, zeros behind the shorter ones, and how many frames each has.

    Example:
        >>> padded([torch.ones(2, 3), torch.ones(1, 3)])[0][:, :, 0]
        tensor([[1., 1.],
                [1., 0.]])
    """
    lengths = torch.tensor([len(one) for one in features])
    return torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True), lengths
