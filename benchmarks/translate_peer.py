"""translate's peer: Joey NMT 2.3 trains and decodes the same shape of model. Runs in an environment of its own.

    python -m venv joey && joey/bin/pip install torch==2.13.0 joeynmt==2.3.0 sentencepiece==0.2.0 importlib_metadata
    joey/bin/python -P benchmarks/translate_peer.py train FOLDER train.en train.de --updates 60
    joey/bin/python -P benchmarks/translate_peer.py decode FOLDER test.en --sentences 200

Get PyTorch's CPU build first, as the README says. Later versions of sentencepiece lack SetVocabulary, which Joey NMT calls;
importlib_metadata it imports without asking for it. Nothing of Joey NMT is patched. Files may end in .gz; text is lower-cased.

The last line of the standard output is JSON, everything else goes to the standard error. Threads are PyTorch's default: OMP_NUM_THREADS,
or all cores. FOLDER keeps the subwords, Joey NMT's configuration and its last checkpoint.

Loop, batches, loss, search and subwords are Joey NMT's own, in float32, which is all that it has on a CPU. It batches in the order of
its shuffling or of the file, not by length; a batch is full once its sentences x the longest of their sources and targets reach the
number of tokens. Training's clock runs from the start of an update, the first after the warm-up, to the start of another: it includes
reading, tokenizing and the optimizer's step. Nothing is validated. A target token is one that the loss counts: </s> is one, <s> and
padding are none. Subwords of others cut otherwise, so sentences per second are there too. Decoding's clock runs from lower-cased text to
text; Joey NMT ends a batch when its longest translation has ended, at the latest at 1.5 times its longest source. After
200 updates translations are about as long as real ones; before, they may end at once or never.
"""

import argparse
import gzip
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

VOCABULARY = 8_000  # of both languages together, with the four signs <unk> <pad> <s> </s>
LAYERS, WIDTH, HIDDEN, HEADS = 4, 128, 256, 4
BATCH = 4_096


def _lines(path: Path) -> list[str]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        return [" ".join(line.split()) for line in file]


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _learn_subwords(folder: Path, lines: list[str]) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line.lower() for line in lines), model_prefix=str(folder / "subwords"), model_type="bpe",
        vocab_size=VOCABULARY, character_coverage=1.0, unk_id=0, pad_id=1, bos_id=2, eos_id=3, minloglevel=1,
    )  # fmt: skip
    learnt = sentencepiece.SentencePieceProcessor(model_file=str(folder / "subwords.model"))
    _write(folder / "subwords.txt", [learnt.id_to_piece(i) for i in range(4, learnt.get_piece_size())])


def _config(folder: Path, updates: int, smoothing: float) -> dict[str, Any]:
    """Joey NMT's configuration, where its own examples leave a choice as in its small Transformers."""
    side = {
        "level": "bpe", "lowercase": True, "max_length": 150, "voc_file": str(folder / "subwords.txt"),
        "tokenizer_type": "sentencepiece", "tokenizer_cfg": {"model_file": str(folder / "subwords.model")},
    }  # fmt: skip
    half = {
        "type": "transformer", "num_layers": LAYERS, "num_heads": HEADS, "embeddings": {"embedding_dim": WIDTH},
        "hidden_size": WIDTH, "ff_size": HIDDEN, "dropout": 0.1, "layer_norm": "pre",
    }  # fmt: skip
    return {
        "name": "peer", "model_dir": str(folder / "model"), "use_cuda": False, "fp16": False, "num_workers": 0, "random_seed": 1,
        "data": {
            "train": str(folder / "data/train"), "dev": str(folder / "data/dev"), "dataset_type": "plain",
            "src": {"lang": "source", **side}, "trg": {"lang": "target", **side},
        },
        "model": {
            "initializer": "xavier_uniform", "embed_initializer": "xavier_uniform", "tied_embeddings": True, "tied_softmax": True,
            "encoder": half, "decoder": half,
        },
        "training": {
            "batch_size": BATCH, "batch_type": "token", "updates": updates, "epochs": sys.maxsize, "loss": "crossentropy",
            "label_smoothing": smoothing, "normalization": "tokens", "optimizer": "adam", "adam_betas": [0.9, 0.98],
            "learning_rate": 0.003, "learning_rate_min": 0.0, "learning_rate_warmup": 50, "scheduling": "warmupinversesquareroot",
            "logging_freq": 100, "validation_freq": 100 * updates,  # that is never
        },
        "testing": {"beam_alpha": 1.0, "max_output_length": -1, "batch_type": "token"},  # -1: 1.5 times the source
    }  # fmt: skip


def _measured_on() -> dict[str, Any]:
    packages = ("joeynmt", "torch", "sentencepiece")
    return {
        **{name: version(name) for name in packages}, "python": platform.python_version(), "threads": torch.get_num_threads(),
    }  # fmt: skip


