"""What a trained language model writes: prompts are gone on with, gaps are filled."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from heedful._types import Float, Int, Tensor
from heedful.models.encoders import placed
from heedful.models.language_model import LanguageModel
from heedful.nn._values import held
from heedful.nn.cache import Cache
from heedful.ops import ScaledDot, softmax
from heedful.ops._random import uniform


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
    never: Sequence[int] = (),
    use_cache: bool = True,
) -> list[list[int]]:
    """Goes on with each prompt, all of them together.

    Keys and values of earlier tokens are kept, so that a token costs one position. Where the context is full, all but its last
    half is forgotten: time and memory of a token stay bounded however long the text becomes. What a token is drawn from
    depends on its own text alone, and the draw on (seed, sample, number of the token), so that a batch writes what its
    prompts alone would.

    Args:
        model: a causal one.
        prompts: token numbers; each prompt has at least one, and may be longer than the context.
        tokens: how many to write behind each.
        temperature: the logits are divided by it; 0 takes the most probable token.
        top_k: draw among so many of the most probable tokens; 0: all.
        top_p: draw among the fewest most probable tokens that have so much probability together.
        seed: of what is drawn.
        numbers: of the samples, by default 0, 1, 2 and so on: with them, some of many prompts draw what all together would.
        never: tokens that are not written.
        use_cache: whether keys and values are kept; without, everything is computed anew for each token, to the same end.

    Returns:
        What was written, without the prompts.

    Raises:
        ValueError: the model is masked, a prompt is empty or holds what is no token, or an option is impossible.

    Example:
        >>> from heedful.models import language_model
        >>> model = language_model(vocabulary=9, context=8, width=8, heads=2, layers=1, hidden=8)
        >>> [len(written) for written in generate(model, [[1, 2, 3], [4]], 20, temperature=0.8, top_k=5)]
        [20, 20]

    Source: top-k: Fan et al. 2018; top-p: Holtzman et al. 2020, section 3.1.
    """
    if model.masked:
        raise ValueError("`model` must be causal, to go on with a text: got a masked one; see `fill`.")
    if tokens < 1:
        raise ValueError(f"`tokens` must be positive: got {tokens}.")
    _check_prompts(model, prompts)
    check_drawing(temperature, top_k, top_p)
    if not prompts:
        return []
    if numbers is not None and len(numbers) != len(prompts):
        raise ValueError(f"`numbers` must be one for each of {len(prompts)} prompts: got {len(numbers)}.")
    device, lengths = model.embedding.weight.device, [len(prompt) for prompt in prompts]
    longest, shortest = max(lengths), min(lengths)
    places = torch.as_tensor(range(len(prompts)) if numbers is None else numbers)
    draws = uniform(seed, (tokens,), places)[..., 0].to(device)  # [tokens, samples]
    history = torch.zeros(len(prompts), longest + tokens, dtype=torch.long)
    for row, prompt in zip(history, prompts, strict=True):
        row[: len(prompt)] = torch.as_tensor(prompt)
    history, starts, banned = (t.to(device) for t in (history, torch.tensor(lengths), torch.tensor([*never]).long()))
    rows, written = torch.arange(len(prompts), device=device), history.clone()  # the samples that are not complete; all
    ends = {length + tokens for length in lengths}
    caches = model.encoder.caches() if use_cache else None
    steps = PlainSteps(model) if use_cache and PlainSteps.fits(model) else None
    begin = -1
    with evaluating(model):
        for position in range(shortest, longest + tokens):
            if position in ends:
                kept = (starts + tokens > position).nonzero()[:, 0]
                written[rows] = history
                rows, history, starts = rows[kept], history[kept], starts[kept]
                for cache in caches or ():
                    cache.reorder(kept)
            seen_from = visible_from(position, model.context)
            if caches is None or seen_from != begin:
                begin = seen_from
                for cache in caches or ():
                    cache.reset()
                features = model.features(history[:, begin:position], caches=caches)[:, -1]
            elif steps is not None:
                features = steps(history[:, position - 1], caches)
            else:
                features = model.features(history[:, position - 1 : position], caches=caches)[:, -1]
            logits = model.logits(features)  # [samples, vocabulary]
            if len(banned):
                logits.index_fill_(1, banned, -math.inf)
            number = (position - starts).clamp_(0, tokens - 1)
            new = draw(logits, draws[number, rows], temperature=temperature, top_k=top_k, top_p=top_p)
            if position < longest:  # some prompts have not ended yet
                new = torch.where(position < starts, history[:, position], new)
            history[:, position] = new
    written[rows] = history
    return [row[len(prompt) : len(prompt) + tokens] for row, prompt in zip(written.tolist(), prompts, strict=True)]


class PlainSteps:
    """One position more through a causal model of scaled inner products and softmax.

    It is what `model.features` computes. At a single position, all that surrounds the arithmetic takes longer than the
    arithmetic: here little surrounds it, and rotary positions are looked up instead of computed.

    Args:
        model: one that `fits`.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.layers: list[Any] = list(model.encoder.layers)
        self.heads, self.width = self.layers[0].attention.heads, model.encoder.width
        self.turns: tuple[Tensor, Tensor] | None = None
        rotary = self.layers[0].attention.rotary
        if rotary is not None:
            # What the pair (1, 0) is turned to is (cos, sin).
            unit = model.embedding.weight.new_zeros(model.context, self.width // self.heads)
            unit[:, : rotary.width // 2] = 1
            cos, sin = rotary(unit, unit)[0].detach().chunk(2, dim=-1)
            self.turns = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)  # [context, head]

    @staticmethod
    def fits(model: LanguageModel) -> bool:
        """Whether the model is plain enough."""
        attention: Any = model.encoder.layers[0].attention
        values, rotary = held(attention), attention.rotary
        return (
            not model.masked
            and type(values["score"]) is ScaledDot
            and type(values["normalize"]) is type(softmax)
            and model.encoder.positions is None
            and held(model.encoder)["bias"] is None
            and (rotary is None or (rotary.pairing == "halves" and rotary.turned is None))
        )

    def __call__(self, tokens: Int[Tensor, "B"], caches: Sequence[Cache]) -> Float[Tensor, "B D"]:
        """The features behind one more token of each sample."""
        model, start = self.model, caches[0].length
        x = placed(model.embedding(tokens)[:, None], model.positions, start)[:, 0]  # [B, D]
        for layer, cache in zip(self.layers, caches, strict=True):
            if layer.norm == "pre":
                x = x + self._attend(layer.attention, _norm(x, layer.attention_norm), cache, start)
                x = x + _network(layer.network, _norm(x, layer.network_norm))
            else:
                x = _norm(x + self._attend(layer.attention, x, cache, start), layer.attention_norm)
                x = _norm(x + _network(layer.network, x), layer.network_norm)
        return model.encoder.norm(x)  # type: ignore[no-any-return]

    def _attend(self, layer: Any, x: Float[Tensor, "B D"], cache: Cache, start: int) -> Float[Tensor, "B D"]:
        batch = len(x)
        x = F.linear(x, layer.in_proj_weight, layer.in_proj_bias).view(batch, 3, self.heads, 1, -1)
        turned = x[:, :2]  # queries and keys
        if self.turns is not None:
            cos, sin = (table[start] for table in self.turns)
            turned = torch.addcmul(turned * cos, turned.roll(turned.shape[-1] // 2, -1), sin)
        key, value = cache.append(turned[:, 1], x[:, 2])  # [B, H, M, head]
        if self.model.window:
            key, value = key[:, :, -self.model.window - 1 :], value[:, :, -self.model.window - 1 :]
        out = F.scaled_dot_product_attention(turned[:, 0], key, value)
        return F.linear(out.reshape(batch, -1), layer.out_proj.weight, layer.out_proj.bias)


def _norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


def _network(layers: Any, x: Tensor) -> Tensor:
    x = F.gelu(F.linear(x, layers[0].weight, layers[0].bias), approximate=layers[1].approximate)
    return F.linear(x, layers[2].weight, layers[2].bias)


def visible_from(position: int, context: int) -> int:
    """The first token that the token at `position` is drawn from: 0 until the context is full, then on by half a context at a time.

    Example:
        >>> [visible_from(position, context=4) for position in range(1, 10)]
        [0, 0, 0, 0, 2, 2, 4, 4, 6]
    """
    stride = context - context // 2
    return max(-(-(position - context) // stride), 0) * stride


def draw(
    logits: Float[Tensor, "B vocabulary"],
    uniform: Float[Tensor, "B"],
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Int[Tensor, "B"]:
    """One token of each row, by a number in [0, 1) for each."""
    if temperature == 0:
        return logits.argmax(-1)
    total = probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p).cumsum(-1)
    found = torch.searchsorted(total, uniform.to(total.dtype)[:, None] * total[:, -1:], right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1)


def probabilities(
    logits: Float[Tensor, "B vocabulary"], *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Float[Tensor, "B vocabulary"]:
    """What tokens are drawn from, in float64: softmax, then top-k, then top-p, each followed by a new division by the sum.

    Example:
        >>> probabilities(torch.tensor([[4.0, 2.0, 1.0, 1.0]]).log(), top_k=2).round(decimals=4)
        tensor([[0.6667, 0.3333, 0.0000, 0.0000]], dtype=torch.float64)
        >>> probabilities(torch.tensor([[4.0, 2.0, 1.0, 1.0]]).log(), top_p=0.5).round(decimals=4)
        tensor([[1., 0., 0., 0.]], dtype=torch.float64)
    """
    scores = (logits.double() - logits.double().amax(-1, keepdim=True)) / temperature
    if 0 < top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(top_k).values[:, -1:], -math.inf)
    chances = scores.softmax(-1)
    if top_p < 1:
        falling, order = chances.sort(-1, descending=True)
        enough = falling.cumsum(-1) - falling >= top_p  # those before are
        chances = chances.scatter(-1, order, falling.masked_fill(enough, 0))
        chances = chances / chances.sum(-1, keepdim=True)
    return chances


class Filled(NamedTuple):
    """A text whose gaps are filled.

    Attributes:
        ids: the whole text.
        places: where the gaps were.
        probabilities: of what was taken for each of them.
    """

    ids: list[int]
    places: list[int]
    probabilities: list[float]


def fill(model: LanguageModel, ids: Sequence[int], mask: int, *, rounds: int = 1, never: Sequence[int] = ()) -> Filled:
    """Puts the most probable token into each gap of a text.

    Args:
        model: a masked one.
        ids: token numbers; the text may be longer than the context, then each gap is seen with what stands around it.
        mask: the number that is a gap.
        rounds: in how many rounds gaps are filled, the surest first, so that later ones see what was taken for earlier ones;
            1: all at once.
        never: tokens that are not taken; a gap never is.

    Raises:
        ValueError: the model is causal, `ids` hold what is no token, or `rounds` is not positive.

    Example:
        >>> from heedful.models import language_model
        >>> model = language_model(vocabulary=9, context=8, width=8, heads=2, layers=1, hidden=8, masked=True)
        >>> fill(model, [5, 0, 7, 0], mask=0).places
        [1, 3]

    Source: the surest first: Ghazvininejad et al. 2019, section 4.
    """
    if not model.masked:
        raise ValueError("`model` must be masked, to fill gaps: got a causal one; see `generate`.")
    if rounds < 1:
        raise ValueError(f"`rounds` must be positive: got {rounds}.")
    places = [place for place, token in enumerate(ids) if token == mask]
    if not places:
        return Filled(list(ids), [], [])
    _check_prompts(model, [ids])
    text = torch.as_tensor(ids, device=model.embedding.weight.device).clone()
    taken: dict[int, float] = {}
    with evaluating(model):
        for left in range(rounds, 0, -1):
            gaps = [place for place in places if place not in taken]
            chances = _of_gaps(model, text, gaps, [*never, mask])
            best = chances.max(-1)
            count = -(-len(gaps) // left)
            for i in best.values.argsort(descending=True, stable=True)[:count].tolist():
                text[gaps[i]] = best.indices[i]
                taken[gaps[i]] = best.values[i].item()
            if len(taken) == len(places):
                break
    return Filled(text.tolist(), places, [taken[place] for place in places])


def _of_gaps(
    model: LanguageModel, text: Int[Tensor, "N"], gaps: Sequence[int], never: Sequence[int]
) -> Float[Tensor, "gaps vocabulary"]:
    """The probabilities of each gap's tokens, seen in the middle half of a part of the text that is a context long."""
    half, last = max(model.context // 2, 1), max(len(text) - model.context, 0)
    starts = [min(max(gap // half * half - half // 2, 0), last) for gap in gaps]
    found = []
    for start in sorted(set(starts)):
        inside = [gap - start for gap, its in zip(gaps, starts, strict=True) if its == start]
        logits = model.logits(model.features(text[None, start : start + model.context])[0, inside])
        logits[:, list(never)] = -math.inf
        found.append(logits.float().softmax(-1))
    return torch.cat(found)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout and without gradients."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def check_drawing(temperature: float, top_k: int, top_p: float) -> None:
    """Raises for impossible options of drawing."""
    if not 0 <= temperature < math.inf:
        raise ValueError(f"`temperature` must be at least 0 and finite: got {temperature}.")
    if top_k < 0:
        raise ValueError(f"`top_k` must be at least 0: got {top_k}.")
    if not 0 < top_p <= 1:
        raise ValueError(f"`top_p` must be more than 0 and at most 1: got {top_p}.")


def _check_prompts(model: LanguageModel, prompts: Sequence[Sequence[int]]) -> None:
    for prompt in prompts:
        if len(prompt) == 0:
            raise ValueError("`prompts` must have at least one token each: got an empty one.")
        if not 0 <= min(prompt) <= max(prompt) < model.vocabulary:
            raise ValueError(
                f"`prompts` must be tokens, 0 to {model.vocabulary - 1}: got {min(prompt)} to {max(prompt)}."
            )
