"""recommend: the next item of a history.

data         heedful/data/events.py: lines and tables of events; heedful/data/histories.py: what is held out
model        heedful/models/recommender.py
loss         likewise: softmax among drawn items or all of them, binary cross entropy; settings in tasks/recommend_settings.py
score        tasks/ranking.py: ranks among all items; tasks/recommend_baselines.py
predict      heedful/nn/top_k.py: the best of any number of items
view         heedful/tasks/views/recommend.py: which items of the history made a recommendation
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful._errors import DataError
from heedful.data.batches import BucketBatches
from heedful.data.events import read_histories
from heedful.data.histories import Histories, HoldOut
from heedful.data.inputs import InputKind
from heedful.models.encoders import attention_pattern
from heedful.models.recommender import (
    HistoryBatch,
    Recommender,
    binary_loss,
    draw_negatives,
    gbce_beta,
    sampled_softmax_loss,
    softmax_loss,
)
from heedful.nn.top_k import top_inner_products
from heedful.tasks.contract import TRAINING, Embedded, Reading, Rows, Scores, Task
from heedful.tasks.encoder_settings import encoder_of
from heedful.tasks.forward_pass import ForwardPass, Layout, Operand
from heedful.tasks.history_inputs import GivenHistory, parse_history, parse_items
from heedful.tasks.ranking import MISSED, Ranks, Targets, rank, ranking_metrics, ranks_of, seen_pairs, targets_of
from heedful.tasks.recommend_baselines import MOST_ITEMS_OF_EASE, baseline_scores
from heedful.tasks.recommend_settings import (
    NEGATIVES,
    Recommendation,
    RecommendOptions,
    RecommendSettings,
    RecommendVocabulary,
)
from heedful.training.objective import Batches, Mean
from heedful.training.settings import epochs_for

_MOST_SCORES = 1 << 24  # of a batch of validation
_AT_ONCE = 512  # histories

_GENRES = (  # settings that suit them: about a minute
    "model.width=48", "model.layers=2", "model.dropout=0.1", "model.positions=rotary", "training.epochs=20",
    "training.batch_size=32", "training.learning_rate=0.003", "loss.kind=softmax",
)  # fmt: skip


class TrainingBatch(NamedTuple):
    """Histories, and at each of their items the next one.

    Attributes:
        histories: of them.
        targets: `[B, N]`, numbers from 1; 0 where there is none.
        weights: `[B, N]`, of the targets; or None.
    """

    histories: HistoryBatch
    targets: Tensor
    weights: Tensor | None


class Recommend(Task[Histories]):
    """The next item of a history."""

    name = "recommend"
    example, unit, input, lists = "user", "targets", InputKind.HISTORY, True
    Settings, Options, Vocabulary = RecommendSettings, RecommendOptions, RecommendVocabulary
    split = HoldOut()
    monitor = "ndcg_at_10"
    embedded = {"genres": Embedded(("train", "test"), _GENRES)}

    def __init__(self, settings: RecommendSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.items: list[str] = list(vocabulary["items"])
        self.numbers = {name: number for number, name in enumerate(self.items)}
        self.counts = torch.tensor(vocabulary["counts"], dtype=torch.float32)
        self.times = settings.model.time_bias

    @classmethod
    def read(cls, source: Any, settings: RecommendSettings, reading: Reading = TRAINING) -> Histories:
        data = settings.data
        found = read_histories(
            source, columns=data.columns, split=data.split, labeled=reading.labeled, drop_duplicates=data.duplicates == "drop",
            skip=data.skip, part=reading.part,
        )  # fmt: skip
        if settings.model.time_bias and found.times is None:
            raise DataError(
                f"{source if isinstance(source, str) else 'the data'}: must have a column of times, which model.time_bias needs: got none"
            )
        return found

    @classmethod
    def adapt(cls, training: Histories, settings: RecommendSettings) -> Mapping[str, Any]:
        epochs = epochs_for(len(training), settings.training, usual=60, steps=3000)
        return {"training.epochs": epochs}

    @classmethod
    def learn(cls, training: Histories, settings: RecommendSettings) -> dict[str, Any]:
        return _vocabulary(training, settings, list(training.items))

    @classmethod
    def extend(cls, training: Histories, settings: RecommendSettings, base: "Recommend") -> dict[str, Any]:
        return _vocabulary(training, settings, list(dict.fromkeys([*base.items, *training.items])))

    def describe(self) -> str:
        return f"{len(self.items):,} items"

    def check(self, examples: Histories) -> None:
        if not any(name in self.numbers for name in examples.items):
            raise DataError(f"the items must be known, at least one of them: got {len(examples.items):,} that are not")

    def build(self) -> Recommender:
        s = self.settings
        encoder = encoder_of(s.model, s.data.max_length)
        pattern = attention_pattern(s.model.window, causal=True)
        model = Recommender(
            len(self.items), encoder.layers, positions=encoder.positions, pattern=pattern, dropout=s.model.dropout,
            time_bias=self.times,
        )  # fmt: skip
        with torch.no_grad():  # some parts check what they get only then
            model.eval()(self._batch([np.zeros(1, np.int64)], [np.zeros(1)]))
        return model.train()

    def rows(self) -> Mapping[str, Rows]:
        return {"embedding.weight": Rows("items", self.items)}

    def batches(self, examples: Histories, *, training: bool) -> Batches:
        histories, times, weights = self._known(examples, history=not training)
        if not training:
            return self._validation(examples, histories, times)
        length, settings = self.settings.data.max_length, self.settings.training
        windows = [
            (row, max(end - length - 1, 0), end)
            for row, one in enumerate(histories)
            for end in range(len(one), 1, -length)
        ]

        def make(chosen: list[int]) -> TrainingBatch:
            spans = [(row, slice(start, end)) for row, start, end in (windows[number] for number in chosen)]
            items = [histories[row][span] for row, span in spans]
            at = [times[row][span][:-1] for row, span in spans]
            batch = self._batch([one[:-1] for one in items], at)
            own = None if weights is None else _padded([weights[row][span][1:] for row, span in spans], np.float32)
            return TrainingBatch(batch, _padded([one[1:] + 1 for one in items], np.int64), own)

        lengths = [end - start - 1 for _, start, end in windows]
        order = BucketBatches(lengths, int(settings.batch_size), settings.seed)
        return Batches(make, order, lambda batch: int((batch.targets > 0).sum()))

    def _validation(self, examples: Histories, histories: Sequence[Any], times: Sequence[Any]) -> Batches:
        wanted = self._targets(examples)
        begun = np.array([row for row, one in enumerate(histories) if len(one)], dtype=np.int64)
        lengths = np.array([len(histories[row]) for row in begun])
        begun = begun[np.argsort(lengths, kind="stable")]
        size = max(min(_MOST_SCORES // len(self.items), _AT_ONCE), 1)

        def make(rows: list[int]) -> Any:
            seen = [histories[row] for row in rows]
            return self._batch(seen, [times[row] for row in rows]), torch.from_numpy(wanted[rows]), *seen_pairs(seen)

        order = [begun[start : start + size].tolist() for start in range(0, len(begun), size)]
        return Batches(make, order, lambda batch: len(batch[1]))

    def loss(self, model: Recommender, batch: TrainingBatch, optimizer: str) -> Tensor:
        settings, real = self.settings.loss, batch.targets > 0
        x, targets = model.features(batch.histories)[real], batch.targets[real] - 1
        weights = None if batch.weights is None else batch.weights[real]
        total = len(targets) if weights is None else weights.sum()
        if settings.kind == "softmax":
            return softmax_loss(x, model.weight, targets, weights) / total
        chances = self.counts.to(x.device).sqrt() if settings.sampling == "popularity" else None
        chances = None if chances is None else chances / chances.sum()
        count, items = settings.negatives or NEGATIVES[settings.kind], len(self.items)
        if settings.kind == "bce":
            drawn = draw_negatives(count * len(targets), items, chances, x.device).items.view(-1, count)
            return binary_loss(x, model.weight, targets, drawn, weights=weights) / total
        negatives = draw_negatives(count, items, chances, x.device)
        if settings.kind == "gbce":
            beta = gbce_beta(count, items, settings.calibration)
            return binary_loss(x, model.weight, targets, negatives.items, beta=beta, weights=weights) / total
        loss = sampled_softmax_loss(x, model.weight, targets, negatives, log_q=settings.log_q, weights=weights)
        return loss / total

    def validate(self, model: Recommender, batch: Any) -> Mapping[str, Mean]:
        histories, wanted, *seen = batch
        scores = model(histories).float()
        known = wanted >= 0
        right = scores.gather(1, wanted.clamp_min(0)[:, None])[:, 0]
        losses = (scores.logsumexp(1) - right)[known]
        if self.settings.measure.seen == "removed":
            scores[tuple(seen)] = -torch.inf
        ranks, _ = ranks_of(scores, wanted)
        gains = torch.where(ranks <= 10, 1 / torch.log2(1 + ranks.double()), 0.0)
        return {"loss": Mean(losses.sum(), int(known.sum())), "ndcg_at_10": Mean(gains.sum().float(), len(wanted))}

    def predict(
        self, model: Recommender, inputs: Sequence[Any], options: RecommendOptions, numbers: Sequence[int] | None = None
    ) -> list[Recommendation]:
        """The best items for each history; of labeled histories also where the right item stands."""
        found: list[Recommendation] = []
        plain = [parse_history(one, self) for one in inputs if not isinstance(one, Histories)]
        for one in inputs:
            if isinstance(one, Histories):
                found += self._ranked(one, self._score(model, one))
        return [*found, *self._recommended(model, plain, options)] if plain else found

    def _recommended(
        self, model: Recommender, histories: Sequence[GivenHistory], options: RecommendOptions
    ) -> list[Recommendation]:
        remove = (options.seen or self.settings.measure.seen) == "removed"
        excluded = self._listed(options.exclude)
        within = (
            torch.tensor(sorted(self._listed(options.within)), dtype=torch.long) if options.within.strip() else None
        )
        if within is not None and not len(within):
            raise DataError("the items of `within` must be known, at least one of them: got none that is.")
        found = []
        for start in range(0, len(histories), _AT_ONCE):
            chunk = histories[start : start + _AT_ONCE]
            hidden = [np.union1d(one.items if remove else [], excluded).astype(np.int64) for one in chunk]
            queries, weight = self._queries(model, chunk)
            best = top_inner_products(
                queries, weight, min(options.top_k, len(self.items)), exclude=seen_pairs(hidden), within=within
            )
            for one, values, places in zip(chunk, best.values.tolist(), best.indices.tolist(), strict=True):
                kept = [(self.items[place], value) for place, value in zip(places, values, strict=True) if place >= 0]
                found.append(
                    Recommendation(one.name, [name for name, _ in kept], [value for _, value in kept], one.unknown)
                )
        return found

    @torch.no_grad()
    def _queries(self, model: Recommender, histories: Sequence[GivenHistory]) -> tuple[Tensor, Tensor]:
        """Features of histories and of items, whose inner products are the scores; without a known item, popularity."""
        begun = [row for row, one in enumerate(histories) if len(one.items)]
        queries, weight = torch.zeros(len(histories), model.weight.shape[1]), model.weight.detach().float()
        if begun:
            batch = self._batch([histories[row].items for row in begun], [histories[row].times for row in begun])
            queries[begun] = model.last(batch).float()
        if len(begun) == len(histories):
            return queries, weight
        empty = torch.ones(len(histories), 1)
        empty[begun] = 0
        return torch.cat([queries, empty], 1), torch.cat([weight, self._popularity()[:, None]], 1)

    def _popularity(self) -> Tensor:
        """The logarithm of how often each item occurs."""
        return (self.counts + 0.5).log()

    def _score(self, model: Recommender, examples: Histories) -> Any:
        histories, times, _ = self._known(examples, history=True)

        @torch.no_grad()
        def score(rows: range) -> Tensor:
            given = [GivenHistory("", histories[row], times[row], []) for row in rows]
            queries, weight = self._queries(model, given)
            return queries @ weight.T

        return score

    def _ranked(self, examples: Histories, score: Any, targets: Targets | None = None) -> list[Recommendation]:
        """A prediction for each user of labeled histories."""
        remove = self.settings.measure.seen == "removed"
        ranks: Ranks = rank(score, targets or self._sought(examples), len(self.items), remove_seen=remove)
        columns = (examples.users, *(column.tolist() for column in ranks))
        return [
            Recommendation(
                user, [self.items[place] for place in best if place >= 0],
                [value for place, value in zip(best, scores, strict=True) if place >= 0], [],
                None if own == MISSED else own, None if sampled == MISSED else sampled,
            )
            for user, own, sampled, best, scores in zip(*columns, strict=True)
        ]  # fmt: skip

    def forward_pass(self) -> ForwardPass:
        operands = {
            "items": Operand(("batch", "length"), "the number of each item in vocabulary.json, from 1; 0 padding"),
            "lengths": Operand(("batch",), "how many items of each history are no padding, at least one"),
        }
        if self.times:
            words = f"when each item was, in units of {self.vocabulary['time_unit']:g} of the data's"
            operands["times"] = Operand(("batch", "length"), words)
        return ForwardPass(
            Layout(operands, lambda batch: tuple(one for one in batch if one is not None), HistoryBatch),
            lambda model, batch: model(batch), "scores",
            Operand(("batch", len(self.items)), "of each item, in the order of vocabulary.json"),
            files={"vocabulary.json": {"items": self.items}},
            notes=(f"It takes at most {self.settings.data.max_length:,} items of a history: give the last ones.",),
        )  # fmt: skip

    def inputs(self, examples: Histories) -> Sequence[Any]:
        if examples.labeled:
            return [examples]
        names = [[examples.items[number] for number in examples.of(row).tolist()] for row in range(len(examples))]
        _, times, _ = self._known(examples)
        return [
            GivenHistory(user, np.array([self.numbers[name] for name in own if name in self.numbers], np.int64), at,
                         [name for name in own if name not in self.numbers])
            for user, own, at in zip(examples.users, names, times, strict=True)
        ]  # fmt: skip

    def score(self, predictions: Sequence[Recommendation], examples: Histories) -> Scores:
        ranks, sampled = ([getattr(one, name) or MISSED for one in predictions] for name in ("rank", "sampled_rank"))
        metrics = ranking_metrics(ranks, sampled, [one.items for one in predictions], len(self.items))
        wanted, seen = self._targets(examples), self.settings.measure.seen
        unknown = int((wanted < 0).sum())
        notes = [
            f"Ranked among all {len(self.items):,} items, those of a history {seen}; sampled: among the right one and 100 drawn ones."
        ]
        if unknown:
            notes.append(f"{unknown:,} right items are not known to the model: they count as not found.")
        if len(self.items) > MOST_ITEMS_OF_EASE:
            notes.append(f"EASE is left out: it is for at most {MOST_ITEMS_OF_EASE:,} items.")
        return Scores(metrics, {"items": len(self.items), "seen": seen, "unknown_targets": unknown}, " ".join(notes))

    def baselines(self, training: Histories, examples: Histories) -> Mapping[str, Sequence[Recommendation]]:
        learned, (histories, _, _), targets = (
            self._known(training)[0],
            self._known(examples, history=True),
            self._sought(examples),
        )
        return {
            name: self._ranked(examples, lambda rows, of=of: of([histories[row] for row in rows]), targets)
            for name, of in baseline_scores(learned, len(self.items)).items()
        }

    def expected(self, example: Histories) -> str:
        return example.items[int(example.of(0)[-1])]

    def inspect(self, model: Recommender, inputs: Sequence[Any]) -> list[Any]:
        from heedful.tasks.views.recommend import recommended_section

        given = [self._given(one) if isinstance(one, Histories) else parse_history(one, self) for one in inputs]
        for one in given:
            if not len(one.items):
                raise DataError(
                    f"a history to inspect must have at least one item that the model knows: got {one.name!r}"
                )
        return [recommended_section(self, model, one) for one in given]

    def recommend(self, model: Recommender, history: GivenHistory) -> Recommendation:
        """The recommendation for one history."""
        return self._recommended(model, [history], RecommendOptions())[0]

    def scores(self, model: Recommender, histories: Sequence[GivenHistory], item: int) -> Tensor:
        """The score of one item for each history."""
        queries, weight = self._queries(model, histories)
        return queries @ weight[item]

    def batch(self, history: GivenHistory) -> HistoryBatch:
        """One history as tensors."""
        return self._batch([history.items], [history.times])

    def _given(self, examples: Histories) -> GivenHistory:
        """The history of the first user of labeled examples."""
        histories, times, _ = self._known(examples, history=True)
        return GivenHistory(examples.users[0], histories[0], times[0], [])

    def _listed(self, text: str) -> list[int]:
        """The numbers of the items of a list that are known."""
        return [self.numbers[name] for name in parse_items(text, self.numbers) if name in self.numbers]

    def _targets(self, examples: Histories) -> NDArray[np.int64]:
        """The number of the last item of each user; -1 where it is not known."""
        return self._numbers(examples)[examples.events[examples.offsets[1:] - 1]]

    def _sought(self, examples: Histories) -> Targets:
        histories, _, _ = self._known(examples, history=True)
        return targets_of(histories, self._targets(examples), len(self.items))

    def _numbers(self, examples: Histories) -> NDArray[np.int64]:
        """The number of each item of the data; -1 where it is not known."""
        return np.array([self.numbers.get(name, -1) for name in examples.items], dtype=np.int64)

    def _known(self, examples: Histories, *, history: bool = False) -> tuple[list[Any], list[Any], list[Any] | None]:
        """Numbers, times and weights of the known items of each user; of a `history` without the last item, which is to be found."""
        numbers = self._numbers(examples)[examples.events]
        kept = numbers >= 0
        if history:
            kept[examples.offsets[1:] - 1] = False
        ends = np.concatenate([[0], np.cumsum(kept)])[examples.offsets[1:-1]]
        at = np.zeros(len(numbers)) if examples.times is None else examples.times / self.vocabulary["time_unit"]
        weights = None if examples.weights is None else np.split(examples.weights[kept], ends)
        return np.split(numbers[kept], ends), np.split(at[kept], ends), weights

    def _batch(self, histories: Sequence[NDArray[np.int64]], times: Sequence[Any]) -> HistoryBatch:
        """The last items of histories, as many as the model sees."""
        most = self.settings.data.max_length
        items = _padded([one[-most:] + 1 for one in histories], np.int64)
        lengths = torch.tensor([min(len(one), most) for one in histories])
        if not self.times:
            return HistoryBatch(items, lengths)
        return HistoryBatch(items, lengths, _padded([own[-most:] - own[-most:].min() for own in times], np.float32))


def _vocabulary(training: Histories, settings: RecommendSettings, items: list[str]) -> dict[str, Any]:
    if len(items) < 2 or int((training.lengths > 1).sum()) == 0:
        raise DataError("must hold at least 2 items, and a user who had two of them: got fewer")
    number = {name: at for at, name in enumerate(items)}
    numbers = np.array([number[name] for name in training.items], dtype=np.int64)
    counts = np.bincount(numbers[training.events], minlength=len(items))
    unit = 1.0
    if training.times is not None:
        users = np.repeat(np.arange(len(training)), training.lengths)
        gaps = np.diff(training.times)[np.diff(users) == 0]
        unit = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0
    whole, most = training.whole or training, settings.data.max_length
    users_of, times_of = {}, {}
    if settings.data.keep_users:
        for row, user in enumerate(whole.users):
            span = slice(max(whole.offsets[row], whole.offsets[row + 1] - most), whole.offsets[row + 1])
            users_of[user] = numbers[whole.events[span]].tolist()
            if settings.model.time_bias and whole.times is not None:
                times_of[user] = (whole.times[span] / unit).tolist()
    return {"items": items, "counts": counts.tolist(), "time_unit": unit, "users": users_of, "user_times": times_of}


def _padded(rows: Sequence[Any], dtype: Any) -> Tensor:
    """Rows of any lengths as one tensor, with 0 behind the short ones."""
    padded = np.zeros((len(rows), max(map(len, rows), default=0)), dtype)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(padded)
