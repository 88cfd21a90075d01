"""Hard attention: each token of a target is predicted from one place of the source, which is drawn.

The choice has no gradient of its own: its probability is raised where what was drawn predicts the rest of the target better than other
draws do (score function, Williams 1992; the other draws of a target as baseline, Kool et al. 2019).
"""

import torch

from heedful._types import Bool, Float, Tensor
from heedful.data.batch_types import TokenBatch
from heedful.models.seq2seq_base import Source
from heedful.models.seq2seq_recurrent import Recurrent, RecurrentState

_TINY = 1e-9


class HardRecurrent(Recurrent):
    """`Recurrent` that learns to look at one place for each token, in the parameters of the soft one.

    Outside of training the place of the largest weight is taken.

    Args:
        draws: in training, how often the places of a target are drawn, at least 2.
        soft_share: of the targets of a batch, the share that is trained with soft attention.
        entropy: weight of the entropy of the attention, which is raised.
        reward: weight of what the draws learn, beside the loss.
        **options: of `Recurrent`.

    Raises:
        ValueError: there are fewer than 2 draws: the others are the baseline.

    Source: Xu et al. 2015, section 4.1.
    """

    def __init__(
        self, *, draws: int = 6, soft_share: float = 0.5, entropy: float = 0.01, reward: float = 1.0, **options: object
    ) -> None:
        super().__init__(hard=True, **options)  # type: ignore[arg-type]
        if draws < 2:
            raise ValueError(f"`draws` must be at least 2: got {draws}.")
        assert self.attention is not None
        self.draws, self.soft_share, self.entropy, self.reward = draws, soft_share, entropy, reward

    def loss(
        self, source: Source, target: TokenBatch, label_smoothing: float = 0.0, *, soft: bool = False
    ) -> Float[Tensor, ""]:
        """The mean cross entropy over targets and draws; in training with what the draws learn. `soft`: as `Recurrent` has it."""
        if soft or not self.training:
            return super().loss(source, target, label_smoothing)
        encoded = self.encode(source)
        prefix, targets, real = self._shifted(target)
        device, each = prefix.device, len(prefix) // len(encoded.features)
        is_soft = torch.rand(len(prefix), device=device) < self.soft_share
        soft_rows, hard_rows = is_soft.nonzero()[:, 0], (~is_soft).nonzero()[:, 0]
        rows = torch.cat([soft_rows, hard_rows.repeat_interleave(self.draws)])  # R: each draw is a row
        state, own = self.begin(encoded), rows // each
        state.select(own, own)
        looked: list[tuple[Tensor, Tensor]] = []  # for each token the weights [R, M], and which place was drawn [R, 1]

        def look(states: Float[Tensor, "R N D"], state: RecurrentState) -> Float[Tensor, "R N D"]:
            assert self.attention is not None
            weights = self.attention.weights(states, state.memory, state.source)  # [R, N, M]
            places = weights.detach().flatten(0, 1).multinomial(1).view(*weights.shape[:2], 1)
            drawn = torch.zeros_like(weights).scatter(-1, places, 1.0)
            taken = torch.cat([weights[: len(soft_rows)], drawn[len(soft_rows) :]])
            looked.append((weights[len(soft_rows) :], places[len(soft_rows) :]))
            return taken @ state.source.features

        logits = self._logits(self._read(self._embed(prefix[rows]), state, look))
        log_probability = logits.gather(-1, targets[rows, :, None])[..., 0] - logits.logsumexp(-1)
        uniform = logits.logsumexp(-1) - logits.mean(-1)
        losses = ((label_smoothing - 1) * log_probability + label_smoothing * uniform) * real[rows]
        total: Tensor = (losses * torch.where(is_soft, 1.0, 1 / self.draws)[rows, None]).sum()
        if len(hard_rows):
            shape = len(hard_rows), self.draws, prefix.shape[1]
            weights, places = (torch.cat(one, 1).view(*shape, -1) for one in zip(*looked, strict=True))
            rewards = (log_probability.detach() * real[rows])[len(soft_rows) :].view(shape)
            total = total + self._learned(rewards, weights, places[..., 0], real[hard_rows, None])
        return total / real.sum()

    def _learned(
        self,
        log_probability: Float[Tensor, "H draws N"],
        weights: Float[Tensor, "H draws N M"],
        places: Float[Tensor, "H draws N"],
        real: Bool[Tensor, "H 1 N"],
    ) -> Float[Tensor, ""]:
        """What raises the probability of draws that are better than others: of each, what follows it is its reward."""
        reward = log_probability.flip(-1).cumsum(-1).flip(-1)
        others = (reward.sum(1, keepdim=True) - reward) / (self.draws - 1)
        logs = weights.clamp_min(_TINY).log()
        chosen = logs.gather(-1, places[..., None])[..., 0]  # [H, draws, N]
        entropy = -(weights * logs).sum(-1)
        return -((self.reward * (reward - others) * chosen + self.entropy * entropy) * real).sum() / self.draws
