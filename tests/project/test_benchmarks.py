"""Every script of the benchmarks runs, at a tiny size, and the results that are kept have the names that it gives them today."""

import contextlib
import functools
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import heedful
from benchmarks import (
    _measure,
    attention,
    classify_image,
    coverage_models,
    fine_tuning,
    forecast_channels,
    ideas,
    image_layers,
    language_model,
    matrix,
    operator,
    pictures,
    resume,
    serve,
    smooth,
    startup,
    summarize,
    texts,
    translate,
    viewer,
)
from tests import languages, tiny
from tests import texts as made

KEPT = _measure.RESULTS
RUN = subprocess.run
LAYER = {"model.width": 12, "model.ffn_width": 16, "model.layers": 1, "training.epochs": 1}
SMALL = {**LAYER, "model.heads": 2}
WORDS = {"model.word_width": 8, "model.form_width": 4, "model.ngram_width": 8}
SUBWORDS = {"data.vocabulary_size": 300, "search.beams": 1}
SETTINGS = {
    "tag": SMALL | WORDS,
    "window": LAYER | WORDS,
    "classify": {**SMALL, "model.pooling_heads": 2, "model.ensemble_size": 1},
    "language-model": {**SMALL, "model.context_length": 8, "training.epochs": 2},
    "translate": SMALL | SUBWORDS,
    "recurrent": {"model.width": 12, "training.epochs": 1} | SUBWORDS,
    "summarize": SMALL | SUBWORDS,
    "summarize-extractive": {**SMALL, "model.pooling_heads": 2, "model.ensemble_size": 1},
    "classify-image": {**SMALL, "model.stages": [4], "model.convolutions": [1]},
}


def smaller(train: Callable, task: str, data: object, *, settings: dict, **more: object) -> object:
    """A training by the settings of the script, but of a tiny model, for an epoch or two."""
    architecture = settings.get("model.architecture") or settings.get("model", {}).get("architecture")
    own = SETTINGS.get(architecture) or SETTINGS[task]
    size = settings.get("data.vocabulary_size") and {"data.vocabulary_size": 300}
    if data == "digits":
        data = "digits[:60]"
    return train(task, data, settings={**settings, **own, **(size or {})}, **more)


def once(ours: Callable, theirs: Callable, **_: object) -> _measure.Pair:
    """Each call once."""
    start = time.perf_counter()
    ours()
    middle = time.perf_counter()
    theirs()
    end = time.perf_counter()
    return _measure.Pair(middle - start, end - middle, (middle - start) / (end - middle))


def here(command: list[str], *, check: bool = False, **options: object) -> subprocess.CompletedProcess:
    """What a process of its own would print, in this one; commands of libraries, such as which processor this is, are run."""
    if list(command[:2]) != [sys.executable, "-c"]:
        return RUN(command, check=check, **options)
    out, before, status = io.StringIO(), sys.argv, 0
    sys.argv = ["-c", *command[3:]]
    try:
        with contextlib.redirect_stdout(out):
            exec(command[2], {"__name__": "__main__"})
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = before
    done = subprocess.CompletedProcess(command, status, out.getvalue(), "")
    if check:
        done.check_returncode()
    return done


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Lengths are divided, calls run once, in this process, and results stay in a folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_measure, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(_measure, "MOST", 64)
    for module in (attention, operator, matrix, ideas, image_layers):
        monkeypatch.setattr(module, "paired", once)
    monkeypatch.setattr(subprocess, "run", here)
    monkeypatch.setattr(heedful, "train", functools.partial(smaller, heedful.train))
    return monkeypatch


def options(folder: Path, **more: object) -> Namespace:
    return Namespace(folder=folder, out=Path("runs"), seeds=[1], joey="joey", **more)


def run_ideas(small: pytest.MonkeyPatch) -> None:
    page = Path("ideas.md")
    page.write_text("".join(f"<!-- table {name} -->\n<!-- end -->\n" for name in ("recall", "lengths", "time")))
    small.setattr(ideas, "PAGE", page.resolve())
    small.setattr(ideas, "DISTANCES", (30, 100))
    small.setattr(ideas, "SEEDS", (1,))
    small.setattr(pictures, "FOLDER", None)
    reader = functools.partial(ideas.train_reader, steps=1, longest=9, distances=(30, 100))
    small.setattr(ideas, "train_reader", reader)
    small.setattr(ideas, "train_follower", functools.partial(ideas.train_follower, steps=1))
    small.setattr(ideas, "times", functools.partial(ideas.times, sizes=(8, 16), seconds=0.0))
    _measure.keep("ideas-time", {"time": ideas.times()})
    ideas.main()
    ideas.time_main()
    assert "| attention | " in page.read_text()


