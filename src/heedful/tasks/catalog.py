"""The one table of tasks: the command line's names, and the class behind each."""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from heedful._errors import HeedfulError

if TYPE_CHECKING:
    from heedful.tasks.contract import Task


class CatalogEntry(NamedTuple):
    """What `heedful tasks` says of a task; it is known without importing the task.

    Attributes:
        kind: the module and the class.
        does: in a few words.
        reads: which data.
        metrics: by which it is judged.
    """

    kind: str
    does: str
    reads: str
    metrics: str


_HUB = "hf:NAME of a data set of Hugging Face; .gz of each"

TASKS = {
    "tag": CatalogEntry(
        "heedful.tasks.tag:Tag",
        "a label for each word",
        f"CoNLL-U, a word and its label a line (BIO spans too), {_HUB}",
        "accuracy, that of unseen words apart; F1 of spans",
    ),
    "classify": CatalogEntry(
        "heedful.tasks.classify:Classify",
        "a label for a text, several labels, or a number",
        f"TSV, CSV or JSONL with a column `text` and a column `label`, {_HUB}",
        "accuracy, macro F1; several labels: F1, mean average precision; numbers: R2, rank correlation, MAE, MSE",
    ),
    "language-model": CatalogEntry(
        "heedful.tasks.language_model:ModelLanguage",
        "continues a text, or fills its gaps",
        f"plain text, a folder of .txt files, {_HUB}",
        "nats and bits per character, perplexity; masked: accuracy",
    ),
    "translate": CatalogEntry(
        "heedful.tasks.translate:Translate",
        "a text from a text",
        f"two aligned files, TSV, CSV or JSONL with columns `source` and `target`, {_HUB}; `dates`, in many languages",
        "BLEU and chrF of sacreBLEU",
    ),
    "summarize": CatalogEntry(
        "heedful.tasks.summarize:Summarize",
        "a short text from a long one, written anew",
        f"JSONL (texts may be lists of sentences), TSV or CSV with columns `source` and `target`, two aligned files, {_HUB}",
        "ROUGE-1, ROUGE-2, ROUGE-L",
    ),
    "summarize-extractive": CatalogEntry(
        "heedful.tasks.summarize_extractive:SummarizeExtractive",
        "a short text from a long one, of its own sentences",
        f"JSONL (texts may be lists of sentences), TSV or CSV with columns `source` and `target`, two aligned files, {_HUB}",
        "ROUGE-1, ROUGE-2, ROUGE-L",
    ),
    "recommend": CatalogEntry(
        "heedful.tasks.recommend:Recommend",
        "the next item of a history",
        "lines of user, item and perhaps time and weight; CSV, TSV, JSONL, Parquet by the names of columns; `genres`",
        "NDCG, hit rate, reciprocal rank and coverage among all items; NDCG and hit rate among 100 drawn ones",
    ),
    "classify-image": CatalogEntry(
        "heedful.tasks.classify_image:ClassifyImage",
        "a label for an image, several labels, or a number",
        "image folders (also in .zip, .tar), IDX files, CSV of path and label, `digits` (train: four fifths, else the last), `shapes`",
        "accuracy, macro F1; several labels: F1, mean average precision; numbers: R2, rank correlation, MAE, MSE",
    ),
    "generate-images": CatalogEntry(
        "heedful.tasks.generate_images:GenerateImages",
        "new pictures, by class or without",
        "what `classify-image` reads: folders, IDX files, CSV of path and label, `digits`, `shapes`",
        "distance of features of heedful's own classifier (no FID), kernel distance, diversity, agreement with the class",
    ),
    "caption": CatalogEntry(
        "heedful.tasks.caption:Caption",
        "a sentence for a picture",
        "COCO captions (.json), Flickr8k and Flickr30k, CSV, TSV or JSONL with columns `path` and `caption`, `shapes`",
        "CIDEr-D, BLEU and chrF, several references; of `shapes` the share of captions that are true",
    ),
    "segment": CatalogEntry(
        "heedful.tasks.segment:Segment",
        "a class for each pixel of a picture",
        "folders of pictures and masks, a list of pairs, Pascal VOC, COCO (polygons, run lengths), `shapes`",
        "mean intersection over union, by class too; accuracy of pixels",
    ),
    "transcribe": CatalogEntry(
        "heedful.tasks.transcribe:Transcribe",
        "speech to text, of recordings and of streams",
        "TSV, CSV or JSONL of path and text, folders and archives (LibriSpeech, a.txt beside a.wav), Kaldi, Common Voice, `tones`",
        "error rates of words and of characters, by kind of error",
    ),
    "forecast": CatalogEntry(
        "heedful.tasks.forecast:ForecastTask",
        "what follows of one or several series, with intervals",
        "CSV, TSV, JSONL or Parquet with a column of times, known future columns; `sunspots`, drawn",
        "MSE and MAE, also standardized, MASE, pinball loss, coverage of intervals",
    ),
    "detect": CatalogEntry(
        "heedful.tasks.detect:Detect",
        "boxes around the objects of a picture",
        "Pascal VOC (a folder, or a list in ImageSets/Main), COCO (a .json), `shapes`, drawn on the fly",
        "mean average precision, at an overlap of .5 and over those from .5 to .95, by class and by size",
    ),
    "identify-speaker": CatalogEntry(
        "heedful.tasks.identify_speaker:IdentifySpeaker",
        "who speaks in a recording, or any label of it; whether two are of one speaker",
        "TSV, CSV or JSONL with columns `path` and `speaker`, folders of label/file (also in .zip, .tar), Kaldi, LibriSpeech, `tones`",
        "accuracy, macro F1; equal error rate of all pairs",
    ),
}

