"""Questions to the matrix, in forward passes of PyTorch's attention; and looking into a whole model, beside its own weights."""

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

import heedful
from benchmarks._measure import keep, kept, paired, size, sizes
from benchmarks.operator import peak_of_this_process
from heedful.ops import AttentionMatrix, Causal

HEADS, WIDTH = 8, 64
RUNS = 3  # of a whole model; their median counts
# a question, and how many forward passes it may take
QUESTIONS = {
    "entropy": (1.15, lambda A: A.entropy()),
    "pool(64, 64)": (1.15, lambda A: A.pool(64, 64)),
    "mass of 8 groups": (1.15, lambda A: A.group_mass(torch.arange(A.shape[-1]) % 8)),
    "received": (2.5, lambda A: A.received()),
    "received, lse known": (1.4, lambda A: A.received()),
    "the full summary": (4.0, lambda A: A.summary()),
}


def summaries() -> list[dict[str, object]]:
    """Each question, for several lengths."""
    print("the matrix that is never stored: in forward passes of PyTorch's attention, H = 8, D = 64, float32")
    rows: list[dict[str, object]] = []
    for pattern, causal in ((heedful.Global(), False), (Causal(), True)):
        for n, long in ((size(2048), False), (size(8192), False), (size(32768), True)):
            q, k, v = (torch.randn(1, HEADS, n, WIDTH) for _ in range(3))
            known = AttentionMatrix(q, k, pattern=pattern)
            known.lse()
            floor = once(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal)) if long else 1.0  # noqa: B023
            for name, (target, ask) in QUESTIONS.items():

                def ours(name=name, ask=ask, q=q, k=k, known=known, pattern=pattern):
                    return ask(known if "known" in name else AttentionMatrix(q, k, pattern=pattern))

                def theirs(q=q, k=k, v=v, causal=causal):
                    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

                ratio = paired(ours, theirs, seconds=2).ratio if not long else once(ours) / floor
                rows.append({"pattern": repr(pattern), "n": n, "what": name, "target": target, "result": ratio})
                print(f"  {pattern!r:<9} N = {n:<6,} {name:<20} target {target:5.2f}  result {ratio:5.2f}", flush=True)
    return rows


def once(call: Callable[[], object]) -> float:
    """The median seconds of three calls, for what takes long enough to be timed by itself."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[1]


MODEL = """
import time, torch, transformers
from benchmarks.operator import peak_of_this_process
n, way = {n}, {way!r}
torch.manual_seed(0)
config = transformers.BertConfig(vocab_size=100, hidden_size=512, num_hidden_layers=6, num_attention_heads=8,
    intermediate_size=2048, max_position_embeddings=n, attn_implementation="eager" if way == "stored" else "sdpa")
model, tokens = transformers.BertModel(config).eval(), torch.randint(100, (1, n))
with torch.no_grad():
    model(tokens[:, :64])
before, start = peak_of_this_process(), time.perf_counter()
with torch.no_grad():
    if way == "plain":
        model(tokens)
    elif way == "stored":
        for A in model(tokens, output_attentions=True).attentions:
            entropy = -(A * A.clamp_min(1e-38).log()).sum(-1)
            largest, effective, first = A.amax(-1), 1 / A.square().sum(-1), A[..., 0]
            position = torch.arange(float(n))
            distance = (A * (position[:, None] - position).abs()).sum(-1)
            received = A.sum(-2)
            cells = A.unflatten(-1, (64, -1)).sum(-1).unflatten(-2, (64, -1)).mean(-2)
    else:
        import heedful
        with heedful.watch(model) as seen:
            model(tokens)
        if way == "summarized":
            for call in seen:
                call.matrix.summary()
