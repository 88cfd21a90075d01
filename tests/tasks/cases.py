"""Every task with tiny data: what the laws of `test_every_task.py` are asked of."""

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from heedful.tasks.catalog import TASKS
from tests import languages, texts, tiny
from tests.sounds import beep, write

TOY = str(Path(__file__).parents[2] / "examples" / "most_vowel.py") + ":MostVowel"
VERSE = "the cat sat on the mat, and the rat sat on the hat.\n"


@dataclass(frozen=True)
class Case:
    """A task with data to learn in seconds.

    Attributes:
        task: as the command line names it.
        settings: tiny ones, of two or three epochs.
        write: data in a folder; the arguments are the folder, how many examples, and a seed.
        inputs: as a person types them, given the folder of the data; none for a task that takes none.
        bad: contents of a data file that must be refused: (what to write, what the error says behind the file's name).
        python: the same data as `write` makes, as Python's own.
        options: of `predict`: each changes what is printed.
        unknown: a setting that is misspelt, and what was meant.
        label: the metric that is compared.
        inside: the file in the folder of data that is made bad; empty: the data are one file.
        pretrained: which tiny model of `tests/inspection/folders.py` it begins with; empty: none.
    """

    task: str
    settings: tuple[str, ...]
    write: Callable[[Path, int, int], Path]
    inputs: Callable[[Path], list[str]]
    bad: tuple[tuple[str, str], ...]
    python: Callable[[Path], Any]
    unknown: tuple[str, str] = ("model.widht", "model.width")
    options: tuple[tuple[str, ...], ...] = ()
    train: tuple[str, ...] = ()
    hostile: tuple[str, ...] = ("", " ", "\u202e\u0000\u200d", "🤷🏽‍♀️", "a" * 300, "[MASK] </s> <pad>", "\t", "e\u0301")
    skip: frozenset[str] = field(default_factory=frozenset)
    inside: str = ""
    pretrained: str = ""

    @property
    def words(self) -> list[str]:
        """The settings as the command line takes them."""
        model = ("model.architecture=pretrained", f"model.name={_model(self.pretrained)}") if self.pretrained else ()
        return [*self.train, *texts.options((*model, *self.settings))]


@functools.cache
def _model(name: str) -> Path:
    """The folder of a tiny model, made once."""
    from tests.inspection import folders

    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return getattr(folders, name)(place / name)


def _conllu(folder: Path, count: int, seed: int) -> Path:
    return texts.conllu(folder / "data.conllu", count, seed)


def _reviews(folder: Path, count: int, seed: int) -> Path:
    return texts.reviews(folder / "data.tsv", count, seed)


def _pairs(folder: Path, count: int, seed: int) -> Path:
    return languages.table(folder / "data.tsv", count, seed)


def _documents(folder: Path, count: int, seed: int) -> Path:
    return languages.papers(folder / "data.jsonl", count, seed)


def _verses(folder: Path, count: int, seed: int) -> Path:
    lines = [" ".join(np.random.default_rng([seed, row]).permutation(VERSE.split())) for row in range(count)]
    file = folder / "data.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


