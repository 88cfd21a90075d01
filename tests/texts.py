"""Made-up texts, small enough to learn in a second: a language whose words end as their labels say."""

import gzip
import json
from pathlib import Path

import numpy as np

TAG = (
    "model.ngram_width=8",
    "model.width=16", "model.heads=2", "model.ffn_width=16", "model.layers=1", "model.word_width=8", "model.form_width=4",
    "training.batch_size=60", "training.epochs=6", "training.learning_rate=0.02",
    "training.ema_decay=0.5", "model.dropout=0", "model.input_dropout=0",
)  # fmt: skip

CLASSIFY = (
    "model.width=16", "model.heads=2", "model.ffn_width=16", "model.pooling_heads=2", "model.ensemble_size=2",
    "training.batch_size=20", "training.epochs=8", "training.learning_rate=0.02", "training.ema_decay=0.5",
    "model.input_dropout=0", "model.output_dropout=0", "model.token_dropout=0",
)  # fmt: skip

_ENDS = {"NOUN": "o", "ADJ": "a", "VERB": "as", "ADV": "e"}


def sentences(count: int = 60, seed: int = 0) -> list[list[tuple[str, str]]]:
    """Lists of (word, label)."""
    random = np.random.default_rng(seed)
    stems = ["".join(random.choice(list("bdfgklmnprt"), 2)) + str(random.choice(list("iu"))) for _ in range(30)]
    found = []
    for _ in range(count):
        labels = ["DET", *random.choice(list(_ENDS), random.integers(2, 7)), "PUNCT"]
        words = [{"DET": "la", "PUNCT": "."}.get(label) or str(random.choice(stems)) + _ENDS[label] for label in labels]
        found.append([(word, str(label)) for word, label in zip(words, labels, strict=True)])
    return found


def conllu(path: Path, count: int = 60, seed: int = 0) -> Path:
    """A CoNLL-U file of them, with comments, a multiword token and an empty node in each second sentence; no blank before the end."""
    lines = []
    for number, sentence in enumerate(sentences(count, seed)):
        lines.append(f"# sent_id = {number}")
        for index, (word, label) in enumerate(sentence, start=1):
            if number % 2 and index == 2:
                lines.append(f"2-3\t{word}{sentence[2][0]}" + "\t_" * 7 + f"\t{_misc(sentence, 3)}")
            number_of = "Number=Sing" if label == "NOUN" else "_"
            lines.append(
                f"{index}\t{word}\t{word}\t{label}\t{label.lower()}\t{number_of}\t0\tdep\t_\t{_misc(sentence, index)}"
            )
            if number % 2 and index == 2:
                lines.append("2.1\t_" + "\t_" * 8)
        lines.append("")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _misc(sentence: list[tuple[str, str]], index: int) -> str:
    return "SpaceAfter=No" if index == len(sentence) - 1 else "_"


def spans(path: Path, count: int = 60, seed: int = 0) -> Path:
    """A word and a BIO label a line: nouns, with the adjectives before them, are things."""
    blocks = []
    for sentence in sentences(count, seed):
        lines, inside = [], False
        for word, label in sentence:
            thing = label in ("ADJ", "NOUN")
            lines.append(f"{word} {('I-' if inside else 'B-') + 'THING' if thing else 'O'}")
            inside = thing and label != "NOUN"
        blocks.append("\n".join(lines))
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def reviews(path: Path, count: int = 80, seed: int = 0) -> Path:
    """A table of texts and labels, in the form that the name of the file says: a good or a bad adjective among nouns."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        label = str(random.choice(["good", "bad"]))
        telling = random.choice(["bona", "bela", "brila"] if label == "good" else ["malbona", "malbela", "mallumo"])
        words = [word for word, _ in sentences(1, int(random.integers(1 << 30)))[0][:4]]
        words.insert(int(random.integers(5)), str(telling))
        rows.append((" ".join(words), label))
    form = path.name.removesuffix(".gz").rsplit(".", 1)[1]
    if form == "jsonl":
        lines = [json.dumps({"id": i, "label": label, "text": text}) for i, (text, label) in enumerate(rows)]
    elif form == "csv":
        lines = ["label,text", *(f'{label},"{text}, ""so""\nthey say"' for text, label in rows)]
    else:
        lines = [f"{text}\t{label}" for text, label in rows]
    data = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def options(settings: tuple[str, ...], *more: str) -> list[str]:
    """As the command line takes them."""
    return [word for setting in (*settings, *more) for word in ("--set", setting)]
