"""A text with a picture among its tokens, as LLaVA, Qwen-VL and others take it."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful._errors import HeedfulError
from heedful.data.inputs import ModelInput, one_line
from heedful.hugging_face.loading import HuggingFaceModel
from heedful.report import Picture

_MOST_PIXELS = 640  # of a picture's longer side in the file


def picture_token(loaded: HuggingFaceModel) -> int | None:
    """The token whose places in a text are filled with a picture; None where the model has none."""
    for name in ("image_token_id", "image_token_index"):
        token = getattr(loaded.config, name, None)
        if isinstance(token, int) and not loaded.writes and "text" in loaded.modalities:
            return token
    return None


def encoded_together(loaded: HuggingFaceModel, text: ModelInput, picture: ModelInput) -> dict[str, Any]:
    """The arguments of the model for a text and a picture, which stands before the text unless the text says where.

    Raises:
        HeedfulError: the model has no processor, or it cannot process them.
    """
    processor, words = loaded.processor, text.value
    sign = str(getattr(processor, "image_token", None) or loaded.tokenizer.convert_ids_to_tokens(picture_token(loaded)))
    try:
        if sign not in words and getattr(processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": words}]
            words = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        elif sign not in words:
            words = f"{sign}\n{words}"
        encoded = processor(text=[words], images=[picture.value], return_tensors="pt")
    except Exception as error:  # whatever a text or a picture makes of a processor
        raise HeedfulError(
            f"{loaded.where}: its processor cannot process text and picture: {one_line(error)}."
        ) from None
    accepted = inspect.signature(loaded.model.forward).parameters
    return {name: value for name, value in encoded.items() if name in accepted}


def pictures_among(
    ids: Sequence[int], token: int, arguments: Mapping[str, Any], vision: Mapping[str, Any], shown: Any
) -> list[tuple[int, Picture]]:
    """Where the picture stands among the tokens; nothing where its tokens are no grid of patches.

    Args:
        ids: the tokens.
        token: that of pictures.
        arguments: of the model.
        vision: the settings of the part that sees pictures.
        shown: the picture, of Pillow or as pixels.
    """
    places = [index for index, one in enumerate(ids) if one == token]
    if not places or places[-1] - places[0] + 1 != len(places):
        return []
    count = len(places)
    for rows, columns in _grids(count, arguments, vision):
        if rows * columns == count:
            return [(places[0], Picture(_small(shown), (rows, columns)))]
    return []


def _grids(count: int, arguments: Mapping[str, Any], vision: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Which grids its patches may be: that which the processor says, that of its pixels, a square."""
    grids = []
    if "image_grid_thw" in arguments:
        _, high, wide = arguments["image_grid_thw"][0].tolist()
        merged = int(vision.get("spatial_merge_size") or 1)
        grids.append((high // merged, wide // merged))
    pixels, patch = arguments.get("pixel_values"), vision.get("patch_size")
    if pixels is not None and pixels.dim() >= 4 and isinstance(patch, int):
        grids.append((pixels.shape[-2] // patch, pixels.shape[-1] // patch))
    return [*grids, (math.isqrt(count), math.isqrt(count))]


def _small(shown: Any) -> NDArray[np.uint8]:
    if isinstance(shown, np.ndarray):
        return shown
    small = shown.convert("RGB")
    small.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    return np.array(small)
