# %% [markdown]
# # A report on everything
# The page that `seen.report` writes shows attention over text, between two texts, over pictures, sound and series, and
# over inputs of any length. Here the heads are made by hand, so that each does what its name says; a model of your own is
# watched instead: `with heedful.watch(model) as seen: ...` (see `examples/watch_models.py`).

# %%
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from heedful.inspection import AttentionCall, Recording
from heedful.nn import sinusoidal
from heedful.ops import AttentionMatrix, Causal, Global, Pattern
from heedful.report import AttentionSection, Picture, Series, Sound, Text, attention_section, write_report

WIDTH = 64


def places(n: int) -> torch.Tensor:
    """A vector for each position, near to those of its neighbours."""
    return sinusoidal(torch.arange(n, dtype=torch.float32), WIDTH)


def words(ids: torch.Tensor) -> torch.Tensor:
    """A vector for each word, far from those of the others."""
    table = torch.randn(int(ids.max()) + 1, WIDTH, generator=torch.Generator().manual_seed(0))
    return table[ids]


def call(name: str, heads: list[tuple[torch.Tensor, torch.Tensor]], kind: str = "self", pattern: Pattern | None = None):
    """A call of attention whose heads are pairs of queries and keys."""
    query, key = (torch.stack(tensors)[None] for tensors in zip(*heads, strict=True))
    pattern = pattern or Global()
    matrix = AttentionMatrix(query, key, pattern=pattern)
    return AttentionCall(name, kind, matrix, "by hand", causal=isinstance(pattern, Causal))


