"""Detectors: a dense head and a set-prediction head on one trunk with attention.

    picture [B, C, H, W] -> stages, attention at the last one -> features [B, D, h, w], a cell for 8 pixels
    dense: features -> a map of scores for each class, and the four sides of a box at each cell
    set:   the best cells of the dense head -> queries -> decoder: queries attend to each other, and to the features around their box

Boxes are in shares of the picture's width and height. Source: Zhou et al. 2019 (maps of centers); Tian et al. 2019 (sides); Lin et al.
2017 (features of two scales); Carion et al. 2020 (set prediction); Gao et al. 2021 (attention near a box); Li et al. 2022 (denoising); Jia
et al. 2023 (queries whose objects are repeated, in training).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from heedful._types import Float, Int, Tensor
from heedful.models.attention_block import Kind, attention_block
from heedful.models.boxes import BoxTargets, to_centers, to_corners
from heedful.models.residual import ConvNorm, ResidualBlock
from heedful.nn import MultiHeadAttention
from heedful.ops import Documents, LowRank

STRIDE = 8  # pixels of a cell
_FEWEST = -4.6  # at first a score is 1 %
_FARTHEST = 5.0  # of a side: exp(5) cells
_LABEL_NOISE, _BOX_NOISE = 0.2, 0.4  # shares of denoising queries


class FoundObjects(NamedTuple):
    """What one layer of the decoder says of its queries: scores before the sigmoid, and boxes."""

    scores: Float[Tensor, "B N C"]
    corners: Float[Tensor, "B N 4"]


class Groups(NamedTuple):
    """How the queries of a training are divided: none sees those of another group.

    Attributes:
        single: how many have one object each, as in predicting.
        repeated: how many share objects.
        denoised: how often each object of the batch follows, with noise.
    """

    single: int
    repeated: int
    denoised: int


class Detected(NamedTuple):
    """What a detector says of pictures.

    Attributes:
        heat: scores of the dense head before the sigmoid.
        corners: boxes of the dense head.
        layers: of the set head, the last layer last; empty where there is none.
        groups: of its queries.
    """

    heat: Float[Tensor, "B C h w"]
    corners: Float[Tensor, "B h w 4"]
    layers: tuple[FoundObjects, ...] = ()
    groups: Groups = Groups(0, 0, 0)


class Detector(nn.Module):
    """Finds boxes on pictures of one size.

    Args:
        channels: of the pictures.
        classes: how many.
        stages: channels of each stage; the first three halve the picture, and the fourth does once more: 16 pixels a position.
        blocks: residual blocks of each stage.
        width: features of a cell.
        attention: of the last stage, as `attention_block` has it; each kind is as large as "dual".
        head: "dense", or "set" beside it.
        queries: of the set head.
        layers: of its decoder.
        heads: of its attention.
        ffn_width: of its networks.
        repeated: how many queries more share objects in training.
        denoised: how many groups of objects with noise there are in training.

    Example:
        >>> model = Detector(channels=3, classes=2, head="set", queries=5).eval()
        >>> found = model(torch.zeros(1, 3, 48, 64, dtype=torch.uint8))
        >>> found.heat.shape, found.corners.shape, found.layers[-1].corners.shape
        (torch.Size([1, 2, 6, 8]), torch.Size([1, 6, 8, 4]), torch.Size([1, 5, 4]))
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        stages: Sequence[int] = (16, 32, 64, 128),
        blocks: Sequence[int] = (1, 1, 2, 2),
        width: int = 64,
        attention: Kind = "dual",
        head: Literal["dense", "set"] = "dense",
        queries: int = 100,
        layers: int = 3,
        heads: int = 4,
        ffn_width: int = 128,
        repeated: int = 0,
        denoised: int = 0,
    ) -> None:
        super().__init__()
        self.trunk = _Trunk(channels, stages, blocks, width, attention)
        self.dense = _DenseHead(width, classes)
        self.set = None
        if head == "set":
            self.set = _SetHead(width, classes, queries, layers, heads, ffn_width, repeated, denoised)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, images: Float[Tensor, "B C H W"], targets: BoxTargets | None = None) -> Detected:
        """Pictures as uint8, or numbers from 0 to 1. In training, the set head is given the targets, too."""
        pixels = images.float() / 255 if images.dtype == torch.uint8 else images
        pixels = (pixels - self.mean[:, None, None]) / self.std[:, None, None]
        features = self.trunk(pixels.contiguous(memory_format=torch.channels_last))
        heat, corners = self.dense(features)
        if self.set is None:
            return Detected(heat, corners)
        layers, groups = self.set(features, heat, corners, targets)
        return Detected(heat, corners, layers, groups)


