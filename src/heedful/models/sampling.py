"""Sampling from a trained language model: prompts are continued, masked tokens are filled."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from heedful._types import Float, Int, Tensor
from heedful.models.encoders import add_positions
from heedful.models.language_model import LanguageModel
from heedful.nn._values import values_of
from heedful.nn.cache import Cache
from heedful.ops import ScaledDot, softmax
from heedful.ops._random import uniform


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
    suppress: Sequence[int] = (),
    use_cache: bool = True,
) -> list[list[int]]:
    """Continues each prompt, all of them together.

    Keys and values of earlier tokens are kept, so that a token costs one position. Where the context is full, all but its last
    half is dropped: time and memory of a token stay bounded however long the text becomes. The distribution of a token depends on
    its own text alone, and its random number on (seed, sample, number of the token), so that each prompt of a batch is continued
    as it would be alone.

    Args:
        model: a causal one.
        prompts: token numbers; each prompt has at least one, and may be longer than the context.
        max_new_tokens: how many to write behind each.
        temperature: the logits are divided by it; 0 takes the most probable token.
        top_k: draw among so many of the most probable tokens; 0: all.
        top_p: draw among the fewest most probable tokens that have so much probability together.
        seed: of what is drawn.
        numbers: of the samples, by default 0, 1, 2 and so on: with them, some of many prompts draw what all together would.
        suppress: tokens that are never written.
        use_cache: whether keys and values are kept; without, everything is computed anew for each token, to the same end.

    Returns:
        The new tokens of each prompt.

    Raises:
        ValueError: the model is masked, a prompt is empty or holds what is no token, or an option is impossible.

    Example:
        >>> from heedful.models import language_model
        >>> model = language_model(vocabulary_size=9, context_length=8, width=8, heads=2, layers=1, ffn_width=8)
        >>> [len(tokens) for tokens in generate(model, [[1, 2, 3], [4]], 20, temperature=0.8, top_k=5)]
        [20, 20]

    Source: top-k: Fan et al. 2018; top-p: Holtzman et al. 2020, section 3.1.
    """
    if model.objective == "masked":
        raise ValueError("`model` must be causal, to continue a text: got a masked one; see `fill_masks`.")
    if max_new_tokens < 1:
        raise ValueError(f"`max_new_tokens` must be positive: got {max_new_tokens}.")
    _check_prompts(model, prompts)
    check_sampling(temperature, top_k, top_p)
    if not prompts:
        return []
    if numbers is not None and len(numbers) != len(prompts):
        raise ValueError(f"`numbers` must be one for each of {len(prompts)} prompts: got {len(numbers)}.")
    device, lengths = model.embedding.weight.device, [len(prompt) for prompt in prompts]
    longest, shortest = max(lengths), min(lengths)
    samples = torch.as_tensor(range(len(prompts)) if numbers is None else numbers)
    random = uniform(seed, (max_new_tokens,), samples)[..., 0].to(device)  # [tokens, samples]
    history = torch.zeros(len(prompts), longest + max_new_tokens, dtype=torch.long)
    for row, prompt in zip(history, prompts, strict=True):
        row[: len(prompt)] = torch.as_tensor(prompt)
    history, starts = history.to(device), torch.tensor(lengths, device=device)
    suppressed = torch.tensor([*suppress], dtype=torch.long, device=device)
    rows, texts = torch.arange(len(prompts), device=device), history.clone()  # the samples that are not finished; all
    ends = {length + max_new_tokens for length in lengths}
    caches = model.encoder.caches() if use_cache else None
    fast = FastDecoding(model) if use_cache and FastDecoding.fits(model) else None
    begin = -1
    with eval_mode(model):
        for position in range(shortest, longest + max_new_tokens):
            if position in ends:
                unfinished = (starts + max_new_tokens > position).nonzero()[:, 0]
                texts[rows] = history
                rows, history, starts = rows[unfinished], history[unfinished], starts[unfinished]
                for cache in caches or ():
                    cache.reorder(unfinished)
            start = context_start(position, model.context_length)
            if caches is None or start != begin:
                begin = start
                for cache in caches or ():
                    cache.reset()
                features = model.features(history[:, begin:position], caches=caches)[:, -1]
            elif fast is not None:
                features = fast(history[:, position - 1], caches)
            else:
                features = model.features(history[:, position - 1 : position], caches=caches)[:, -1]
            logits = model.logits(features)  # [samples, vocabulary]
            if len(suppressed):
                logits.index_fill_(1, suppressed, -math.inf)
            number = (position - starts).clamp_(0, max_new_tokens - 1)
            new = sample_token(logits, random[number, rows], temperature=temperature, top_k=top_k, top_p=top_p)
            if position < longest:  # some prompts have not ended yet
                new = torch.where(position < starts, history[:, position], new)
            history[:, position] = new
    texts[rows] = history
    return [
        row[len(prompt) : len(prompt) + max_new_tokens] for row, prompt in zip(texts.tolist(), prompts, strict=True)
    ]


class FastDecoding:
    """`LanguageModel.features` of one more position, for a causal model with scaled dot products and softmax.

    At a single position the arithmetic takes less time than all the calls around it: here there are few of them, and rotary
    positions are looked up instead of computed.

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
            unit = model.embedding.weight.new_zeros(model.context_length, self.width // self.heads)
            unit[:, : rotary.width // 2] = 1
            cos, sin = rotary(unit, unit)[0].detach().chunk(2, dim=-1)
            self.turns = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)  # [context, head]

    @staticmethod
    def fits(model: LanguageModel) -> bool:
        """Whether the model is such a one."""
        attention: Any = model.encoder.layers[0].attention
        values, rotary = values_of(attention), attention.rotary
        return (
            model.objective == "causal"
            and type(values["score"]) is ScaledDot
            and type(values["normalize"]) is type(softmax)
            and model.encoder.positions is None
            and values_of(model.encoder)["bias"] is None
            and (rotary is None or (rotary.pairing == "halves" and rotary.rotary_width is None))
        )

    def __call__(self, tokens: Int[Tensor, "B"], caches: Sequence[Cache]) -> Float[Tensor, "B D"]:
        """The features behind one more token of each sample."""
        model, start = self.model, caches[0].length
        x = add_positions(model.embedding(tokens)[:, None], model.positions, start)[:, 0]  # [B, D]
        return _with_hooks(model.encoder, self._encode, x, caches, start)

    def _encode(self, x: Float[Tensor, "B D"], caches: Sequence[Cache], start: int) -> Float[Tensor, "B D"]:
        for layer, cache in zip(self.layers, caches, strict=True):
            if layer.norm == "pre":
                x = x + self._attention(layer.attention, _norm(x, layer.attention_norm), cache, start)
                x = x + _network(layer.network, _norm(x, layer.network_norm))
            else:
                x = _norm(x + self._attention(layer.attention, x, cache, start), layer.attention_norm)
                x = _norm(x + _network(layer.network, x), layer.network_norm)
        return self.model.encoder.norm(x)  # type: ignore[no-any-return]

    def _attention(self, layer: Any, x: Float[Tensor, "B D"], cache: Cache, start: int) -> Float[Tensor, "B D"]:
        return _with_hooks(layer, functools.partial(self._attend, layer), x, cache, start)

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


def _with_hooks(module: Any, function: Callable[..., Tensor], *args: Any) -> Tensor:
    """What stands in for a module's forward pass; who watches the module is told of it."""
    if not module._forward_pre_hooks and not module._forward_hooks:
        return function(*args)
    module.forward = function
    try:
        return module(*args)  # type: ignore[no-any-return]
    finally:
        del module.forward


def _norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


def _network(layers: Any, x: Tensor) -> Tensor:
    x = F.gelu(F.linear(x, layers[0].weight, layers[0].bias), approximate=layers[1].approximate)
    return F.linear(x, layers[2].weight, layers[2].bias)


def context_start(position: int, context: int) -> int:
    """The first token that the token at `position` is drawn from: 0 until the context is full, then on by half a context at a time.

    Example:
        >>> [context_start(position, context=4) for position in range(1, 10)]
        [0, 0, 0, 0, 2, 2, 4, 4, 6]
    """
    stride = context - context // 2
    return max(-(-(position - context) // stride), 0) * stride


def sample_token(
    logits: Float[Tensor, "B vocabulary"],
    random: Float[Tensor, "B"],
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Int[Tensor, "B"]:
    """One token of each row, by a random number in [0, 1) for each."""
    if temperature == 0:
        return logits.argmax(-1)
    total = probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p).cumsum(-1)
    tokens = torch.searchsorted(total, random.to(total.dtype)[:, None] * total[:, -1:], right=True)[:, 0]
    return tokens.clamp(max=logits.shape[-1] - 1)


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


class FilledMasks(NamedTuple):
    """A text whose masked tokens are filled.

    Attributes:
        ids: the whole text.
        positions: of the masked tokens.
        probabilities: of the token that each of them became.
    """

    ids: list[int]
    positions: list[int]
    probabilities: list[float]


def fill_masks(
    model: LanguageModel, ids: Sequence[int], mask: int, *, rounds: int = 1, suppress: Sequence[int] = ()
) -> FilledMasks:
    """Replaces each masked token of a text by the most probable one.

    Args:
        model: a masked one.
        ids: token numbers; the text may be longer than the context, then each masked token is predicted from those around it.
        mask: the number of the mask token.
        rounds: in how many rounds they are filled, the most probable first, so that later rounds see the tokens of earlier
            ones; 1: all at once.
        suppress: tokens that are never taken; the mask itself never is.

    Raises:
        ValueError: the model is causal, `ids` hold what is no token, or `rounds` is not positive.

    Example:
        >>> from heedful.models import language_model
        >>> model = language_model(vocabulary_size=9, context_length=8, width=8, heads=2, layers=1, ffn_width=8, objective="masked")
        >>> fill_masks(model, [5, 0, 7, 0], mask=0).positions
        [1, 3]

    Source: the most probable first: Ghazvininejad et al. 2019, section 4.
    """
    if model.objective == "causal":
        raise ValueError("`model` must be masked, to fill masked tokens: got a causal one; see `generate`.")
    if rounds < 1:
        raise ValueError(f"`rounds` must be positive: got {rounds}.")
    positions = [position for position, token in enumerate(ids) if token == mask]
    if not positions:
        return FilledMasks(list(ids), [], [])
    _check_prompts(model, [ids])
    text = torch.as_tensor(ids, device=model.embedding.weight.device).clone()
    filled: dict[int, float] = {}
    with eval_mode(model):
        for left in range(rounds, 0, -1):
            masked = [position for position in positions if position not in filled]
            best = _mask_probabilities(model, text, masked, [*suppress, mask]).max(-1)
            count = -(-len(masked) // left)
            for i in best.values.argsort(descending=True, stable=True)[:count].tolist():
                text[masked[i]] = best.indices[i]
                filled[masked[i]] = best.values[i].item()
            if len(filled) == len(positions):
                break
    return FilledMasks(text.tolist(), positions, [filled[position] for position in positions])


def _mask_probabilities(
    model: LanguageModel, text: Int[Tensor, "N"], masked: Sequence[int], suppress: Sequence[int]
) -> Float[Tensor, "masked vocabulary"]:
    """The probabilities at masked positions, each in the middle half of a window of the text that is one context long."""
    half, last = max(model.context_length // 2, 1), max(len(text) - model.context_length, 0)
    starts = [min(max(position // half * half - half // 2, 0), last) for position in masked]
    parts = []
    for start in sorted(set(starts)):
        inside = [position - start for position, own in zip(masked, starts, strict=True) if own == start]
        logits = model.logits(model.features(text[None, start : start + model.context_length])[0, inside])
        logits[:, list(suppress)] = -math.inf
        parts.append(logits.float().softmax(-1))
    return torch.cat(parts)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients, within a block."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def check_sampling(temperature: float, top_k: int, top_p: float) -> None:
    """Raises for impossible sampling options."""
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
        if not 0 <= min(prompt) <= max(prompt) < model.vocabulary_size:
            raise ValueError(
                f"`prompts` must be tokens, 0 to {model.vocabulary_size - 1}: got {min(prompt)} to {max(prompt)}."
            )