def train(folder: Path, source: Path, target: Path, updates: int, warmup: int, smoothing: float) -> dict[str, Any]:
    """Joey NMT's training loop, from nothing."""
    from joeynmt.config import parse_global_args, set_validation_args
    from joeynmt.prediction import prepare
    from joeynmt.training import TrainManager

    sources, targets = _lines(source), _lines(target)
    if len(sources) != len(targets) or not all(sources) or not all(targets):
        raise SystemExit(f"{source} and {target}: must have as many lines, none of them empty")
    for part, count in (("train", len(sources)), ("dev", 1)):  # Joey NMT wants a dev set even if it never validates
        _write(folder / f"data/{part}.source", sources[:count])
        _write(folder / f"data/{part}.target", targets[:count])
    _learn_subwords(folder, sources + targets)
    (folder / "model").mkdir(exist_ok=True)
    config = _config(folder, warmup + updates + 1, smoothing)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    args = parse_global_args(config, rank=0, mode="train")
    model, data, dev, _ = prepare(args, rank=0, mode="train")
    manager = TrainManager(
        rank=0, model=model, model_dir=args.model_dir, device=args.device, autocast=args.autocast, seed=args.seed,
        train_args=args.train, dev_args=set_validation_args(args.test),
    )  # fmt: skip
    began: list[float] = []
    seen: list[tuple[int, int, int]] = []  # real target tokens, sentences, target positions

    def note(_model: Any, _args: Any, batch: dict[str, Any]) -> None:
        began.append(time.perf_counter())
        seen.append((batch["ntokens"], batch["nseqs"], batch["trg"].numel()))

    model.register_forward_pre_hook(note, with_kwargs=True)
    manager.train_and_validate(train_data=data, valid_data=dev)

    measured = slice(warmup, warmup + updates)
    seconds = began[warmup + updates] - began[warmup]
    tokens, sentences, positions = (sum(column) for column in zip(*seen[measured], strict=True))
    return {
        "parameters": sum(p.numel() for p in model.parameters()), "updates": updates, "seconds": seconds, "target_tokens": tokens,
        "target_positions": positions, "sentences": sentences, "tokens_per_second": tokens / seconds,
        "sentences_per_second": sentences / seconds, "label_smoothing": smoothing,
    }  # fmt: skip


def decode(
    folder: Path, source: Path, sentences: int, beams: list[int], order: str, batch: int, repeats: int
) -> dict[str, Any]:
    """Joey NMT's `predict` with the checkpoint of `train`, from text to text; the model is loaded already."""
    from joeynmt.config import parse_global_args
    from joeynmt.prediction import predict, prepare

    lines = _lines(source)[:sentences]
    if len(lines) < sentences or not all(lines):
        raise SystemExit(f"{source}: must have at least {sentences} lines, none of them empty")
    if order == "length":
        lines.sort(key=len)
    _write(folder / "data/test.source", lines)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["data"]["dev"]
    config["data"]["test"] = str(folder / "data/test")
    args = parse_global_args(config, rank=0, mode="test")
    model, _, _, data = prepare(args, rank=0, mode="test")
    result: dict[str, Any] = {"sentences": sentences, "order": order, "batch": batch}
    for beam in beams:
        settings = args.test._replace(beam_size=beam, batch_size=batch)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            _, _, texts, pieces, _, _ = predict(
                model=model, data=data, device=args.device, n_gpu=0, args=settings, autocast=args.autocast
            )
            times.append(time.perf_counter() - start)
        _write(folder / f"translated-{beam}.txt", texts)  # beside data/test.source
        result[f"beam_{beam}"] = {
            "seconds": times, "sentences_per_second": sentences / statistics.median(times),
            "mean_output_length": statistics.mean(sum(piece != "</s>" for piece in words) for words in pieces),
            "ended": sum("</s>" in words for words in pieces) / sentences,
        }  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("train")
    verb.add_argument("folder", type=Path)
    verb.add_argument("source", type=Path)
    verb.add_argument("target", type=Path)
    verb.add_argument("--updates", type=int, default=60, help="that are measured")
    verb.add_argument("--warmup", type=int, default=5, help="updates before them")
    verb.add_argument("--smoothing", type=float, default=0.1)
    verb = verbs.add_parser("decode")
    verb.add_argument("folder", type=Path)
    verb.add_argument("source", type=Path)
    verb.add_argument("--sentences", type=int, default=200)
    verb.add_argument("--beams", type=int, nargs="+", default=[1, 5], help="1 is greedy")
    verb.add_argument(
        "--order", choices=("file", "length"), default="file", help="length: as if its user had sorted the file"
    )
    verb.add_argument("--batch", type=int, default=256, help="tokens, with padding; by less and by more it was slower")
    verb.add_argument("--repeats", type=int, default=3, help="the median counts")
    words = vars(parser.parse_args())
    words["folder"] = words["folder"].absolute()
    runs: dict[str, Callable[..., dict[str, Any]]] = {"train": train, "decode": decode}
    result = runs[words.pop("verb")](**words)
    print(json.dumps({"measured_on": _measured_on(), **result}))


if __name__ == "__main__":
    main()
