"""detect: its metrics beside pycocotools, its augmentation, its baselines, what it predicts and exports."""

import contextlib
import io
import json
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import heedful as package
from heedful._errors import HeedfulError
from heedful.data.boxes import read_boxes
from heedful.models.boxes import IGNORED
from heedful.tasks.detect_augmentation import augmented
from heedful.tasks.detect_baselines import rough_boxes
from heedful.tasks.detect_settings import DetectAugmentation
from heedful.tasks.detections import Guess, Truth, average_precision
from heedful.tasks.export import export

TINY = {
    "model.stages": [8, 8, 8, 8], "model.blocks": [1, 1, 1, 1], "model.width": 8, "model.heads": 2, "model.layers": 1,
    "model.queries": 6, "model.ffn_width": 8, "data.size": [32, 48], "training.epochs": 1,
    "training.batch_size": 10,
}  # fmt: skip


def made(count, random):
    """Boxes of a picture of 100 x 100 and guesses near them, with labels, flags and scores."""
    low = random.uniform(0, 60, (count, 2))
    corners = np.concatenate([low, low + random.uniform(4, 40, (count, 2))], 1)
    labels, ignored = random.integers(0, 2, count), random.random(count) < 0.2
    near = np.concatenate([corners + random.normal(0, 2, corners.shape), corners[:2] + 30])
    return (
        Truth(corners, labels, ignored),
        Guess(near, np.concatenate([labels, 1 - labels[:2]]), random.random(len(near))),
    )


def test_average_precision_is_that_of_pycocotools():
    random = np.random.default_rng(0)
    pairs = [made(random.integers(0, 6), random) for _ in range(12)]
    found = average_precision(*zip(*pairs, strict=True), classes=3)
    objects, results = [], []
    for picture, (truth, guess) in enumerate(pairs):
        for box, label, ignored in zip(*truth, strict=True):
            width, height = box[2:] - box[:2]
            one = {
                "image_id": picture,
                "category_id": int(label),
                "bbox": [*box[:2], width, height],
                "area": width * height,
            }
            objects.append(one | {"iscrowd": int(ignored), "id": len(objects) + 1})
        for box, label, score in zip(*guess, strict=True):
            results.append(
                {
                    "image_id": picture,
                    "category_id": int(label),
                    "bbox": [*box[:2], *(box[2:] - box[:2])],
                    "score": score,
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "images": [{"id": one} for one in range(12)], "annotations": objects, "categories": [{"id": one} for one in range(3)],
        }  # fmt: skip
        known.createIndex()
        measured = COCOeval(known, known.loadRes(results), "bbox")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    stats = [found.mean(), found.mean(0), found.mean(5), *(found.mean(size=size) for size in (1, 2, 3))]
    assert [-1.0 if one is None else one for one in stats] == pytest.approx(measured.stats[:6].tolist(), abs=1e-9)
    assert found.mean(label=2) is None
    assert 0.1 < found.mean(0) < 1


@pytest.mark.parametrize("mosaics", [False, True])
def test_boxes_follow_their_objects(mosaics):
    """A box stays around the only pixels of its color, however its picture is placed."""
    images, boxes = torch.zeros(4, 3, 60, 80, dtype=torch.uint8), []
    for row in range(4):
        corners = torch.tensor([[20.0 + row, 10, 40 + row, 26], [50, 30, 70, 50 + row]])
        for (x0, y0, x1, y1), color in zip(corners.int().tolist(), ((255, 0, 0), (0, 255, 0)), strict=True):
            images[row, :, y0:y1, x0:x1] = torch.tensor(color, dtype=torch.uint8)[:, None, None]
        boxes.append((corners, torch.tensor([0, 1])))
    settings = DetectAugmentation(brightness=0, contrast=0, saturation=0, hue=0, mosaic=1)
    seen = 0
    for seed in range(6):
        torch.manual_seed(seed)
        pixels, targets = augmented(images, boxes, settings, mosaics=mosaics)
        for picture, corners, labels in zip(pixels, *targets, strict=True):
            for label in (0, 1):
                owned = corners[labels == label] * torch.tensor([80, 60, 80, 60])
                covered = torch.zeros(60, 80, dtype=torch.bool)
                for x0, y0, x1, y1 in corners[labels == IGNORED] * torch.tensor([80, 60, 80, 60]):
                    covered[int(y0) : int(y1.ceil()), int(x0) : int(x1.ceil())] = True
                for x0, y0, x1, y1 in owned:
                    part = picture[label, round(float(y0)) : round(float(y1)), round(float(x0)) : round(float(x1))]
                    assert (part > 0.5).float().mean() > 0.8
                    covered[max(int(y0) - 1, 0) : int(y1) + 2, max(int(x0) - 1, 0) : int(x1) + 2] = True
                    seen += 1
                other = picture[1 - label] < 0.3
                assert not ((picture[label] > 0.7) & other & ~covered).any()
    assert seen > 20


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Tiny detectors by their head; not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        head: package.train(
            "detect", "shapes[:30]", settings=TINY | {"model.head": head}, out=folder / head, progress=False
        )
        for head in ("dense", "set")
    }


