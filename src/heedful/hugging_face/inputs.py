"""The inputs of a model, prepared as it was trained on, and what stands along the axes of its attention."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._errors import DataError, HeedfulError
from heedful._types import Tensor
from heedful.data.inputs import WORDS, ModelInput, one_line, resampled
from heedful.hugging_face.loading import HuggingFaceModel
from heedful.hugging_face.multimodal import encoded_together, picture_token, pictures_among
from heedful.inspection.recording import Recording
from heedful.report import Axis, Picture, Sound, Text

_MOST_TOKENS = 16_384  # of a model that says of no limit
_MOST_NEW_TOKENS = 64  # tokens that are generated
_MOST_PIXELS = 640  # of a picture's longer side in the file
_SPACES = ("\u2581", "\u0120")  # with which the first token of a word begins: of SentencePiece, of byte-level tokens
_ORDER = ("audio", "image", "text")  # what an encoder takes stands before what a decoder writes


@dataclass(eq=False)
class PreparedInput:
    """The arguments of a model, and what will stand along the axes of its attention.

    Attributes:
        arguments: of the model.
        axes: each a function of the recording, in the order of the axes: the decoder's text last.
        tokens: of the text, for the kinds of heads.
        notes: what a reader should know.
        output: what the model wrote.
    """

    arguments: dict[str, Tensor] = field(default_factory=dict)
    axes: list[Callable[[Recording], Axis | None]] = field(default_factory=list)
    tokens: Tensor | None = None
    notes: list[str] = field(default_factory=list)
    output: str | None = None


def prepare(loaded: HuggingFaceModel, inputs: Sequence[ModelInput], new_tokens: int | None = None) -> PreparedInput:
    """The arguments of the model, from its inputs.

    Args:
        loaded: the model.
        inputs: as a person gave them.
        new_tokens: the most that a model with a decoder generates where no target is given; None: 64.

    Raises:
        HeedfulError: the model takes something else.
    """
    prepared, target = PreparedInput(), None
    needs = [kind for kind in loaded.modalities if kind in WORDS]
    if not needs:
        raise HeedfulError(
            f"{loaded.where}: takes {' and '.join(loaded.modalities)}: only text, pictures and sounds can be given."
        )
    rest = list(inputs)
    if loaded.writes:
        needs = sorted(needs, key=_ORDER.index)[:1]
        source = [one for one in rest if one.kind == needs[0]][:1]
        others = [one for one in rest if one not in source]
        if source and len(others) == 1 and others[0].kind == "text":
            target, rest = others[0], source
    pair = needs == ["text"] and len(rest) == 2 and not loaded.writes and not writes_on(loaded)
    if sorted(one.kind for one in rest) != sorted(["text", "text"] if pair else needs):
        takes = " and ".join(WORDS[kind] for kind in needs)
        if loaded.writes:
            takes += ", and after it a target text"
        elif needs == ["text"] and not writes_on(loaded):
            takes += ", or two texts"
        got = ", ".join(WORDS[one.kind] for one in inputs) or "nothing"
        raise HeedfulError(f"{loaded.where}: takes {takes}: got {got}.")
    token = picture_token(loaded) if sorted(needs) == ["image", "text"] else None
    if token is not None:
        _add_text_with_picture(loaded, prepared, sorted(rest, key=lambda one: one.kind == "image"), token)
        needs = []
    for kind in sorted(needs, key=_ORDER.index):
        ours = [one for one in rest if one.kind == kind]
        {"text": _add_text, "image": _add_picture, "audio": _add_sound}[kind](loaded, prepared, ours)
    if loaded.writes:
        if target is not None and new_tokens is not None:
            raise HeedfulError(f"{loaded.where}: --generate makes the target text: give none.")
        _add_target(loaded, prepared, target, _MOST_NEW_TOKENS if new_tokens is None else new_tokens)
    prepared.arguments = {
        name: value.to(loaded.model.dtype) if value.is_floating_point() else value
        for name, value in prepared.arguments.items()
    }
    return prepared


def writes_on(loaded: HuggingFaceModel) -> bool:
    """Whether it is a language model that goes on with its text."""
    return not loaded.writes and type(loaded.model).__name__.endswith(("ForCausalLM", "LMHeadModel"))


def _add_text(loaded: HuggingFaceModel, prepared: PreparedInput, inputs: Sequence[ModelInput]) -> None:
    tokenizer, limit = loaded.tokenizer, token_limit(loaded)
    texts = [one.value for one in inputs]
    try:
        whole = len(tokenizer(*texts)["input_ids"])
        encoded = tokenizer(*texts, truncation=True, max_length=limit, return_tensors="pt")
    except Exception as error:  # whatever a text makes of a tokenizer
        raise HeedfulError(f"{loaded.where}: its tokenizer cannot process the text: {one_line(error)}.") from None
    ids = encoded["input_ids"]
    if not ids.numel():
        raise DataError(f"{inputs[0].name[:60]}: must have at least one token: got none.")
    if whole > ids.shape[-1]:
        prepared.notes.append(f"The text has {whole:,} tokens, of which the model takes the first {ids.shape[-1]:,}.")
    accepted = inspect.signature(loaded.model.forward).parameters
    prepared.arguments |= {name: value for name, value in encoded.items() if name in accepted}
    prepared.tokens = ids[0]
    name = "source" if loaded.writes else "text"
    axis = _text_axis(tokenizer, ids[0].tolist(), name, encoded)
    prepared.axes.append(lambda recording: axis)


def token_limit(loaded: HuggingFaceModel) -> int:
    """How many tokens the model reads."""
    known = [loaded.tokenizer.model_max_length, position_limit(loaded.config)]
    return min([*(number for number in known if isinstance(number, int) and number > 0), _MOST_TOKENS])


def position_limit(config: Any) -> int | None:
    """For how many tokens a model of texts has positions; None where the configuration does not say."""
    config = getattr(config, "text_config", None) or config
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and "roberta" in str(config.model_type):  # positions begin behind the padding's
        positions -= (getattr(config, "pad_token_id", None) or 0) + 1
    return positions


def _text_axis(tokenizer: Any, ids: list[int], name: str, encoded: Any = None) -> Text:
    """Tokens as the tokenizer has them, the words to which they belong, and which are not of the text."""
    tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(ids)]
    special = [
        i for i, one in enumerate(tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)) if one
    ]
    words: list[int] | None
    if encoded is not None and getattr(encoded, "is_fast", False):
        words = _words_of_parts(encoded.word_ids(0), encoded.sequence_ids(0))
    else:
        words = _words_by_marks(tokens, set(special))
    return Text(tokens, words, special, name)


def _words_of_parts(words: Sequence[int | None], parts: Sequence[int | None]) -> list[int]:
    """The words of one or two texts, counted through."""
    first = [word for word, part in zip(words, parts, strict=True) if word is not None and not part]
    offset = max(first, default=-1) + 1
    return [-1 if word is None else word + (offset if part else 0) for word, part in zip(words, parts, strict=True)]


def _words_by_marks(tokens: Sequence[str], special: set[int]) -> list[int] | None:
    """Words by the marks of their beginnings or goings-on; None where there are none."""
    begins = any(token.startswith(_SPACES) for token in tokens)
    if not begins and not any(token.startswith("##") for token in tokens):
        return None
    words: list[int] = []
    word, fresh = -1, True
    for index, token in enumerate(tokens):
        if index in special:
            words.append(-1)
            fresh = True
            continue
        if fresh or (token.startswith(_SPACES) if begins else not token.startswith("##")):
            word += 1
        fresh = False
        words.append(word)
    return words


def separators_of(loaded: HuggingFaceModel) -> list[int] | None:
    """The tokens that stand between and behind texts."""
    ids = {loaded.tokenizer.sep_token_id, loaded.tokenizer.eos_token_id} - {None}
    return sorted(ids) or None


def _add_picture(loaded: HuggingFaceModel, prepared: PreparedInput, inputs: Sequence[ModelInput]) -> None:
    processor, picture = loaded.image_processor, inputs[0].value
    if processor is None:
        pixels, mean, spread, scale = _plain(loaded, picture), 0.5, 0.5, 255.0
        prepared.notes.append("The model comes without an image processor: the picture was resized and centered at 0.")
    else:
        if _vision(loaded).get("num_channels") == 1:
            picture = picture.convert("L")
        try:
            pixels = processor(picture, return_tensors="pt")["pixel_values"]
        except Exception as error:  # whatever a picture makes of a processor
            raise HeedfulError(
                f"{loaded.where}: its image processor cannot process the picture: {one_line(error)}."
            ) from None
        normal = bool(getattr(processor, "do_normalize", False))
        mean, spread = (processor.image_mean, processor.image_std) if normal else (0.0, 1.0)
        scale = 255.0 if getattr(processor, "do_rescale", True) else 1.0
    prepared.arguments["pixel_values"] = pixels
    if pixels.dim() == 4:
        size, shown_pixels = pixels.shape[-2:], _pixels(pixels[0], mean, spread, scale)
        prepared.axes += picture_axes(_vision(loaded), size, shown_pixels, stages=loaded.modalities == ("image",))


def _add_text_with_picture(
    loaded: HuggingFaceModel, prepared: PreparedInput, inputs: Sequence[ModelInput], token: int
) -> None:
    """A text, and the picture that stands among its tokens."""
    text, picture = inputs
    prepared.arguments |= encoded_together(loaded, text, picture)
    ids = prepared.arguments["input_ids"][0]
    if len(ids) > token_limit(loaded):
        raise HeedfulError(
            f"{loaded.where}: takes at most {token_limit(loaded):,} tokens: got {len(ids):,}, those of the picture among them."
        )
    prepared.tokens = ids
    pixels, shown = prepared.arguments.get("pixel_values"), picture.value
    if pixels is not None and pixels.dim() == 4:
        processor = getattr(loaded.processor, "image_processor", None)
        mean, spread = getattr(processor, "image_mean", None) or 0.0, getattr(processor, "image_std", None) or 1.0
        shown = _pixels(pixels[0], mean, spread, 255.0)
    among = pictures_among(ids.tolist(), token, prepared.arguments, _vision(loaded), shown)
    axis = replace(_text_axis(loaded.tokenizer, ids.tolist(), "text"), pictures=among)
    if pixels is not None and pixels.dim() == 4:
        prepared.axes += picture_axes(_vision(loaded), pixels.shape[-2:], shown, stages=False)
    prepared.axes.append(lambda recording: axis)


def _vision(loaded: HuggingFaceModel) -> dict[str, Any]:
    """The settings of the part that sees pictures."""
    config = loaded.config
    part = getattr(config, "vision_config", None) or (loaded.writes and getattr(config, "encoder", None)) or config
    return part if isinstance(part, dict) else {**part.to_dict()}


def _plain(loaded: HuggingFaceModel, picture: Any) -> Tensor:
    """A picture as most models take it, for those that do not say: `[1, C, height, width]` from -1 to 1."""
    settings = _vision(loaded)
    height, width = both(settings.get("image_size") or 224)
    small = picture.convert("L" if settings.get("num_channels") == 1 else "RGB").resize((width, height))
    values = torch.from_numpy(np.array(small, dtype=np.float32)).reshape(height, width, -1)
    return (values.permute(2, 0, 1)[None] / 255 - 0.5) / 0.5


def both(size: Any) -> tuple[int, int]:
    """A height and a width, from one number or two."""
    if not isinstance(size, int | list | tuple):
        size = dict(size)
        size = (
            (size["height"], size["width"]) if "height" in size else next(iter(size.values()))
        )  # of the shortest edge
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return int(height), int(width)


def _pixels(values: Tensor, mean: Any, spread: Any, scale: float) -> NDArray[np.uint8]:
    """The model's input as a picture again."""
    from PIL import Image

    mean, spread = (torch.as_tensor(one, dtype=torch.float32).reshape(-1, 1, 1) for one in (mean, spread))
    bytes_ = ((values.float() * spread + mean) * scale).clamp(0, 255).round().to(torch.uint8)
    array = bytes_.permute(1, 2, 0).numpy()
    array = array[..., 0] if array.shape[-1] == 1 else array[..., :3]
    picture = Image.fromarray(array)
    picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    return np.array(picture)


