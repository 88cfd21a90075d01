"""language-model: speed of training and of writing, tiny Shakespeare, and what reaching further is worth to a masked model.

    python -m benchmarks.language_model speed
    python -m benchmarks.language_model generation
    python -m benchmarks.language_model shakespeare FOLDER/input.txt
    python -m benchmarks.language_model masked FOLDER/input.txt

The last two are trainings; their run folders stay in --out, and the same command goes on with them.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks._measure import keep
from benchmarks._runs import Settings, mean_and_std, rates, trained
from heedful.models import generate, language_model

LETTERS = 65
SEEDS = (1, 2, 3)
TURNS = 7  # of each way to train, beside one to warm up
SHAPES = {
    "0.8 million": {"width": 128, "heads": 4, "layers": 4, "ffn_width": 512, "context_length": 64, "batch": 12},
    "3.2 million": {"width": 256, "heads": 4, "layers": 4, "ffn_width": 1024, "context_length": 256, "batch": 8},
}
# The quick run is the default settings. The long one, for under an hour on two cores:
LONG: Settings = {
    "model": {"width": 256, "heads": 4, "layers": 4, "ffn_width": 1024, "context_length": 256, "dropout": 0.1},
    "training": {
        "epochs": 12, "batch_size": 2048, "learning_rate": 2e-3, "warmup_ratio": 0.05, "beta2": 0.99, "ema_decay": 0.99,
        "precision": "bf16-mixed",
    },
}  # fmt: skip
# Two layers: through more, 8 on each side reach far. Subwords are fewer than characters, and soon known by heart.
TWO_LAYERS = {
    "model": {"objective": "masked", "layers": 2, "positions": "relative"}, "training.precision": "bf16-mixed",
}  # fmt: skip
MASKED: dict[str, Settings] = {
    "characters": {**TWO_LAYERS, "training.epochs": 10},
    "subwords": {
        **TWO_LAYERS, "data.tokenizer": "subwords", "data.vocabulary_size": 2048, "model.dropout": 0.1, "training.epochs": 15,
    },
}  # fmt: skip


class Block(nn.Module):
    """A layer of GPT-2, as a person writes it down."""

    def __init__(self, width: int, heads: int, ffn_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, ffn_width), nn.Linear(ffn_width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, d = x.shape
        q, k, v = (
            t.view(b, n, self.heads, d // self.heads).transpose(1, 2) for t in self.qkv(self.norm_1(x)).chunk(3, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, n, d))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class PlainGPT(nn.Module):
    """GPT-2 in few lines, as the peer in speed."""

    def __init__(self, width: int, heads: int, layers: int, ffn_width: int, context_length: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(LETTERS + 4, width), nn.Embedding(context_length, width)
        self.blocks = nn.ModuleList(Block(width, heads, ffn_width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.tokens(x) + self.positions.weight[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


def plain_loop(shape: dict[str, int], steps: int, *, fused: bool) -> Iterator[float]:
    """Tokens a second of so many steps, again and again, of a training loop without a library."""
    torch.manual_seed(0)
    sizes = {name: size for name, size in shape.items() if name != "batch"}
    model, context, batch = PlainGPT(**sizes), shape["context_length"], shape["batch"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=fused)
    text = torch.randint(LETTERS, (steps * batch * context,))
    while True:
        start = time.perf_counter()
        for _ in range(steps):
            starts = torch.randint(len(text) - context - 1, (batch,))
            x = torch.stack([text[i : i + context] for i in starts])
            y = torch.stack([text[i + 1 : i + 1 + context] for i in starts])
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            loss.item()
        yield steps * batch * context / (time.perf_counter() - start)


def train_by_turns(shape: dict[str, int], steps: int, positions: str, loops: dict[str, Iterator[float]]) -> Any:
    """Tokens a second of each loop: after each epoch of a training, of so many steps, the others have a turn."""
    context, batch = shape["context_length"], shape["batch"]
    text = "".join(map(chr, (torch.randint(LETTERS, (steps * batch * context,)) + 0x41).tolist()))
    sizes = {f"model.{name}": size for name, size in shape.items() if name != "batch"} | {"model.positions": positions}
    training = {"epochs": TURNS + 1, "ema_decay": 0.0, "batch_size": batch * context}
    turns: list[dict[str, float]] = []
    ours = rates(
        "language-model", [text], {**sizes, "training": training}, valid=[text[:context]],
        between=lambda: turns.append({name: next(loop) for name, loop in loops.items()}),
    )  # fmt: skip
    return [{"heedful": rate, **others} for rate, others in zip(ours, turns, strict=True)][1:]  # the first warms up


def speed(tokens: int = 80_000) -> None:
    """Training beside plain loops of the same shape, by turns of so many tokens; none averages weights.

    The loops have learned positions. nanoGPT itself fuses its optimizer on a GPU alone.
    """
    rows = []
    for name, positions in (("0.8 million", "learned"), ("3.2 million", "learned"), ("0.8 million", "rotary")):
        shape = SHAPES[name]
        steps = tokens // (shape["batch"] * shape["context_length"])
        loops = {"nanoGPT": plain_loop(shape, steps, fused=False), "fused": plain_loop(shape, steps, fused=True)}
        turns = train_by_turns(shape, steps, positions, loops)
        row: dict[str, Any] = {"shape": name, **shape, "positions": positions}
        row["tokens a second"] = {way: statistics.median(turn[way] for turn in turns) for way in turns[0]}
        row["heedful over"] = {way: statistics.median(turn["heedful"] / turn[way] for turn in turns) for way in loops}
        print(
            f"{name}, {positions} positions: {row['tokens a second']}, heedful over {row['heedful over']}", flush=True
        )
        rows.append(row)
    keep("language_model_speed", {"rows": rows})


def generation(new: int = 512, rounds: int = 5) -> None:
    """Writing with a cache beside the same model without, and beside Hugging Face's GPT-2 of the same shape."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = language_model(
        vocabulary_size=LETTERS, context_length=1024, width=256, heads=4, layers=6, ffn_width=1024, positions="learned"
    ).eval()
    config = GPT2Config(
        vocab_size=LETTERS, n_positions=1024, n_embd=256, n_layer=6, n_head=4, n_inner=1024, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    peer, rows = GPT2LMHeadModel(config).eval(), []
    for batch in (1, 16):
        prompts = torch.randint(1, LETTERS, (batch, 16))

        def theirs(prompts: torch.Tensor = prompts) -> None:
            out = peer.generate(
                prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=0.8, top_k=40,
                max_new_tokens=new, min_new_tokens=new, pad_token_id=0,
            )  # fmt: skip
            assert out.shape[1] == 16 + new

        def mine(use_cache: bool = True, prompts: torch.Tensor = prompts) -> None:
            out = generate(model, prompts.tolist(), new, temperature=0.8, top_k=40, use_cache=use_cache)
            assert all(len(row) == new for row in out)

        pairs = [(timed(mine), timed(theirs)) for _ in range(rounds)]
        cached, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        without = timed(lambda mine=mine: mine(use_cache=False))
        row = {"batch": batch, "new": new, "seconds": cached, "without a cache": without, "hugging face": other}
        row |= {"over no cache": without / cached, "over hugging face": statistics.median(b / a for a, b in pairs)}
        print(
            f"{new} new tokens, batch {batch}: {cached:.2f} s, {batch * new / cached:,.0f} tokens/s; without a cache {without:.2f} s: "
            f"{row['over no cache']:.1f}x; Hugging Face {other:.2f} s: {row['over hugging face']:.1f}x",
            flush=True,
        )
        rows.append(row)
    keep("language_model_generation", {"rows": rows})


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def metrics_of(folder: Path, data: str, settings: Settings) -> dict[str, Any]:
    """What metrics.json says of a training."""
    return trained("language-model", data, folder, settings).metrics


def shakespeare(data: str, out: Path) -> None:
    """The default settings with seeds 1 to 3, and the long run with seed 1; the last tenth is held out, and read as a whole."""
    quick = [metrics_of(out / f"shakespeare-quick-{seed}", data, {"training.seed": seed}) for seed in SEEDS]
    nats = mean_and_std([metrics["metrics"]["nats_per_character"] for metrics in quick])
    minutes = max(metrics["seconds"] for metrics in quick) / 60
    print(f"quick: {nats['mean']:.4f} nats per character, standard deviation {nats['std']:.4f}, {minutes:.1f} min")
    long = metrics_of(out / "shakespeare-long", data, LONG)
    result, minutes = long["metrics"]["nats_per_character"], long["seconds"] / 60
    print(f"long:  {result:.4f} nats per character, {long['parameters']:,} parameters, {minutes:.1f} min")
    for name, metrics in long["baselines"].items():
        print(f"       {name}: {metrics['nats_per_character']:.4f}")
    keep("shakespeare", {"quick": quick, "long": long})


def masked(data: str, out: Path) -> None:
    """A masked model that sees its whole context beside one that sees 8 tokens on each side, as many epochs, seeds 1 to 3."""
    rows = []
    for tokenizer, settings in MASKED.items():
        for seed in SEEDS:
            nats = {}
            for window in (0, 8):
                own = {**settings, "model.window": window, "training.seed": seed}
                metrics = metrics_of(out / f"masked-{tokenizer}-{window}-{seed}", data, own)
                length = metrics["examples"]["validation"] / metrics["details"]["tokens"]
                nats[window] = metrics["metrics"]["nats_per_character"] * length
                row = {"tokenizer": tokenizer, "seed": seed, "window": window, "nats_per_token": nats[window]}
                rows.append(row | metrics)
            print(
                f"{tokenizer}, seed {seed}: all {nats[0]:.4f} nats at a masked token, 8 on each side {nats[8]:.4f}",
                flush=True,
            )
        for window in (0, 8):
            runs = [row for row in rows if (row["tokenizer"], row["window"]) == (tokenizer, window)]
            print(f"window {window}: {statistics.mean(row['seconds'] / 60 for row in runs):.1f} min a run")
    keep("language_model_masked", {"rows": rows})


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed", "generation", "shakespeare", "masked"])
    parser.add_argument("data", nargs="?")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    options = parser.parse_args()
    if options.part in ("speed", "generation"):
        {"speed": speed, "generation": generation}[options.part]()
    elif options.data is None:
        parser.error(f"{options.part} needs the path of the text")
    else:
        {"shakespeare": shakespeare, "masked": masked}[options.part](options.data, options.out)


if __name__ == "__main__":
    main()
