"""One run of a model, and its attention as a section of a report."""

import dataclasses
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from heedful._errors import HeedfulError, OutOfMemoryError, caught_panics, is_out_of_memory
from heedful._types import Tensor
from heedful.data.inputs import ModelInput, one_line, shortened
from heedful.hugging_face.inputs import PreparedInput, continue_text, prepare, separators_of, with_words, writes_on
from heedful.hugging_face.loading import HuggingFaceModel, quiet
from heedful.inspection.recording import Recording
from heedful.inspection.watch import watch
from heedful.report import AttentionSection, Sound, attention_section
from heedful.report.read_axes import fitting


class ModelRun(NamedTuple):
    """What came of one run of a model.

    Attributes:
        section: of a report.
        notes: what one should know, such as what was not seen; it stands in the section's text, too.
        recording: the calls of which the section's first layers are.
    """

    section: AttentionSection
    notes: list[str]
    recording: Recording


def run(
    loaded: HuggingFaceModel,
    inputs: Sequence[ModelInput],
    *,
    layers: str | None = None,
    budget: int | None = None,
    generate: int | None = None,
) -> ModelRun:
    """Runs a model once, or while it generates, and gives its attention as a section.

    Args:
        loaded: the model.
        inputs: what it takes: one or two texts, a picture, a sound; for an encoder-decoder model also a target text.
        layers: which calls are wanted: their numbers ("0,3-5") or parts of their modules' names; None: all.
        budget: bytes of numbers that the section may hold, as in `attention_section`.
        generate: so many tokens; None: a language model runs over its text alone.

    Raises:
        HeedfulError: the model does not take this, cannot generate so many tokens, or no attention was seen.
    """
    model = loaded.model
    with quiet(), torch.no_grad():
        try:
            with caught_panics():
                prepared = prepare(loaded, inputs, generate)
        except RuntimeError as error:
            raise HeedfulError(f"{loaded.where}: cannot take these inputs: {one_line(error)}.") from None
        options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
        try:
            with watch(model) as recording:
                if generate is None or loaded.writes:
                    output, first = model(**prepared.arguments, **options), None
                else:
                    output, first = None, continue_text(loaded, prepared, generate)
        except HeedfulError:
            raise
        except Exception as error:  # whatever inputs that do not fit make of a model
            if is_out_of_memory(error):
                raise OutOfMemoryError(
                    f"{loaded.where}: there is not enough memory: a shorter input needs less."
                ) from None
            raise HeedfulError(f"{loaded.where}: cannot run on these inputs: {one_line(error)}.") from None
        recording, unseen = recording.whole(), _unseen_sentence(recording)
        if not len(recording):
            raise HeedfulError(f"{loaded.where}: no attention was seen. {unseen}".rstrip())
        indices = chosen([call.module for call in recording], layers)
        wanted = Recording([recording[i] for i in indices], recording.unseen)
        if first is None:
            predictions, meaning = _predictions(loaded, prepared, output)
        else:
            predictions = _best(first.float().softmax(-1), lambda i: _label(loaded.tokenizer, i))
            meaning = "The probabilities are of the first token that was generated."
        nan = nan_origin(model, lambda: model(**prepared.arguments, **options)) if _holds_nan(output) else ""
        notes = [note for note in (*loaded.notes, *prepared.notes, unseen, nan) if note]
        axes = [axis for axis in (make(recording) for make in prepared.axes) if axis is not None]
        axes = [with_words(axis, loaded, prepared, recording) if isinstance(axis, Sound) else axis for axis in axes]
        tokens = prepared.tokens
        if tokens is not None and not any(call.shape[-1] == len(tokens) for call in wanted):
            tokens = None  # a model of several inputs attends to more than its text
        section = attention_section(
            wanted,
            title=shortened([one.name for one in inputs]),
            text=" ".join([_sentence(loaded, recording, wanted), *notes, *([meaning] if meaning else [])]),
            axes=fitting(axes, wanted),
            tokens=tokens,
            separators=separators_of(loaded) if tokens is not None else None,
            budget=budget,
        )
    calls = section.layers
    if len(indices) < len(recording):
        calls = [layer for layer in calls if layer.kind != "rollout"]  # it would go through some layers only
    section = dataclasses.replace(section, layers=calls, predictions=predictions, output=prepared.output)
    return ModelRun(section, notes, wanted)


