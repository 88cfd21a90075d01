"""Generates captions: what translation has, with a picture in the place of the source."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.data.batch_types import TokenBatch
from heedful.data.batches import SequentialBatches, ShuffledBatches, padded_tokens
from heedful.data.captions import CaptionedImages, NamedPicture
from heedful.data.stored_images import workers_of
from heedful.data.text import load_tokenizer
from heedful.models.captioner import captioner
from heedful.models.seq2seq_base import SequenceToSequence
from heedful.models.seq2seq_hard import HardRecurrent
from heedful.models.word_loss import word_loss
from heedful.ops import Hard
from heedful.tasks.caption_augmentation import augmented
from heedful.tasks.text_generation import SearchGroup, TextGenerator
from heedful.training.objective import Batches

_MAX_ROWS = 128  # captions, once for each beam, that are computed together

Batch = tuple[
    Tensor, TokenBatch, bool
]  # pictures, their captions one after the other, whether hard attention is still soft


class CaptionGenerator(TextGenerator):
    """All that is needed to train a model that generates captions, and to generate them.

    Args:
        settings: of caption.
        vocabulary: see `CaptionVocabulary`.
    """

    def __init__(self, settings: Any, vocabulary: Mapping[str, Any]) -> None:
        self.settings, self.vocabulary = settings, vocabulary
        self.tokenizer = load_tokenizer(vocabulary["tokenizer"])
        self.max_target_length: int = vocabulary["max_target_length"]
        self.size: tuple[int, int] = tuple(vocabulary["size"])
        self.max_positions, self.lowercase = None, settings.data.lowercase

    def build(self) -> SequenceToSequence:
        """A new model."""
        options = self.settings.model.model_dump(exclude={"begin_soft"})
        model = captioner(vocabulary_size=self.tokenizer.size, end=self.tokenizer.end, **options)
        assert model.reader is not None
        model.reader.mean.copy_(torch.tensor(self.vocabulary["mean"]))  # type: ignore[operator]
        model.reader.std.copy_(torch.tensor(self.vocabulary["std"]))  # type: ignore[operator]
        with torch.no_grad():  # some parts check what they get only then
            model.eval()(torch.zeros(1, 3, *self.size), torch.tensor([[self.tokenizer.end]]))
        return model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def caption_batches(self, examples: CaptionedImages, *, training: bool) -> Batches:
        """Pictures with some of their captions; in training others in each epoch."""
        settings, model, augmentation = self.settings.training, self.settings.model, self.settings.augmentation
        assert examples.captions is not None
        captions = examples.captions
        each = min(settings.captions, max(map(len, captions)))
        known = None if training and augmentation.changes else [self._tokens(texts) for texts in captions]
        size, count = int(settings.batch_size), len(examples)
        order = ShuffledBatches(count, size, settings.seed) if training else SequentialBatches(count, size)
        soft = math.ceil(settings.epochs * model.begin_soft) if model.architecture == "hard" else 0

        def make(rows: list[int]) -> Batch:
            chosen, images, epoch = [], examples.images[rows], order.epoch if isinstance(order, ShuffledBatches) else -1
            for place, row in enumerate(rows):
                random = np.random.default_rng([settings.seed, epoch + 1, row])
                numbers = np.arange(max(each, len(captions[row]))) % len(captions[row])
                if training:
                    random.shuffle(numbers)
                if known is not None:
                    chosen += [known[row][number] for number in numbers[:each]]
                    continue
                pixels, texts = augmented(
                    images[place].numpy(), [captions[row][number] for number in numbers[:each]], augmentation, random
                )
                images[place] = torch.from_numpy(pixels.copy())
                chosen += self._tokens(texts)
            return images, padded_tokens(chosen), 0 <= epoch < soft

        return Batches(make, order, lambda batch: len(batch[0]), workers=workers_of(examples.images))

    def prepare_reader(self, model: SequenceToSequence, examples: CaptionedImages) -> None:
        """Trains the reader alone to tell the words of captions: a decoder finds what places tell, and makes them tell little."""
        settings, batches = self.settings.training, self.caption_batches(examples, training=True)
        assert model.reader is not None
        parameters = [*model.reader.parameters(), model.embedding.weight]
        optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        assert isinstance(batches.order, ShuffledBatches)
        for epoch in range(settings.reader_epochs):
            batches.order.set_epoch(epoch)
            for pictures, captions, _ in batches.loader():
                optimizer.zero_grad()
                word_loss(model.encode(pictures).features, model.embedding.weight, captions).backward()
                optimizer.step()
        optimizer.zero_grad()

    def loss(self, model: SequenceToSequence, batch: Any) -> Tensor:
        """The cross entropy of the next token, and of the words that are said of a picture."""
        pictures, target, soft = batch
        settings, encoded = self.settings.loss, model.encode(pictures)
        if isinstance(model, HardRecurrent):
            loss = model.loss(encoded, target, settings.label_smoothing, soft=soft)
        else:
            loss = model.loss(encoded, target, settings.label_smoothing)
        if settings.words:
            loss = loss + settings.words * word_loss(encoded.features, model.embedding.weight, target)
        return loss

    def groups(self, sources: Sequence[NamedPicture], beams: int, tokens: int | None) -> Iterator[SearchGroup]:
        """Pictures that are computed together."""
        limit, size = self._limit(0, tokens), max(_MAX_ROWS // beams, 1)
        for rows in SequentialBatches(len(sources), size):
            yield SearchGroup(rows, self.batch([sources[row].pixels for row in rows]), [limit] * len(rows))

    def named(self, source: NamedPicture) -> str:
        """The name of a picture."""
        return source.name

    def encode(self, source: NamedPicture) -> Tensor:
        """The pixels of a picture."""
        return source.pixels

    def batch(self, encoded: Sequence[Tensor]) -> Tensor:
        """Pixels of pictures, as a model takes them."""
        return torch.stack(list(encoded))

    def cross_attention(self, model: SequenceToSequence, source: Any, target: Sequence[int]) -> Tensor | None:
        """How much each token attends to each place; of hard attention all to one."""
        weights = super().cross_attention(model, source, target)
        return Hard().apply(weights) if weights is not None and isinstance(model, HardRecurrent) else weights

    def columns(self, source: NamedPicture) -> list[int]:
        """The places of a picture, in reading order."""
        height, width = self.grid(source)
        return list(range(height * width))

    def grid(self, source: NamedPicture) -> tuple[int, int]:
        """Rows and columns of places of a picture."""
        stride = 2 ** len(self.settings.model.stages)
        return -(-source.pixels.shape[1] // stride), -(-source.pixels.shape[2] // stride)

    def unknown(self, source: NamedPicture) -> str:
        """Nothing of a picture is unknown."""
        return ""

    def axis(self, source: NamedPicture) -> Any:
        """A picture as a report shows it."""
        from heedful.report import Picture

        return Picture(source.pixels.permute(1, 2, 0).numpy(), self.grid(source), name="picture")

    def _tokens(self, captions: Sequence[str]) -> list[list[int]]:
        texts = [caption.lower() if self.lowercase else caption for caption in captions]
        return [one.tolist() for one in self.tokenizer.encode_batch(texts)]
