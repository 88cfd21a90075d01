"""Who may see whom. True = may attend, everywhere.

A pattern is a value; patterns combine by `&`, `|` and `~`. None of them holds N x M numbers (but `Mask`, which is given
them): each says what is visible at the places that it is asked about.
"""

from heedful.ops.patterns.base import And, Not, Or, Pattern
from heedful.ops.patterns.grid import Axial, Neighborhood2d
from heedful.ops.patterns.marks import Documents, GlobalTokens, Mask
from heedful.ops.patterns.sequence import Causal, Dilated, Global, Lengths, Local, Prefix, all_of

__all__ = [
    "And",
    "Axial",
    "Causal",
    "Dilated",
    "Documents",
    "Global",
    "GlobalTokens",
    "Lengths",
    "Local",
    "Mask",
    "Neighborhood2d",
    "Not",
    "Or",
    "Pattern",
    "Prefix",
    "all_of",
]
