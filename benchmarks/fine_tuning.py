"""Fine-tuning an encoder: the same data, weights and number of steps through heedful and through Hugging Face's Trainer.

    python -m benchmarks.fine_tuning FOLDER         # of SST-2: train.tsv, dev.tsv, test.tsv

The encoder is a BERT with random weights, one a seed, whose tokenizer is learned from the training part: nothing is downloaded. Both
train all weights by AdamW with a warm-up and a cosine, look at the validation part after each epoch and keep the best one. For each seed
heedful trains, the Trainer with its defaults, and the Trainer with batches of like lengths, in an order that changes.
Runs stay in --out; what is there is taken away first.
"""

import argparse
import contextlib
import csv
import json
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import heedful
from benchmarks._measure import keep
from benchmarks._runs import mean_and_std

SIZE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
TOKENS, LENGTH = 8000, 128
EPOCHS, BATCH, RATE, DECAY, WARMUP = 3, 32, 1e-3, 0.01, 0.1
TARGET = 1.0  # our seconds over theirs


def rows_of(file: Path) -> tuple[list[str], list[int]]:
    """The texts and the labels of a part."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row[0] for row in rows], [int(row[1]) for row in rows]


def encoder(folder: Path, texts: list[str], seed: int) -> Path:
    """The folder of a new BERT with its tokenizer."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=TOKENS, special_tokens=special, show_progress=False)
    words.train_from_iterator(texts, trainer)
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, model_max_length=LENGTH, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip
    torch.manual_seed(seed)
    config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=LENGTH, **SIZE)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ours(model: Path, data: Path, out: Path, seed: int) -> dict[str, float]:
    """heedful, all weights at one rate."""
    settings = {
        "model.architecture": "pretrained", "model.name": str(model), "model.encoder_rate": 1.0, "training.seed": seed,
        "training.epochs": EPOCHS, "training.batch_size": BATCH, "training.learning_rate": RATE,
        "training.weight_decay": DECAY, "training.warmup_ratio": WARMUP,
    }  # fmt: skip
    with timed() as spent:
        trained = heedful.train(
            "classify", str(data / "train.tsv"), valid=str(data / "dev.tsv"), settings=settings, out=out, progress=False
        )
    steps = int((out / "log.csv").read_text().splitlines()[-1].split(",")[1])
    accuracy = trained.evaluate(str(data / "test.tsv")).metrics["accuracy"]
    return {"accuracy": accuracy, "seconds": spent[0], "steps": steps}


@contextlib.contextmanager
def timed() -> Iterator[list[float]]:
    """How long the training itself took, with its validation and its checkpoints, without baselines."""
    from heedful.training import fit as module

    original, spent = module.fit, []

    def fit(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            spent.append(time.perf_counter() - start)

    module.fit = fit
    try:
        yield spent
    finally:
        module.fit = original


def theirs(model: Path, data: Path, out: Path, seed: int, order: str) -> dict[str, float]:
    """The Trainer, with its own head on the same encoder; `order`: "random" or "group_by_length"."""
    import datasets
    import transformers

    transformers.set_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    parts = {}
    for part in ("train", "dev", "test"):
        texts, labels = rows_of(data / f"{part}.tsv")
        parts[part] = datasets.Dataset.from_dict({**tokenizer(texts, truncation=True), "labels": labels})
    network = transformers.BertForSequenceClassification.from_pretrained(model, num_labels=2)
    arguments = transformers.TrainingArguments(
        output_dir=str(out), num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH, per_device_eval_batch_size=4 * BATCH,
        learning_rate=RATE, weight_decay=DECAY, warmup_steps=WARMUP, lr_scheduler_type="cosine", seed=seed,
        eval_strategy="epoch", save_strategy="epoch", save_total_limit=1, load_best_model_at_end=True, report_to=[],
        disable_tqdm=True, use_cpu=True, logging_strategy="no", train_sampling_strategy=order, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = transformers.Trainer(
        network, arguments, train_dataset=parts["train"], eval_dataset=parts["dev"], processing_class=tokenizer,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )  # fmt: skip
    start = time.perf_counter()
    steps = trainer.train().global_step
    seconds = time.perf_counter() - start
    test = trainer.predict(parts["test"])
    return {
        "accuracy": float((test.predictions.argmax(-1) == test.label_ids).mean()),
        "seconds": seconds,
        "steps": steps,
    }


def main(options: argparse.Namespace | None = None) -> None:
    """Reads the command line."""
    if options is None:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("folder", type=Path)
        parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
        parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
        options = parser.parse_args()
    texts, _ = rows_of(options.folder / "train.tsv")
    place: Path = options.out / "fine-tuning"
    shutil.rmtree(place, ignore_errors=True)
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        model = encoder(place / f"encoder-{seed}", texts, seed)
        ways: list[tuple[str, Any]] = [
            ("heedful", lambda out, seed=seed, model=model: ours(model, options.folder, out, seed)),
            ("trainer", lambda out, seed=seed, model=model: theirs(model, options.folder, out, seed, "random")),
            ("trainer_grouped", lambda out, seed=seed, model=model: theirs(model, options.folder, out, seed, "group_by_length")),
        ]  # fmt: skip
        turn = seed % len(ways)
        row: dict[str, Any] = {"seed": seed}
        for name, way in ways[turn:] + ways[:turn]:
            row[name] = way(place / f"{name}-{seed}")
            print(f"seed {seed}, {name}: {json.dumps(row[name])}", flush=True)
        rows.append(row)
    report(rows)


def report(rows: list[dict[str, Any]]) -> None:
    """The means, and results/fine-tuning.json."""
    found: dict[str, Any] = {"target": TARGET, "size": SIZE, "runs": rows}
    for name in ("heedful", "trainer", "trainer_grouped"):
        found[name] = mean_and_std([row[name]["accuracy"] for row in rows])
        print(
            f"{name}: test accuracy {100 * found[name]['mean']:.2f} %, standard deviation {100 * found[name]['std']:.2f}"
        )
    for name in ("trainer", "trainer_grouped"):
        ratio = statistics.median(row["heedful"]["seconds"] / row[name]["seconds"] for row in rows)
        found[f"ratio_{name}"] = ratio
        print(f"heedful takes {ratio:.2f} of the seconds of {name}; target at most {TARGET}")
    keep("fine-tuning", found)


if __name__ == "__main__":
    main()
