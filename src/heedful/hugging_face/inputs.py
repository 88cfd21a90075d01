"""What a model is given, prepared as it was trained on, and what stands along its axes."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._errors import DataError, HeedfulError
from heedful._types import Tensor
from heedful.hugging_face.loading import HuggingFaceModel
from heedful.inspection.given import WORDS, Given, one_line, resampled
from heedful.inspection.seen import Seen
from heedful.report import Picture, Side, Sound, Text

_MOST_TOKENS = 16_384  # of a model that says of no limit
_MOST_WRITTEN = 64  # tokens that are generated
_MOST_PIXELS = 640  # of a picture's longer side in the file
_SPACES = ("\u2581", "\u0120")  # with which the first token of a word begins: of SentencePiece, of byte-level tokens
_ORDER = ("audio", "image", "text")  # what an encoder takes stands before what a decoder writes


@dataclass(eq=False)
class Feed:
    """What a model is given, and what will stand along its axes.

    Attributes:
        numbers: the arguments of the model.
        sides: each a function of the calls that were seen, in the order of the axes: the decoder's text last.
        tokens: of the text, for the kinds of heads.
        notes: what a reader should know.
        output: what the model wrote.
    """

    numbers: dict[str, Tensor] = field(default_factory=dict)
    sides: list[Callable[[Seen], Side | None]] = field(default_factory=list)
    tokens: Tensor | None = None
    notes: list[str] = field(default_factory=list)
    output: str | None = None


def feed_of(loaded: HuggingFaceModel, given: Sequence[Given]) -> Feed:
    """The arguments of the model, from what is given.

    Raises:
        HeedfulError: the model takes something else.
    """
    feed, target = Feed(), None
    needs = [kind for kind in loaded.modalities if kind in WORDS]
    if not needs:
        raise HeedfulError(
            f"{loaded.where}: takes {' and '.join(loaded.modalities)}: only text, pictures and sounds can be given."
        )
    rest = list(given)
    if loaded.writes:
        needs = sorted(needs, key=_ORDER.index)[:1]
        source = [one for one in rest if one.kind == needs[0]][:1]
        written = [one for one in rest if one not in source]
        if source and len(written) == 1 and written[0].kind == "text":
            target, rest = written[0], source
    pair = needs == ["text"] and len(rest) == 2 and not loaded.writes and not writes_on(loaded)
    if sorted(one.kind for one in rest) != sorted(["text", "text"] if pair else needs):
        takes = " and ".join(WORDS[kind] for kind in needs)
        if loaded.writes:
            takes += ", and after it a text that it is to have written"
        elif needs == ["text"] and not writes_on(loaded):
            takes += ", or two texts"
        got = ", ".join(WORDS[one.kind] for one in given) or "nothing"
        raise HeedfulError(f"{loaded.where}: takes {takes}: got {got}.")
    for kind in sorted(needs, key=_ORDER.index):
        ours = [one for one in rest if one.kind == kind]
        {"text": _add_text, "image": _add_picture, "audio": _add_sound}[kind](loaded, feed, ours)
    if loaded.writes:
        _add_target(loaded, feed, target)
    feed.numbers = {
        name: value.to(loaded.model.dtype) if value.is_floating_point() else value
        for name, value in feed.numbers.items()
    }
    return feed


def writes_on(loaded: HuggingFaceModel) -> bool:
    """Whether it is a language model that goes on with its text."""
    return not loaded.writes and type(loaded.model).__name__.endswith(("ForCausalLM", "LMHeadModel"))


def _add_text(loaded: HuggingFaceModel, feed: Feed, given: Sequence[Given]) -> None:
    tokenizer, limit = loaded.tokenizer, _limit(loaded)
    texts = [one.value for one in given]
    try:
        whole = len(tokenizer(*texts)["input_ids"])
        found = tokenizer(*texts, truncation=True, max_length=limit, return_tensors="pt")
    except Exception as error:  # whatever a text makes of a tokenizer
        raise HeedfulError(f"{loaded.where}: its tokenizer cannot cut the text: {one_line(error)}.") from None
    ids = found["input_ids"]
    if not ids.numel():
        raise DataError(f"{given[0].name[:60]}: must have at least one token: got none.")
    if whole > ids.shape[-1]:
        feed.notes.append(f"The text has {whole:,} tokens; the model was given {ids.shape[-1]:,} of them.")
    accepted = inspect.signature(loaded.model.forward).parameters
    feed.numbers |= {name: value for name, value in found.items() if name in accepted}
    feed.tokens = ids[0]
    name = "source" if loaded.writes else "text"
    side = _text_side(tokenizer, ids[0].tolist(), name, found)
    feed.sides.append(lambda seen: side)


def _limit(loaded: HuggingFaceModel) -> int:
    """How many tokens the model reads."""
    config = getattr(loaded.config, "text_config", None) or loaded.config
    places = getattr(config, "max_position_embeddings", None)
    if isinstance(places, int) and "roberta" in str(config.model_type):  # whose positions begin behind the padding's
        places -= (getattr(config, "pad_token_id", None) or 0) + 1
    known = [number for number in (loaded.tokenizer.model_max_length, places) if isinstance(number, int) and number > 0]
    return min([*known, _MOST_TOKENS])


def _text_side(tokenizer: Any, ids: list[int], name: str, found: Any = None) -> Text:
    """Tokens as the tokenizer has them, the words to which they belong, and which are not of the text."""
    tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(ids)]
    special = [
        i for i, one in enumerate(tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)) if one
    ]
    words: list[int] | None
    if found is not None and getattr(found, "is_fast", False):
        words = _words_of_parts(found.word_ids(0), found.sequence_ids(0))
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


def _add_picture(loaded: HuggingFaceModel, feed: Feed, given: Sequence[Given]) -> None:
    processor, picture = loaded.image_processor, given[0].value
    if processor is None:
        pixels, mean, spread, scale = _plain(loaded, picture), 0.5, 0.5, 255.0
        feed.notes.append("The model comes without an image processor: the picture was resized and centred at 0.")
    else:
        if _vision(loaded).get("num_channels") == 1:
            picture = picture.convert("L")
        try:
            pixels = processor(picture, return_tensors="pt")["pixel_values"]
        except Exception as error:  # whatever a picture makes of a processor
            raise HeedfulError(f"{loaded.where}: its processor cannot take the picture: {one_line(error)}.") from None
        normal = bool(getattr(processor, "do_normalize", False))
        mean, spread = (processor.image_mean, processor.image_std) if normal else (0.0, 1.0)
        scale = 255.0 if getattr(processor, "do_rescale", True) else 1.0
    feed.numbers["pixel_values"] = pixels
    if pixels.dim() == 4:
        size, looked = pixels.shape[-2:], _pixels(pixels[0], mean, spread, scale)
        feed.sides.append(lambda seen: _picture_side(loaded, seen, size, looked))


def _vision(loaded: HuggingFaceModel) -> dict[str, Any]:
    """The settings of the part that sees pictures."""
    config = loaded.config
    part = getattr(config, "vision_config", None) or (loaded.writes and getattr(config, "encoder", None)) or config
    return part if isinstance(part, dict) else {**part.to_dict()}


def _plain(loaded: HuggingFaceModel, picture: Any) -> Tensor:
    """A picture as most models take it, for those that do not say: `[1, C, height, width]` from -1 to 1."""
    settings = _vision(loaded)
    height, width = _both(settings.get("image_size") or 224)
    small = picture.convert("L" if settings.get("num_channels") == 1 else "RGB").resize((width, height))
    values = torch.from_numpy(np.array(small, dtype=np.float32)).reshape(height, width, -1)
    return (values.permute(2, 0, 1)[None] / 255 - 0.5) / 0.5


def _both(size: Any) -> tuple[int, int]:
    """A height and a width, from one number or two."""
    if isinstance(size, dict):
        size = (size["height"], size["width"])
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return int(height), int(width)


def _pixels(values: Tensor, mean: Any, spread: Any, scale: float) -> NDArray[np.uint8]:
    """What the model was given, as a picture again."""
    from PIL import Image

    mean, spread = (torch.as_tensor(one, dtype=torch.float32).reshape(-1, 1, 1) for one in (mean, spread))
    bytes_ = ((values.float() * spread + mean) * scale).clamp(0, 255).round().to(torch.uint8)
    array = bytes_.permute(1, 2, 0).numpy()
    array = array[..., 0] if array.shape[-1] == 1 else array[..., :3]
    picture = Image.fromarray(array)
    picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    return np.array(picture)


def _picture_side(
    loaded: HuggingFaceModel, seen: Seen, size: Sequence[int], looked: NDArray[np.uint8]
) -> Picture | None:
    """The picture, if positions of self-attention are its patches behind tokens that are known."""
    settings = _vision(loaded)
    if not settings.get("patch_size"):
        return None
    high, wide = _both(settings["patch_size"])
    return _patches(seen, (size[0] // high, size[1] // wide), looked, int(settings.get("num_register_tokens") or 0))


def _patches(
    seen: Seen, grid: tuple[int, int], looked: NDArray[np.uint8], registers: int = 0, name: str = "picture"
) -> Picture | None:
    named = ["class token", *(f"register {i + 1}" for i in range(registers))]
    known = {0: [], 1: named[:1], len(named): named} | ({} if registers else {2: ["class token", "distillation token"]})
    lengths = {call.matrix.shape[-1] for call in seen if call.kind == "self"}
    for count, extra in known.items():
        if grid[0] * grid[1] + count in lengths:
            return Picture(looked, grid, extra, name)
    return None


def _add_sound(loaded: HuggingFaceModel, feed: Feed, given: Sequence[Given]) -> None:
    extractor, sound = loaded.feature_extractor, given[0]
    rate = int(getattr(extractor, "sampling_rate", 0) or sound.rate)
    samples = resampled(sound.value, sound.rate, rate)
    try:
        found = extractor(samples, sampling_rate=rate, return_tensors="pt")
    except Exception as error:  # whatever a sound makes of an extractor
        raise HeedfulError(f"{loaded.where}: its extractor cannot take the sound: {one_line(error)}.") from None
    accepted = inspect.signature(loaded.model.forward).parameters
    feed.numbers |= {name: value for name, value in found.items() if name in accepted}
    values = feed.numbers[loaded.model.main_input_name] if loaded.model.main_input_name in found else None
    if "frequency_stride" in loaded.config.to_dict() and values is not None:
        feed.sides.append(lambda seen: _spectrogram_side(loaded, seen, values[0]))
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
        feed.notes.append(f"The model hears the first {seconds:.0f} s of {duration:.1f} s.")
        samples = samples[: round(seconds * rate)]
    feed.sides.append(lambda seen: Sound(samples, rate, spectrogram, seconds, "recording", seen[0].matrix.shape[-1]))


def _spectrogram_side(loaded: HuggingFaceModel, seen: Seen, values: Tensor) -> Picture | None:
    """A spectrogram `[frames, bands]` that is cut into patches that overlap, as a picture with the low bands on top."""
    config = loaded.config
    high, wide = _both(config.patch_size)
    bands = values.float().T.numpy()
    low, span = bands.min(), max(float(bands.max() - bands.min()), 1e-12)
    grid = ((bands.shape[0] - high) // config.frequency_stride + 1, (bands.shape[1] - wide) // config.time_stride + 1)
    shades = np.round((bands - low) * (255 / span)).astype(np.uint8)
    return _patches(seen, grid, shades, name="spectrogram, low bands on top")


def _add_target(loaded: HuggingFaceModel, feed: Feed, target: Given | None) -> None:
    """The decoder's text: what is given, or what the model writes; then both sides run once, as matrices that are whole."""
    model, tokenizer = loaded.model, loaded.tokenizer
    most = _decoder_limit(loaded)
    try:
        ids = _taught(loaded, target.value) if target else _written(loaded, feed, min(most - 1, _MOST_WRITTEN))
    except (HeedfulError, MemoryError):
        raise
    except Exception as error:  # whatever inputs that do not fit make of a model
        raise HeedfulError(f"{loaded.where}: cannot write from these inputs: {one_line(error)}.") from None
    if len(ids) > most:
        feed.notes.append(f"What is written has {len(ids):,} tokens; the model was given {most:,} of them.")
        ids = ids[:most]
    if target is None:
        feed.output = str(tokenizer.decode(ids, skip_special_tokens=True)).strip() or None
        wrote = "What it wrote was chosen greedily" if feed.output else "It wrote nothing but special tokens, greedily"
        feed.notes.append(f"{wrote}; the decoder then read it at once.")
    name = next((n for n in ("decoder_input_ids", "input_ids") if n in inspect.signature(model.forward).parameters), "")
    feed.numbers[name] = torch.tensor([ids])
    if feed.tokens is not None and len(feed.tokens) == len(ids):
        feed.tokens = None  # they would be taken for those of the decoder, too
    side = _text_side(tokenizer, ids, "target" if target else "what it wrote")
    feed.sides.append(lambda seen: side)


