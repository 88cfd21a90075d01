"""How a recording and the attention of its model become a section of a report: which frames decided, over the spectrogram."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from heedful.data.log_mel import SHIFT, WINDOW
from heedful.data.recordings import Recordings
from heedful.inspection import watch
from heedful.models.speaker import MOST_FRAMES, SpeakerNetwork
from heedful.report import AttentionSection, Positions, Sound, attention_section

if TYPE_CHECKING:
    from heedful.tasks.identify_speaker import IdentifySpeaker


def speaker_section(
    task: "IdentifySpeaker", model: SpeakerNetwork, recordings: Recordings, row: int
) -> AttentionSection:
    """Watches the model on one recording; all that is shown comes from its attention matrices, which are never stored."""
    features, name = recordings.features(row)[:MOST_FRAMES], recordings.names[row]
    rate = int(task.vocabulary["rate"])
    seconds = WINDOW + (len(features) - 1) * SHIFT
    samples = recordings.samples(row, rate)[: round(seconds * rate)]
    device = model.mean.device
    with torch.inference_mode(), watch(model) as recording:
        logits = model(features[None].to(device), torch.tensor([len(features)], device=device)).float().cpu()
    whole = len(features) == recordings.frames(row)
    sound = Sound(samples, rate, features.T.numpy(), seconds, "recording", len(features))
    predictions = task.target.ranked(logits[0])
    section = attention_section(
        recording,
        title=f"{name}: {predictions[0][0]}",
        text="The attention over frames tells which of them decided. The layers before show what each frame heard around it."
        + ("" if whole else " Of a long recording the first 30 s are shown."),
        axes=[sound, Positions(1, ["the decision"], "decision")],
    )
    truth = None if recordings.answers is None else recordings.answers[row]
    pooling = next(i for i, layer in enumerate(section.layers) if layer.name == "pool")
    opens = {"view": "input", "layer": str(pooling)}
    return replace(section, predictions=predictions, truth=truth, opens=opens)
