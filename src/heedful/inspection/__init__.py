"""Looking inside: `watch` a model while it runs, and ask its attention matrices, which are never stored.

watch.py             any model: which module attended, and its matrix
calls.py             what is recorded: calls of attention, and what was expected but not seen
cached.py            calls that go on with a cache: each key is kept once
joined.py            the calls of a generation as one
recording.py         the whole recording: a sequence of calls, a table, a ranking of heads
capture/             the ways of capturing calls, one a file
heads.py             what kind a head is
head_statistics.py   the scores by which kinds are told apart
tokens.py            tokens as people give them
storage.py           a watch that is saved in a folder
masks.py             from a mask to a pattern
summary.py           a line of numbers a head
token_times.py       when a speech model heard its tokens
windows.py           numbers that are added within windows
rollout.py           attention from the output to the input, through all layers
"""

from heedful.inspection.calls import AttentionCall, RankedHead, Unseen
from heedful.inspection.heads import HeadKind, HeadKinds, head_kinds
from heedful.inspection.masks import recognize
from heedful.inspection.recording import Recording, load_watch
from heedful.inspection.rollout import Rollout, rollout
from heedful.inspection.summary import HeadSummary, summarize
from heedful.inspection.watch import watch

__all__ = [
    "AttentionCall",
    "HeadKind",
    "HeadKinds",
    "HeadSummary",
    "RankedHead",
    "Recording",
    "Rollout",
    "Unseen",
    "head_kinds",
    "load_watch",
    "recognize",
    "rollout",
    "summarize",
    "watch",
]
