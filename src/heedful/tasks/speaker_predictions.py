"""The predictions of identify-speaker: who it is of those that were trained on or enrolled, or whether two recordings are of one."""

from dataclasses import dataclass, field

from heedful._terminal import visible

UNKNOWN = "unknown"  # who is like none of those that are enrolled


@dataclass(frozen=True)
class Identification:
    """Who speaks in a recording.

    Attributes:
        input: where the recording came from.
        label: the most probable speaker; of those that are enrolled the most alike, or `unknown`; or `same` or `different`.
        probability: of that speaker; None where cosines are compared.
        runner_up: the second speaker, where there is one.
        runner_up_probability: of the second speaker.
        score: the cosine with the one that is enrolled, or with the other recording.
        threshold: of scores, from which on two recordings are taken for one speaker's.
        candidates: the most probable speakers and their probabilities, as many as were asked for.
        embedding: a vector of length 1.
        other: the recording that it was compared with.
        uncalibrated: the probability before the temperature.
        vector: the embedding, for metrics.
    """

    input: str
    label: str = ""
    probability: float | None = field(default=None, metadata={"json": "set"})
    runner_up: str | None = field(default=None, metadata={"json": "set"})
    runner_up_probability: float | None = field(default=None, metadata={"json": "set"})
    score: float | None = field(default=None, metadata={"json": "set"})
    threshold: float | None = field(default=None, metadata={"json": "set"})
    candidates: dict[str, float] | None = field(default=None, metadata={"json": "set"})
    embedding: list[float] | None = field(default=None, metadata={"json": "set"})
    other: str | None = field(default=None, metadata={"json": "set"})
    uncalibrated: float = field(default=0.0, metadata={"json": False})
    vector: tuple[float, ...] = field(default=(), compare=False, repr=False, metadata={"json": False})

    def to_format(self) -> str:
        """A line of a table of recordings and speakers."""
        return f"{' '.join(self.input.split())}\t{self.label}"

    def __str__(self) -> str:
        """One line to read."""
        return f"{visible(self.input)}: {self._answer()}"

    def _answer(self) -> str:
        if self.embedding is not None:
            return " ".join(f"{value:.4f}" for value in self.embedding)
        if self.other is not None:
            return f"{self.label} speaker {'as' if self.label == 'same' else 'than'} {visible(self.other)}, {self._scored()}"
        if self.score is not None:
            second = f"; then {visible(self.runner_up)}" if self.runner_up else ""
            return f"{visible(self.label)}, {self._scored()}{second}"
        if self.candidates is not None:
            return ", ".join(f"{visible(label)} {100 * p:.1f} %" for label, p in self.candidates.items())
        second = f" (then {visible(self.runner_up)} {100 * (self.runner_up_probability or 0):.1f} %)"
        return f"{visible(self.label)} {100 * (self.probability or 0):.1f} %{second}"

    def _scored(self) -> str:
        return f"score {self.score:.3f}, threshold {self.threshold:.3f}"
