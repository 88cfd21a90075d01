"""How a history and the attention of a recommender become a section of a report."""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from heedful.inspection import watch
from heedful.report import AttentionSection, Positions, Text, attention_section
from heedful.tasks.history_inputs import GivenHistory
from heedful.tasks.views._common import most_probable, occlusion_layer, shortened, with_rows

if TYPE_CHECKING:
    from heedful.tasks.recommend import Recommend

_SHOWN = 5  # items that are said to matter most


def recommended_section(task: "Recommend", model: Any, history: GivenHistory) -> AttentionSection:
    """Which items of a history made the first recommendation, and what each attends to."""
    most = task.settings.data.max_length
    seen = replace(history, items=history.items[-most:], times=history.times[-most:])
    found = task.recommend(model, history)
    with torch.no_grad(), watch(model) as recording:
        scores = model(task.batch(seen))[0].float()
    if task.settings.measure.seen == "removed":
        scores[torch.from_numpy(history.items)] = -torch.inf
    best = int(scores.argmax())
    drops = _drops(task, model, seen, best)
    items = [task.items[number] for number in seen.items.tolist()]
    section = attention_section(recording, title=shortened(history.name), axes=[Text(items, name="history")])
    following = [f"{item} → {after}" for item, after in pairwise([*items, task.items[best]])]
    section = with_rows(section, following, "rows")
    decision = Positions(1, ["the recommendation"], "recommendation")
    order = drops.abs().argsort(descending=True)[:_SHOWN].tolist()
    words = ", ".join(f"{items[i]} {drops[i]:+.2f}" for i in order)
    skipped = f" Unknown, and skipped: {', '.join(history.unknown)}." if history.unknown else ""
    layers = [
        occlusion_layer(drops, effect, "recommendation", rows=len(section.axes)) for effect in ("supports", "opposes")
    ]
    return replace(
        section,
        axes=[*section.axes, decision],
        text=f"{task.items[best]}: its score falls without an item of the history by {words}.{skipped} "
        "Each row is an item and the next one; the columns are the items that the model attends to, to predict that.",
        layers=[*layers, *section.layers],
        predictions=most_probable(task.items, scores.softmax(-1)),
        output=str(found),
    )


def _drops(task: "Recommend", model: Any, history: GivenHistory, item: int) -> Tensor:
    """By how much the score of an item falls when one item of the history is left out; of the only one, its whole score."""
    count = len(history.items)
    whole = task.scores(model, [history], item)
    if count == 1:
        return whole
    without = [
        replace(history, items=np.delete(history.items, i), times=np.delete(history.times, i)) for i in range(count)
    ]
    return whole - task.scores(model, without, item)
