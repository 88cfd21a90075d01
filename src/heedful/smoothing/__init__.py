"""Smoothing by self-similarity: attention with nothing learned.

smoother.py   the function, and what it gives
choice.py     the noise, and which settings have the least expected error
passes.py     one pass: windows of values as queries and keys, one call of the operator
"""

from heedful.smoothing.choice import Candidate, SmoothSettings
from heedful.smoothing.smoother import RowWeights, Smoothed, smooth

__all__ = ["Candidate", "RowWeights", "SmoothSettings", "Smoothed", "smooth"]
