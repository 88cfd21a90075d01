"""The options of `predict` for every task that samples texts from a model."""

from pydantic import Field

from heedful.training.settings import Section


class SamplingOptions(Section):
    """How texts are sampled."""

    max_new_tokens: int | None = Field(None, ge=1, le=1_000_000, description="maximum number of new tokens")
    num_samples: int | None = Field(None, ge=1, le=10_000, description="sample this many texts for each input")
    temperature: float = Field(1.0, ge=0, description="of the softmax over tokens; 0: always the most probable token")
    top_k: int = Field(0, ge=0, description="sample from this many of the most probable tokens; 0: all")
    top_p: float = Field(
        1.0, gt=0, le=1, description="sample from the most probable tokens whose probabilities add up to this"
    )
    seed: int = Field(1, ge=0, description="random seed of the samples")