def nan_origin(model: torch.nn.Module, again: Callable[[], Any]) -> str:
    """Where the first NaN of a run comes from, in a sentence.

    Args:
        model: a module is named by its path in it.
        again: runs the model.
    """
    first: list[tuple[str, torch.nn.Module, bool]] = []

    def look(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if not first and _holds_nan(output):
                first.append((name, module, _holds_nan((args, kwargs))))

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(look(name), with_kwargs=True) for name, module in leaves]
    try:
        again()
    finally:
        for handle in handles:
            handle.remove()
    if not first:
        return "The outputs hold NaN, but those of no single layer do."
    name, module, before = first[0]
    if before:
        return f"NaN begins before `{name}`: it is in its inputs, and in the outputs of no layer before it."
    weights = [f"`{name}.{key}`" for key, value in module.state_dict().items() if not value.isfinite().all()]
    reason = f", whose weights are not finite: {', '.join(weights)}" if weights else ""
    return f"NaN begins in the outputs of `{name}`{reason}."


def _holds_nan(value: Any) -> bool:
    if torch.is_tensor(value):
        return value.is_floating_point() and bool(value.isnan().any())
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return any(map(_holds_nan, items))


def chosen(names: Sequence[str], words: str | None) -> list[int]:
    """The indices of those calls that are named by number, range or a part of their module's name; None: all.

    Raises:
        HeedfulError: a word names none.
    """
    if words is None:
        return list(range(len(names)))
    indices: set[int] = set()
    for word in (word.strip() for word in words.split(",")):
        numbers = number_range(word)
        if numbers is None:
            matching = {i for i, name in enumerate(names) if word and word in name}
        else:
            matching = set(numbers) if numbers[-1] < len(names) else set()
        if not matching:
            known = list(dict.fromkeys(names))
            listed = ", ".join(known[:3]) + (", ..." if len(known) > 3 else "")
            raise HeedfulError(
                f"--layers must be numbers from 0 to {len(names) - 1}, ranges of them, or parts of {listed}: got {word!r}."
            )
        indices |= matching
    return sorted(indices)


def number_range(word: str) -> range | None:
    """The numbers of "3" or "3-5"; None of anything else, also of "5-3"."""
    match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", word)
    if match is None:
        return None
    low, high = int(match[1]), int(match[2] or match[1])
    return range(low, high + 1) if low <= high else None


def _sentence(loaded: HuggingFaceModel, recording: Recording, wanted: Recording) -> str:
    of_all = "" if len(wanted) == len(recording) else f" of {len(recording)}"
    return f"{loaded.name} ({type(loaded.model).__name__}): {len(wanted)}{of_all} calls of attention."


def _unseen_sentence(recording: Recording) -> str:
    """What was not seen, in a sentence; of many the first three."""
    if not recording.unseen:
        return ""
    listed = "; ".join(f"{one.module or 'the model'}: {one.why}" for one in recording.unseen[:3])
    more = f"; and {len(recording.unseen) - 3} more" if len(recording.unseen) > 3 else ""
    return f"NOT SEEN, though expected ({len(recording.unseen)}): {listed}{more}."


def _predictions(
    loaded: HuggingFaceModel, prepared: PreparedInput, output: Any
) -> tuple[list[tuple[str, float]], str | None]:
    """The five most probable answers, and what the probabilities are of where it is not the model's label for all."""
    logits = getattr(output, "logits", None)
    kind = type(loaded.model).__name__
    if not torch.is_tensor(logits) or loaded.writes:
        return [], None
    if "Classification" in kind and logits.dim() == 2 and 1 < logits.shape[-1] == len(loaded.config.id2label or ()):
        several = getattr(loaded.config, "problem_type", None) == "multi_label_classification"
        probabilities = logits[0].float().sigmoid() if several else logits[0].float().softmax(-1)
        names, words = [str(loaded.config.id2label[i]) for i in range(len(probabilities))], None
        return _best(probabilities, lambda i: names[i]), words
    if logits.dim() != 3 or prepared.tokens is None or logits.shape[1] != len(prepared.tokens):
        return [], None
    if writes_on(loaded):
        row, meaning = logits[0, -1], "The probabilities are of the next token."
    elif kind.endswith("ForMaskedLM"):
        masks = (prepared.tokens == loaded.tokenizer.mask_token_id).nonzero()
        if loaded.tokenizer.mask_token_id is None or not len(masks):
            return [], None
        row, meaning = logits[0, int(masks[0])], f"The probabilities are of the first {loaded.tokenizer.mask_token}."
    else:
        return [], None
    return _best(row.float().softmax(-1), lambda i: _label(loaded.tokenizer, i)), meaning


def _label(tokenizer: Any, token: int) -> str:
    """A token as text; as the tokenizer has it where its text is nothing but space."""
    return str(tokenizer.decode([token])).strip() or str(tokenizer.convert_ids_to_tokens(token))


def _best(probabilities: Tensor, name: Callable[[int], str]) -> list[tuple[str, float]]:
    if not bool(torch.isfinite(probabilities).all()):
        return []
    best = probabilities.topk(min(5, len(probabilities)))
    return [(name(i), probability) for i, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)]