def picture_axes(
    settings: Mapping[str, Any], size: Sequence[int], shown_pixels: NDArray[np.uint8], *, stages: bool = True
) -> list[Callable[[Recording], Axis | None]]:
    """What may stand along the axes of a model of pictures, each as a function of what it attended to.

    Args:
        settings: of the part that sees pictures: `patch_size`, `num_register_tokens`.
        size: height and width of the pictures that it takes.
        shown_pixels: the picture.
        stages: whether later layers may have a coarser grid.
    """
    axes: list[Callable[[Recording], Axis | None]] = [partial(_picture_axis, settings, size, shown_pixels)]
    return axes + [partial(_stage_axis, shown_pixels, grid) for grid in (_stages(settings, size) if stages else ())]


def _picture_axis(
    settings: Mapping[str, Any], size: Sequence[int], shown_pixels: NDArray[np.uint8], recording: Recording
) -> Picture | None:
    """The picture, if positions of self-attention are its patches behind tokens that are known."""
    if not settings.get("patch_size"):
        return None
    high, wide = both(settings["patch_size"])
    return _patches(
        recording, (size[0] // high, size[1] // wide), shown_pixels, int(settings.get("num_register_tokens") or 0)
    )


def _stages(settings: Mapping[str, Any], size: Sequence[int]) -> list[tuple[int, int]]:
    """The grids that a picture can be cut into evenly, but that of its patches; models have some of them in later stages."""
    height, width, *_ = size
    patch = settings.get("patch_size")
    steps = (step for step in range(2, min(height, width)) if height % step == width % step == 0)
    return [(height // step, width // step) for step in steps if not patch or both(patch) != (step, step)]


def _stage_axis(shown_pixels: NDArray[np.uint8], grid: tuple[int, int], recording: Recording) -> Picture | None:
    """The picture for layers whose positions are a grid of it."""
    counts = {count for call in recording if call.kind == "self" for count in call.shape[-2:]}
    return Picture(shown_pixels, grid) if grid[0] * grid[1] in counts else None


def _patches(
    recording: Recording,
    grid: tuple[int, int],
    shown_pixels: NDArray[np.uint8],
    registers: int = 0,
    name: str = "picture",
) -> Picture | None:
    named = ["class token", *(f"register {i + 1}" for i in range(registers))]
    extras = {0: [], 1: named[:1], len(named): named} | (
        {} if registers else {2: ["class token", "distillation token"]}
    )
    lengths = {call.shape[-1] for call in recording if call.kind == "self"}
    for count, extra in extras.items():
        if grid[0] * grid[1] + count in lengths:
            return Picture(shown_pixels, grid, extra, name)
    return None


def _add_sound(loaded: HuggingFaceModel, prepared: PreparedInput, inputs: Sequence[ModelInput]) -> None:
    extractor, sound = loaded.feature_extractor, inputs[0]
    rate = int(getattr(extractor, "sampling_rate", 0) or sound.rate)
    samples = resampled(sound.value, sound.rate, rate, sound.name)
    try:
        features = extractor(samples, sampling_rate=rate, return_tensors="pt")
    except Exception as error:  # whatever a sound makes of an extractor
        raise HeedfulError(
            f"{loaded.where}: its feature extractor cannot process the sound: {one_line(error)}."
        ) from None
    accepted = inspect.signature(loaded.model.forward).parameters
    prepared.arguments |= {name: value for name, value in features.items() if name in accepted}
    values = prepared.arguments[loaded.model.main_input_name] if loaded.model.main_input_name in features else None
    if "frequency_stride" in loaded.config.to_dict() and values is not None:
        prepared.axes.append(lambda recording: _spectrogram_axis(loaded, recording, values[0]))
        return
    bands = int(getattr(extractor, "feature_size", 0) or 0)
    spectrogram = None
    if values is not None and values.dim() == 3:
        spectrogram = (values[0] if values.shape[1] == bands else values[0].T).float().numpy()
    duration = len(samples) / rate
    if spectrogram is not None and hasattr(extractor, "hop_length"):
        seconds = spectrogram.shape[-1] * extractor.hop_length / rate
    else:
        seconds = duration
    if seconds < duration:
        prepared.notes.append(f"The model takes the first {seconds:.0f} s of {duration:.1f} s.")
        samples = samples[: round(seconds * rate)]
    prepared.axes.append(
        lambda recording: Sound(samples, rate, spectrogram, seconds, "recording", recording[0].matrix.shape[-1])
    )


def _spectrogram_axis(loaded: HuggingFaceModel, recording: Recording, values: Tensor) -> Picture | None:
    """A spectrogram `[frames, bands]` that is cut into patches that overlap, as a picture with the low bands on top."""
    config = loaded.config
    high, wide = both(config.patch_size)
    bands = values.float().T.numpy()
    low, span = bands.min(), max(float(bands.max() - bands.min()), 1e-12)
    grid = ((bands.shape[0] - high) // config.frequency_stride + 1, (bands.shape[1] - wide) // config.time_stride + 1)
    shades = np.round((bands - low) * (255 / span)).astype(np.uint8)
    return _patches(recording, grid, shades, name="spectrogram, low bands on top")


def continue_text(loaded: HuggingFaceModel, prepared: PreparedInput, new_tokens: int) -> Tensor:
    """Goes on with a text greedily, and gives the logits of the first new token; the input becomes the whole text but its last token.

    Raises:
        HeedfulError: the model does not go on with texts, or has too few positions.
    """
    ids = prepared.arguments.get("input_ids")
    if not writes_on(loaded) or ids is None:
        raise HeedfulError(f"{loaded.where}: --generate needs a language model: got a {type(loaded.model).__name__}.")
    most = token_limit(loaded) - ids.shape[-1]
    if new_tokens > most:
        raise HeedfulError(
            f"{loaded.where}: --generate must be at most {max(most, 0):,}, with {ids.shape[-1]:,} tokens of text in "
            f"{token_limit(loaded):,} positions: got {new_tokens:,}."
        )
    made = _generate(
        loaded, prepared, new_tokens, return_dict_in_generate=True, output_logits=True, disable_compile=True
    )  # fmt: skip
    whole = [int(token) for token in made.sequences[0]]
    count = len(whole) - ids.shape[-1]
    prepared.tokens = torch.tensor(whole[:-1])
    prepared.output = str(loaded.tokenizer.decode(whole, skip_special_tokens=True))
    prepared.notes.append(
        f"The first {ids.shape[-1]:,} tokens were given; {count:,} were generated greedily, the last is no input."
    )
    axis = _text_axis(loaded.tokenizer, whole[:-1], "text")
    prepared.axes[:] = [lambda recording: axis]
    return made.logits[0][0]  # type: ignore[no-any-return]


def _add_target(loaded: HuggingFaceModel, prepared: PreparedInput, target: ModelInput | None, new_tokens: int) -> None:
    """The decoder's text, given or generated; encoder and decoder then run once, so that their matrices are whole."""
    tokenizer = loaded.tokenizer
    most = _decodertoken_limit(loaded)
    try:
        ids = (
            _teacher_forced(loaded, target.value) if target else _generated(loaded, prepared, min(most - 1, new_tokens))
        )
    except (HeedfulError, MemoryError):
        raise
    except Exception as error:  # whatever inputs that do not fit make of a model
        raise HeedfulError(f"{loaded.where}: cannot generate from these inputs: {one_line(error)}.") from None
    if len(ids) > most:
        prepared.notes.append(f"The target has {len(ids):,} tokens, of which the decoder takes the first {most:,}.")
        ids = ids[:most]
    if target is None:
        prepared.output = str(tokenizer.decode(ids, skip_special_tokens=True)).strip() or None
        what = "The target was" if prepared.output else "The target, nothing but special tokens, was"
        prepared.notes.append(f"{what} generated greedily; the decoder then ran over it once.")
    prepared.arguments[_decoder_ids(loaded)] = torch.tensor([ids])
    if prepared.tokens is not None and len(prepared.tokens) == len(ids):
        prepared.tokens = None  # they would be taken for those of the decoder, too
    axis = _text_axis(tokenizer, ids, "target" if target else "generated target")
    prepared.axes.append(lambda recording: axis)


def with_words(sound: Sound, loaded: HuggingFaceModel, prepared: PreparedInput, recording: Recording) -> Sound:
    """A sound with the words that the decoder wrote, when it heard them; as it is where no head follows the sound."""
    axis = prepared.axes[-1](recording)
    if not isinstance(axis, Text) or not loaded.writes or not sound.count:
        return sound
    special, (ids,) = set(axis.special), prepared.arguments[_decoder_ids(loaded)].tolist()
    written = [index for index in range(1, axis.count) if index not in special]
    seconds = sound.seconds or len(sound.samples) / sound.rate
    keys = max(math.ceil(len(sound.samples) / sound.rate / seconds * sound.count), 1)
    heads = getattr(getattr(loaded.model, "generation_config", None), "alignment_heads", None)
    try:
        times = recording.token_times(
            seconds=seconds, heads=heads and [tuple(head) for head in heads], queries=slice(written[0] - 1, None),
            keys=slice(0, keys),
        )  # fmt: skip
    except (IndexError, ValueError):
        return sound
    words: dict[int, list[int]] = {}
    for index in written:
        words.setdefault(axis.words[index] if axis.words else index, []).append(index)
    said = [
        (
            str(loaded.tokenizer.decode([ids[index] for index in word])).strip(),
            float(times.start[word[0] - written[0]]),
            min(float(times.end[word[-1] - written[0]]), seconds),
        )
        for word in words.values()
    ]
    return replace(sound, words=said)


def _decoder_ids(loaded: HuggingFaceModel) -> str:
    """What the tokens of the decoder are called."""
    parameters = inspect.signature(loaded.model.forward).parameters
    return next((name for name in ("decoder_input_ids", "input_ids") if name in parameters), "")


def _decodertoken_limit(loaded: HuggingFaceModel) -> int:
    config = getattr(loaded.config, "decoder", None) or loaded.config
    for name in ("max_target_positions", "max_position_embeddings"):
        max_positions = getattr(config, name, None)
        if isinstance(max_positions, int):
            return max(max_positions, 2)
    return _MOST_TOKENS


def _start(loaded: HuggingFaceModel) -> int | None:
    for config in (getattr(loaded.model, "generation_config", None), loaded.config):
        start = getattr(config, "decoder_start_token_id", None)
        if isinstance(start, int):
            return start
    return None


def _generated(loaded: HuggingFaceModel, prepared: PreparedInput, most: int) -> list[int]:
    """What the model generates, beginning with the token with which its decoder begins, without the one that ends it."""
    if not loaded.model.can_generate():
        raise HeedfulError(f"{loaded.where}: cannot generate: give a target text after the input.")
    ids = [int(token) for token in _generate(loaded, prepared, most)[0]]
    return ids[:-1] if len(ids) > 1 and ids[-1] == loaded.tokenizer.eos_token_id else ids


def _generate(loaded: HuggingFaceModel, prepared: PreparedInput, most: int, **options: Any) -> Any:
    """The most probable token, again and again."""
    import transformers

    model = loaded.model
    arguments = {n: v.to(model.dtype) if v.is_floating_point() else v for n, v in prepared.arguments.items()}
    # Whisper's own way of generating works in stretches and leaves out what the decoder began with.
    generate: Any = transformers.GenerationMixin.generate
    return generate(model, **arguments, do_sample=False, num_beams=1, max_new_tokens=most, **options)


def _teacher_forced(loaded: HuggingFaceModel, text: str) -> list[int]:
    """A text as the decoder reads it while it is to write it: moved by the token with which it begins."""
    model, tokenizer, start = loaded.model, loaded.tokenizer, _start(loaded)
    ids = [int(token) for token in tokenizer(text_target=text)["input_ids"]]
    if start is None:
        shifted = model.prepare_decoder_input_ids_from_labels(torch.tensor([ids]))
        return [int(token) for token in shifted[0]]
    ids = ids[1:] if ids[:1] == [start] else ids
    ids = ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] else ids
    return [start, *ids]
