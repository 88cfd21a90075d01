import pytest
import torch

from heedful._errors import DataError
from heedful.tasks.summarize_extractive import SummarizeExtractive
from heedful.tasks.views.generation import extracted_section, generated_section
from tests.tasks.test_summarize_extractive import untrained
from tests.tasks.test_text_generation import generator_of


def with_gate(gate):
    """A model that writes, or copies, with one probability, far on one side."""
    torch.manual_seed(0)
    generator = generator_of("model.pointer=true", "model.heads=2", "model.ffn_width=16")
    model = generator.build().eval()
    torch.nn.init.zeros_(model.pointer.gate.weight)
    torch.nn.init.constant_(model.pointer.gate.bias, gate)
    return generator, model


def test_what_is_copied_is_marked():
    section = generated_section(*with_gate(-30.0), "the Ж cat")
    written = list(section.axes[2].tokens)
    assert len(written) > 1
    assert all(token.endswith(" ⧉") for token in written)
    assert "⧉ marks what was copied from the source." in section.text
    assert list(section.axes[0].tokens) == [*"the Ж cat", "[END]"]
    assert section.axes[0].special == [4, 9]
    assert "The model does not know 'Ж'." in section.text
    section = generated_section(*with_gate(30.0), "the cat")
    assert not any("⧉" in token for token in section.axes[2].tokens)


def test_a_blank_text_has_nothing_to_inspect():
    with pytest.raises(DataError, match="a text to inspect must have at least one"):
        generated_section(*with_gate(0.0), " ")


def test_how_probable_each_sentence_is():
    task, model = untrained()
    assert isinstance(task, SummarizeExtractive)
    section = extracted_section(task, model, "Dog sees cat. Man eats. Old car has dog.")
    (layer,) = section.layers
    probabilities = task.probabilities(model, [section.axes[0].tokens])[0]
    assert layer.pairs.weights.reshape(-1).tolist() == pytest.approx(probabilities.tolist(), abs=1e-6)
    assert len(section.output.split(". ")) == 2
    with pytest.raises(DataError, match="a text to inspect must have at least one sentence: got ' '"):
        extracted_section(task, model, " ")
