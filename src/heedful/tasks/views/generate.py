"""How a generated picture becomes a section of a report: where generator and discriminator looked from each of its places."""

from typing import TYPE_CHECKING

import torch

from heedful._errors import HeedfulError
from heedful.inspection import watch
from heedful.models.sagan import Sagan
from heedful.report import AttentionSection, Picture, attention_section

if TYPE_CHECKING:
    from heedful.tasks.generate_images import Drawn, GenerateImages


def generate_section(task: "GenerateImages", model: Sagan, drawn: "Drawn", number: int) -> AttentionSection:
    """Watches both networks on one picture; all that is shown comes from their attention matrices, which are never stored.

    Raises:
        HeedfulError: the model has no attention.
    """
    with torch.inference_mode(), watch(model) as recording:
        picture = model.generator(*drawn)
        score = model.discriminator(picture, drawn.classes).item()
    grids = dict.fromkeys(call.grid for call in recording if call.grid is not None)
    if not grids:
        raise HeedfulError(
            f"there is nothing to inspect: model.attention={task.settings.model.attention} attends to nothing."
        )
    pixels = ((picture[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    label = f" of class {task.classes[int(drawn.classes)]}" if task.conditional else ""
    gammas = ", ".join(f"{name} {p.item():.3f}" for name, p in model.named_parameters() if name.endswith("gamma"))
    return attention_section(
        recording,
        title=f"sample {number}{label}",
        text=(
            "From each place of the picture: whence the generator took features for it, and where the discriminator looked, whose score "
            f"is {score:.2f}, positive for what seems real. What is gathered is added times gamma: {gammas}."
        ),
        axes=[
            Picture(pixels=pixels[..., 0] if pixels.shape[-1] == 1 else pixels, grid=grid, name="picture")
            for grid in grids
        ],
    )
