"""What only caption does: what it says of pictures, its measures, and the data that it refuses."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

import heedful
from heedful.data.captions import read_captions
from heedful.tasks.cider import cider_d

TINY = (
    "model.stages=[8, 16]",
    "model.width=32",
    "data.vocabulary_size=300",
    "model.dropout=0",
    "loss.label_smoothing=0",
)
REFERENCES = [
    ["a red cat on a mat", "the cat sits on the red mat"], ["two brown dogs run in the grass"],
    ["a man on a bike", "a man rides a bicycle down the street", "someone cycling"], ["the cat sleeps", "the cat"],
]  # fmt: skip
SAID = ["a red cat sits on the mat", "two dogs run", "a man rides a bike down a street", "the the the cat"]


def test_cider_d_as_its_authors_compute_it():
    """The numbers are those of pycocoevalcap 1.2."""
    assert cider_d(SAID, REFERENCES) == pytest.approx(2.7042137008457647, abs=1e-12)
    assert cider_d(SAID[:1], REFERENCES[:1]) == 0


def test_pictures_are_learned_by_heart():
    pictures = read_captions("shapes[:4]", size=(24, 24))
    said, images = [captions[0] for captions in pictures.captions], list(pictures.images.numpy())
    model = heedful.train(
        "caption", {"image": 24 * images, "caption": 24 * said}, valid={"image": images, "caption": said}, progress=False,
        settings=[*TINY, "training.epochs=4", "training.batch_size=6", "training.learning_rate=0.01", "training.ema_decay=0.9"],
    )  # fmt: skip
    assert [one.output for one in model.predict(images)] == said


@pytest.fixture
def pictures(tmp_path):
    """Three pictures in a folder beside the files of captions."""
    (tmp_path / "images").mkdir()
    for row in range(3):
        Image.fromarray(np.full((16, 16, 3), 80 * row, np.uint8)).save(tmp_path / "images" / f"{row}.png")
    return tmp_path


IMAGES = [{"id": row, "file_name": f"{row}.png"} for row in range(3)]


def coco(captions, images=IMAGES):
    return json.dumps({"images": images, "annotations": [
        {"id": number, "image_id": row, "caption": text} for number, (row, text) in enumerate(captions)]})  # fmt: skip


GOOD = {
    "captions.json": coco([(0, "black"), (1, "gray"), (1, "not black"), (2, "light")]),
    "Flickr8k.token.txt": "0.png#0\tblack\n1.png#0\tgray\n1.png#1\tnot black\n2.png#0\tlight\n",
    "results.csv": "image_name| comment_number| comment\n0.png| 0| black\n1.png| 0| gray\n1.png| 1| not black\n2.png| 0| light\n",
    "captions.txt": 'image,caption\n0.png,black\n1.png,gray\n1.png,"not black"\n2.png,light\n',
    "captions.csv": "path,caption\n0.png,black\n1.png,gray\n1.png,not black\n2.png,light\n",
    "captions.jsonl": '{"path": "0.png", "caption": "black"}\n{"path": "1.png", "caption": ["gray", "not black"]}\n'
    '{"path": "2.png", "caption": "light"}\n',
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_files_of_captions(pictures, name):
    (pictures / name).write_text(GOOD[name])
    found = read_captions(pictures / name)
    assert found.captions == (("black",), ("gray", "not black"), ("light",))
    assert found.images[:, 0, 0, 0].tolist() == [0, 80, 160]
    assert read_captions(f"{pictures / name}[1:]").captions == found.captions[1:]
    assert read_captions(pictures).captions == found.captions


def test_pictures_in_an_archive_beside(pictures):
    with zipfile.ZipFile(pictures / "pictures.zip", "w") as archive:
        for row in range(3):
            archive.write(pictures / "images" / f"{row}.png", f"dev/{row}.png")
            (pictures / "images" / f"{row}.png").unlink()
    (pictures / "captions.json").write_text(GOOD["captions.json"].replace('"0.png"', '"dev/0.png"').replace(
        '"1.png"', '"dev/1.png"').replace('"2.png"', '"dev/2.png"'))  # fmt: skip
    assert read_captions(pictures / "captions.json").images[:, 0, 0, 0].tolist() == [0, 80, 160]


BAD = {
    "missing picture": ("captions.csv", "path,caption\n0.png,black\n7.png,gray\n",
                        "{file}:3: must have a picture '7.png' below '{folder}/images': there is none"),
    "elsewhere": ("captions.csv", "path,caption\n0.png,a\n../x.png,gray\n", "{file}:3: a picture must lie below a folder: got '../x.png'"),
    "empty": ("captions.tsv", "path\tcaption\n0.png\t \n", "{file}:2: must have a caption: got an empty one, for '0.png'"),
    "long": ("captions.tsv", f"path\tcaption\n0.png\t{'word ' * 1000}\n",
             "{file}:2: a caption must have at most 200 words (data.max_words): got 1,000"),
    "none": ("captions.json", coco([(0, "black"), (1, "gray")]), "{file}: images: id 2: the picture '2.png' must have a caption: got none"),
    "an empty list": ("captions.jsonl", '{"path": "0.png", "caption": []}\n',
                      "{file}:1: the picture '0.png' must have a caption: got none"),
    "no text": ("captions.json", coco([(0, 5)]), "{file}: annotations: id 0: `caption` must be a text: got 5"),
    "unknown picture": ("captions.json", coco([(9, "black")]),
                        "{file}: annotations: id 0: `image_id` must be an id that the file declares: got 9"),
    "a token file": ("a.token", "0.png#0\tblack\n1.png\n", "{file}:2: must be a picture, `#`, a number, a tab and a caption: got '1.png'"),
    "bars": ("results.csv", "image_name| comment_number| comment\n0.png| 0\n",
             "{file}:2: must have 3 columns with bars between them: got '0.png| 0'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_one_clear_line(pictures, name, refused):
    file, content, says = BAD[name]
    (pictures / file).write_text(content)
    line = refused("train", "caption", "--data", pictures / file, "--out", pictures / "run")
    assert line == says.format(file=pictures / file, folder=pictures)
    assert not (pictures / "run").exists()


def test_of_shapes_the_test_has_combinations_that_the_training_never_had():
    from heedful.data.shape_scenes import draw_scenes

    def stated(part):
        scenes = draw_scenes(range(150), size=(16, 16), part=part)
        words = [caption.split() for captions in scenes.captions for caption in captions if "," in caption]
        return {(*one[1:3], one[6], *one[-2:]) for one in words}

    assert not stated("train") & stated("test")
    assert {one[:2] for one in stated("train")} == {one[:2] for one in stated("test")}


def test_hard_attention_is_learned_from_the_soft_run(tmp_path):
    soft = heedful.train("caption", "shapes[:40]", out=tmp_path / "soft", progress=False, settings=[
        *TINY, "training.epochs=1", "training.batch_size=16"])  # fmt: skip
    hard = heedful.train("caption", "shapes[:40]", from_=tmp_path / "soft", out=tmp_path / "hard", progress=False, settings=[
        *TINY, "model.architecture=hard", "model.begin_soft=0", "training.epochs=1",
        "training.batch_size=16"])  # fmt: skip
    assert hard.metrics["transfer"]["tensors"]["new"] == []
    assert sum(p.numel() for p in hard.model.parameters()) == sum(p.numel() for p in soft.model.parameters())
    (section,) = hard.inspect([np.zeros((48, 48, 3), np.uint8)])
    assert set(section.layers[0].pairs.weights.flatten().tolist()) == {0.0, 1.0}