def _shades(folder: Path, count: int, seed: int) -> Path:
    return tiny.draw(folder / "data", max(count // 2, 1), seed=seed)


def _rectangles(folder: Path, count: int, seed: int) -> Path:
    """Bright rectangles on noise, and masks of them."""
    random = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (folder / "data" / kind).mkdir(parents=True)
    for row in range(count):
        pixels, mask = random.integers(0, 120, (18, 22, 3), dtype=np.uint8), np.zeros((18, 22), np.uint8)
        top, left = random.integers(0, 10, 2)
        pixels[top : top + 8, left : left + 10] += 120
        mask[top : top + 8, left : left + 10] = 1
        for kind, array in (("images", pixels), ("masks", mask)):
            Image.fromarray(array).save(folder / "data" / kind / f"{row}.png")
    return folder / "data"


def _beeps(folder: Path, count: int, seed: int) -> Path:
    """High and low sounds with noise, a folder each."""
    random = np.random.default_rng(seed)
    for row in range(count):
        name, pitch = (("low", 300), ("high", 900))[row % 2]
        sound = beep(0.12, pitch * random.uniform(0.9, 1.1)) + random.normal(0, 0.05, 960)
        write(folder / "data" / name / f"{row}.wav", sound.astype(np.float32))
    return folder / "data"


def _heard(folder: Path) -> tuple[list[Any], list[str]]:
    files = [file for name in ("high", "low") for file in sorted((folder / name).iterdir(), key=lambda f: int(f.stem))]
    return [soundfile.read(file, dtype="float32") for file in files], [file.parent.name for file in files]


def _masked(folder: Path) -> tuple[list[Any], list[Any]]:
    files = sorted((folder / "images").iterdir(), key=lambda file: int(file.stem))
    return tuple([np.asarray(Image.open(folder / kind / file.name)) for file in files] for kind in ("images", "masks"))


def _captions(folder: Path, count: int, seed: int) -> Path:
    """Bright squares on noise, and what is said of each: two captions of every picture."""
    random = np.random.default_rng(seed)
    data = folder / "data"
    (data / "pictures").mkdir(parents=True)
    lines = ["path\tcaption"]
    for row in range(count):
        pixels, (top, left) = random.integers(0, 60, (16, 24, 3), dtype=np.uint8), random.integers(0, 2, 2)
        pixels[8 * top : 8 * top + 6, 12 * left : 12 * left + 8] += 180
        Image.fromarray(pixels).save(data / "pictures" / f"{row}.png")
        place = f"{('top', 'bottom')[top]} {('left', 'right')[left]}"
        lines += [f"pictures/{row}.png\ta square, {place}", f"pictures/{row}.png\tat the {place} a square"]
    (data / "captions.tsv").write_text("".join(line + "\n" for line in lines))
    return data


def _captioned(folder: Path) -> tuple[list[Any], list[list[str]]]:
    rows = [line.split("\t") for line in (folder / "captions.tsv").read_text().splitlines()[1:]]
    return [np.asarray(Image.open(folder / row[0])) for row in rows[::2]], [
        [one[1], two[1]] for one, two in zip(rows[::2], rows[1::2], strict=True)
    ]


def _boxes(folder: Path, count: int, seed: int) -> Path:
    """Bright and dark rectangles on gray noise, as Pascal VOC has them: XML files beside pictures."""
    random = np.random.default_rng(seed)
    data = folder / "data"
    data.mkdir()
    for row in range(count):
        pixels, objects = random.integers(100, 140, (24, 32, 3), dtype=np.uint8), ""
        for name, x, color in (("dark", 0, 0), ("light", 16, 255)):
            x0, y0 = x + random.integers(0, 6), random.integers(0, 12)
            pixels[y0 : y0 + 10, x0 : x0 + 9] = color
            sides = {"xmin": x0 + 1, "ymin": y0 + 1, "xmax": x0 + 9, "ymax": y0 + 10}
            box = "".join(f"<{key}>{value}</{key}>" for key, value in sides.items())
            objects += f"<object><name>{name}</name><bndbox>{box}</bndbox></object>\n"
        Image.fromarray(pixels).save(data / f"{row}.png")
        (data / f"{row}.xml").write_text(f"<annotation>\n{objects}</annotation>")
    return data


def _boxed(folder: Path) -> tuple[list[Any], ...]:
    from heedful.data.boxes import read_boxes

    found = read_boxes(folder)
    labels = [[found.classes[number] for number in one.labels] for one in found.boxes]
    return [image.numpy() for image in found.images], [one.corners.tolist() for one in found.boxes], labels


def _beep_strings(folder: Path, count: int, seed: int) -> Path:
    """Strings of one or two beeps, each with its words."""
    random = np.random.default_rng(seed)
    rows = ["path\ttext"]
    for row in range(count):
        words = random.choice(["low", "mid", "high"], random.integers(1, 3)).tolist()
        pause = random.normal(0, 0.003, 400).astype(np.float32)
        parts = [part for word in words for part in (beep(0.12, {"low": 200, "mid": 500, "high": 1100}[word]), pause)]
        write(folder / "sounds" / f"{row}.wav", np.concatenate(parts))
        rows.append(f"sounds/{row}.wav\t{' '.join(words)}")
    file = folder / "data.tsv"
    file.write_text("".join(f"{row}\n" for row in rows))
    return file


def _spoken_beeps(file: Path) -> tuple[list[Any], list[str]]:
    rows = [line.split("\t") for line in file.read_text().splitlines()[1:]]
    return [str(file.parent / name) for name, _ in rows], [text for _, text in rows]


def _purchases(folder: Path, count: int, seed: int) -> Path:
    """Users who take every second or third item of a circle, with times."""
    random, lines = np.random.default_rng(seed), []
    for user in range(count):
        item, step = random.integers(12), random.integers(2, 4)
        for time in range(6):
            lines.append(f"u{user}\ti{(item + step * time) % 12}\t{100 * user + time}\n")
    file = folder / "data.tsv"
    file.write_text("".join(lines))
    return file


def _vowels(folder: Path, count: int, seed: int) -> Path:
    random = np.random.default_rng(seed)
    rows = [
        "".join(random.choice(list("bdfg" + vowel * 3), 12)) + f"{vowel}\t{vowel}"
        for vowel in random.choice(list("aeo"), count)
    ]
    file = folder / "data.tsv"
    file.write_text("".join(row + "\n" for row in rows))
    return file


def _hours(folder: Path, count: int, seed: int) -> Path:
    """A season of six hours and noise, in two columns."""
    random, hours = np.random.default_rng(seed), np.arange(count + 20)
    times = np.datetime64("2024-01-01T00", "h") + hours
    waves = np.sin(hours / 6 * 2 * np.pi)
    rows = [
        f"{time}:00,{wave + noise[0]:.3f},{noise[1] - 9 * wave:.3f}\n"
        for time, wave, noise in zip(times, waves, random.normal(0, 0.1, (len(hours), 2)), strict=True)
    ]
    file = folder / "data.csv"
    file.write_text("time,a,b\n" + "".join(rows[: count + 20 if count > 6 else count]))
    return file


def _columns(file: Path) -> dict[str, list[str]]:
    header, *rows = (line.split(",") for line in file.read_text().splitlines())
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def _table(file: Path) -> tuple[list[str], list[str]]:
    rows = [line.split("\t") for line in file.read_text().splitlines()]
    return [row[0] for row in rows], [row[1] for row in rows]


def _images(folder: Path) -> tuple[Any, list[str]]:
    files = [
        file for name in ("dark", "light") for file in sorted((folder / name).iterdir(), key=lambda f: int(f.stem))
    ]
    return np.stack([np.asarray(Image.open(file)) for file in files]), [file.parent.name for file in files]


def _objects(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _sentences(file: Path) -> tuple[list[list[str]], list[list[str]]]:
    blocks = [block.splitlines() for block in file.read_text().strip().split("\n\n")]
    rows = [[line.split("\t") for line in block if line.split("\t")[0].isdigit()] for block in blocks]
    return [[row[1] for row in block] for block in rows], [[row[3] for row in block] for block in rows]


_SMALL = ("model.width=12", "model.heads=2", "model.ffn_width=16", "training.epochs=3")
_LONG = "word " * 20

CASES = {
    "tag": Case(
        "tag", (*_SMALL, "model.layers=1", "model.word_width=8", "model.form_width=4", "model.ngram_width=8",
                "training.batch_size=60", "training.learning_rate=0.02", "data.auxiliary_columns=[]"),
        _conllu, lambda data: ["la boro bira.", "la"],
        (("1\tla\tla\tDET\tdet\t_\t0\n\n", ":1: "), ("", ": must hold at least one line: got an empty file")),
        _sentences, options=(("--words",),),
    ),
    "classify": Case(
        "classify", (*_SMALL, "model.pooling_heads=2", "model.ensemble_size=2", "training.batch_size=20",
                     "training.learning_rate=0.02"),
        _reviews, lambda data: ["bona boro", "malbona biro bela"],
        (("fine\tgood\n\tbad\n", ":2: must have a text"), ("fine\tgood\n", ": must hold at least two classes")),
        _table,
    ),
    "language-model": Case(
        "language-model", (*_SMALL, "model.layers=2", "model.context_length=16", "training.batch_size=64"),
        _verses, lambda data: ["the cat", "on the"],
        (("", ": must hold text: got none"),), lambda file: [file.read_text()],
        options=(("--max-new-tokens", "5"), ("--seed", "7"), ("--num-samples", "2"), ("--top-k", "1"),
                 ("--temperature", "0"), ("--top-p", "0.1")),
    ),
    "masked-language-model": Case(
        "language-model", (*_SMALL, "model.layers=2", "model.context_length=16", "training.batch_size=64",
                           "data.tokenizer=subwords", "data.vocabulary_size=290"),
        _verses, lambda data: ["the [MASK] sat", "[MASK] and [MASK]"],
        (("", ": must hold text: got none"),), lambda file: [file.read_text()], train=("--masked",),
    ),
    "translate": Case(
        "translate", (*_SMALL, "model.layers=1", "data.vocabulary_size=400", "search.beams=2", "training.batch_size=300",
                      "data.max_length=20"),
        _pairs, lambda data: ["big dog sees cat", "red cat has car"],
        (("source\ttarget\na\tb\nc\t\n", ":3: must have a target"), ("source\ttarget\n", ": must hold at least one pair")),
        _table,
        options=(("--n-best", "2"), ("--scores",), ("--alignment",), ("--num-samples", "2"), ("--max-new-tokens", "1")),
    ),
    "recurrent-translate": Case(
        "translate", ("model.architecture=recurrent", "model.width=12", "training.epochs=3", "data.tokenizer=characters",
                      "search.beams=1", "training.batch_size=600"),
        _pairs, lambda data: ["big dog sees cat", "red cat has car"], (("source\ttarget\na\tb\nc\t\n", ":3: must have a target"),),
        _table, options=(("--n-best", "2"), ("--scores",)),
    ),
    "summarize": Case(
        "summarize", (*_SMALL, "model.layers=1", "data.vocabulary_size=400", "search.beams=1", "training.batch_size=600"),
        _documents, lambda data: ["The dog sees the cat. It rains.", "Why not?"],
        (('{"source": "a"}\n', ":1: "), ("not json\n", ":1: ")), _objects,
        options=(("--n-best", "2"), ("--scores",)),
    ),
    "summarize-extractive": Case(
        "summarize-extractive", (*_SMALL, "model.layers=1", "model.ensemble_size=1", "model.pooling_heads=2",
                                 "training.batch_size=300", "training.learning_rate=0.03"),
        _documents, lambda data: ["The dog sees the cat. It rains. Why not?", "Why not?"],
        (('{"source": "a"}\n', ":1: "), ("not json\n", ":1: ")), _objects,
        options=(("--num-sentences", "2"), ("--scores",)),
    ),
    "classify-image": Case(
        "classify-image", ("model.stages=[8, 8]", "model.width=12", "model.heads=3", "model.ffn_width=20",
                           "training.batch_size=7", "training.epochs=3"),
        _shades, lambda data: [str(data / "dark" / "3.png"), str(data / "light" / "1.png")],
        (("not an image", ""),), _images, unknown=("model.widht", "model.width"), hostile=(), inside="dark/3.png",
    ),
    "generate-images": Case(
        "generate-images", ("model.widths=[8, 8]", "model.latent=5", "measure.steps=5", "training.batch_size=7", "training.epochs=3"),
        _shades, lambda data: [], (("not an image", ""),), _images, hostile=(), inside="dark/3.png",
        unknown=("model.latnt", "model.latent"),
        options=(("--count", "3"), ("--class", "light"), ("--seed", "7"), ("--grid",), ("--interpolate",)),
    ),
    "segment": Case(
        "segment", ("model.width=4", "training.batch_size=7", "training.epochs=3"), _rectangles,
        lambda data: [str(data / "images" / "3.png"), str(data / "images" / "1.png")], (("not an image", ""),), _masked,
        options=(("--scale", "0.5"),), hostile=(), inside="masks/3.png",


    ),
    "convolutional-classify-image": Case(
        "classify-image", ("model.architecture=cnn_dual", "model.stages=[8, 8]", "model.blocks=[1, 1]", "training.batch_size=7",
                           "training.epochs=3"),
        _shades, lambda data: [str(data / "dark" / "3.png"), str(data / "light" / "1.png")],
        (("not an image", ""),), _images, unknown=("model.widht", "model.width"), hostile=(), inside="dark/3.png",
    ),
    "transcribe": Case(
        "transcribe", ("model.width=12", "model.heads=2", "model.layers=1", "model.ffn_width=16", "model.subsampling=4", "data.bands=8",
                       "training.batch_size=18", "training.epochs=3", "training.learning_rate=0.02"),
        _beep_strings, lambda data: [str(data.parent / "sounds" / "3.wav"), str(data.parent / "sounds" / "1.wav")],
        (("path\ttext\nmissing.wav\tlow\n", ":2: must name a sound below "),), _spoken_beeps,
        options=(("--n-best", "2"), ("--scores",)), hostile=(),
    ),
    "forecast": Case(
        "forecast", ("data.horizon=3", "data.input_length=8", "data.test=0", "model.layers=1", "model.width=4", "model.heads=2",
                     "model.ffn_width=8", "model.patch=4", "training.epochs=3", "training.batch_size=16"),
        _hours, lambda data: [str(data)], (("time,a\n2024-01-01,1\n2024-01-02,x\n", ":3: "), ("time,a\n", ": must hold at least one row")),
        _columns, options=(("--level", "0.5"), ("--windows", "2")), hostile=(),
    ),
    "detect": Case(
        "detect", ("model.head=set", "model.stages=[8, 8, 8, 8]", "model.blocks=[1, 1, 1, 1]", "model.width=8",
                   "model.heads=2", "model.layers=1", "model.queries=6", "model.ffn_width=8", "data.size=[24, 32]",
                   "training.batch_size=12", "training.epochs=3", "training.learning_rate=0.01"),
        _boxes, lambda data: [str(data / "3.png"), str(data / "1.png")], (("<annotation>", ":1: must be an XML file"),), _boxed,
        options=(("--score-threshold", "0.0001"), ), hostile=(), inside="3.xml",
    ),
    "recommend": Case(
        "recommend", (*_SMALL, "model.layers=1", "training.batch_size=8", "training.learning_rate=0.02", "model.time_bias=true"),
        _purchases, lambda data: ["i1 i4 i2", "i3"],
        (("u i 1\nu j soon\n", ":1: "), ("", ": must hold at least one line: got an empty file")),
        lambda file: tuple(zip(*(line.split("\t") for line in file.read_text().splitlines()), strict=True)),
        options=(("--top-k", "2"), ("--exclude", "i5 i6 i7"), ("--within", "i1,i8"), ("--seen", "kept")),
    ),
    "identify-speaker": Case(
        "identify-speaker", ("model.width=8", "model.heads=2", "model.ffn_width=8", "model.layers=1", "model.pooling_heads=2",
                             "model.embedding=4", "augmentation.crop=[0.05, 0.1]", "training.batch_size=7", "training.epochs=3"),
        _beeps, lambda data: [str(data / "low" / "4.wav"), str(data / "high" / "1.wav")],
        (("not a sound", ": must be a whole sound: got "),), _heard, options=(("--embedding",), ("--top-k", "1")), hostile=(),
        inside="low/4.wav",
    ),
    "caption": Case(
        "caption", ("model.architecture=hard", "model.draws=2", "model.stages=[8, 8]", "model.width=12", "training.batch_size=7",
                    "training.epochs=3", "search.beams=2", "data.vocabulary_size=300"),
        _captions, lambda data: [str(data / "pictures" / "3.png"), str(data / "pictures" / "1.png")],
        (("path\tcaption\npictures/0.png\t\n", ":2: must have a caption: got an empty one"),), _captioned,
        options=(("--n-best", "2"), ("--scores",), ("--alignment",), ("--num-samples", "2"), ("--max-new-tokens", "1")),
        hostile=(), inside="captions.tsv",
    ),
    "pretrained-tag": Case(
        "tag", ("model.encoder_rate=1", "training.epochs=3", "training.batch_size=60", "training.learning_rate=0.02"),
        _conllu, lambda data: ["la boro bira.", "la"], (("1\tla\tla\tDET\tdet\t_\t0\n\n", ":1: "),), _sentences,
        options=(("--words",),), pretrained="roberta",
    ),
    "pretrained-classify": Case(
        "classify", ("model.encoder_rate=1", "model.layer_decay=0.5", "training.epochs=3", "training.batch_size=20"), _reviews,
        lambda data: ["bona boro", "malbona biro bela"], (("fine\tgood\n\tbad\n", ":2: must have a text"),), _table,
        pretrained="distilbert",
    ),
    "pretrained-classify-image": Case(
        "classify-image", ("model.encoder_rate=0", "training.batch_size=7", "training.epochs=3"), _shades,
        lambda data: [str(data / "dark" / "3.png"), str(data / "light" / "1.png")], (("not an image", ""),), _images,
        hostile=(), inside="dark/3.png", pretrained="vit",
    ),
    "most-vowel": Case(
        TOY, ("training.epochs=3",), _vowels, lambda data: ["banana", "coffee"],
        (("fine\tgood\n\tbad\n", ":2: must have a text"),), _table,
        unknown=("training.epocs", "training.epochs"), hostile=("🤷🏽‍♀️", "a" * 300, "e\u0301"),
    ),
}  # fmt: skip


assert {case.task for case in CASES.values()} == {*TASKS, TOY}, "every task is a case"
