"""Looking inside: `watch` a model while it runs, and ask its attention matrices, which are never stored.

watch.py      capture: which module attended, and its matrix
summary.py    a line of numbers a head
rollout.py    what the output saw of the input, through all layers
report/       one HTML file
"""

from heedful.inspection.rollout import rollout
from heedful.inspection.summary import HeadSummary, summarize
from heedful.inspection.watch import Seen, SeenAttention, watch

__all__ = ["HeadSummary", "Seen", "SeenAttention", "rollout", "summarize", "watch"]
