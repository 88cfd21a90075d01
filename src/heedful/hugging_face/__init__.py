"""Models of Hugging Face's library, from a folder or a name to a section of a report.

The model runs as it is, once, on what is given; nothing of the folder is executed or unpickled.
"""

from heedful.hugging_face.loading import HuggingFaceModel, is_model_folder, is_name, load_model
from heedful.hugging_face.run import ModelRun, chosen, number_range, run

__all__ = [
    "HuggingFaceModel",
    "ModelRun",
    "chosen",
    "is_model_folder",
    "is_name",
    "load_model",
    "number_range",
    "run",
]
