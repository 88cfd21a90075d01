"""`heedful compare` at a terminal."""

import pytest

PLAN = """
task = "classify"
data = "{data}"
seeds = [1]
[settings]
training.epochs = 1
model = {{width = 8, heads = 1, ffn_width = 8, pooling_heads = 1, ensemble_size = 1}}
[variants.one]
model.layers = 1
[variants.two]
model.layers = 2
"""


@pytest.fixture
def plan(tmp_path):
    data, file = tmp_path / "data.tsv", tmp_path / "plan.toml"
    data.write_text("text\tlabel\n" + "a fine film\tgood\na dull film\tbad\n" * 10)
    file.write_text(PLAN.format(data=data))
    return file


def test_two_at_a_time(heedful, plan, tmp_path):
    done = heedful("compare", plan, "--out", tmp_path / "out", "--jobs", "2")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[:3] == ["run 1 of 2 is done", "all 2 runs are done", lines[2]]
    assert lines[3].split()[:2] == ["one", "18"]
    assert int(lines[3].split()[-1]) > 100  # megabytes of its process
    assert lines[-1] == f"results: {tmp_path / 'out' / 'results.csv'}"
    again = heedful("compare", plan, "--out", tmp_path / "out", "--time-limit", "1s")
    assert again.out.splitlines() == lines[2:]


@pytest.mark.parametrize("limit", ["soon", "-3m", "0", "m"])
def test_times_that_are_none(refused, plan, tmp_path, limit):
    message = refused("compare", plan, "--out", tmp_path / "out", f"--time-limit={limit}")
    assert message == f"--time-limit must be a time such as 90s, 30m or 2h: got {limit!r}."
