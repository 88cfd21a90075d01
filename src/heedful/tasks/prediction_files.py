"""Predictions as files, one each: what `heedful predict --out FOLDER` writes."""

import dataclasses
from pathlib import Path
from typing import Any

from heedful._errors import HeedfulError
from heedful._files import user_path, write_atomic
from heedful.tasks.contract import Task

_LONGEST = 100  # characters of a name


class PredictionFolder:
    """A folder in which each prediction becomes a file that is named like its input.

    Args:
        folder: is made where it is not there; a file of the same name is replaced.
        task: says what is in the files.
        options: those of the prediction.

    Raises:
        HeedfulError: the folder cannot be made.
    """

    def __init__(self, folder: str | Path, task: Task[Any], options: Any) -> None:
        self.folder, self._task, self._options = user_path(folder), task, options
        self._names: set[str] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HeedfulError(f"{self.folder}: must be a folder to write into: {error.strerror}.") from None

    def write(self, prediction: Any) -> Any:
        """Writes the file of a prediction, and gives the prediction, which knows of it.

        Raises:
            HeedfulError: it cannot be written, or the task has no files.
        """
        suffix, content = self._task.file(prediction, self._options)
        file = self.folder / (self._free(str(prediction.input)) + suffix)
        try:
            write_atomic(file, content)
        except OSError as error:
            raise HeedfulError(f"{file}: cannot be written: {error.strerror}.") from None
        known = {field.name for field in dataclasses.fields(prediction)}
        return dataclasses.replace(prediction, file=str(file)) if "file" in known else prediction

    def _free(self, name: str) -> str:
        """A name like that of the input, which no other one has."""
        stem = Path(name.replace("\\", "/")).stem
        stem = (
            "".join(sign if sign.isalnum() or sign in "-_.[] " else "_" for sign in stem)[:_LONGEST].strip(". ")
            or "input"
        )
        number, free = 1, stem
        while free.lower() in self._names:
            number += 1
            free = f"{stem}-{number}"
        self._names.add(free.lower())
        return free
