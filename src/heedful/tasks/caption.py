"""caption: a sentence for a picture.

data         heedful/data/captions.py: COCO, Flickr8k, Flickr30k, tables; `shapes`, embedded: heedful/data/shape_scenes.py
model        heedful/models/captioner.py: a reader of pictures, and a decoder with soft or hard attention, or a Transformer
loss         cross entropy of the next token, smoothed: heedful/tasks/caption_generation.py; hard: heedful/models/seq2seq_hard.py
metrics      CIDEr-D (heedful/tasks/cider.py), BLEU and chrF, with several references; of shapes the share of captions that are true
view         heedful/tasks/views/generation.py: for each word, where in the picture the model looked
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor

from heedful._errors import SettingsError
from heedful.data.captions import CaptionedImages, NamedPicture, read_captions, read_without_captions
from heedful.data.inputs import InputKind
from heedful.data.splits import EveryTenth
from heedful.models.seq2seq_base import SequenceToSequence
from heedful.tasks.bleu import bleu_metric
from heedful.tasks.caption_baselines import caption_baselines
from heedful.tasks.caption_generation import CaptionGenerator
from heedful.tasks.caption_settings import CaptionSettings, CaptionVocabulary
from heedful.tasks.cider import cider_d
from heedful.tasks.contract import TRAINING, Embedded, Metric, Reading, Rows, Scores, Task
from heedful.tasks.image_settings import size_of
from heedful.tasks.text_generation import Generated, GenerationOptions, learn_tokenizer, one_line
from heedful.tasks.vocabularies import extended, token_rows
from heedful.training.objective import Batches, Mean
from heedful.training.settings import epochs_for

_MANY = 50_000  # captions, which need less dropout
_SHAPES = (
    "model.stages=[16, 32]", "model.width=64", "model.dropout=0.0", "loss.label_smoothing=0.0", "training.epochs=8",
    "training.reader_epochs=3", "training.captions=2", "training.learning_rate=5e-3", "search.beams=2",
)  # fmt: skip


class Caption(Task[CaptionedImages]):
    """A sentence for a picture."""

    name = "caption"
    example, unit, input = "picture", "pictures", InputKind.IMAGE
    Settings, Options, Vocabulary = CaptionSettings, GenerationOptions, CaptionVocabulary
    split = EveryTenth(at_most=1000)
    embedded = {
        "shapes": Embedded(("train", "valid", "test"), _SHAPES, "shapes whose combinations the training knows, too")
    }

    def __init__(self, settings: CaptionSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.generator = CaptionGenerator(settings, vocabulary)

    @classmethod
    def read(cls, source: Any, settings: CaptionSettings, reading: Reading = TRAINING) -> CaptionedImages:
        data, known = settings.data, reading.vocabulary
        size = tuple(known["size"]) if known else size_of(data.size)
        if not reading.labeled:
            return read_without_captions(source, size=size)
        if data.path == data.caption:
            raise SettingsError(f"`data.caption`: must be another one than data.path: got {data.path!r} for both.")
        return read_captions(
            source, part=reading.part, columns=(data.path, data.caption), size=size, max_words=data.max_words, skip=data.skip,
            **data.kept,
        )  # fmt: skip

    @classmethod
    def adapt(cls, training: CaptionedImages, settings: CaptionSettings) -> Mapping[str, Any]:
        captions = training.captions or ()
        characters = sum(len(text) for texts in captions for text in texts)
        return {
            "data.vocabulary_size": int(min(max(round(2 * math.sqrt(characters), -2), 500), 8000)),
            "model.dropout": 0.3 if sum(map(len, captions)) < _MANY else 0.1,
            "training.epochs": epochs_for(len(training), settings.training, usual=30, steps=2000),
        }

    @classmethod
    def learn(cls, training: CaptionedImages, settings: CaptionSettings) -> dict[str, Any]:
        texts = [text for texts in training.captions or () for text in texts]
        tokenizer = learn_tokenizer(settings.data, texts)
        lower = [text.lower() for text in texts] if settings.data.lowercase else texts
        some = training.images[:: max(len(training) // 1000, 1)].float() / 255
        return {
            "tokenizer": tokenizer.save(), "max_target_length": max(map(len, tokenizer.encode_batch(lower))),
            "size": list(training.images.shape[2:]), "mean": some.mean((0, 2, 3)).tolist(),
            "std": some.std((0, 2, 3)).clamp_min(1e-3).tolist(),
        }  # fmt: skip

    @classmethod
    def extend(cls, training: CaptionedImages, settings: CaptionSettings, base: Self) -> dict[str, Any]:
        learned, known = extended(cls.learn(training, settings), settings, base), base.vocabulary
        longest = max(known["max_target_length"], learned["max_target_length"])
        return learned | {name: known[name] for name in ("mean", "std")} | {"max_target_length": longest}

    def describe(self) -> str:
        return self.generator.describe()

    def check(self, examples: CaptionedImages) -> None:
        """Pictures are read as the model takes them; each caption can be cut into tokens."""

    def build(self) -> SequenceToSequence:
        return self.generator.build()

    def prepare(self, model: SequenceToSequence, training: CaptionedImages, validation: CaptionedImages) -> list[str]:
        self.generator.prepare_reader(model, training)
        return []

    def rows(self) -> Mapping[str, Rows]:
        return token_rows(self.generator.tokenizer)

    def batches(self, examples: CaptionedImages, *, training: bool) -> Batches:
        return self.generator.caption_batches(examples, training=training)

    def loss(self, model: SequenceToSequence, batch: Any, optimizer: str) -> Tensor:
        return self.generator.loss(model, batch)

    def validate(self, model: SequenceToSequence, batch: Any) -> Mapping[str, Mean]:
        return self.generator.validate(model, batch[:2])

    def predict(
        self,
        model: SequenceToSequence,
        inputs: Sequence[Any],
        options: GenerationOptions,
        numbers: Sequence[int] | None = None,
    ) -> list[Generated]:
        return self.generator.predict(model, self._pictures(inputs), options, numbers)

    def _pictures(self, inputs: Sequence[Any]) -> list[NamedPicture]:
        """Pictures that were read already, or what paths, streams and arrays hold."""
        if all(isinstance(one, NamedPicture) for one in inputs):
            return list(inputs)
        return read_without_captions(inputs, size=self.generator.size).pictures()

    def inputs(self, examples: CaptionedImages) -> Sequence[NamedPicture]:
        return examples.pictures()

    def score(self, predictions: Sequence[Generated], examples: CaptionedImages) -> Scores:
        assert examples.captions is not None
        from sacrebleu.metrics.chrf import CHRF

        lowercase = self.settings.data.lowercase
        outputs = [prediction.to_format() for prediction in predictions]
        references = [[one_line(text) for text in texts] for texts in examples.captions]
        most = max(map(len, references))
        streams: Any = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
        bleu, chrf = bleu_metric("auto", streams[0], lowercase=lowercase), CHRF(lowercase=lowercase)
        plain = str.lower if lowercase else str
        said = [plain(output) in map(plain, texts) for output, texts in zip(outputs, references, strict=True)]
        metrics = {
            "cider_d": Metric(cider_d(outputs, references), "of 10"),
            "bleu": Metric(bleu.corpus_score(outputs, streams).score, "of 100"),
            "chrf": Metric(chrf.corpus_score(outputs, streams).score, "of 100"),
        }
        share = {"true" if examples.complete else "exact_match": Metric(sum(said) / len(said))}
        metrics = share | metrics if examples.complete else metrics | share
        return Scores(metrics, {"signatures": {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}})

    def baselines(self, training: CaptionedImages, examples: CaptionedImages) -> Mapping[str, list[Generated]]:
        return {
            name: list(map(Generated, examples.names, outputs))
            for name, outputs in caption_baselines(training, examples).items()
        }

    def expected(self, example: CaptionedImages) -> str:
        return (example.captions or ((),))[0][0]

    def inspect(self, model: SequenceToSequence, inputs: Sequence[Any]) -> list[Any]:
        from heedful.tasks.views.generation import generated_section

        return [generated_section(self.generator, model, picture) for picture in self._pictures(inputs)]
