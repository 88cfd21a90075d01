"""Ways of capturing attention while a model runs, one a file.

recorder.py         what all of them hand their calls to: names, copies, checks against the output
patch.py            a patch of a library that several watches share
torch_functions.py  the calls of PyTorch that a torch function mode passes on
heedful_.py         `heedful.attention`
sdpa.py             `scaled_dot_product_attention`
multihead.py        `multi_head_attention_forward`, and PyTorch's fast path
transformers_.py    what Hugging Face's attention interface hands out
implementation.py   heedful as an attention implementation of Hugging Face's models
flash.py            `flash_attn` (experimental)
by_hand.py          a softmax whose result is multiplied by values
unseen.py           what was expected but not seen
"""

__all__: list[str] = []
