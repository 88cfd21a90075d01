# %% [markdown]
# # Every attention of any model, while it runs
# `heedful.watch` sees the attention of a model through the kernel that it really runs, and changes none of its numbers.
# Only queries and keys are kept; what is asked of a matrix is computed from them.

# %%
import torch
from torch import nn

import heedful

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
# ## What cannot be seen is said loudly
# Here attention is computed by hand, so that its query and key pass through no function that can be recognised.


# %%
class AttentionByHand(nn.Module):
    """softmax(x x^T) x, in four heads."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, N, 32]` to the same."""
        heads = x.unflatten(-1, (4, 8)).transpose(1, 2)
        return ((heads @ heads.mT).softmax(-1) @ heads).transpose(1, 2).flatten(2)


model = nn.Sequential(encoder, AttentionByHand())
with torch.no_grad(), heedful.watch(model, keep=["1"]) as seen:
    model(tokens)
print(seen)
