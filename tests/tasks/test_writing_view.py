import pytest
import torch

from heedful.tasks.writing_view import written_section
from tests.tasks.test_text_to_text import parts


@pytest.fixture
def writer():
    torch.manual_seed(0)
    return parts("model.copy_source=true", texts=("the cat sat on a hat", "la kato sidis")).writer(longest=5)


def copying(writer, gate):
    """The probability that a token is written is always the same, far on one side."""
    torch.nn.init.zeros_(writer.model.copy.gate.weight)
    torch.nn.init.constant_(writer.model.copy.gate.bias, gate)
    return writer


def test_what_is_copied_is_marked(writer):
    section = written_section(copying(writer, -30.0), "the Ж cat")
    written = list(section.sides[2].tokens)
    assert len(written) > 1
    assert all(token.endswith(" ⧉") for token in written)
    assert "⧉ marks what was copied from the source." in section.text
    assert list(section.sides[0].tokens) == [*"the Ж cat", "[END]"]
    assert section.sides[0].special == [4, 9]
    assert "The model does not know 'Ж'." in section.text
    assert not any("⧉" in token for token in written_section(copying(writer, 30.0), "the cat").sides[2].tokens)