class _Trunk(nn.Module):
    """Features of a cell for 8 pixels, from the last two stages."""

    def __init__(
        self, channels: int, stages: Sequence[int], blocks: Sequence[int], width: int, attention: Kind
    ) -> None:
        super().__init__()
        if len(stages) != 4 or len(blocks) != 4:
            raise ValueError(f"`stages` and `blocks` must have four numbers each: got {len(stages)} and {len(blocks)}.")
        parts: list[nn.Module] = [ConvNorm(channels, stages[0], stride=2)]
        for before, after, count in zip((stages[0], *stages), stages, blocks, strict=False):
            if not count:
                raise ValueError(f"`blocks` must be at least 1 each: got {list(blocks)}.")
            stage = nn.Sequential(ResidualBlock(before, after, stride=2 if len(parts) > 1 else 1))
            for _ in range(count - 1):
                stage.append(ResidualBlock(after, after))
            parts.append(stage)
        self.early, self.late = nn.Sequential(*parts[:-1]), parts[-1]
        self.attention = attention_block(attention, stages[3], like=None if attention == "none" else "dual")
        self.lateral, self.top = ConvNorm(stages[2], width, 1), ConvNorm(stages[3], width, 1)
        self.merge = ConvNorm(width, width)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        fine = self.early(x)
        coarse = self.top(self.attention(self.late(fine)))
        return self.merge(self.lateral(fine) + F.interpolate(coarse, fine.shape[-2:], mode="nearest"))  # type: ignore[no-any-return]


