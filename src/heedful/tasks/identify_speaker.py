"""identify-speaker: who speaks, or any label of a recording; whether two recordings are of one speaker.

data         heedful/data/recordings.py: tables, folders, archives, Kaldi, LibriSpeech, Common Voice, tones; features: log_mel.py
model        heedful/models/speaker.py
loss         cross entropy of cosines with an angular margin, on crops with noise and another loudness (speaker_augmentation.py)
score        that of one label (classification.py); the equal error rate of all pairs (verification.py)
view         heedful/tasks/views/speaker.py: which frames decided, over the spectrogram
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from heedful.data.batches import BucketBatches, LengthBatches
from heedful.data.inputs import InputKind
from heedful.data.recordings import Recordings, read_recordings, read_unlabeled_recordings
from heedful.data.splits import EveryTenth
from heedful.data.targets import ONE_LABEL
from heedful.models.speaker import MOST_FRAMES, SpeakerNetwork, angular_margin
from heedful.tasks.classification import OneLabel
from heedful.tasks.contract import TRAINING, Embedded, Reading, Rows, Scores, Task
from heedful.tasks.forward_pass import ForwardPass, Layout, Operand, of_target
from heedful.tasks.identify_speaker_settings import IdentifySpeakerSettings, SpeakerOptions, SpeakerVocabulary
from heedful.tasks.sound_settings import learned, padded, prepared
from heedful.tasks.speaker_augmentation import changed, cropped
from heedful.tasks.speaker_predictions import UNKNOWN, Identification
from heedful.tasks.targets import BaselineFeatures
from heedful.tasks.verification import equal_error, pair_scores
from heedful.training.objective import Batches, Mean
from heedful.training.settings import epochs_for

_TONES = ("training.epochs=10", "augmentation.crop=[0.4, 1.0]")  # about a minute
_TOGETHER = 12_000  # frames that are computed together
_LEAST = 1  # frames of a recording

Batch = tuple[list[Tensor], Tensor]  # features, labels


class IdentifySpeaker(Task[Recordings]):
    """Who speaks, or any label of a recording."""

    name = "identify-speaker"
    example, unit, input = "recording", "recordings", InputKind.AUDIO
    Settings, Options, Vocabulary = IdentifySpeakerSettings, SpeakerOptions, SpeakerVocabulary
    split = EveryTenth(lambda recordings: recordings.answers or ())
    embedded = {"tones": Embedded(("train", "valid", "test"), _TONES)}
    monitor = "accuracy"

    def __init__(self, settings: IdentifySpeakerSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        fitted = vocabulary.get("calibration")
        temperature = None if fitted is None else {"temperature": fitted["temperature"]}
        self.classes = list(vocabulary["classes"])
        self.target = OneLabel(ONE_LABEL, {**vocabulary, "calibration": temperature})
        self.threshold = 0.5 if fitted is None else float(fitted["threshold"])

    @classmethod
    def read(cls, source: Any, settings: IdentifySpeakerSettings, reading: Reading = TRAINING) -> Recordings:
        data, known = settings.data, reading.vocabulary
        rate = data.rate if known is None else known["rate"]
        if not reading.labeled:
            found = read_recordings(
                source, "label", path=data.path, part=reading.part, labeled=False, rate=rate, skip=data.skip
            )
        else:
            found = read_recordings(
                source, "label", path=data.path, column=data.speaker, part=reading.part, rate=rate,
                known=() if known is None else known["classes"], skip=data.skip,
            )  # fmt: skip
        return prepared(found, data, known, least=_LEAST)

    @classmethod
    def adapt(cls, training: Recordings, settings: IdentifySpeakerSettings) -> Mapping[str, Any]:
        return {"training.epochs": epochs_for(len(training), settings.training, usual=20, steps=800)}

    @classmethod
    def learn(cls, training: Recordings, settings: IdentifySpeakerSettings) -> dict[str, Any]:
        return OneLabel.learn(list(training.answers or ()), settings, None) | learned(training)

    @classmethod
    def extend(cls, training: Recordings, settings: IdentifySpeakerSettings, base: Self) -> dict[str, Any]:
        known = {name: base.vocabulary[name] for name in ("rate", "bands", "mean", "std")}
        mine = cls.learn(training, settings)
        return mine | known if (mine["rate"], mine["bands"]) == (known["rate"], known["bands"]) else mine

    def describe(self) -> str:
        return self.target.describe()

    def check(self, examples: Recordings) -> None:
        self.target.check(zip(examples.answers or (), examples.locations, strict=True))

    def build(self) -> SpeakerNetwork:
        model = SpeakerNetwork(
            classes=len(self.classes), bands=self.vocabulary["bands"], scale=self.settings.loss.scale,
            **self.settings.model.model_dump(),
        )  # fmt: skip
        model.mean.copy_(torch.tensor(self.vocabulary["mean"]))
        model.std.copy_(torch.tensor(self.vocabulary["std"]))
        return model

    def rows(self) -> Mapping[str, Rows]:
        return {"head.weight": Rows("labels", self.classes)}

    def batches(self, examples: Recordings, *, training: bool) -> Batches:
        settings, targets = self.settings.training, self.target.encode(list(examples.answers or ()))

        def make(rows: list[int]) -> Batch:
            return [examples.features(row) for row in rows], targets[rows]

        lengths, size = [examples.frames(row) for row in range(len(examples))], int(settings.batch_size)
        if training:
            return Batches(make, BucketBatches([1] * len(lengths), size, settings.seed))
        return Batches(make, LengthBatches([min(length, MOST_FRAMES) for length in lengths], _TOGETHER))

    def loss(self, model: SpeakerNetwork, batch: Batch, optimizer: str) -> Tensor:
        features, targets = batch
        frames, lengths = padded(cropped(features, self.settings.augmentation))
        frames, lengths = (
            one.to(targets.device) for one in (changed(frames, lengths, self.settings.augmentation), lengths)
        )
        cosines = model.cosines(model.embed(frames, lengths))
        settings = self.settings.loss
        logits = model.scale * angular_margin(cosines, targets, settings.margin)
        return self.target.loss(logits, targets, settings.label_smoothing).mean()

    def validate(self, model: SpeakerNetwork, batch: Batch) -> Mapping[str, Mean]:
        features, targets = batch
        return self.target.means(
            model.scale * model.cosines(self.embed(model, features)), targets, self.settings.loss.label_smoothing
        )

    def predict(
        self, model: SpeakerNetwork, inputs: Sequence[Any], options: Any, numbers: Sequence[int] | None = None
    ) -> list[Identification]:
        options = options or SpeakerOptions()
        recordings = self.recordings(inputs)
        vectors = self.vectors(model, recordings)
        told = vectors.tolist() if options.embedding else [None] * len(vectors)
        names = recordings.names
        if options.verify is not None:
            other = self.vectors(model, self.recordings([options.verify])).mean(0)
            rows = zip(names, (vectors @ F.normalize(other, dim=0)).tolist(), told, strict=True)
            return [
                Identification(
                    name, "same" if score >= self.threshold else "different", score=score, threshold=self.threshold,
                    other=options.verify, embedding=one,
                )
                for name, score, one in rows
            ]  # fmt: skip
        if options.enroll:
            return self._of_enrolled(model, names, vectors, told, options.enroll)
        with torch.inference_mode():
            logits = model.scale * model.cosines(vectors)
        found = self.target.predictions(names, logits, options)
        return [
            Identification(
                one.input, one.label, one.probability, one.runner_up, one.runner_up_probability,
                candidates=one.candidates, embedding=row, uncalibrated=one.uncalibrated, vector=tuple(vector),
            )
            for one, row, vector in zip(found, told, vectors.tolist(), strict=True)
        ]  # fmt: skip

    def _of_enrolled(
        self, model: SpeakerNetwork, names: Sequence[str], vectors: Tensor, told: Sequence[Any], enrolled: Sequence[str]
    ) -> list[Identification]:
        """The most alike of the speakers that are enrolled, each the mean of its recordings; one that is like none is unknown."""
        files: dict[str, list[str]] = {}
        for word in enrolled:
            name, _, file = word.partition("=")
            files.setdefault(name.strip(), []).append(file.strip())
        means = torch.stack([self.vectors(model, self.recordings(some)).mean(0) for some in files.values()])
        best = (vectors @ F.normalize(means, dim=1).T).topk(min(2, len(files)))
        speakers, predictions = list(files), []
        for name, scores, order, one in zip(names, best.values.tolist(), best.indices.tolist(), told, strict=True):
            label = speakers[order[0]] if scores[0] >= self.threshold else UNKNOWN
            second = f"{speakers[order[1]]} {scores[1]:.3f}" if len(order) > 1 else None
            predictions.append(
                Identification(name, label, runner_up=second, score=scores[0], threshold=self.threshold, embedding=one)
            )
        return predictions

    def vectors(self, model: SpeakerNetwork, recordings: Recordings) -> Tensor:
        """The embedding of each recording, `[n, E]`."""
        assert recordings.store is not None
        rows = sorted(range(len(recordings)), key=recordings.frames)
        found: dict[int, Tensor] = {}
        order = LengthBatches([min(recordings.frames(row), MOST_FRAMES) for row in rows], _TOGETHER)
        with torch.inference_mode():
            for batch in order:
                some = [rows[number] for number in batch]
                features = [recordings.features(row) for row in some]
                found.update(zip(some, self.embed(model, features), strict=True))
        return torch.stack([found[row] for row in range(len(recordings))]).float().cpu()

    def embed(self, model: SpeakerNetwork, features: Sequence[Tensor]) -> Tensor:
        """Of features `[frames, bands]` each; a long recording is heard in pieces of equal length, of which the mean counts."""
        device = model.mean.device
        pieces = [one.tensor_split(-(-len(one) // MOST_FRAMES)) for one in features]
        if all(len(some) == 1 for some in pieces):
            frames, lengths = padded([one[0] for one in pieces])
            return model.embed(frames.to(device), lengths.to(device))
        means = []
        for some in pieces:
            batches = [padded(list(some[at : at + 4])) for at in range(0, len(some), 4)]
            vectors = [model.embed(frames.to(device), lengths.to(device)) for frames, lengths in batches]
            means.append(F.normalize(torch.cat(vectors).mean(0), dim=0))
        return torch.stack(means)

    def calibrate(self, model: SpeakerNetwork, examples: Recordings) -> dict[str, Any]:
        vectors, answers = self.vectors(model, examples), list(examples.answers or ())
        with torch.inference_mode():
            logits = model.scale * model.cosines(vectors)
        fitted = self.target.calibrate(logits, answers)
        same, different = pair_scores(vectors.numpy(), answers)
        if not len(same) or not len(different):
            return {**fitted, "threshold": 0.5, "equal_error_rate": None}
        error = equal_error(same, different)
        return {**fitted, "threshold": error.threshold, "equal_error_rate": error.rate}

    def forward_pass(self) -> ForwardPass:
        axes = ("batch", "frames", self.vocabulary["bands"])
        holds = (
            f"log-mel features of sound at {self.vocabulary['rate']} samples a second, a frame each 10 ms; 0 padding"
        )
        operands = {
            "features": Operand(axes, holds),
            "lengths": Operand(("batch",), "how many frames of each recording are no padding"),
        }
        layout = Layout(operands, padded, lambda *tensors: tensors)
        one = of_target(self.target, layout)

        def compute(model: SpeakerNetwork, batch: Any) -> Tensor:
            return self.target.values(model(*(padded(batch) if isinstance(batch, list) else batch)))

        return ForwardPass(layout, compute, one.name, one.output, files=one.files)

    def inputs(self, examples: Recordings) -> Sequence[Recordings]:
        return [examples]

    def score(self, predictions: Sequence[Any], examples: Recordings) -> Scores:
        answers = list(examples.answers or ())
        scores = self.target.score(predictions, answers)
        vectors = [getattr(one, "vector", ()) for one in predictions]
        if not all(vectors):
            return scores
        same, different = pair_scores(np.array(vectors), answers)
        if not len(same) or not len(different):
            return scores
        error = equal_error(same, different)
        pairs = {"equal_error_rate": error.rate, "threshold": error.threshold, "pairs": len(same) + len(different)}
        words = f"of {pairs['pairs']:,} pairs of recordings, the equal error rate is {100 * error.rate:.1f} %."
        details = {**scores.details, "verification": pairs}
        return scores._replace(details=details, note=f"{scores.note} {words}".strip())

    def baselines(self, training: Recordings, examples: Recordings) -> Mapping[str, list[Any]]:
        seen, others = (_statistics(one) for one in (training, examples))
        mean, std = seen.mean(0), seen.std(0) + 1e-6
        features = BaselineFeatures((seen - mean) / std, (others - mean) / std, "", {"max_iter": 1000})
        return self.target.baselines(examples.names, list(training.answers or ()), features)

    def expected(self, example: Recordings) -> str:
        return (example.answers or ("",))[0]

    def inspect(self, model: SpeakerNetwork, inputs: Sequence[Any]) -> list[Any]:
        from heedful.tasks.views.speaker import speaker_section

        recordings = self.recordings(inputs)
        return [speaker_section(self, model, recordings, row) for row in range(len(recordings))]

    def recordings(self, inputs: Sequence[Any]) -> Recordings:
        """Recordings that were read already, or those of paths, streams and samples, with the features that the model takes."""
        if len(inputs) == 1 and isinstance(inputs[0], Recordings):
            return inputs[0]
        found = read_unlabeled_recordings(inputs, rate=self.vocabulary["rate"])
        return prepared(found, self.settings.data, self.vocabulary, least=_LEAST)


def _statistics(recordings: Recordings) -> Any:
    """The mean and the deviation of each band over a recording, `[n, 2 * bands]`."""
    rows = []
    for row in range(len(recordings)):
        frames = recordings.features(row).double()
        rows.append(torch.cat([frames.mean(0), frames.std(0, correction=0)]))
    return torch.stack(rows).numpy()
