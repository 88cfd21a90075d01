"""Looking inside: `watch` a model while it runs, and ask its attention matrices, which are never stored.

watch.py      any model: which module attended, and its matrix
seen.py       what was seen: a sequence of calls, a table, a ranking of heads
capture/      the ways of seeing, one a file
heads.py      what kind a head is
storage.py    a watch that is kept in a folder
masks.py      from a mask to a pattern
summary.py    a line of numbers a head
rollout.py    what the output saw of the input, through all layers
report/       one HTML file
"""

from heedful.inspection.heads import HeadKind, HeadKinds, head_kinds
from heedful.inspection.masks import recognize
from heedful.inspection.rollout import Rollout, rollout
from heedful.inspection.seen import Missed, Ranked, Seen, SeenAttention, load_watch
from heedful.inspection.summary import HeadSummary, summarize
from heedful.inspection.watch import watch

__all__ = [
    "HeadKind",
    "HeadKinds",
    "HeadSummary",
    "Missed",
    "Ranked",
    "Rollout",
    "Seen",
    "SeenAttention",
    "head_kinds",
    "load_watch",
    "recognize",
    "rollout",
    "summarize",
    "watch",
]
