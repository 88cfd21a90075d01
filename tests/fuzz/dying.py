"""In the place of a case, for the test of the runner: one of them takes its process with it."""

import os

from tests.fuzz.run import Bad


def falls_over(seed: int, sizes: int) -> Bad | None:
    if seed == 5:
        os.abort()
    return Bad(seed, "a case", ["wrong"]) if seed == 7 else None
