"""What a model says of each pixel of a picture of any size: in tiles that overlap, in memory that does not grow with the picture."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_OVERLAP = 0.25  # of a tile, with the next one
_LARGER = 1.5  # sides of a training picture up to which a picture is one tile
_STRIP = 128  # rows that are enlarged together


def label_map(
    scores: Callable[[Tensor], Tensor], image: Tensor, tile: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """The number of the largest score of each pixel, `[height, width]`.

    Args:
        scores: from pictures `[1, 3, h, w]` to the logits of each pixel `[1, C, h, w]`.
        image: uint8 `[3, H, W]`, as the model is to see it.
        tile: height and width of a tile; a picture that is not much larger is one.
        size: height and width of the result.

    Where tiles overlap, their probabilities are blended.
    """
    own = (image.shape[1], image.shape[2])
    if own == tuple(size):
        rows = [block.argmax(0).to(torch.uint8) for block in _blocks(scores, image, tile)]
        return torch.cat(rows).numpy()
    small = torch.cat([block.half() for block in _blocks(scores, image, tile)], dim=1)  # [C, H, W]
    return torch.cat(
        [_enlarged(small, start, size).argmax(0).to(torch.uint8) for start in range(0, size[0], _STRIP)]
    ).numpy()


def _blocks(scores: Callable[[Tensor], Tensor], image: Tensor, tile: tuple[int, int]) -> Iterator[Tensor]:
    """Probabilities of complete rows, `[C, rows, W]`, from the first to the last."""
    sides = [_starts(length, side) for length, side in zip(image.shape[1:], tile, strict=True)]
    (rows, height), (columns, width) = sides
    if len(rows) == len(columns) == 1:
        yield scores(image[None])[0].float().softmax(0)
        return
    weight = _window(height)[:, None] * _window(width)
    begun: Tensor | None = None  # rows that the next tiles reach, too: sums of probabilities, and of weights
    for row, following in zip(rows, [*rows[1:], image.shape[1]], strict=True):
        for column in columns:
            found = scores(image[None, :, row : row + height, column : column + width])[0].float().softmax(0)
            if column == 0:
                above = found.new_zeros(len(found) + 1, 0, image.shape[2]) if begun is None else begun
                below = found.new_zeros(len(found) + 1, height - above.shape[1], image.shape[2])
                begun = torch.cat([above, below], dim=1)
            assert begun is not None
            part = begun[:, :, column : column + width]
            part[:-1] += weight * found
            part[-1] += weight
        assert begun is not None
        done = following - row
        yield begun[:-1, :done] / begun[-1:, :done]
        begun = begun[:, done:]


def is_one_tile(image: Tensor, tile: tuple[int, int]) -> bool:
    """Whether a picture `[3, H, W]` is seen as a whole."""
    return all(length <= _LARGER * side for length, side in zip(image.shape[1:], tile, strict=True))


def _starts(length: int, tile: int) -> tuple[list[int], int]:
    """Where tiles begin along one side, and how long they are."""
    if length <= _LARGER * tile:
        return [0], length
    count = math.ceil((length - _OVERLAP * tile) / ((1 - _OVERLAP) * tile))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)], tile


def _window(length: int) -> Tensor:
    """Weights of a tile along one side: they rise from its edges, over what it shares with the next one."""
    edge = torch.arange(1, length + 1) / (_OVERLAP * length)
    return torch.minimum(edge, edge.flip(0)).clamp_max(1)


def _enlarged(scores: Tensor, start: int, size: tuple[int, int]) -> Tensor:
    """Some rows of scores `[C, H, W]` at another size, bilinear: `[C, rows, width]`."""
    rows = torch.arange(start, min(start + _STRIP, size[0]))
    at = ((rows + 0.5) * scores.shape[1] / size[0] - 0.5).clamp(0, scores.shape[1] - 1)
    above = at.floor().long()
    below, share = (above + 1).clamp_max(scores.shape[1] - 1), (at - above)[:, None]
    mixed = torch.lerp(scores[:, above].float(), scores[:, below].float(), share)
    return F.interpolate(mixed[None], size=(len(rows), size[1]), mode="bilinear")[0]