def test_baselines_find_what_is_to_be_found():
    images = [np.full((40, 60, 3), 128, np.uint8) for _ in range(12)]
    boxes = [[[5 + row, 10, 25 + row, 30]] for row in range(12)]
    for image, ((x0, y0, x1, y1),) in zip(images, boxes, strict=True):
        image[y0:y1, x0:x1] = (250, 20, 20)
    examples = read_boxes((images, boxes, [["cell"]] * 12))
    truths = [Truth(one.corners, one.labels, one.ignored) for one in examples.boxes]
    found = {}
    for name, rough in rough_boxes(examples, examples).items():
        guesses = [Guess(one.corners * [60, 40, 60, 40], one.labels, one.scores) for one in rough]
        found[name] = average_precision(truths, guesses, 1).mean(0)
    assert found["boxes of the nearest picture"] == 1
    assert found["spots of color"] == 1
    assert 0.3 < found["mean boxes"] <= 1


def test_what_would_be_left_out_is_refused_where_that_is_asked_for(refused, tmp_path):
    """Two objects alike, in one of twelve files."""
    for row in range(12):
        Image.fromarray(np.full((32, 48, 3), 9 * row, np.uint8)).save(tmp_path / f"{row}.png")
        box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
        one = f"<object><name>cell</name>{box}</object>\n"
        (tmp_path / f"{row}.xml").write_text(f"<annotation>\n{one * (1 + (row == 3))}</annotation>")
    words = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    words = ["train", "detect", "--data", tmp_path, *words, "--out", tmp_path / "run"]
    line = refused(*words, "--set", "data.strict=true")
    assert (
        line
        == f"{tmp_path / '3.xml'}:3: object 2 ('cell'): a box must be there once: got x0 4, y0 4, x1 20, y1 20 again"
    )


def test_a_missing_package_is_told_before_anything_is_trained(refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    line = refused("train", "detect", "--data", "shapes[:20]", "--out", tmp_path / "run")
    assert "pip install 'heedful[detection]'" in line
    assert not (tmp_path / "run").exists()


def test_formats(trained, heedful, tmp_path):
    model = trained["dense"]
    run = str(model.folder.path)
    for row in range(2):
        Image.fromarray(np.full((50, 90, 3), 40 * row, np.uint8)).save(tmp_path / f"00{row}.png")
    inputs = [str(tmp_path / f"00{row}.png") for row in range(2)]
    options = ("--score-threshold", "0.001", "--max-boxes", "3", "--nms-iou", "0.5")
    found = model.predict(inputs, score_threshold=0.001, max_boxes=3, nms_iou=0.5)
    assert [len(one.labels) for one in found] == [3, 3]
    assert all(0 <= x0 < x1 <= 90 and 0 <= y0 < y1 <= 50 for one in found for x0, y0, x1, y1 in one.boxes)
    results = json.loads(heedful("predict", run, *inputs, *options, "--format", "data").out)
    assert [one["image_id"] for one in results] == [0, 0, 0, 1, 1, 1]
    assert {"bbox", "category_id", "score"} <= set(results[0])
    assert results[0]["category_id"] in (1, 2, 3)
    assert json.loads(heedful("predict", run, *inputs, "--format", "data", "--score-threshold", "1").out) == []
    lines = heedful("predict", run, *inputs, *options, "--format", "jsonl").out.splitlines()
    assert list(json.loads(lines[0])) == ["input", "labels", "scores", "boxes"]
    assert heedful("predict", run, *inputs, *options, "--out", tmp_path / "drawn").status == 0
    with open(inputs[1], "rb") as stream:
        assert model.predict([stream], score_threshold=0)[0].picture().size == (90, 50)
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "001.png"))
    assert drawn.shape == (50, 90, 3)
    assert (drawn != 40).any()


def test_the_exported_model_finds_the_same(trained, tmp_path):
    assert "to be left out" in trained["dense"].task.forward_pass().notes[0]
    check = export(trained["set"], tmp_path / "onnx")
    assert check.agreement == 1
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    (output,) = session.run(None, {"images": np.zeros((2, 3, 32, 48), np.uint8)})
    assert output.shape == (2, 6, 7)


def test_inspecting(trained):
    (section,) = trained["set"].inspect([np.zeros((32, 48, 3), np.uint8)])
    kinds = [layer.kind for layer in section.layers]
    assert "channel" in kinds
    assert len(kinds) == 4  # places and channels of the trunk, queries among each other and to the features
    settings = TINY | {"model.attention": "control"}
    model = package.train("detect", "shapes[:30]", settings=settings, progress=False)
    with pytest.raises(
        HeedfulError, match=r"^there is nothing to inspect: this detector has no attention \(model.attention\)\.$"
    ):
        model.inspect([np.zeros((32, 48, 3), np.uint8)])


def test_a_dense_run_begins_a_set_head(trained, tmp_path):
    model = package.train(
        "detect",
        "shapes[:30]",
        from_=trained["dense"],
        settings={"model.head": "set"},
        out=tmp_path / "run",
        progress=False,
    )
    tensors = model.metrics["transfer"]["tensors"]
    assert all(name.startswith("set.") for name in tensors["new"])
    assert not tensors["left"]
