"""A trained model as an ONNX file, which was compared with it on the validation examples."""

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heedful._errors import DataError, HeedfulError, enough_memory, needing
from heedful._files import user_path
from heedful._terminal import quiet_libraries
from heedful.ops.nonfinite import assumed_finite
from heedful.tasks.contract import Reading
from heedful.tasks.evaluation import may_read
from heedful.tasks.forward_pass import ForwardPass, Operand, real_positions
from heedful.tasks.run import TrainedModel, load
from heedful.tasks.sources import IN_MEMORY, checksum, counted, read, shown, source_of, split_of

_LEAST_AGREEMENT = 0.999  # an export whose predictions differ more often is not written
_OPSET = 20


@dataclass(frozen=True)
class ExportCheck:
    """How near an exported model comes to the one that was trained: check.json.

    Attributes:
        data: on which examples, in words.
        examples: how many.
        predictions: how many predictions were compared.
        agreement: the share of them that are the same.
        largest_difference: of any output.
        opset: of ONNX.
        onnxruntime: its version.
        torch: likewise.
    """

    data: str
    examples: int
    predictions: int
    agreement: float
    largest_difference: float
    opset: int
    onnxruntime: str
    torch: str


def export(run: str | Path | TrainedModel, out: str | Path, *, data: Any = None, task: Any = None) -> ExportCheck:
    """Writes a trained model as ONNX, with what its inputs are made by, and how near it comes: `heedful export`.

    The folder holds model.onnx, README.md (inputs and outputs), check.json, and labels, vocabulary and tokenizer.

    Args:
        run: a run folder, or a model that was loaded.
        out: a new folder.
        data: labeled data to compare on; None: the validation examples of the run, where they can be read.
        task: of a run whose task is a class in a file.

    Raises:
        HeedfulError: a prediction of the task is more than one forward pass; the folder is there; or the models differ.
        DataError: there are no examples to compare on.
        MissingPackageError: ONNX is not installed.
    """
    with needing("onnx", "exporting"):
        import onnx
        import onnxruntime
        import onnxscript
    del onnx, onnxscript
    model, out = run if isinstance(run, TrainedModel) else load(run, task=task), user_path(out)
    forward = model.task.forward_pass()
    if out.exists():
        raise HeedfulError(f"{out}: must be a new folder: there is one of this name.")
    examples, words = _examples(model, data)
    batches = model.task.batches(examples, training=False)
    packed = [(forward.layout.pack(batch), batch) for batch in _inputs(batches)]
    with enough_memory("a smaller model needs less"):
        program = _program(model, forward, packed[0][0])
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        program.save(str(folder / "model.onnx"))
        session = _session(onnxruntime, folder / "model.onnx")
        difference, same, total = 0.0, 0, 0
        for tensors, batch in [*_alone(forward, packed[0][0]), *packed]:
            ours = _original(model, forward, tensors, batch)
            theirs = torch.from_numpy(session.run(None, _named(forward, tensors))[0])
            real = real_positions(forward.layout.operands, tensors, ours)
            difference = max(difference, float((ours - theirs)[real].abs().amax()))
            same += int(forward.same(ours, theirs)[real].sum())
            total += int(real.sum())
        check = ExportCheck(
            words, len(examples), total, same / max(total, 1), difference, _OPSET, onnxruntime.__version__, torch.__version__
        )  # fmt: skip
        if not check.agreement >= _LEAST_AGREEMENT:
            raise HeedfulError(
                f"{out}: is not written: the exported model predicts the same for {100 * check.agreement:.1f} % of {words} alone."
            )
        _write(folder, model, forward, check)
        folder.chmod(0o755)
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return check


def _examples(model: TrainedModel, data: Any) -> tuple[Any, str]:
    """The examples to compare on, and which they are."""
    task, run = model.task, model.folder
    kind, manifest = type(task), run.manifest()
    sources = manifest["data"]
    if data is not None:
        source = source_of(data)
        examples = read(kind, source, task.settings, Reading("test", vocabulary=task.vocabulary))
        task.check(examples)
        return examples, counted(task, examples, source)
    if IN_MEMORY in sources.values():
        reason = "they were in memory"
    elif not may_read(kind, run):
        reason = "the run is from elsewhere, and names files that are not opened"
    else:
        try:
            split, valid = split_of(kind, task.settings, sources)
            examples = (
                split.validation
                if valid is None
                else read(kind, valid, task.settings, Reading("valid", vocabulary=task.vocabulary))
            )
            if checksum(examples) == manifest["data_checksums"].get("valid"):
                return examples, f"the validation examples of the run, {len(examples):,} {task.example}s"
            reason = f"they have changed since: {shown(next(iter(sources.values())))}"
        except (HeedfulError, OSError) as error:
            reason = str(error).rstrip(".")
    raise DataError(f"{run.path}: the validation examples are not there, so --data must name labeled data: {reason}.")


