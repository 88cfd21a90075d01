import math

import pytest
from pydantic import ValidationError

from heedful.tasks.language_model import ModelLanguage
from heedful.tasks.summarize_extractive import SummarizeExtractive
from heedful.tasks.translate import Translate


@pytest.mark.parametrize(
    ("task", "name", "wrong", "least"),
    [
        (ModelLanguage, "max_new_tokens", 0, 1),
        (ModelLanguage, "num_samples", 0, 1),
        (ModelLanguage, "temperature", -1.0, 0.0),
        (ModelLanguage, "temperature", math.inf, 0.0),
        (ModelLanguage, "top_k", -1, 0),
        (ModelLanguage, "top_p", 0.0, 1e-9),
        (ModelLanguage, "top_p", 1.1, 1.0),
        (Translate, "beams", 0, 1),
        (Translate, "n_best", 0, 1),
        (Translate, "length_penalty", math.inf, 0.0),
        (SummarizeExtractive, "num_sentences", 0, 1),
    ],
)
def test_impossible_options(task, name, wrong, least):
    assert getattr(task.Options(**{name: least}), name) == least
    with pytest.raises(ValidationError, match=name):
        task.Options(**{name: wrong})