class _DenseHead(nn.Module):
    """At each cell a score for each class, and how far the four sides of a box are."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.score_tower, self.side_tower = ConvNorm(width, width), ConvNorm(width, width)
        self.classify, self.sides = nn.Conv2d(width, classes, 1), nn.Conv2d(width, 4, 1)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.constant_(self.classify.bias, _FEWEST)  # type: ignore[arg-type]
        nn.init.normal_(self.sides.weight, std=0.01)
        nn.init.constant_(self.sides.bias, 1.0)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "B D h w"]) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B h w 4"]]:
        h, w = x.shape[-2:]
        heat = self.classify(self.score_tower(x))
        left, top, right, bottom = self.sides(self.side_tower(x)).clamp(max=_FARTHEST).exp().unbind(1)
        at_x = torch.arange(w, device=x.device) + 0.5
        at_y = (torch.arange(h, device=x.device) + 0.5)[:, None]
        sides = [(at_x - left) / w, (at_y - top) / h, (at_x + right) / w, (at_y + bottom) / h]
        return heat, torch.stack(sides, -1)


class _SetHead(nn.Module):
    """Queries, each for one object or none; at first they say what the dense head does."""

    def __init__(
        self,
        width: int,
        classes: int,
        queries: int,
        layers: int,
        heads: int,
        ffn_width: int,
        repeated: int,
        denoised: int,
    ) -> None:
        super().__init__()
        self.classes, self.queries, self.repeated, self.denoised = classes, queries, repeated, denoised
        self.content = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.labels = nn.Embedding(classes, width)  # of denoising queries
        self.place = nn.Sequential(nn.Linear(4, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.layers = nn.ModuleList(_DecoderLayer(width, heads, ffn_width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, classes)
        self.refine = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)
        nn.init.zeros_(self.refine[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.refine[-1].bias)  # type: ignore[arg-type]

    def forward(
        self,
        features: Float[Tensor, "B D h w"],
        heat: Float[Tensor, "B C h w"],
        corners: Float[Tensor, "B h w 4"],
        targets: BoxTargets | None,
    ) -> tuple[tuple[FoundObjects, ...], Groups]:
        h, w = features.shape[-2:]
        source = features.flatten(2).mT
        content, boxes, prior, groups = self._queries(source, heat, corners, targets)
        ids = self._ids(groups, targets, len(source)) if targets is not None else None
        found = []
        for layer in self.layers:
            content = layer(content, self.place(boxes), source, boxes, (h, w), ids)
            normed = self.norm(content)
            refined = (torch.logit(boxes, 1e-4) + self.refine(normed)).sigmoid()
            found.append(FoundObjects(prior + self.classify(normed), to_corners(refined)))
            boxes = refined.detach()
        return tuple(found), groups

    def _queries(
        self, source: Tensor, heat: Tensor, corners: Tensor, targets: BoxTargets | None
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B N 4"], Float[Tensor, "B N C"], Groups]:
        """What the queries know at first, their boxes as centers, and their scores: the best cells, then objects with noise."""
        scores, cells = heat.detach().max(1).values, heat.shape[-2] * heat.shape[-1]
        peaks = scores == F.max_pool2d(scores[:, None], 3, 1, 1)[:, 0]
        rank = (scores + torch.where(peaks, 0.0, -2.0)).flatten(1)  # one of neighbors comes first
        index = rank.topk(min(self.queries, cells)).indices
        groups = Groups(index.shape[1], 0, 0)
        if targets is not None:
            more = scores.flatten(1).topk(min(self.repeated, cells)).indices
            groups = Groups(index.shape[1], more.shape[1], self.denoised)
            index = torch.cat([index, more], 1)
        boxes = corners.detach().flatten(1, 2).gather(1, index[..., None].expand(-1, -1, 4))
        centers = to_centers(boxes.clamp(0, 1))
        prior = heat.detach().flatten(2).mT.gather(1, index[..., None].expand(-1, -1, self.classes))
        content = self.content(source.gather(1, index[..., None].expand(-1, -1, source.shape[-1])))
        if targets is not None and groups.denoised and targets.labels.shape[1]:
            labels, noisy = self._noisy(targets)
            content, centers = torch.cat([content, self.labels(labels)], 1), torch.cat([centers, noisy], 1)
            prior = torch.cat([prior, prior.new_full((*labels.shape, self.classes), _FEWEST)], 1)
        return content, centers, prior, groups

    def _noisy(self, targets: BoxTargets) -> tuple[Int[Tensor, "B n"], Float[Tensor, "B n 4"]]:
        """Each object a few times, with another label now and then, at a place and of a size that are not quite its own."""
        labels = targets.labels.clamp_min(0).repeat(1, self.denoised)
        corners = targets.corners.repeat(1, self.denoised, 1)
        swapped = torch.rand_like(corners[..., 0]) < _LABEL_NOISE
        labels = torch.where(swapped, torch.randint_like(labels, self.classes), labels)
        size = corners[..., 2:] - corners[..., :2]
        noise = _BOX_NOISE * (2 * torch.rand_like(corners) - 1) * torch.cat([size, size], -1) / 2
        return labels, to_centers((corners + noise).clamp(0, 1)).clamp_min(1e-3)

    def _ids(self, groups: Groups, targets: BoxTargets, batch: int) -> Int[Tensor, "B N"]:
        """The group of each query; -1 where there is none."""
        device = targets.labels.device
        first = torch.tensor([0] * groups.single + [1] * groups.repeated, device=device).expand(batch, -1)
        if not groups.denoised:
            return first
        real = (targets.labels >= 0).repeat(1, groups.denoised)
        number = torch.arange(groups.denoised, device=device).repeat_interleave(targets.labels.shape[1]) + 2
        return torch.cat([first, torch.where(real, number, -1)], 1)


class _DecoderLayer(nn.Module):
    """Queries attend to those of their group, and to the features around their box: each head to another place by it."""

    def __init__(self, width: int, heads: int, ffn_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.among, self.to_features = MultiHeadAttention(width, heads), MultiHeadAttention(width, heads)
        self.where = nn.Linear(width, 4 * heads)
        self.network = nn.Sequential(nn.Linear(width, ffn_width), nn.GELU(), nn.Linear(ffn_width, width))
        self.among_norm, self.features_norm, self.network_norm = (nn.LayerNorm(width) for _ in range(3))
        nn.init.zeros_(self.where.weight)
        with torch.no_grad():  # at first the heads look around in a circle, half way from the center to the sides
            angles = torch.arange(heads) * (2 * torch.pi / heads)
            spread = torch.full((heads, 2), -1.2)
            self.where.bias.copy_(torch.cat([torch.stack([angles.cos(), angles.sin()], 1) / 4, spread], 1).flatten())

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        place: Float[Tensor, "B N D"],
        source: Float[Tensor, "B M D"],
        boxes: Float[Tensor, "B N 4"],
        grid: tuple[int, int],
        ids: Int[Tensor, "B N"] | None,
    ) -> Float[Tensor, "B N D"]:
        normed = self.among_norm(x)
        pattern = {} if ids is None else {"pattern": Documents(ids)}
        x = x + self.among(normed + place, normed + place, normed, **pattern)
        normed = self.features_norm(x)
        with torch.autocast(x.device.type, enabled=False):  # 16 bits are too few for places
            asked = (normed + place).float()
            x = x + self.to_features(asked, source.float(), bias=self._near(normed.float(), boxes.float(), grid))
        return x + self.network(self.network_norm(x))  # type: ignore[no-any-return]

    def _near(self, x: Float[Tensor, "B N D"], boxes: Float[Tensor, "B N 4"], grid: tuple[int, int]) -> LowRank:
        """A Gaussian around a place by the box, for each head: `-((key - center) / spread)**2 / 2`, as inner products.

        What is the same for all keys of a query, `-(center / spread)**2 / 2`, is left out: softmax does not feel it.
        """
        h, w = grid
        offset, spread = self.where(x).unflatten(-1, (self.heads, 4)).transpose(1, 2).split(2, -1)  # [B, H, N, 2]
        size = torch.maximum(boxes[:, None, :, 2:], boxes.new_tensor([1 / w, 1 / h]))
        center = boxes[:, None, :, :2] + offset * size - 0.5
        precision = 1 / (spread.clamp(-3, 2).exp() * size) ** 2
        u = torch.cat([precision * center, -precision / 2], -1)
        at_x, at_y = ((torch.arange(side, device=x.device) + 0.5) / side - 0.5 for side in (w, h))
        keys = torch.stack([at_x.expand(h, w), at_y[:, None].expand(h, w)], -1).reshape(h * w, 2).to(x)
        return LowRank(u, torch.cat([keys, keys**2], -1))
