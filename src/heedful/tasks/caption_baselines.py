"""Captions without a network: the best one for all pictures, and that of the nearest training picture."""

from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from heedful.data.captions import CaptionedImages
from heedful.data.stored_images import Images
from heedful.tasks.cider import cider_d

_CANDIDATES, _JUDGES = 20, 300  # captions that are tried, on so many training pictures
_SIDE = 16  # to which pictures are shrunk
_TOGETHER = 64  # pictures that are compared at once


def caption_baselines(training: CaptionedImages, examples: CaptionedImages) -> dict[str, list[str]]:
    """The frequent training caption of the best CIDEr-D on training pictures, for all; and the nearest picture's first caption."""
    assert training.captions is not None
    return {
        "best constant caption": [_constant(training.captions)] * len(examples),
        "nearest picture": [training.captions[row][0] for row in _nearest(training.images, examples.images)],
    }


def _constant(captions: Sequence[tuple[str, ...]]) -> str:
    frequent = Counter(text for texts in captions for text in texts).most_common(_CANDIDATES)
    judges = captions[:: -(-len(captions) // _JUDGES)]
    return max(frequent, key=lambda one: (cider_d([one[0]] * len(judges), judges), one[1]))[0]


def _nearest(known: Images, others: Images) -> list[int]:
    """The row of the known picture whose shrunk pixels are nearest to each."""
    small, asked = (
        torch.cat([F.adaptive_avg_pool2d(some.float() / 255, _SIDE).flatten(1) for some in images.split(_TOGETHER)])
        for images in (known, others)
    )
    return [row for some in asked.split(_TOGETHER) for row in torch.cdist(some, small).argmin(1).tolist()]
