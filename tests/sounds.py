"""Small sounds for tests."""

from pathlib import Path

import numpy as np
import soundfile


def beep(seconds=0.2, pitch=440.0, rate=8000, loud=0.3):
    """A sine of a few overtones."""
    time = np.arange(round(seconds * rate)) / rate
    return (loud * sum(np.sin(2 * np.pi * k * pitch * time) / k for k in (1, 2, 3)) / 2).astype(np.float32)


def write(path, samples, rate=8000, **options):
    """A file of samples; its name tells the format."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), samples, rate, **options)
    return Path(path)
