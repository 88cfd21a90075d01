import pytest

from heedful._errors import SettingsError
from heedful.data.text import ParallelTexts
from heedful.tasks import bleu
from heedful.tasks.bleu import bleu_tokenizer
from heedful.tasks.text_generation import Generated
from heedful.tasks.translate import Translate
from heedful.training.settings import settings_of

TARGETS = {
    "zh": "今天天气很好，我们去公园。", "ja-mecab": "今日は天気がいいので公園へ行きます。",
    "ko-mecab": "오늘은 날씨가 좋아서 공원에 갑니다.",
    "char": "วันนี้อากาศดี", "13a": "Das Wetter (天气) ist heute schön.",
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("installed", [True, False])
def test_the_tokenizer_fits_the_script_and_what_is_installed(monkeypatch, name, installed):
    monkeypatch.setattr(bleu, "find_spec", lambda package: installed or None)
    assert bleu_tokenizer([TARGETS[name]]) == (name if installed or "mecab" not in name else "char")


def test_a_text_in_chinese_or_thai_has_ngrams_in_common():
    vocabulary = Translate.learn(
        ParallelTexts(["a b"], ["今天"], [""]), settings_of(Translate.Settings, ["data.tokenizer=characters"])
    )
    for name, target in TARGETS.items():
        if "mecab" in name:
            continue
        scores, examples = {}, ParallelTexts(["a"], [target], [""])
        for words in ([], ["metric.tokenize=13a"]):
            task = Translate(settings_of(Translate.Settings, words), vocabulary)
            found = task.score([Generated("a", target[:-2])], examples)
            scores[found.details["signatures"]["bleu"].split("tok:")[1].split("|")[0]] = found.metrics["bleu"].value
        assert next(iter(scores)) == name
        assert scores["13a"] == 0 or name == "13a"
        assert scores[name] > 30


def test_what_cannot_be_used_is_known_before_the_training():
    settings = settings_of(Translate.Settings, ["metric.tokenize=ja-mecab"])
    with pytest.raises(
        SettingsError, match="`metric.tokenize`: must be a tokenizer that can be used here: got 'ja-mecab': .*sacrebleu"
    ):
        Translate.learn(ParallelTexts(["a"], ["b"], [""]), settings)
