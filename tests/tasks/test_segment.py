"""What segment does beyond the laws of all tasks."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from heedful._errors import DataError, HeedfulError
from heedful.data.masks import read_masks
from heedful.tasks.segment import Segment
from heedful.tasks.segment_losses import lovasz_softmax, pixel_loss
from heedful.tasks.segment_predictions import Segmentation, draw
from heedful.tasks.segment_scores import confusion, mean_iou, scores_of
from heedful.tasks.sources import prepare
from heedful.tasks.tiles import label_map
from heedful.tasks.views.segment import segment_section
from heedful.training.settings import settings_of
from tests.tasks.cases import CASES

COLORS = ((0, 0, 0), (200, 0, 0), (0, 100, 0))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return CASES["segment"].write(tmp_path_factory.mktemp("segment"), 12, 0)


def task_of(data, *words):
    words = ["model.width=4", *words]
    _, task = prepare(Segment, settings_of(Segment.Settings, words), {"data": str(data)})
    return task


def about(file):
    """The mode and the size of a picture."""
    with Image.open(file) as picture:
        return picture.mode, picture.size


def local(image):
    """Logits of three classes that follow from the nearest pixels alone."""
    x = torch.nn.functional.avg_pool2d(image.float(), 3, 1, 1) / 64
    return torch.stack([x[:, 0], x[:, 1], 2 - x[:, 2]], dim=1)


@pytest.mark.parametrize("size", [(40, 50), (97, 131), (41, 131), (97, 50)])
def test_tiles_give_what_the_whole_picture_gives(size):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8))
    whole = local(image[None])[0].softmax(0)
    found, sure = label_map(local, image, (40, 50), size), whole.topk(2, 0).values.diff(dim=0)[0].abs() > 0.05
    inner = sure[2:-2, 2:-2].numpy()
    same = (found == whole.argmax(0).numpy())[2:-2, 2:-2][inner].mean()
    assert same > 0.99
    assert label_map(local, image, (1000, 1000), size).shape == size


def test_seams_are_blended():
    """A model that says another thing in each tile: between two tiles neither has the last word at once."""
    calls = []

    def scores(image):
        calls.append(image.shape)
        found = torch.zeros(1, 2, *image.shape[2:])
        found[:, 0] = 2.0 * (len(calls) % 2)
        found[:, 1] = 1.0
        return found

    found = label_map(scores, torch.zeros(3, 20, 100, dtype=torch.uint8), (20, 40), (20, 100))
    assert set(calls) == {(1, 3, 20, 40)}
    assert (found == found[0]).all()
    assert len(np.flatnonzero(np.diff(found[0]))) == len(calls) - 1


def test_labels_at_another_size_are_those_of_enlarged_scores():
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 30, 40), dtype=np.uint8))
    found = label_map(local, image, (30, 40), (300, 410))
    expected = torch.nn.functional.interpolate(local(image[None]).softmax(1), size=(300, 410), mode="bilinear")
    assert (found == expected[0].argmax(0).numpy()).mean() > 0.999


def test_metrics_are_those_of_scikit_learn():
    from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

    random = np.random.default_rng(0)
    truth, found = random.integers(0, 4, (2, 30, 40)).astype(np.uint8)
    truth[found == 3], truth[:2] = 2, 255
    known = truth.ravel() != 255
    y, z = truth.ravel()[known], found.ravel()[known]
    counts = confusion(found, truth, 5)
    assert np.array_equal(counts, confusion_matrix(y, z, labels=range(5)))
    assert mean_iou(counts) == pytest.approx(jaccard_score(y, z, average="macro", zero_division=0))
    scores = scores_of(counts, "abcde")
    assert scores.metrics["pixel_accuracy"].value == pytest.approx((y == z).mean())
    assert scores.details["by_class"]["a"]["f1"] == pytest.approx(f1_score(y, z, average=None, labels=[0])[0])
    assert "e" not in scores.details["by_class"]
    assert scores.details["confusions"][0][2] == (counts - np.diag(counts.diagonal())).max()


def test_the_lovasz_loss_is_the_jaccard_loss_at_the_corners_and_has_a_gradient():
    random = torch.Generator().manual_seed(0)
    truth, found = torch.randint(0, 3, (2, 50), generator=random)
    counts = confusion(found.numpy().astype(np.uint8), truth.numpy().astype(np.uint8), 3)
    at_corner = lovasz_softmax(torch.nn.functional.one_hot(found, 3).double(), truth)
    assert at_corner.item() == pytest.approx(1 - mean_iou(counts))
    p = torch.rand(50, 3, dtype=torch.float64, generator=random, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: lovasz_softmax(p.softmax(1), truth), p)


def test_void_pixels_do_not_count_and_weights_do():
    logits, targets = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    targets[0, :2] = 255
    weights = torch.tensor([1.0, 2.0, 3.0])
    kept = targets != 255
    expected = torch.nn.functional.cross_entropy(logits.movedim(1, -1)[kept], targets[kept], weights)
    torch.testing.assert_close(pixel_loss(logits, targets, weights, 255), expected)
    assert pixel_loss(logits, torch.full_like(targets, 255), weights, 255) == 0


def test_a_prediction_is_json_and_three_kinds_of_pictures():
    labels = np.array([[1, 1, 2], [1, 0, 2]], np.uint8)
    below = np.full((2, 3, 3), 100, np.uint8)
    found = Segmentation.of("a/b.png", labels, ("sky", "road", "car"), below.tobytes())
    assert found.labels == ["road", "car", "sky"]
    assert str(found) == "a/b.png: road 50.0 %, car 33.3 %, sky 16.7 %"
    assert np.array_equal(found.map(), labels)
    results = json.loads(found.to_format())
    assert [one["category_id"] for one in results] == [1, 2, 0]
    opened = {style: Image.open(io.BytesIO(draw(found, COLORS, style))) for style in ("index", "color", "overlay")}
    assert opened["index"].mode == "P"
    assert np.array_equal(opened["index"], labels)
    assert np.array_equal(opened["index"].convert("RGB"), opened["color"])
    assert np.array_equal(opened["color"], np.array(COLORS, np.uint8)[labels])
    assert np.asarray(opened["overlay"])[:, :2].tolist() == [
        [[150, 50, 50], [150, 50, 50]],
        [[150, 50, 50], [100, 100, 100]],
    ]


def test_variants_begin_alike(data):
    """But for what stands in the place of the attention: pairs of runs differ in nothing else."""
    made = []
    for attention in ("dual", "control"):
        torch.manual_seed(1)
        made.append(task_of(data, f"model.attention={attention}").build().eval())
    dual, control = (
        {name: tensor for name, tensor in one.state_dict().items() if "attention" not in name} for one in made
    )
    assert dual.keys() == control.keys()
    assert all(torch.equal(tensor, control[name]) for name, tensor in dual.items())
    image = torch.rand(1, 3, 17, 20)
    assert torch.equal(made[0](image), made[1](image))  # gamma is 0 at first
    counts = [sum(p.numel() for p in one.parameters()) for one in made]
    assert counts[1] == pytest.approx(counts[0], rel=0.01)


@pytest.mark.parametrize("attention", ["none", "control", "spatial", "channel"])
def test_kinds_of_attention(attention, data):
    task = task_of(data, f"model.attention={attention}")
    model = task.build()
    (batch,) = [task.batches(task.read(str(data), task.settings).select(range(7)), training=True).make(list(range(7)))]
    task.loss(model, batch, "").backward()
    assert all(p.grad is not None for p in model.parameters())
    image = batch[0][0]
    if attention in ("none", "control"):
        with pytest.raises(HeedfulError, match=f"there is nothing to inspect: model.attention={attention} attends to"):
            segment_section(task, model.eval(), "a", image)
    else:
        (layer,) = segment_section(task, model.eval(), "a", image).layers
        assert (layer.queries, layer.keys) == ((9, 9) if attention == "spatial" else (16, 16))


def test_a_section_shows_places_and_channels(data):
    task = task_of(data)
    model, image = task.build().eval(), read_masks(str(data)).images[0]
    section = segment_section(task, model, "a.png", image)
    assert [(layer.queries, layer.keys, section.axes[layer.rows].name) for layer in section.layers] == [
        (9, 9, "picture"), (16, 16, "channels"),
    ]  # fmt: skip
    assert section.axes[0].grid == (3, 3)
    assert section.title.startswith("a.png: ")


def test_predicting_writes_masks(data, heedful, refused, tmp_path):
    run, out = tmp_path / "run", tmp_path / "masks"
    words = ("--set", "model.width=4", "--set", "training.epochs=1", "--set", "data.size=[16, 20]")
    assert heedful("train", "segment", "--data", data, "--out", run, *words).status == 0
    answer = heedful("predict", run, data / "images", data / "images" / "1.png", "--out", out, "--format", "jsonl")
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert [line["file"] for line in lines[:2]] == [f"{out}/0.png", f"{out}/1.png"]
    assert lines[-1]["file"] == f"{out}/1-2.png"
    assert lines[0]["size"] == [18, 22]
    assert about(out / "0.png") == ("P", (22, 18))
    answer = heedful("predict", run, data / "images" / "1.png", "--out", out, "--style", "overlay", "--format", "data")
    assert answer.out == f"{data}/images/1.png\t{out}/1.png\n"
    assert about(out / "1.png") == ("RGB", (22, 18))
    (tmp_path / "file").write_text("")
    assert refused("predict", run, data / "images" / "1.png", "--out", tmp_path / "file") == (
        f"{tmp_path}/file: must be a folder to write into: File exists."
    )


def test_shapes_need_no_file():
    settings = settings_of(Segment.Settings, ["data.size=16"])
    found = Segment.read("shapes[:5]", settings)
    assert (len(found), found.table.classes[0], found.images[0].shape) == (5, "background", (3, 16, 16))
    with pytest.raises(
        DataError, match="shapes: `data.size` must be at least 16 x 16, or shapes are not seen: got 8 x 8"
    ):
        Segment.read("shapes", settings_of(Segment.Settings, ["data.size=8"]))
