"""Shapes in signatures: jaxtyping's names where it has been imported (tests with `--shapes` do), plain tensors otherwise.

The legend, for the whole package: B batch, H heads, G key/value heads, N queries, M keys, D width, E value width.
"""

import sys
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int, UInt8
else:

    class _Unchecked:
        def __getitem__(self, item: tuple[Any, str]) -> Any:
            return item[0]

    Bool = Float = Int = UInt8 = _Unchecked()

__all__ = ["Bool", "ColumnIndex", "Float", "Int", "Keys", "Queries", "RowIndex", "Tensor", "UInt8", "Values"]

Queries = Float[Tensor, "... N D"]
Keys = Float[Tensor, "... M K"]
Values = Float[Tensor, "... M E"]
RowIndex = Int[Tensor, "*#tiles n 1"]  # places of rows of the matrix, of each tile
ColumnIndex = Int[Tensor, "*#tiles 1 m"]