print(time.perf_counter() - start, (peak_of_this_process() - before) / 1000)
"""


def model(n: int, way: str) -> tuple[float, float] | None:
    """Seconds and MB that a 6-layer model takes in a process of its own; None where it does not come to an end."""
    done = subprocess.run(
        [sys.executable, "-c", MODEL.format(n=n, way=way)], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (20 * 10**9, 20 * 10**9)),
    )  # fmt: skip
    if done.returncode:
        return None
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def models() -> list[dict[str, object]]:
    """A whole model's summaries, beside the same statistics of the weights that it gives itself."""
    print(
        "a BERT of 6 layers, 8 heads, width 512: statistics of all layers through its own kernel, and of stored weights"
    )
    rows: list[dict[str, object]] = []
    for n in sizes(2048, 4096, 8192):
        found = {way: [model(n, way) for _ in range(RUNS)] for way in ("plain", "watched", "summarized", "stored")}
        line: dict[str, object] = {"n": n}
        for way, runs in found.items():
            ended = sorted(run for run in runs if run is not None)
            line[way] = ended[len(ended) // 2] if ended else None
            words = "does not end within 20 GB" if not ended else "{:.2f} s, {:.0f} MB".format(*ended[len(ended) // 2])
            print(f"  N = {n:<6,} {way:<11} {words}", flush=True)
        rows.append(line)
    return rows


def watching() -> list[dict[str, object]]:
    """What it costs to watch a model without asking for anything, in one process."""
    import transformers

    rows: list[dict[str, object]] = []
    for n in sizes(512, 2048):
        config = transformers.BertConfig(
            vocab_size=100, hidden_size=512, num_hidden_layers=6, num_attention_heads=HEADS, intermediate_size=2048,
            max_position_embeddings=n,
        )  # fmt: skip
        model, tokens = transformers.BertModel(config).eval(), torch.randint(100, (1, n))

        def watched(model=model, tokens=tokens):
            with heedful.watch(model):
                model(tokens)

        with torch.no_grad():
            ratio = paired(watched, lambda: model(tokens), seconds=30).ratio  # noqa: B023
        rows.append({"n": n, "target": 1.05, "result": ratio})
        print(f"  watching alone, N = {n:<6,} target 1.05  result {ratio:.3f}", flush=True)
    return rows


def generating() -> list[dict[str, object]]:
    """A generation under a watch: what it keeps beside the model's own cache, and its time."""
    import transformers

    rows: list[dict[str, object]] = []
    width, layers, prompt, new = size(768), 4, size(1000), size(200)
    heads = max(width // 64, 2)
    common = {"vocab_size": 1000, "bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
    models = {
        "GPT-2": transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=width, n_layer=layers, n_head=heads, n_positions=2048, **common)
        ),
        "Llama": transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads // 2,
                intermediate_size=3 * width, **common,
            )
        ),
    }  # fmt: skip
    for name, model in models.items():
        model.eval()
        tokens = torch.randint(1000, (1, prompt))
        kept = []

        def plain(model=model, tokens=tokens):
            return model.generate(
                tokens, max_new_tokens=new, do_sample=False, return_dict_in_generate=True,
                attention_mask=torch.ones_like(tokens),
            )  # fmt: skip

        def watched(model=model, plain=plain, kept=kept):
            with heedful.watch(model) as recording:
                out = plain()
            cache = sum(t.nbytes for layer in out.past_key_values.layers for t in (layer.keys, layer.values))
            sequences = {id(call.cached.calls): call.cached.calls for call in recording}.values()
            kept[:] = [sum(t.untyped_storage().nbytes() for one in sequences for t in (one.query, one.key)) / cache]

        ratio = paired(watched, plain, seconds=60).ratio
        rows.append({"model": name, "prompt": prompt, "new": new, "memory": kept[0], "time": ratio})
        print(
            f"  {name}, {prompt:,} + {new} tokens  memory {kept[0]:.2f} of the cache (at most 2), time {ratio:.2f} (1.3)"
        )
    return rows


LONG = """
import torch
from benchmarks.operator import peak_of_this_process
from heedful.ops import AttentionMatrix
q, k = (torch.randn(1, 8, {n}, 64) for _ in range(2))
before = peak_of_this_process()
AttentionMatrix(q, k).summary()
print((peak_of_this_process() - before) / 1000)
"""


def long() -> dict[str, object]:
    """The full summary of 65,536 positions, in a process of its own."""
    n, start = size(65536), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", LONG.format(n=n)], capture_output=True, text=True, check=True)
    seconds, megabytes = time.perf_counter() - start, float(done.stdout)
    print(f"N = {n:,}, 8 heads, the full summary: {seconds:.0f} s, {megabytes:.0f} MB")
    return {"seconds": seconds, "memory_mb": megabytes}


PARTS = {"summaries": summaries, "at_65536": long, "models": models, "watching": watching, "generating": generating}


def main(names: Sequence[str] = tuple(PARTS)) -> None:
    """Prints the tables, keeps results/matrix.json; of other parts than these, what was measured before."""
    torch.manual_seed(0)
    found = kept("matrix")
    for name in names:
        keep("matrix", found := {**found, name: PARTS[name]()})
    print(f"kept in results/matrix.json; peak of this process {peak_of_this_process() / 1000:.0f} MB")
