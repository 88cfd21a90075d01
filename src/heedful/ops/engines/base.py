"""What an engine is: a value that says whether it can compute an attention, computes it, and knows what that costs."""

import abc
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from heedful._checks import Shape
from heedful._types import Float, Tensor
from heedful.ops.engines import bands, kernel
from heedful.ops.engines.bands import Bands
from heedful.ops.mechanism import Mechanism

EngineName = Literal["reference", "fused", "banded", "tiled", "flex"]
Result = tuple[Float[Tensor, "... N E"], Float[Tensor, "... N"] | None]


@dataclass(frozen=True, eq=False)
class Call:
    """What is to be computed; only sizes, dtypes and what may learn count until it runs.

    Attributes:
        query: `[..., H, N, D]`.
        key: `[..., G, M, K]`.
        value: `[..., G, M, E]`.
        mechanism: how.
        shape: of the matrix.
        requested: the engine that the caller named: it then computes what it can, even where another would be faster.
    """

    query: Float[Tensor, "... N D"]
    key: Float[Tensor, "... M K"]
    value: Float[Tensor, "... M E"]
    mechanism: Mechanism
    shape: Shape
    requested: EngineName | None = None

    @functools.cached_property
    def bands(self) -> Bands | None:
        """The bands of the pattern where they pay, or were asked for; None where there are none."""
        pattern = self.mechanism.pattern
        if not kernel.is_available(self.query) or (
            self.requested != "banded" and not bands.worth_searching(pattern, self.shape)
        ):
            return None
        pattern_bands = bands.bands(pattern, self.shape, self.query.dtype)
        if self.requested == "banded" or pattern_bands is None or bands.faster_than_all(pattern_bands, self.shape):
            return pattern_bands
        return None


class Engine(abc.ABC):
    """A way to compute attention."""

    name: ClassVar[EngineName]
    reason: ClassVar[str]
    """Why it is taken where it is the first that can."""

    @abc.abstractmethod
    def obstacle(self, call: Call) -> str | None:
        """Why it cannot compute this, or, where it was not asked for, why it should not; None where there is nothing."""

    @abc.abstractmethod
    def run(self, call: Call) -> Result:
        """The output `[..., H, N, E]`, and the log-probability of what was drawn."""

    @abc.abstractmethod
    def pairs(self, call: Call) -> int:
        """The pairs (query, key), of all heads, that are computed."""

    @abc.abstractmethod
    def scratch_bytes(self, call: Call, passes: int) -> int:
        """Bytes that are taken and given back on the way, in one pass or in two: copies, buffers, masks."""

    def bytes_of_row(self, call: Call) -> int:
        """Bytes that are kept for each row beside the output."""
        return 4

    def linear_memory(self, call: Call) -> bool:
        """Whether its memory is linear in N and M."""
        return True


Gradients = tuple[Tensor, Tensor, Tensor, dict[int, Tensor]]  # those of the mechanism by the `id` of its tensors


class Kernel(abc.ABC):
    """The fast version of an engine's function and of its first gradient, without autograd."""

    @abc.abstractmethod
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """The output, and behind it what the gradient needs to know of the rows."""

    @abc.abstractmethod
    def backward(self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, saved: Sequence[Tensor]) -> Gradients | None:
        """The gradients of q, k and v, and of the mechanism's tensors by their `id`; None without what was to be kept."""

    def second_backward(
        self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, saved: Sequence[Tensor], directions: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """The gradients of q, k, v and dout of what `backward` gives for q, k and v times `directions`; None: not known here."""
        return None