VERBS = {
    "smooth": CatalogEntry(
        "heedful.smoothing:smooth",
        "each value of a series as a mean of those whose surroundings are like its own; nothing is trained: `heedful smooth TABLE`",
        "CSV, TSV, JSONL or Parquet with columns of numbers and, where there is one, a column of times",
        "the expected squared error of each of some 20 settings, without the truth; the least one is taken",
    ),
}  # what needs no training


def find(task: "str | type[Task[Any]]") -> "type[Task[Any]]":
    """The class of a task.

    Args:
        task: a name of the table, `path/to/task.py:MyTask`, or the class itself.

    Raises:
        HeedfulError: there is none; the nearest name is given.
    """
    if not isinstance(task, str):
        return _checked(task, getattr(task, "__name__", repr(task)))
    if ".py:" in task:
        return _of_file(task)
    if task in VERBS:
        raise HeedfulError(
            f"`{task}` has nothing to learn: heedful {task} TABLE does it at once; heedful {task} --help."
        )
    if task not in TASKS:
        near = difflib.get_close_matches(task, TASKS, n=1)
        hint = f", did you mean `{near[0]}`?" if near else f"; known: {', '.join(TASKS)}, or path/to/task.py:MyTask."
        raise HeedfulError(f"unknown task `{task}`{hint}")
    module, _, name = TASKS[task].kind.partition(":")
    kind: type[Task[Any]] = getattr(importlib.import_module(module), name)
    return kind


def reference(kind: "type[Task[Any]]") -> str:
    """How a run folder names a task: by its name in the table, or by its file and class."""
    if kind.name in TASKS and TASKS[kind.name].kind == f"{kind.__module__}:{kind.__name__}":
        return kind.name
    return f"{os.path.abspath(inspect.getfile(kind))}:{kind.__name__}"


def _of_file(task: str) -> "type[Task[Any]]":
    """A class from a user's file."""
    path, _, name = task.rpartition(":")
    if not os.path.isfile(path):
        raise HeedfulError(f"{path}: must be a Python file with a task: there is no such file.")
    module_name = f"heedful_task_{hashlib.sha256(os.path.abspath(path).encode()).hexdigest()[:16]}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever the user's code raises
            del sys.modules[module_name]
            raise HeedfulError(
                f"{path}: must be a Python file with a task: got {type(error).__name__}: {error}"
            ) from error
    kind = getattr(sys.modules[module_name], name, None)
    if kind is None:
        raise HeedfulError(f"{path}: must hold the class `{name}`: there is none.")
    return _checked(kind, task)


def _checked(kind: Any, words: str) -> "type[Task[Any]]":
    from heedful.tasks.contract import Task

    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise HeedfulError(f"{words}: must be a class that derives from heedful.tasks.contract.Task: got {kind!r}.")
    if missing := sorted(kind.__abstractmethods__):
        raise HeedfulError(f"{words}: a task must define all steps of the contract: {', '.join(missing)} is missing.")
    return kind
