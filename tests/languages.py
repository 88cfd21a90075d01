"""A made-up language whose adjectives stand behind their nouns, and documents of which one sentence counts."""

import gzip
import json
from pathlib import Path

import numpy as np

WORDS = {
    "big": "granda", "red": "ruga", "old": "olda", "new": "nova", "dog": "hundo", "cat": "kato", "man": "viro", "car": "auto",
    "sees": "vidas", "has": "havas", "eats": "manas", "wants": "volas",
}  # fmt: skip
ADJECTIVES, NOUNS, VERBS = (list(WORDS)[start : start + 4] for start in (0, 4, 8))

TINY = (
    "model.width=16", "model.heads=2", "model.ffn_width=16", "model.layers=1", "model.dropout=0", "data.vocabulary_size=400",
    "search.beams=1", "training.epochs=1", "training.batch_size=300",
)  # fmt: skip

LEARNS = (
    "model.width=32", "model.heads=2", "model.ffn_width=32", "model.layers=2", "model.dropout=0", "data.vocabulary_size=400",
    "search.beams=3", "loss.label_smoothing=0", "training.epochs=14", "training.batch_size=200",
    "training.learning_rate=0.01", "training.ema_decay=0.5",
)  # fmt: skip

CHOOSES = (
    "model.width=16", "model.heads=2", "model.ffn_width=16", "model.dropout=0",
    "model.ensemble_size=1", "model.pooling_heads=2", "model.min_count=1", "model.input_dropout=0",
    "model.token_dropout=0", "model.output_dropout=0", "training.epochs=6", "training.batch_size=300",
    "training.learning_rate=0.03", "training.ema_decay=0.5",
)  # fmt: skip


def pairs(count: int = 60, seed: int = 0) -> list[tuple[str, str]]:
    """(sentence, its translation): "big dog sees red cat" and "hundo granda vidas kato ruga"."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        (first, second), (who, whom) = random.choice(ADJECTIVES, 2), random.choice(NOUNS, 2)
        one, other = [[first, who], [who]][random.integers(2)], [[second, whom], [whom]][random.integers(2)]
        source = [*one, str(random.choice(VERBS)), *other]
        target = [*reversed(one), source[len(one)], *reversed(other)]
        found.append((" ".join(source), " ".join(WORDS[word] for word in target)))
    return found


def aligned(folder: Path, count: int = 60, seed: int = 0, name: str = "train", packed: bool = False) -> Path:
    """`name.en` and `name.eo` in a folder; the second one perhaps as .gz. Gives their common beginning."""
    for end, texts in zip(("en", "eo"), zip(*pairs(count, seed), strict=True), strict=True):
        data = "".join(text + "\n" for text in texts).encode()
        if packed and end == "eo":
            (folder / f"{name}.eo.gz").write_bytes(gzip.compress(data))
        else:
            (folder / f"{name}.{end}").write_bytes(data)
    return folder / name


def table(path: Path, count: int = 60, seed: int = 0) -> Path:
    """A table of pairs, in the form that the name of the file says."""
    rows = pairs(count, seed)
    form = path.name.removesuffix(".gz").rsplit(".", 1)[1]
    if form == "jsonl":
        lines = [json.dumps({"id": i, "target": target, "source": source}) for i, (source, target) in enumerate(rows)]
    elif form == "csv":
        lines = ["target,source", *(f'{target},"{source}"' for source, target in rows)]
    else:
        lines = [f"{source}\t{target}" for source, target in rows]
    data = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def documents(count: int = 60, seed: int = 0) -> list[dict[str, list[str] | list[int] | str]]:
    """Four sentences each; the summary is the one that begins with "Indeed", without that word and the full stop."""
    random = np.random.default_rng(seed)
    found: list[dict[str, list[str] | list[int] | str]] = []
    for number in range(count):
        sentences = [source for source, _ in pairs(4, seed=1000 * seed + number)]
        place = int(random.integers(4))
        shown = [f"Indeed {text}." if i == place else f"{text.capitalize()}." for i, text in enumerate(sentences)]
        found.append({"source": shown, "target": sentences[place], "labels": [int(i == place) for i in range(4)]})
    return found


def papers(path: Path, count: int = 60, seed: int = 0, whole: bool = False) -> Path:
    """JSON lines of documents; `whole`: each text is one string."""
    rows = documents(count, seed)
    if whole:
        rows = [{**row, "source": " ".join(map(str, row["source"]))} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