def known_heads(ids: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Heads that attend to the token before, the same word, what followed it last time, the first token, and what is near."""
    place, word = places(len(ids)), words(ids)
    first = torch.zeros(len(ids), WIDTH)
    first[0] = 4.0
    return [
        (4 * place.roll(1, 0), 4 * place),
        (word, word),
        (word, word.roll(1, 0)),
        (first[:1].expand_as(first), first),
        (1.5 * place, place),
        (0.5 * word, place),
    ]


# %% [markdown]
# ## Text
# Tokens are handed over as they are; `words` says which tokens are parts of one word, `special` which are none of the text.

# %%
SENTENCE = "the cat that the dog un ##seen by the cat had chased slept while the dog that the cat had seen dream ##ed"


def text() -> AttentionSection:
    """One sentence, three layers of six heads."""
    tokens = ["[CLS]", *SENTENCE.split(), "[SEP]"]
    numbers = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    ids = torch.tensor([numbers[token] for token in tokens])
    parts, word = [], -1
    for token in tokens:
        word += not token.startswith("##") and token[0] != "["
        parts.append(-1 if token[0] == "[" else word)
    heads = known_heads(ids)
    seen = Recording(call(f"layers.{i}.attention", heads[i:] + heads[:i], pattern=Causal()) for i in range(3))
    axis = Text(tokens, words=parts, special=[0, len(tokens) - 1], name="sentence")
    return attention_section(seen, title="A sentence", axes=[axis], tokens=ids, separators=[numbers["[SEP]"]])


# %% [markdown]
# ## Two texts
# Queries and keys take the first axis that has as many positions, for decoders and the queries of cross-attention the last one.


# %%
def translation() -> AttentionSection:
    """A source, a target, and which word each target word comes from."""
    source, target = ["der", "Himmel", "ist", "heute", "klar", "."], ["<s>", "the", "sky", "is", "clear", "today", "."]
    aligned = torch.tensor([0, 0, 1, 2, 4, 3, 5])
    n, m = len(target), len(source)
    asked = places(m)[aligned]
    crossing = [(4 * asked, 4 * places(m)), (asked, places(m)), (places(n), words(torch.arange(m)))]
    own, theirs = known_heads(torch.arange(m))[:3], known_heads(torch.arange(n))[:3]
    seen = Recording([
        call("encoder.layers.0.attention", own),
        call("decoder.layers.0.attention", theirs, pattern=Causal()),
        call("decoder.layers.0.cross_attention", crossing, kind="cross"),
    ])  # fmt: skip
    axes = [Text(source, name="source"), Text(target, special=[0], name="target")]
    section = attention_section(seen, title="A translation", axes=axes)
    return replace(section, output=" ".join(target[1:]))


# %% [markdown]
# ## A picture
# Patches stand in reading order; `extra` names the tokens before them.


# %%
def picture() -> AttentionSection:
    """A landscape whose patches attend to what has their color, or to what is near."""
    height, width, stride = 96, 144, 8
    y, x = np.mgrid[0:height, 0:width] / height
    pixels = np.empty((height, width, 3))
    pixels[...] = np.stack([0.45 + 0.3 * y, 0.65 + 0.2 * y, 0.95 - 0.1 * y], axis=-1)
    pixels[y > 0.62 + 0.06 * np.sin(9 * x)] = (0.30, 0.52, 0.24)
    pixels[(x - 1.15) ** 2 + (y - 0.22) ** 2 < 0.014] = (1.0, 0.86, 0.35)
    pixels[(abs(x - 0.45) < 0.16) & (y > 0.42) & (y < 0.78)] = (0.72, 0.34, 0.27)
    rows, columns = height // stride, width // stride
    patches = torch.from_numpy(pixels).reshape(rows, stride, columns, stride, 3).mean((1, 3)).reshape(-1, 3).float()
    color = torch.cat([patches.mean(0, keepdim=True), patches])
    color = torch.nn.functional.pad(9 * (color - 0.5), (0, WIDTH - 3))
    grid = torch.cat([places(rows)[:, None].expand(-1, columns, -1), places(columns).expand(rows, -1, -1)], dim=-1)
    near = torch.cat([torch.zeros(1, WIDTH), grid.reshape(-1, 2 * WIDTH)[:, ::2]])
    house = torch.zeros(1 + rows * columns, WIDTH)
    house[1:, 0] = 6 * (patches[:, 0] - patches[:, 2] > 0.3).float()
    heads = [(color, color), (1.6 * near, near), (3 * torch.ones_like(house), house), (0.1 * near, color)]
    seen = Recording(call(f"encoder.layers.{i}.attention", heads[i:] + heads[:i]) for i in range(3))
    axis = Picture((255 * pixels).astype(np.uint8), (rows, columns), extra=["class token"], name="landscape")
    section = attention_section(seen, title="A picture", axes=[axis])
    answers = [("house", 0.91), ("barn", 0.06), ("meadow", 0.02)]
    return AttentionSection(
        section.title, section.text, section.layers, section.axes, predictions=answers, truth="house"
    )


# %% [markdown]
# ## A long text
# Where a file cannot hold every pair it holds an exact map of the whole and the largest weights of each row.


# %%
def long_text(n: int = 4096) -> AttentionSection:
    """A text in which themes come back; eight heads, of which no matrix is stored."""
    generator = torch.Generator().manual_seed(0)
    theme = torch.tensor([0, 1, 0, 2, 0, 1, 2, 0])[torch.arange(n) * 8 // n]
    ids = theme * 40 + torch.randint(40, (n,), generator=generator)
    themes = 2.5 * words(theme) / WIDTH**0.25
    heads = [*known_heads(ids), (themes, themes), (themes + places(n), places(n) + themes)]
    seen = Recording([call("layers.0.attention", heads)])
    return attention_section(seen, title=f"{n:,} tokens", axes=[Text([f"w{i}" for i in ids.tolist()], name="text")])


# %% [markdown]
# ## Sound and series
# Positions stand evenly over a recording or a series.


# %%
def sound() -> AttentionSection:
    """Five tones, one after another, and the words that stand for them."""
    rate, seconds, frames = 8000, 2.5, 125
    time = np.arange(int(rate * seconds)) / rate
    tone = np.minimum((time * 2).astype(int), 4)
    samples = 0.8 * np.sin(2 * np.pi * (220 + 160 * tone) * time) * np.sin(np.pi * ((time * 2) % 1)) ** 0.5
    spectrum = np.abs(
        np.fft.rfft(np.lib.stride_tricks.sliding_window_view(samples, 320)[:: rate // 50] * np.hanning(320))
    )
    frame = torch.arange(frames) * 5 // frames
    spoken = ["one", "two", "three", "four", "five"]
    middle = places(frames)[frames // 10 :: frames // 5][:5]
    heads = [(1.5 * middle, places(frames)), (2 * words(torch.arange(5)), words(frame))]
    listening = [(words(frame), words(frame)), (1.5 * places(frames), places(frames))]
    seen = Recording(
        [call("encoder.layers.0.attention", listening), call("decoder.layers.0.cross", heads, kind="cross")]
    )
    axis = Sound(samples, rate, spectrogram=np.log(spectrum[:, :60].T + 1e-2), name="recording", count=frames)
    return attention_section(seen, title="A recording", axes=[axis, Text(spoken, name="words")])


def series(n: int = 168) -> AttentionSection:
    """A week of hours, each of which attends to the same hour of other days."""
    hour = np.arange(n)
    values = np.stack(
        [np.sin(2 * np.pi * hour / 24) + 0.3 * np.sin(2 * np.pi * hour / n), np.cos(2 * np.pi * hour / 24) ** 2]
    )
    day = sinusoidal(torch.from_numpy(2 * np.pi * np.floor(hour % 24) / 24 * 8).float(), WIDTH)
    seen = Recording([call("encoder.layers.0.attention", [(2 * day, day), (2 * places(n), places(n))])])
    return attention_section(seen, title="A series", axes=[Series(values.T, ["load", "price"], name="week", count=n)])


# %% [markdown]
# ## All of it on one page

# %%
SECTIONS = (text, translation, picture, long_text, sound, series)


def main(path: str | Path) -> None:
    """Writes the page."""
    write_report(path, title="Attention over everything", sections=[make() for make in SECTIONS])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "report.html")
    print("report:", sys.argv[1] if len(sys.argv) > 1 else "report.html")
