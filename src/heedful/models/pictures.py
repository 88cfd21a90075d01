"""What every model of pictures does first."""

import torch

from heedful._types import Float, Tensor


def standardized(pictures: Tensor, mean: Float[Tensor, " C"], std: Float[Tensor, " C"]) -> Float[Tensor, "B C h w"]:
    """Pictures `[B, C, h, w]`, uint8 or from 0 to 1, less the mean of each channel and divided by its deviation.

    Their memory is channels last: a third faster through the convolutions of a CPU.

    Example:
        >>> standardized(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8), torch.tensor([0.5]), torch.tensor([0.25])).unique()
        tensor([2.])
    """
    x = pictures / 255 if pictures.dtype == torch.uint8 else pictures
    x = (x - mean[:, None, None]) / std[:, None, None]
    return x.contiguous(memory_format=torch.channels_last)
