"""The same random cases each time; `make fuzz` takes others."""

import pytest

from tests.fuzz.cases import case_of
from tests.fuzz.check import problems_of
from tests.fuzz.dying import falls_over
from tests.fuzz.run import one, run


@pytest.mark.parametrize("chunk", range(16))
def test_short_sequences(chunk):
    assert not [bad for seed in range(30 * chunk, 30 * (chunk + 1)) if (bad := one(seed, 40))]


@pytest.mark.parametrize("chunk", range(8))
def test_long_sequences(chunk):
    assert not [bad for seed in range(8 * chunk, 8 * (chunk + 1)) if (bad := one(seed, 400))]


def test_a_case_is_its_seed():
    for seed in range(50):
        assert case_of(seed) == case_of(seed)
    assert len({str(case_of(seed)) for seed in range(50)}) == 50


def test_what_is_wrong_is_found(monkeypatch):
    """A mechanism that is a little off does not pass."""
    import heedful

    cases = (case_of(seed) for seed in range(1000))
    case = next(
        c for c in cases if c.dtype == "float64" and c.pattern[0] == "causal" and not c.bad and 0 not in c.query.sizes
    )
    assert not problems_of(case)
    attention = heedful.attention
    monkeypatch.setattr(heedful, "attention", lambda *operands, **options: attention(*operands, **options) * (1 + 1e-6))
    assert any("output is off by" in problem.what for problem in problems_of(case))


def test_a_process_that_dies_is_a_bad_case():
    ran, bad = run(seed=4, cases=6, sizes=40, jobs=2, minutes=1, most=None, quiet=True, task=falls_over)
    assert ran == 6
    what = {b.seed: b.what for b in bad}
    assert set(what) == {5, 7}
    assert what[5] == ["the process died with status -6"]
