import random
import unicodedata

import pytest
from torchmetrics.functional.text import rouge_score

from heedful.tasks.rouge import Rouge, mean_rouge, oracle, rouge, rouge_name, sentence_gains

WORDS = ["the", "cat,", "sat.", "on", "A", "mat-2", "and", "the", "dog's", "DOG", "ran"]


def text(draw, most=12):
    return " ".join(draw.choices(WORDS, k=draw.randrange(1, most)))


def test_rouge_is_that_of_torchmetrics_and_the_best_reference_counts():
    draw = random.Random(1)
    summaries = [text(draw) for _ in range(20)]
    references = [[text(draw) for _ in range(draw.randrange(1, 4))] for _ in summaries]
    for found, summary, others in zip(rouge(summaries, references), summaries, references, strict=True):
        for key, value in zip(("rouge1", "rouge2", "rougeL"), found, strict=True):
            each = [rouge_score(summary, other, rouge_keys=key)[f"{key}_fmeasure"].item() for other in others]
            assert value == pytest.approx(max(each), abs=1e-6)


def test_letters_of_any_alphabet_are_words():
    [found] = rouge(["Кошка спит."], [["кошка, спит!"]])
    assert found == Rouge(1.0, 1.0, 1.0)
    assert sentence_gains(["Кошка спит.", "été"], ["кошка, спит!"]) == [1.0, 0.0]


@pytest.mark.parametrize("text", ["Crème brûlée à la carte", "हिन्दी में नमस्ते", "tiếng Việt", "한국어 문장"])
def test_a_text_is_itself_however_it_is_encoded(text):
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert rouge([composed], [[decomposed]]) == [Rouge(1.0, 1.0, 1.0)]
    assert sentence_gains([decomposed], [composed]) == [1.0]


def test_characters_count_where_a_script_has_no_blanks():
    [found] = rouge(["今天天气很好。"], [["今天天气不好"]])
    assert found == pytest.approx(Rouge(5 / 6, 3 / 5, 5 / 6), abs=1e-6)


def test_gains_are_the_mean_of_rouge_1_and_2():
    draw = random.Random(2)
    sentences, references = [text(draw) for _ in range(40)], [text(draw) for _ in range(3)]
    expected = [(found.rouge1 + found.rouge2) / 2 for found in rouge(sentences, [references] * 40)]
    assert sentence_gains(sentences, references) == pytest.approx(expected, abs=1e-6)
    assert len(set(expected)) > 10


def test_the_oracle_adds_what_helps_most_as_long_as_it_helps():
    draw = random.Random(3)
    lengths = set()
    for _ in range(30):
        sentences, references = [text(draw, 6) for _ in range(7)], [text(draw, 20) for _ in range(2)]
        chosen, best = [], 0.0
        while len(chosen) < 3:
            others = [i for i in range(7) if i not in chosen]
            # Joined by a word that occurs nowhere and that no score counts, so that no pair spans two sentences.
            gains = [gain([sentences[k] for k in [*chosen, i]], references) for i in others]
            if max(gains) <= best + 1e-9:
                break
            best = max(gains)
            chosen.append(others[gains.index(best)])
        assert oracle(sentences, references, most=3) == sorted(chosen)
        lengths.add(len(chosen))
    assert len(lengths) > 1


def gain(sentences, references):
    """By counting with lists: pairs are those within a sentence."""

    def parts(text, size):
        words = "".join(sign if sign.isalnum() else " " for sign in text.lower()).split()
        return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]

    def f(size, reference):
        found = [part for sentence in sentences for part in parts(sentence, size)]
        wanted = parts(reference, size)
        total, common = len(found) + len(wanted), 0
        for part in found:
            if part in wanted:
                wanted.remove(part)
                common += 1
        return 2 * common / total if common else 0.0

    return sum(max(f(size, reference) for reference in references) for size in (1, 2)) / 2


def test_the_oracle_of_nothing_in_common_is_nothing():
    assert oracle(["a b", "c"], ["d"], most=2) == []
    assert oracle([], ["d"], most=2) == []
    assert oracle(["a", "d", "d"], ["d"], most=1) == [1]


def test_the_mean():
    assert mean_rouge([Rouge(0.5, 0.0, 1.0), Rouge(0.25, 1.0, 0.0)]) == Rouge(0.375, 0.5, 0.5)
    with pytest.raises(ValueError, match="`scores` must be those of at least one summary: got none"):
        mean_rouge([])


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="`references` must be as many as the summaries: got 1 for 2 summaries"):
        rouge(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="`references` must have one or more for each summary: got none for summary 1"):
        rouge(["a"], [[]])
    for measure in (sentence_gains, lambda *given: oracle(*given, most=1)):
        with pytest.raises(ValueError, match="`references` must be at least one: got none"):
            measure(["a"], [])


def test_the_name_says_whose_it_is():
    assert rouge_name().startswith("ROUGE of torchmetrics 1.")
