"""The figures of the README and of docs/measured.md are those of benchmarks/results/."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TUNED = ("heedful", "trainer", "trainer_grouped")
METRICS = ("rouge_1", "rouge_2", "rouge_l")


def of(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def points(shares: list[float], digits: int = 2) -> str:
    """Shares as percentages, by slashes."""
    return " / ".join(f"{100 * share:.{digits}f}" for share in shares)


def speeds(what: str, part: str) -> str:
    """From the slowest to the fastest, beside PyTorch."""
    ratios = [row["ratio"] for row in of("attention")["pytorch"] if (row["what"], row["pass"]) == (what, part)]
    return f"{1 / max(ratios):.2f} to {1 / min(ratios):.2f}x"


def operator(work: str, compared_with: str) -> float:
    (found,) = {
        row["result"]
        for row in of("operator")["rows"]
        if row["work"] == work and row["compared_with"].startswith(compared_with)
    }
    return found


def times(work: str, compared_with: str) -> str:
    result = operator(work, compared_with)
    return f"{result:.0f}x" if result >= 10 else f"{result:.1f}x"


def memory(work: str) -> str:
    return f"{100 * operator(f'{work}, N = 8,192, peak memory of a training step', 'SDPA'):.0f} %"


def megabytes(work: str) -> str:
    return f"{1000 * operator(f'{work}, peak memory in GB', '2 GB'):.0f} MB"


def both(work: str, compared_with: str, show: Any = times) -> list[str]:
    return [show(f"{work}, {part}", compared_with) for part in ("forward", "forward + backward")]


def baseline(name: str, method: str, metric: str = "accuracy") -> float:
    found = of(name)
    row = found["runs"][0] if "runs" in found else found.get("run", found)
    return row["baselines"][method][metric]


def image(name: str) -> tuple[list[str], str]:
    """The result of a set of images with its time, and what it is compared with."""
    found = of(name)
    runs = found.get("runs", [found])
    mean = sum(run["test"]["accuracy"] for run in runs) / len(runs)
    minutes = max(run["seconds"] for run in runs) / 60
    nearest, regression = (100 * baseline(name, method) for method in ("nearest neighbors", "logistic regression"))
    result = [f"accuracy {100 * mean:.1f} %", f"{minutes:.1f} min"]
    return result, f"nearest neighbors {nearest:.1f}, logistic regression {regression:.1f}"


def masked(tokenizer: str, window: int, metric: str) -> str:
    rows = [r for r in of("language_model_masked")["rows"] if (r["tokenizer"], r["window"]) == (tokenizer, window)]
    return ", ".join(f"{row.get(metric, row['metrics'].get(metric)):.3f}" for row in rows)


def rouge(name: str, part: str) -> str:
    return points([of(name)[part]["rouge"][metric]["mean"] for metric in METRICS])


def rouge_1(name: str, part: str) -> str:
    return f"ROUGE-1 {100 * of(name)[part]['rouge']['rouge_1']['mean']:.1f}"


def lead() -> float:
    return 100 * of("scitldr-copying")["copying"]["runs"][0]["baselines"]["lead-1"]["rouge_1"]


def bleu(kind: str) -> float:
    return of("multi30k-recurrent")[kind]["bleu"]["mean"]


def rows_of_measured() -> dict[str, tuple[list[str], list[str]]]:
    """By the beginning of a row: what it says that was measured, and its other numbers: sources, settings, names."""
    window, grid = "window of 128, N = 8,192", "7 x 7 neighborhood, 96 x 96 grid"
    tag, classify, dates, mixing = of("tag"), of("classify"), of("dates"), of("tag-mixing")
    segment, batches, generation = of("tag-segment"), of("tag-batches"), of("language_model_generation")["rows"]
    nats = [run["metrics"]["nats_per_character"] for run in of("shakespeare")["quick"]]
    mean = sum(nats) / 3
    deviation = (sum((value - mean) ** 2 for value in nats) / 2) ** 0.5
    speed = {(row["shape"], row["positions"]): row["heedful over"] for row in of("language_model_speed")["rows"]}
    learned = [speed["0.8 million", "learned"], speed["3.2 million", "learned"], speed["0.8 million", "rotary"]]
    multi30k, recurrent = of("multi30k")["run"]["test"], of("multi30k-recurrent")
    longer = recurrent["additive, less dropout and longer"]["runs"][0]["test"]
    training, decoding = of("translate-training")["rows"], of("translate-decoding")
    greedy, beam = decoding["beam_1"], decoding["beam_5"]
    serve, tuning = of("serve"), of("fine-tuning")
    tuned = {name: f"{100 * tuning[name]['mean']:.2f} %, s.d. {100 * tuning[name]['std']:.2f}" for name in TUNED}
    behind = sum(run["trainer"]["accuracy"] - run["heedful"]["accuracy"] for run in tuning["runs"]) / len(
        tuning["runs"]
    )
    copying, without = (of("scitldr-copying")[part]["rouge"]["rouge_1"]["mean"] for part in ("copying", "without"))
    ahead = of("scitldr-copying")["ahead"]["rouge_1"]
    extractive = of("scitldr-extractive")["summaries"]["runs"][0]["baselines"]["oracle-1"]["rouge_1"]
    joey = lambda row: [f"{row['joey'][order]['sentences_per_second']:.0f}" for order in ("file", "length")]  # noqa: E731
    middle = lambda values: sorted(values)[len(values) // 2]  # noqa: E731
    return {
        "fine-tuning": (
            [
                f"accuracy {tuned['heedful']}",
                f"{tuning['runs'][0]['heedful']['steps']} steps in {tuning['ratio_trainer']:.2f} of",
                f"in {tuning['ratio_trainer_grouped']:.2f} where",
            ],
            [
                f"Trainer {tuned['trainer']}",
                f"those batches {tuned['trainer_grouped']}",
                f"{100 * behind:.1f} points behind",
            ],
        ),
        "dense, 512": ([speeds("dense", "forward"), speeds("dense", "forward + backward")], []),
        "causal, 512": ([speeds("causal", "forward"), speeds("causal", "forward + backward")], []),
        "a window of 128": (both(window, "SDPA with"), []),
        "the same | local-attention": (both(window, "local-attention"), []),
        "the same | PyTorch's dense": (both(window, "floor", lambda *a: f"{100 * operator(*a):.0f} %"), []),
        "7 x 7": (both(grid, "SDPA with"), []),
        "64 packed": ([times("64 packed documents, 16,384 tokens, forward + backward", "padded")], []),
        "entmax15; sparsemax": ([
            "; ".join(times(f"{name}, N = 2,048, forward + backward", "entmax") for name in ("entmax15", "sparsemax"))
        ], []),
        "additive scores": (both("additive scores, N = 1,024", "broadcast"), []),
        "a bias with a gradient": ([f"{memory('bias with a gradient')} each"], []),
        "values of another width": ([memory("E != D")], []),
        **{
            start: ([*image(name)[0], image(name)[1]], ["cifar10.toml"] if name == "cifar10" else [])
            for start, name in (("digits", "digits"), ("MNIST", "mnist"), ("CIFAR-10", "cifar10"))
        },
        "`serve`": ([
            f"{serve['requests_per_second']:.0f} requests/s", f"{serve['lost']} of {serve['requests']:,} lost",
            f"{100 * serve['ratio']:.0f} % of the speed", f"{serve['predict_per_second']:.0f} texts/s",
        ], ["batches of 64", "target 60 %"]),
        "`tag`, raw": ([
            f"token F1 {100 * segment['segmenter']['f1']:.2f} %, {100 * segment['segmenter']['exact']:.1f} % of {segment['sentences']:,}",
            f"learned in {segment['seconds']:.0f} s",
            f"rules alone {100 * segment['rules']['f1']:.2f} %, {100 * segment['rules']['exact']:.1f} %",
        ], ["target 98"]),
        "`tag`, UPOS": ([
            f"accuracy {100 * tag['accuracy']['mean']:.2f} %, s.d. {100 * tag['accuracy']['std']:.2f}, at most {tag['minutes']:.0f} min",
            f"not seen in training {100 * sum(run['test']['oov_accuracy'] for run in tag['runs']) / 3:.0f} %",
            f"most frequent tag {100 * baseline('tag', 'most frequent tag'):.1f}",
            f"logistic regression on words and neighbors {100 * baseline('tag', 'logistic regression'):.1f}",
        ], ["UDPipe 1.2: 94.4"]),
        "`classify`": ([
            f"accuracy {100 * classify['accuracy']['mean']:.2f} %, s.d. {100 * classify['accuracy']['std']:.2f}, "
            f"at most {classify['minutes']:.0f} min",
            f"on the same sentences {100 * baseline('classify', 'TF-IDF + logistic regression'):.1f}",
        ], []),
        "`language-model`, the": ([
            f"{mean:.3f} nats per character, s.d. {deviation:.3f}",
            f"at most {max(run['seconds'] for run in of('shakespeare')['quick']) / 60:.0f} min",
            f"6-gram Kneser-Ney {of('shakespeare')['long']['baselines']['6-gram Kneser-Ney']['nats_per_character']:.3f}",
        ], ["3 min on a laptop: 1.88"]),
        "the same, 3.2 million": (
            [f"{of('shakespeare')['long']['metrics']['nats_per_character']:.3f}"], ["10.6 million: 1.47"]
        ),
        "share of non-padding": ([f"{100 * batches[f'non_padding_fraction{end}']:.1f} %" for end in ("", "_shuffled")], []),
        "words a second in the": ([
            f"{batches['words_a_second']:,.0f}"[:-2] + "00", f"{round(batches['shuffled'], -2):,.0f} with", f"{batches['ratio']:.1f}x",
        ], []),
        "512 new tokens": ([
            f"{generation[0]['seconds']:.2f} s; {generation[1]['seconds']:.1f} s",
            "{:.0f}x, {:.0f}x".format(*(row["over no cache"] for row in generation)),
            "{:.1f}x, {:.1f}x".format(*(row["over hugging face"] for row in generation)),
        ], ["GPT-2"]),
        "speed of training, learned": ([
            "{:.2f}x, {:.2f}x; with".format(*(row["nanoGPT"] for row in learned[:2])),
            f"{learned[2]['nanoGPT']:.2f}x (0.8 million)",
            "{:.2f}x, {:.2f}x, {:.2f}x".format(*(row["fused"] for row in learned)),
        ], ["GPT-2", "target 1.0x"]),
        "the tagger without attention": ([
            "; ".join(f"{100 * mixing[name]['accuracy']['mean']:.2f}" for name in ("alone", "window", "attention")) + " %"
        ], ["2 points"]),
        "`language-model --masked`": ([
            f"{masked('subwords', 0, 'nats_per_token')} nats per masked token; {masked('subwords', 0, 'nats_per_character')}",
            f"{masked('subwords', 8, 'nats_per_token')}; {masked('subwords', 8, 'nats_per_character')}",
        ], ["8 on each side (16 through"]),
        "characters, 10 epochs": (
            [f"{masked('characters', 0, 'nats_per_token')} nats", masked("characters", 8, "nats_per_token")],
            ["8 on each side"],
        ),
        "`predict` of a saved tagger": ([f"{of('tag-predict')['seconds']:.1f} s"], []),
        "`translate`, Multi30k": ([
            f"{multi30k['bleu']:.2f} BLEU", f"{multi30k['chrf']:.1f} chrF", f"{of('multi30k')['run']['seconds'] / 60:.0f} min",
            f"nearest neighbor (TF-IDF) {baseline('multi30k', 'nearest neighbor (TF-IDF)', 'bleu'):.2f}",
        ], ["13a, beam 5", "Transformer-Tiny 41.02", "Wu et al. 2021"]),
        "the same with `model.architecture": ([
            "; ".join(f"{bleu(kind):.2f}" for kind in ("additive", "general", "dot", "none")) + " BLEU",
            f"the Transformer's {multi30k['bleu']:.2f}",
        ], []),
        "the same, additive": ([
            f"{longer['bleu']:.2f} BLEU, {longer['chrf']:.1f} chrF", f"{multi30k['bleu'] - longer['bleu']:.2f} behind",
        ], []),
        "`translate --data dates`": ([
            f"exact match {100 * dates['exact_match']['mean']:.2f} %, s.d. {100 * dates['exact_match']['std']:.2f}; "
            f"at most {max(run['seconds'] for run in dates['runs']) / 60:.0f} min",
            f"exact match {100 * baseline('dates', 'nearest neighbor (TF-IDF)', 'exact_match'):.0f} %, "
            f"{baseline('dates', 'nearest neighbor (TF-IDF)', 'bleu'):.1f} BLEU",
        ], ["target 99 %, in two minutes"]),
        "`summarize-extractive`": ([
            f"{rouge('scitldr-extractive', 'summaries')}; {rouge('scitldr-extractive', 'labels')}",
            f"lead-1 {lead():.2f}", f"oracle-1 {100 * extractive:.1f}",
        ], ["ROUGE-1/2/L", "of ROUGE-1"]),
        "`summarize`, the same": ([
            f"{rouge('scitldr-copying', 'copying')}; {rouge('scitldr-copying', 'without')}",
            "{:.1f}, {:.1f} and {:.1f} points".format(*ahead),
            f"by {100 * copying - lead():.1f} of lead-1", f"{lead() - 100 * without:.1f} behind lead-1",
        ], ["ROUGE-1/2/L", "of ROUGE-1"]),
        "target tokens a second": ([
            f"{middle([row['ours'] for row in training]):,.0f}", f"{middle([row['joey'] for row in training]):,.0f}",
            f"{of('translate-training')['ratio']:.2f}",
        ], ["Joey NMT 2.3"]),
        "sentences a second": ([
            f"{greedy['sentences_per_second']:.0f}; {beam['sentences_per_second']:.0f}",
            *map(" and ".join, zip(joey(greedy), joey(beam), strict=True)),
            *(f"{greedy['ratios'][order]:.1f}x and {beam['ratios'][order]:.1f}x" for order in ("file", "length")),
        ], []),
    }  # fmt: skip


def rows_of_readme() -> dict[str, tuple[list[str], list[str]]]:
    ratios = [row["ratio"] for row in of("smooth")["rows"] if row["counted"]]
    nats = [run["metrics"]["nats_per_character"] for run in of("shakespeare")["quick"]]
    kneser = of("shakespeare")["long"]["baselines"]["6-gram Kneser-Ney"]["nats_per_character"]
    return {
        "`tag`": ([
            f"accuracy {100 * of('tag')['accuracy']['mean']:.2f} %",
            f"logistic regression {100 * baseline('tag', 'logistic regression'):.1f}",
        ], ["UDPipe 1.2 94.4"]),
        "`classify`": ([
            f"accuracy {100 * of('classify')['accuracy']['mean']:.2f} %",
            f"{100 * baseline('classify', 'TF-IDF + logistic regression'):.1f}",
        ], []),
        "`language-model`": ([f"{sum(nats) / 3:.3f} nats per character", f"6-gram Kneser-Ney {kneser:.3f}"], []),
        "`translate`": ([
            f"{of('multi30k')['run']['test']['bleu']:.1f} BLEU",
            f"nearest neighbor (TF-IDF) {baseline('multi30k', 'nearest neighbor (TF-IDF)', 'bleu'):.1f}",
            f"recurrent without attention {bleu('none'):.1f}",
        ], []),
        "`summarize`": ([
            rouge_1("scitldr-copying", "copying"), f"lead-1 {lead():.1f}",
            f"without copying {rouge_1('scitldr-copying', 'without').split()[1]}",
        ], []),
        "`summarize-extractive`": ([rouge_1("scitldr-extractive", "summaries"), f"lead-1 {lead():.1f}"], []),
        "`classify-image`": ([image("digits")[0][0], image("digits")[1]], []),
        "`smooth`": ([f"{min(ratios):.2f} to {max(ratios):.2f} of the best"], []),
    }  # fmt: skip


def table_rows(page: Path) -> list[str]:
    """The rows of its tables without the rules, the headers and the outer lines."""
    lines = [line.strip("| ") for line in page.read_text().splitlines() if line.startswith("|")]
    rules = {number for number, line in enumerate(lines) if line.startswith("---")}
    return [line for number, line in enumerate(lines) if number not in rules and number + 1 not in rules]


@pytest.mark.parametrize(("page", "rows"), [("README.md", rows_of_readme), ("docs/measured.md", rows_of_measured)])
def test_every_figure_of_a_table_is_in_the_results(page, rows):
    rows, found = rows(), table_rows(ROOT / page)
    assert len(found) == len(rows)
    for start, (measured, others) in rows.items():
        (row,) = [row for row in found if row.startswith(start)]
        text = " | ".join(row.split(" | ")[3 if page == "README.md" else 1 :])
        for said in [*measured, *others]:
            assert said in text, f"{page}: {start}: the results say {said!r}: got {row!r}"
            text = text.replace(said, "", 1)
        assert not re.findall(r"\d[\d.,]*", text), f"{page}: {start}: a figure without results: got {text!r}"


def test_the_cost_of_every_question_is_in_the_results():
    found: dict[str, dict[str, list[str]]] = {}
    for row in of("matrix")["summaries"]:
        found.setdefault(row["what"], {}).setdefault(row["pattern"], []).append(f"{row['result']:.2f}")
    page = (ROOT / "docs" / "matrix.md").read_text()
    table = page[page.index("| question | dense, ") :].splitlines()[2:]
    costs = [line.partition(" | ")[2] for line in table if line.startswith("| ")]
    assert costs == [" | ".join(map(" / ".join, by_pattern.values())) + " |" for by_pattern in found.values()]


def test_the_memory_of_one_head_is_in_the_results():
    page = " ".join((ROOT / "docs" / "measured.md").read_text().split())
    one, additive = megabytes("entmax15, N = 32,768, 1 head"), megabytes("additive, N = 16,384, 1 head")
    assert one == megabytes("sparsemax, N = 32,768, 1 head")
    assert f"trains at 32,768 positions in {one}" in page
    assert f"additive scores at 16,384 in {additive}" in page
    assert f"144 heads over 1,024 tokens take {of('viewer')['reports'][0]['megabytes']:.0f} MB" in page