def _decoder_limit(loaded: HuggingFaceModel) -> int:
    config = getattr(loaded.config, "decoder", None) or loaded.config
    for name in ("max_target_positions", "max_position_embeddings"):
        places = getattr(config, name, None)
        if isinstance(places, int):
            return max(places, 2)
    return _MOST_TOKENS


def _start(loaded: HuggingFaceModel) -> int | None:
    for config in (getattr(loaded.model, "generation_config", None), loaded.config):
        start = getattr(config, "decoder_start_token_id", None)
        if isinstance(start, int):
            return start
    return None


def _written(loaded: HuggingFaceModel, feed: Feed, most: int) -> list[int]:
    """What the model writes, beginning with the token with which its decoder begins, without the one that ends it."""
    import transformers

    model = loaded.model
    if not model.can_generate():
        raise HeedfulError(f"{loaded.where}: cannot write: give the text of its decoder after the input.")
    numbers = {n: v.to(model.dtype) if v.is_floating_point() else v for n, v in feed.numbers.items()}
    # Whisper's own way of generating works in stretches and leaves out what the decoder began with.
    generate: Any = transformers.GenerationMixin.generate
    made = generate(model, **numbers, do_sample=False, num_beams=1, max_new_tokens=most)
    ids = [int(token) for token in made[0]]
    return ids[:-1] if len(ids) > 1 and ids[-1] == loaded.tokenizer.eos_token_id else ids


def _taught(loaded: HuggingFaceModel, text: str) -> list[int]:
    """A text as the decoder reads it while it is to write it: moved by the token with which it begins."""
    model, tokenizer, start = loaded.model, loaded.tokenizer, _start(loaded)
    ids = [int(token) for token in tokenizer(text_target=text)["input_ids"]]
    if start is None:
        shifted = model.prepare_decoder_input_ids_from_labels(torch.tensor([ids]))
        return [int(token) for token in shifted[0]]
    ids = ids[1:] if ids[:1] == [start] else ids
    ids = ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] else ids
    return [start, *ids]
