"""Measures heedful: all parts without words, or those that are named: `python -m benchmarks operator matrix`."""

import sys
from pathlib import Path

from benchmarks import (
    attention,
    classify_image,
    ideas,
    image_layers,
    language_model,
    matrix,
    operator,
    smooth,
    startup,
    viewer,
)

PARTS = {
    "attention": attention.main,
    "operator": operator.main,
    "operator-memory": lambda: operator.main([operator.memory, operator.long_memory]),
    "matrix": matrix.main,
    "matrix-watching": lambda: matrix.main(["watching"]),
    "matrix-generating": lambda: matrix.main(["generating"]),
    "viewer": viewer.main,
    "viewer-pictures": viewer.pictures,
    "startup": startup.main,
    "digits": lambda: classify_image.digits(Path("runs/benchmarks")),
    "language-speed": language_model.speed,
    "language-generation": language_model.generation,
    "image-layers": image_layers.main,
    "smooth": smooth.main,
    "smooth-picture": smooth.picture,
    "smooth-time": smooth.time_main,
    "ideas": ideas.main,
    "ideas-time": ideas.time_main,
    "ideas-pictures": ideas.show,
}

for word in sys.argv[1:] or PARTS:
    if word not in PARTS:
        raise SystemExit(f"unknown benchmark {word!r}; known: {', '.join(PARTS)}")
    PARTS[word]()
