"""The one table of tasks."""

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from heedful._errors import HeedfulError, RunFolderError


@dataclass(frozen=True)
class Entry:
    """What `heedful tasks` says of a task, and the module that holds it.

    Attributes:
        does: in a few words.
        reads: which data.
        model: which kind.
        measure: by which it is judged.
        module: the file.
        takes: what its inputs are.
        options: of `predict`, that this task knows.
        presets: settings that fit data which need no file, by their name.
    """

    does: str
    reads: str
    model: str
    measure: str
    module: str
    takes: Literal["pictures", "texts"]
    options: tuple[str, ...] = ()
    presets: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def load(self) -> ModuleType:
        """Imports the task: `Settings`, `prepare`, `train`, `evaluate`, `predict`, `read_inputs`, `inspect`, `load`."""
        return importlib.import_module(self.module)


_DRAWING = ("tokens", "temperature", "top_k", "top_p", "samples", "seed")
_SEARCH = ("beams", "n_best", "length_penalty", "no_repeat", "scores", "alignment", *_DRAWING)

TASKS = {
    "tag": Entry(
        does="a label for each word",
        reads="CoNLL-U, a word and its label a line (BIO spans too), hf:NAME of a data set of Hugging Face; .gz of each",
        model="words and the pieces that they are spelt with, Transformer encoder",
        measure="accuracy, that of unseen words apart; F1 of spans",
        module="heedful.tasks.tag",
        takes="texts",
    ),
    "language-model": Entry(
        does="goes on with a text, or fills its gaps",
        reads="plain text, a folder of .txt files, hf:NAME of a data set of Hugging Face; .gz of each",
        model="causal Transformer (GPT); with --masked a bidirectional one (BERT)",
        measure="nats and bits a character, perplexity; masked: accuracy",
        module="heedful.tasks.language_model",
        takes="texts",
        options=_DRAWING,
    ),
    "translate": Entry(
        does="a text for a text",
        reads="two aligned files, TSV, CSV or JSONL with columns `source` and `target`, hf:NAME of a data set of Hugging Face; "
        ".gz of each; `dates`, in many languages",
        model="Transformer encoder and decoder, or recurrent with attention; beam search",
        measure="BLEU and chrF of sacreBLEU",
        module="heedful.tasks.translate",
        takes="texts",
        options=_SEARCH,
        presets={
            "dates": (
                "data.tokens=characters",
                "model.width=64",
                "model.layers=2",
                "model.hidden=128",
                "model.dropout=0.0",
                "training.epochs=3",
                "training.batch_size=1024",
                "training.learning_rate=5e-3",
                "loss.label_smoothing=0.0",
                "search.beams=1",
            )
        },
    ),
    "summarize": Entry(
        does="a short text for a long one, written or cut out of it",
        reads="JSONL (texts may be lists of sentences), TSV or CSV with columns `source` and `target`, two aligned files, hf:NAME of "
        "a data set of Hugging Face; .gz of each",
        model="Transformer encoder and decoder with copying, or sentences chosen by attention; beam search",
        measure="ROUGE-1, ROUGE-2, ROUGE-L",
        module="heedful.tasks.summarize",
        takes="texts",
        options=_SEARCH,
    ),
    "classify": Entry(
        does="a label for a text",
        reads="TSV, CSV or JSONL with a column `text` and a column `label`, hf:NAME of a data set of Hugging Face; .gz of each",
        model="words, subwords or characters, Transformer encoder, attention pooling",
        measure="accuracy, macro F1",
        module="heedful.tasks.classify",
        takes="texts",
    ),
    "classify-image": Entry(
        does="a label for a picture",
        reads="picture folders (also in .zip, .tar), IDX files, CSV of path and label, `digits` (train: first four fifths, else the last)",
        model="Vision Transformer",
        measure="accuracy, macro F1",
        module="heedful.tasks.classify_image",
        takes="pictures",
    ),
}


def task(name: str) -> Entry:
    """The task of a name.

    Raises:
        HeedfulError: there is none; the nearest name is given.
    """
    if name not in TASKS:
        import difflib

        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f", did you mean `{near[0]}`?" if near else f"; known: {', '.join(TASKS)}."
        raise HeedfulError(f"unknown task `{name}`{hint}")
    return TASKS[name]


def load(folder: str | Path) -> Any:
    """Loads a finished run folder: an object with `predict`.

    Args:
        folder: as `heedful train ... --out` wrote it; its files are checked, and nothing in it is unpickled.

    Raises:
        RunFolderError: a file is missing, changed, or of a newer version.
    """
    from heedful.training.run_folder import RunFolder

    run = RunFolder(Path(folder))
    name = run.about()["task"]
    if name not in TASKS:
        raise RunFolderError(f"{run.path / 'run.json'}: `task` must be one of {', '.join(TASKS)}: got {name!r}.")
    return TASKS[name].load().load(run)