def run_language_model(small: pytest.MonkeyPatch) -> None:
    text = Path("input.txt")
    text.write_text("the cat sat on the mat, and the rat sat on the hat.\n" * 30)
    small.setattr(language_model, "SEEDS", (1,))
    language_model.speed(tokens=2100)
    language_model.generation(new=2, rounds=1)
    language_model.shakespeare(str(text), Path("runs"))
    language_model.masked(str(text), Path("runs"))


def run_texts(small: pytest.MonkeyPatch) -> None:
    small.setattr(texts, "RUNS", 1)
    for seed, part in enumerate(("train", "dev", "test")):
        made.conllu(Path(f"en-{part}.conllu"), 20, seed)
        made.reviews(Path(f"{part}.tsv"), 20, seed)
    for part in texts.PARTS.values():
        part(options(Path()))


def run_fine_tuning(small: pytest.MonkeyPatch) -> None:
    for seed, part in enumerate(("train", "dev", "test")):
        file = made.reviews(Path(f"{part}.tsv"), 20, seed)
        rows = [line.split("\t") for line in file.read_text().splitlines()]
        file.write_text(
            "".join(f"{text}\t{int(label == 'good')}\n" for text, label in rows if label in ("good", "bad"))
        )
    small.setattr(
        fine_tuning, "SIZE", {**fine_tuning.SIZE, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    )
    small.setattr(fine_tuning, "EPOCHS", 1)
    small.setattr(heedful, "train", heedful.tasks.run.train)
    fine_tuning.main(options(Path()))


def run_translate(small: pytest.MonkeyPatch) -> None:
    from heedful.tasks import translate as task

    dates = functools.cache(task.dates)
    small.setattr(task, "dates", lambda part: dates(part).select(range(12)))
    for part in ("train", "val", "test_2016_flickr"):
        for end, lines in zip(("en", "de"), zip(*languages.pairs(30), strict=True), strict=True):
            Path(f"{part}.{end}.gz").write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
    small.setattr(translate, "peer", joey)
    for part in ("multi30k", "scores", "dates"):
        translate.PARTS[part](options(Path()))
    translate.training(options(Path()), rounds=1, pairs=20)
    translate.decoding(options(Path()), sentences=2, rounds=1)


def joey(_: str, verb: str, *words: object) -> dict:
    """What Joey NMT said when it was measured; it runs in an environment of its own."""
    if verb == "train":
        return json.loads((KEPT / "translate-training.json").read_text())["rows"][0]["joey_run"]
    beams = json.loads((KEPT / "translate-decoding.json").read_text())
    order = str(words[-1])
    return {"order": order} | {name: beams[name]["joey"][order] for name in ("beam_1", "beam_5")}


def run_summarize(small: pytest.MonkeyPatch) -> None:
    for seed, part in enumerate(("train", "dev", "test")):
        rows = [{**row, "source_labels": row["labels"]} for row in languages.documents(12, seed)]
        Path(f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for part in summarize.PARTS.values():
        part(options(Path()))


def run_classify_image(small: pytest.MonkeyPatch) -> None:
    classify_image.digits(Path("runs"))
    labels = np.arange(40, dtype=np.uint8) % 2
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        head = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
        Path(f"t10k-{name}.gz").write_bytes(gzip.compress(head + array.tobytes()))
    small.setattr(sys, "argv", ["classify_image", "mnist", "t10k-images-idx3-ubyte.gz"])
    with pytest.raises(heedful.DataError):  # 40 images have no 8000th
        classify_image.main()
    classify_image.train_and_test("mnist", sys.argv[2] + "[:30]", sys.argv[2] + "[30:]", Path("runs"))
    for seed, part in enumerate(("train", "test")):
        tiny.draw(Path("cifar10") / part, size=32, seed=seed)
    small.setattr(sys, "argv", ["classify_image", "cifar10", "cifar10", "--out", "runs"])
    classify_image.main()


def run_resume(small: pytest.MonkeyPatch) -> None:
    quick = ("data.size=8", "model.stages=[4, 4]", "model.width=8", "model.layers=1", "training.batch_size=256")
    small.setattr(resume, "SETTINGS", (*quick, "training.epochs=2"))
    assert resume.measure(1, Path("runs"), seed=1)


def run_viewer(small: pytest.MonkeyPatch) -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    if not os.environ.get("HEEDFUL_CHROMIUM") and not any(map(shutil.which, names)):
        pytest.skip("no browser")
    small.setattr(viewer, "CASES", (("32 positions", 1, 2, 8, 32, 12),))
    small.setattr(viewer, "SETTLED_MS", 200)
    small.setattr(viewer, "MOVES", 3)
    small.setattr(viewer, "WINDOWS", (2,))
    viewer.main()
    folder = Path("viewer").resolve()
    small.setattr(viewer, "FOLDER", folder)
    small.setattr(viewer, "PICTURES", viewer.PICTURES[:1])
    viewer.pictures()
    assert (folder / "overview.png").exists()
    assert (folder.parent / "report-matrix.png").exists()


def run_startup(small: pytest.MonkeyPatch) -> None:
    small.setattr(startup, "RUNS", 1)
    startup.main()


def run_matrix(small: pytest.MonkeyPatch) -> None:
    small.setattr(matrix, "RUNS", 1)
    matrix.main()


def run_coverage_models(small: pytest.MonkeyPatch) -> None:
    def here(specs: list[str], _: int) -> Iterator[tuple[str, dict]]:
        return ((spec, coverage_models.attempt(spec)) for spec in specs)

    small.setattr(coverage_models, "answers", here)
    coverage_models.main(["gpt2"])
    [row] = _measure.kept("coverage_models")["architectures"]
    assert (row["verdict"], row["engines"]) == ("whole", ["eager", "sdpa"])
    assert row["compared"] == row["calls"] / 2 > 0


def run_serve(small: pytest.MonkeyPatch) -> None:
    from heedful.tasks.serve import ModelServer

    @contextlib.contextmanager
    def serving(run: Path) -> Iterator[int]:
        server = ModelServer(heedful.load(run), port=0)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server.port
        finally:
            server.stop()
            thread.join()

    small.setattr(serve, "serving", serving)
    small.setattr(serve, "SETTINGS", {"training.epochs": 1})
    for seed, part in enumerate(("train", "test")):
        made.reviews(Path(f"{part}.tsv"), 20, seed)
    serve.main(Path(), clients=3, rounds=1)
    assert _measure.kept("serve")["lost"] == 0


def run_image_layers(small: pytest.MonkeyPatch) -> None:
    for name in ("SIDE", "LARGE_SIDE", "CONVOLUTIONS"):
        small.setattr(image_layers, name, 5)
    image_layers.main()


def run_smooth(small: pytest.MonkeyPatch) -> None:
    small.setattr(smooth, "SNRS", (7,))
    small.setattr(smooth, "SEEDS", (1,))
    smooth.main()
    smooth.picture()
    assert Path("smoothing.png").exists()


def run_forecast_channels(small: pytest.MonkeyPatch) -> None:
    words = "--channels 6 --length 48 --batch 1 --seconds 0.1".split()  # noqa: SIM905
    small.setattr(sys, "argv", ["forecast_channels", *words])
    forecast_channels.main()


SCRIPTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "attention": lambda small: attention.main(),
    "operator": lambda small: operator.main(),
    "matrix": run_matrix,
    "ideas": run_ideas,
    "image_layers": run_image_layers,
    "pictures": lambda small: None,  # run_ideas draws them
    "language_model": run_language_model,
    "texts": run_texts,
    "fine_tuning": run_fine_tuning,
    "translate": run_translate,
    "translate_peer": lambda small: pytest.importorskip("joeynmt"),  # in an environment of its own
    "summarize": run_summarize,
    "classify_image": run_classify_image,
    "resume": run_resume,
    "viewer": run_viewer,
    "serve": run_serve,
    "startup": run_startup,
    "smooth": run_smooth,
    "forecast_channels": run_forecast_channels,
    "coverage_models": run_coverage_models,
}


def paths(value: object, at: str = "") -> Iterator[str]:
    """The keys of JSON, with those that they stand in; entries of a list together, numbers as one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            own = f"{at}/{'N' if key.isdigit() else key}"
            yield own
            yield from paths(inner, own)
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, at)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_and_gives_the_names_that_are_kept(name, small):
    SCRIPTS[name](small)
    for file in _measure.RESULTS.glob("*.json"):
        today, kept = (json.loads(one.read_text()) for one in (file, KEPT / file.name))
        assert set(paths(kept)) <= set(paths(today)), file.name


def test_every_script_is_run():
    scripts = {file.stem for file in Path(operator.__file__).parent.glob("*.py")}
    assert {name for name in scripts if not name.startswith("_")} == set(SCRIPTS)
