"""A model of Hugging Face's library from a folder or a name, with its tokenizer and processors; nothing of it is executed."""

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from heedful._errors import HeedfulError, OutOfMemoryError, caught_panics, is_out_of_memory, needing
from heedful._files import read_json
from heedful._safetensors import BoundedBuild, weight_shapes
from heedful.data.inputs import one_line

MODALITY = {"pixel_values": "image", "input_features": "audio", "input_values": "audio"}
_MAX_CONFIG = 2**24  # bytes of config.json
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(eq=False)
class HuggingFaceModel:
    """A model with what turns inputs into its numbers, each loaded when it is first needed.

    Attributes:
        where: its folder or its name.
        model: in evaluation mode.
        notes: what a reader should know of how it was loaded.
        local: whether no network may be asked.
    """

    where: str
    model: Any
    notes: list[str]
    local: bool

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model.config

    @property
    def name(self) -> str:
        """The last part of the folder or name."""
        return Path(self.where).resolve().name if os.path.isdir(self.where) else self.where

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """What it takes: "text", "image", "audio"."""
        stated = self.model.input_modalities
        modalities = (stated,) if isinstance(stated, str) else tuple(stated)
        main = MODALITY.get(self.model.main_input_name)
        return modalities if main in (None, *modalities) else (main,)  # many classes state what their parent states

    @cached_property
    def writes(self) -> bool:
        """Whether it is a decoder that reads what an encoder gives."""
        return bool(getattr(self.config, "is_encoder_decoder", False))

    @cached_property
    def tokenizer(self) -> Any:
        """What cuts text into tokens."""
        tokenizer = self._part("AutoTokenizer", "tokenizer")
        if len(tokenizer) <= len(tokenizer.all_special_ids):  # the library makes an empty one where there is none
            raise HeedfulError(f"{self.where}: has no tokenizer: its vocabulary is empty.")
        return tokenizer

    @cached_property
    def image_processor(self) -> Any:
        """What makes numbers of pictures; None where the folder has none."""
        try:
            return self._part("AutoImageProcessor", "image processor", backend="pil")
        except _NoFile:
            return None

    @cached_property
    def processor(self) -> Any:
        """What makes tokens and numbers of a text and a picture together."""
        return self._part("AutoProcessor", "processor")

    @cached_property
    def feature_extractor(self) -> Any:
        """What makes numbers of sounds."""
        return self._part("AutoFeatureExtractor", "feature extractor")

    def _part(self, kind: str, words: str, **options: Any) -> Any:
        import transformers

        with quiet():
            try:
                with caught_panics():
                    part = getattr(transformers, kind).from_pretrained(
                        self.where, local_files_only=self.local, trust_remote_code=False, **options
                    )
            except Exception as error:  # whatever files that are missing or damaged make of it
                kind_of = _NoFile if isinstance(error, OSError) else HeedfulError
                raise kind_of(f"{self.where}: has no {words} that can be loaded: {one_line(error)}.") from None
        if isinstance(part, bool) or part is None:
            raise _NoFile(f"{self.where}: has no {words}.")
        return part


class _NoFile(HeedfulError):
    """A part of a model is not there."""


def is_model_folder(where: str) -> bool:
    """Whether there is a folder of this name with a model of Hugging Face's in it."""
    return os.path.isfile(os.path.join(where, "config.json"))


def is_name(word: str) -> bool:
    """Whether a word can be the name of a model on Hugging Face's hub, and no path."""
    return _NAME.fullmatch(word) is not None and not os.path.exists(word)


