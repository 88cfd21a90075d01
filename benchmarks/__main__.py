"""`python -m benchmarks [attention] [startup] [digits]`: all of them without words; those that need data are run by name."""

import sys
from pathlib import Path

from benchmarks import attention, classify_image, startup

PARTS = {
    "attention": attention.main,
    "startup": startup.main,
    "digits": lambda: classify_image.digits(Path("runs/benchmarks")),
}

for word in sys.argv[1:] or PARTS:
    if word not in PARTS:
        raise SystemExit(f"unknown benchmark {word!r}; known: {', '.join(PARTS)}")
    PARTS[word]()
