# %% [markdown]
# # Every attention of any model, while it runs
# `heedful.watch` sees the attention of a model through the kernel that it really runs, and changes none of its numbers.
# Only queries and keys are kept; what is asked of a matrix is computed from them.

# %%
import torch
from torch import nn

import heedful
from heedful.models.vit import PatchTokenizer, VisionTransformer

torch.manual_seed(0)

# %% [markdown]
# ## A model of PyTorch's own layers

# %%
layer = nn.TransformerEncoderLayer(32, nhead=4, dim_feedforward=64, batch_first=True)
encoder = nn.TransformerEncoder(layer, num_layers=3, enable_nested_tensor=False).eval()
tokens = torch.randn(2, 50, 32)

with torch.no_grad(), heedful.watch(encoder) as seen:
    encoder(tokens)

print(seen)

# %% [markdown]
# A name gives the matrix of a module; it answers questions, and is never stored.

# %%
A = seen["layers.1.self_attn"]
print("shape", A.shape)
print("mean entropy of each head", A.entropy().mean((0, 2)))
print("a window of it", A[0, 0, :2, :5])

# %% [markdown]
# ## Which heads stand out, and what the output saw of the input

# %%
for module, head, value in seen.rank("entropy", largest=False)[:3]:
    print(f"{module}, head {head}: {value:.2f} nat")
print("what the last position saw of the first three:", seen.rollout().rows([-1])[0, 0, :3])

# %% [markdown]
# ## Only some modules, and long inputs
# `keep` names what is wanted. Beyond `budget` bytes, queries and keys go to files that are deleted with `seen`.

# %%
with torch.no_grad(), heedful.watch(encoder, keep=["layers.2"], budget=2**20) as seen:
    encoder(torch.randn(1, 4096, 32))
print([call.module for call in seen], seen[0].matrix.pool(2, 2)[0, 0])


# %% [markdown]
# ## Attention that a model writes by hand, and what cannot be seen
# A softmax whose result is multiplied by values is seen, with the weights that the model stores. One that goes another way is
# named.