def _inputs(batches: Any) -> Iterator[Any]:
    """What the model takes of each batch."""
    for rows in batches.order:
        yield batches.make(rows)[0]


def _alone(forward: ForwardPass, tensors: tuple[Tensor, ...]) -> Iterator[tuple[tuple[Tensor, ...], None]]:
    """The first row alone: sizes of 1 are those that graphs get wrong."""
    if all(one.axes[0] == "batch" for one in forward.layout.operands.values()):
        yield tuple(tensor[:1] for tensor in tensors), None


@torch.inference_mode()
def _original(model: TrainedModel, forward: ForwardPass, tensors: tuple[Tensor, ...], batch: Any) -> Tensor:
    """What the model itself gives."""
    batch = forward.layout.unpack(*tensors) if batch is None else batch
    return forward.compute(model.model, batch).float()


def _program(model: TrainedModel, forward: ForwardPass, example: tuple[Tensor, ...]) -> Any:
    """The graph, by PyTorch's exporter, with axes of any size."""
    operands = forward.layout.operands
    axes = tuple(
        {number: axis for number, axis in enumerate(one.axes) if isinstance(axis, str)} for one in operands.values()
    )
    with quiet_libraries(), warnings.catch_warnings(), torch.no_grad(), assumed_finite():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            forward.module(model.model).eval(), tuple(map(_several, example, axes)), input_names=list(operands),
            output_names=[forward.name], opset_version=_OPSET, dynamo=True, dynamic_shapes=(axes,), verbose=False,
        )  # fmt: skip
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # names of files on this machine
    return program


def _several(tensor: Tensor, axes: Mapping[int, str]) -> Tensor:
    """At least two along each axis of any size: a size of 1 would be taken for a fixed one."""
    for axis in axes:
        if tensor.shape[axis] == 1:
            tensor = torch.cat([tensor, tensor], dim=axis)
    return tensor


def _session(onnxruntime: Any, file: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _named(forward: ForwardPass, tensors: tuple[Tensor, ...]) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in zip(forward.layout.operands, tensors, strict=True)}


def _write(folder: Path, model: TrainedModel, forward: ForwardPass, check: ExportCheck) -> None:
    vocabulary = dict(model.task.vocabulary)
    files: dict[str, Any] = dict(forward.files)
    if (tokenizer := vocabulary.pop("tokenizer", None)) is not None:
        (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    if "char_ngrams" in forward.layout.operands:
        names = [name for name in ("words", "forms", "char_ngrams") if name in vocabulary]
        files["vocabulary.json"] = {name: list(vocabulary[name]) for name in names}
    files["check.json"] = asdict(check)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(model, forward, check, {*files}, tokenizer is not None), encoding="utf-8")


def _readme(model: TrainedModel, forward: ForwardPass, check: ExportCheck, files: set[str], tokenizer: bool) -> str:
    lines = [
        f"# {model.task.name}: model.onnx",
        "",
        f"{model.task.describe()}. Exported by heedful; ONNX operators of opset {check.opset}, nothing else.",
        "",
        "| tensor | type | axes | holds |",
        "|---|---|---|---|",
        *(_row(name, operand, "input") for name, operand in forward.layout.operands.items()),
        _row(forward.name, forward.output, "output"),
        "",
        "Named axes may have any size.",
    ]
    if "vocabulary.json" in files:
        lines += [
            "",
            "vocabulary.json lists words and character n-grams. `heedful.data.text.words` makes the numbers: `split_words` splits a text, "
            "and `WordVocabulary.numbers` and `.ngrams_of` number its words and their n-grams.",
        ]
    if tokenizer:
        reads = "`heedful.data.text.load_tokenizer` reads both"
        lines += [
            "",
            "tokenizer.json makes the numbers of tokens: that of a pretrained encoder."
            if "pretrained" in model.task.vocabulary
            else "tokenizer.json makes the numbers of tokens. Of subwords it is a file of the library `tokenizers`; of characters it "
            f"lists these, numbered from 4 on (0 padding, 1 unknown, 2 mask, 3 end). {reads}.",
        ]
    for note in forward.notes:
        lines += ["", note]
    lines += [
        "",
        f"Compared with the trained model by onnxruntime {check.onnxruntime} on {check.data}: {100 * check.agreement:.2f} % of "
        f"{check.predictions:,} predictions are the same, and no output differs by more than {check.largest_difference:.1e} (check.json).",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, operand: Operand, role: str) -> str:
    kind = "float32" if role == "output" or name == "noise" else "uint8" if name == "images" else "int64"
    return f"| {role} `{name}` | {kind} | {', '.join(map(str, operand.axes))} | {operand.holds} |"
