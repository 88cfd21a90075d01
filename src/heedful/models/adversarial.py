"""Losses of a generator and a discriminator, and the penalty on the discriminator's gradient."""

from typing import Literal

import torch
import torch.nn.functional as F

from heedful._types import Float, Tensor

AdversarialLoss = Literal["hinge", "relativistic"]


def discriminator_loss(
    kind: AdversarialLoss, real: Float[Tensor, " B"], fake: Float[Tensor, " B"]
) -> Float[Tensor, ""]:
    """What the discriminator minimizes, of its scores for pictures and for samples.

    - hinge: mean of relu(1 - real) + relu(1 + fake) (Lim & Ye 2017)
    - relativistic: mean of softplus(fake - real), of pairs (Jolicoeur-Martineau 2018; Huang et al. 2024)

    Example:
        >>> discriminator_loss("hinge", torch.tensor([2.0]), torch.tensor([-0.5]))
        tensor(0.5000)
    """
    if kind == "hinge":
        return (F.relu(1 - real) + F.relu(1 + fake)).mean()
    return F.softplus(fake - real).mean()


def generator_loss(
    kind: AdversarialLoss, real: Float[Tensor, " B"] | None, fake: Float[Tensor, " B"]
) -> Float[Tensor, ""]:
    """What the generator minimizes: hinge: the mean of -fake; relativistic: of softplus(real - fake), which needs `real`.

    Example:
        >>> generator_loss("hinge", None, torch.tensor([1.0, 2.0]))
        tensor(-1.5000)
    """
    return -fake.mean() if kind == "hinge" or real is None else F.softplus(real - fake).mean()


def gradient_penalty(scores: Float[Tensor, " B"], pictures: Float[Tensor, "B C h w"]) -> Float[Tensor, ""]:
    """Half of the mean squared norm of the gradient of the scores by the pictures: R1 of real pictures, R2 of samples.

    It is differentiated again in training: a second derivative, also of attention.

    Source: Mescheder et al. 2018, equation 9.

    Example:
        >>> pictures = torch.ones(2, 1, 1, 2, requires_grad=True)
        >>> gradient_penalty((3 * pictures).sum((1, 2, 3)), pictures)
        tensor(9.)
    """
    (gradient,) = torch.autograd.grad(scores.sum(), pictures, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean() / 2