# %%
class AttentionByHand(nn.Module):
    """softmax(x x^T) x, in four heads; or the sum of softmax over the keys up to each."""

    def __init__(self, summed: bool = False) -> None:
        super().__init__()
        self.summed = summed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, N, 32]` to the same."""
        heads = x.unflatten(-1, (4, 8)).transpose(1, 2)
        weights = (heads @ heads.mT).softmax(-1)
        return ((weights.cumsum(-1) if self.summed else weights) @ heads).transpose(1, 2).flatten(2)


model = nn.Sequential(encoder, AttentionByHand(), AttentionByHand(summed=True))
with torch.no_grad(), heedful.watch(model, keep=["1", "2"]) as seen:
    model(tokens)
print(seen)

# %% [markdown]
# ## Models of all kinds, and the same numbers as from stored weights
# Each model is made here with random weights. Every number that is asked of the matrices is compared with the same number
# of the weights themselves, stored as N x M tensors: those that the model gives where it can give them.


# %%
def stored(call: heedful.inspection.AttentionCall, given: torch.Tensor | None) -> torch.Tensor:
    """The weights `[B, H, N, M]`: the model's own, else by the textbook from what was seen."""
    if given is not None:
        return given
    A = call.matrix
    scores = A.query @ A.key.mT * A.query.shape[-1] ** -0.5
    rows, columns = torch.arange(A.shape[-2])[:, None], torch.arange(A.shape[-1])[None]
    return scores.masked_fill(~A.pattern.allowed(rows, columns, A.shape), -torch.inf).softmax(-1)


def furthest(call: heedful.inspection.AttentionCall, weights: torch.Tensor) -> float:
    """The largest difference between what the matrix says and what the stored weights say."""
    A, position = call.matrix, torch.arange(weights.shape[-1], dtype=weights.dtype)
    mean = (weights * position).sum(-1)
    half = weights.shape[-1] // 2
    pairs = [
        (A.dense(), weights),
        (A.entropy(), torch.special.entr(weights).sum(-1)),
        (A.max(), weights.amax(-1)),
        (A.effective_keys(), 1 / weights.square().sum(-1)),
        (A.received(), weights.sum(-2)),
        (A.group_mass(position < half), weights[..., :half].sum(-1)),
        (A.position_std(), (weights * (position - mean[..., None]) ** 2).sum(-1).sqrt()),
        (A.topk(2).mass, weights.topk(2).values.sum(-1)),
        (A.diagonal(-1), weights.diagonal(-1, -2, -1)),
        (A.pool(2, 2).sum(-1), torch.ones(*weights.shape[:2], 2)),
    ]
    return max(float((ours - theirs).abs().max()) for ours, theirs in pairs)


def compare(name: str, model: nn.Module, inputs: dict, weights: list[torch.Tensor] | None = None) -> None:
    """Watches a model, and prints how far its numbers are from those of stored weights."""
    with torch.no_grad():
        plain = model(**inputs)
        with heedful.watch(model) as seen:
            watched = model(**inputs)
    first, second = (out if isinstance(out, torch.Tensor) else out[0] for out in (plain, watched))
    given = weights if weights is not None else [None] * len(seen)
    off = max(furthest(call, stored(call, w)) for call, w in zip(seen, given, strict=True))
    kinds = ", ".join(sorted({call.kind for call in seen}))
    same = "to the last bit" if torch.equal(first, second) else "within rounding"
    print(f"{name:<20} {len(seen)} matrices ({kinds}), off by {off:.0e} at most; the model's output is the same {same}")


transformer = nn.Transformer(
    16, nhead=2, num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=32, batch_first=True
)
compare("torch.nn.Transformer", transformer.eval(), {"src": torch.randn(2, 9, 16), "tgt": torch.randn(2, 7, 16)})
vit = VisionTransformer(
    tokenizer=PatchTokenizer(channels=1, patch=2, width=16),
    positions=heedful.nn.LearnedPositions((4, 4), 16),
    encoder=heedful.nn.TransformerEncoder(width=16, heads=2, layers=2),
    pooling="class-token",
    channels=1,
    classes=3,
)
compare("heedful's ViT", vit.eval(), {"pictures": torch.rand(2, 1, 8, 8)})

# %% [markdown]
# Models of Hugging Face's library, if it is there. They run PyTorch's kernel here, which gives no weights; the same model with
# its slow attention does.

# %%
try:
    import transformers as hf
except ImportError:
    hf = None

if hf is not None:
    words = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    small = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 16, "num_attention_heads": 2}
    text = {"input_ids": torch.randint(3, 50, (2, 9))}
    both = {**text, "decoder_input_ids": torch.randint(3, 50, (2, 6))}
    sound = {"input_features": torch.randn(2, 8, 20), "decoder_input_ids": both["decoder_input_ids"]}
    whisper = hf.WhisperConfig(
        d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8, max_source_positions=10, max_target_positions=20,
        decoder_start_token_id=1, **words,
    )  # fmt: skip
    t5 = hf.T5Config(d_model=16, d_kv=8, num_layers=2, num_heads=2, d_ff=16, decoder_start_token_id=0, vocab_size=50)
    models = {
        "BERT": (hf.BertModel, hf.BertConfig(**small, **words), text),
        "GPT-2": (hf.GPT2LMHeadModel, hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, **words), text),
        "Llama": (hf.LlamaForCausalLM, hf.LlamaConfig(num_key_value_heads=1, **small, **words), text),
        "T5": (hf.T5ForConditionalGeneration, t5, both),
        "ViT": (
            hf.ViTModel,
            hf.ViTConfig(image_size=8, patch_size=4, **small),
            {"pixel_values": torch.randn(2, 3, 8, 8)},
        ),
        "Whisper": (hf.WhisperForConditionalGeneration, whisper, sound),
    }
    for name, (kind, config, inputs) in models.items():
        model = kind._from_config(config, attn_implementation="sdpa").eval()
        slow = kind._from_config(config, attn_implementation="eager").eval()
        slow.load_state_dict(model.state_dict())
        with torch.no_grad():
            out = slow(**inputs, output_attentions=True)
        weights = list(getattr(out, "attentions", None) or ())
        if not weights:
            pairs = zip(out.decoder_attentions, out.cross_attentions, strict=True)
            weights = [*out.encoder_attentions, *(w for pair in pairs for w in pair)]
        compare(f"Hugging Face's {name}", model, inputs, weights)