def load_model(where: str, choose: Callable[[Any, str], tuple[Any, dict[str, Any]]] | None = None) -> HuggingFaceModel:
    """The model of a folder, or of a name, which is downloaded where it is not there yet.

    Weights are read as safetensors alone, and code that comes with a model is never run.

    Args:
        where: the folder or the name.
        choose: gives the class and arguments of its own, from the configuration and `where`; None: the class that it names.

    Raises:
        HeedfulError: it is not there, or damaged, or of an unknown architecture.
    """
    with needing("hub", "a model of Hugging Face"):
        import transformers
    folder = os.path.isdir(where)
    if folder:
        _check_folder(Path(where))
        try:
            bounded: AbstractContextManager[Any] = BoundedBuild(weight_shapes(Path(where).glob("*.safetensors")))
        except (OSError, ValueError) as error:
            raise HeedfulError(f"{where}: cannot be loaded: {one_line(error)}.") from None
    else:
        bounded = nullcontext()
    local = folder or not _reachable(where)
    options = {"local_files_only": local, "trust_remote_code": False}
    with quiet():
        try:
            # The user names the model; its code is never run, and its weights are safetensors.
            config = transformers.AutoConfig.from_pretrained(where, **options)  # nosec B615
            kind, own = (_class(config, where), {}) if choose is None else choose(config, where)
            with bounded:
                model, info = kind.from_pretrained(
                    where, config=config, use_safetensors=True, output_loading_info=True, **options, **own
                )
        except (HeedfulError, MemoryError):
            raise
        except Exception as error:  # whatever a damaged folder makes of the library
            if is_out_of_memory(error):
                raise OutOfMemoryError(f"{where}: there is not enough memory: take a smaller model.") from None
            if not folder and local and isinstance(error, OSError):
                raise HeedfulError(
                    f"{where}: is no folder, has not been downloaded yet, and huggingface.co cannot be reached."
                ) from None
            if "trust_remote_code" in str(error) or "does not recognize this architecture" in str(error):
                raise HeedfulError(
                    f"{where}: must be of an architecture that transformers {transformers.__version__} knows: "
                    "code that comes with a model is never run."
                ) from None
            raise HeedfulError(f"{where}: cannot be loaded: {one_line(error)}.") from None
    return HuggingFaceModel(where, model.eval(), _missing(where, model, info), local)


def _check_folder(folder: Path) -> None:
    """Says what is wrong with a folder where the library's own words would not."""
    file = folder / "config.json"
    try:
        config = read_json(file, _MAX_CONFIG)
    except FileNotFoundError:
        raise HeedfulError(
            f"{folder}: must be a run folder or a model's folder: got one without config.json."
        ) from None
    except (ValueError, OSError) as error:
        raise HeedfulError(f"{file}: must be JSON: {one_line(error)}.") from None
    for other in folder.iterdir():
        if not (other.is_file() or other.is_dir()):
            raise HeedfulError(f"{other}: must be a regular file.")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise HeedfulError(f"{file}: must be the configuration of a model of Hugging Face's: got no `model_type`.")
    if not list(folder.glob("*.safetensors*")):
        others = sorted(other.name for other in folder.glob("*.bin"))
        got = f"{others[0]}, which could run code when it is read" if others else "none"
        raise HeedfulError(f"{folder}: must hold the model's weights as .safetensors: got {got}.")


def _reachable(name: str) -> bool:
    """Whether the hub answers; asked once and briefly, because the library would try each file for half a minute.

    Raises:
        HeedfulError: it has no such model.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    if not is_name(name):
        raise HeedfulError(f"{name}: there is no such folder, and no model on the hub can have this name.")
    try:
        HfApi().model_info(name, timeout=10)
    except GatedRepoError:
        raise HeedfulError(
            f"{name}: asks for consent on huggingface.co, and then for `hf auth login` on this machine."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise HeedfulError(f"{name}: there is no such folder, and no such model on huggingface.co.") from None
    except Exception:  # no network, no answer: what is here already may do
        return False
    return True


def _class(config: Any, where: str) -> Any:
    """The class that the configuration names; the bare model where it names none."""
    import transformers

    names = list(getattr(config, "architectures", None) or ())
    for name in names:
        kind = getattr(transformers, str(name), None)
        if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
            if kind.config_class is not None and not isinstance(config, kind.config_class):
                raise HeedfulError(
                    f"{where}: `architectures` in config.json must fit its `model_type`: "
                    f"got {name!r} and {config.model_type!r}."
                )
            return kind
    if names:
        raise HeedfulError(
            f"{where}: `architectures` in config.json must name a class of transformers {transformers.__version__}: got {names[0]!r}."
        )
    return transformers.AutoModel


def _missing(where: str, model: Any, info: dict[str, Any]) -> list[str]:
    """Says which weights were not there; too many of them are no model."""
    missing = sorted(info.get("missing_keys") or ())
    if not missing:
        return []
    if 2 * len(missing) >= len(list(model.state_dict())):
        raise HeedfulError(
            f"{where}: must hold the weights of {type(model).__name__}: {len(missing)} of them are not there, such as {missing[0]!r}."
        )
    names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    return [f"{len(missing)} weights are not in the folder and were initialized at random: {names}."]


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the library's warnings and progress from the terminal, where one line is to be read."""
    import transformers

    log: Any = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.set_verbosity(log.CRITICAL)
        log.disable_progress_bar()
        try:
            yield
        finally:
            log.set_verbosity(level)
            if bars:
                log.enable_progress_bar()
