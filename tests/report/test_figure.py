import builtins
import itertools
import re
import struct

import numpy as np
import pytest

from heedful.report import (
    AttentionSection,
    Layer,
    Picture,
    Positions,
    QueryKey,
    Series,
    Sound,
    Text,
    TopWeights,
)
from heedful.report.figure import draw_figure
from tests.report.layers import layer_of, pooled, random_weights

figure_module = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")

SINGLE, DOUBLE = 3.3, 6.9
HOSTILE = [
    "$x^2$", "\\frac{", "\u05e9\u05dc\u05d5\u05dd", "\U0001f600", "a\nb\t\0", "</script><img src=x onerror=alert(1)>", "x" * 10_000,
    "   ", "", "\u202eabc", "\udc80", "\u4e2d\u6587", "%&_{}", "\u200b", "e\u0301",
]  # fmt: skip


def section_of(*layers, axes=None):
    return AttentionSection("A model", "", layers, axes or [Positions()])


def words(count, begin="w"):
    return [f"{begin}{i}" for i in range(count)]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws into a file and gives matplotlib's figure as it was when it was written."""
    kept = []
    written = figure_module.Figure.savefig

    def savefig(self, *arguments, **options):
        kept.append(self)
        inside(self)
        return written(self, *arguments, **options)

    monkeypatch.setattr(figure_module.Figure, "savefig", savefig)

    def draw(section, suffix=".png", **options):
        draw_figure(section, tmp_path / f"figure{suffix}", **options)
        figure = kept.pop()
        assert [file.name for file in tmp_path.iterdir()] == [f"figure{suffix}"]
        width, height = figure.get_size_inches()
        assert width in (SINGLE, DOUBLE)
        assert 0.5 < height < 9.5
        return figure

    return draw


def inside(figure):
    """Nothing that is drawn reaches beyond the paper."""
    box, paper = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 > -0.005
    assert box.y0 > -0.005
    assert box.x1 < paper[0] + 0.005
    assert box.y1 < paper[1] + 0.005


def picture_of(figure, axes=0, image=0):
    return np.asarray(figure.axes[axes].images[image].get_array())


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


# Maps.


@pytest.mark.parametrize(
    ("heads", "chosen", "title"),
    [
        ([2], [2], "layer 0, head 2"),
        ([0, 2], [0, 2], "layer 0, mean of heads 0, 2"),
        (None, [0, 1, 2], "layer 0, mean of all heads"),
    ],
)
def test_a_map_shows_the_weights_of_one_head_or_the_mean_of_some(drawn, heads, chosen, title):
    weights = random_weights(3, 5, 5)
    figure = drawn(section_of(layer_of(weights), axes=[Text(words(5))]), layer=0, heads=heads)
    np.testing.assert_allclose(picture_of(figure), weights[chosen].mean(0), rtol=1e-6)
    assert figure.axes[0].get_title("left") == title
    assert figure.axes[0].images[0].get_clim() == pytest.approx((0, weights[chosen].mean(0).max()))
    assert figure.axes[0].images[0].get_cmap().name == "viridis"


def test_an_alignment_names_the_tokens_of_both_axes_with_square_cells(drawn):
    weights = random_weights(2, 4, 7)
    section_axes = [Text(words(7, "s"), name="source"), Text(words(4, "t"), name="target")]
    figure = drawn(
        section_of(layer_of(weights, kind="cross", rows=1, columns=0), axes=section_axes), layer=0, heads=[1]
    )
    axes = figure.axes[0]
    assert labels(axes.xaxis) == words(7, "s")
    assert labels(axes.yaxis) == words(4, "t")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("keys: source", "queries: target")
    assert {label.get_rotation() for label in axes.xaxis.get_ticklabels()} == {90}
    assert axes.xaxis.get_ticks_position() == "top"
    box = axes.get_window_extent()
    assert box.width / 7 == pytest.approx(box.height / 4, rel=1e-6)
    assert axes.get_ylim() == (3.5, -0.5)  # the first query is at the top
    assert {label.get_fontsize() for label in axes.xaxis.get_ticklabels()} == {7}


@pytest.mark.parametrize(("count", "width", "named"), [(12, SINGLE, True), (40, DOUBLE, True), (41, SINGLE, False)])
def test_tokens_are_named_while_there_is_room(drawn, count, width, named):
    section = section_of(layer_of(random_weights(1, count, count)), axes=[Text(words(count))])
    figure = drawn(section, layer=0)
    assert figure.get_size_inches()[0] == width
    assert (labels(figure.axes[0].xaxis) == words(count)) is named
    assert (labels(figure.axes[0].yaxis) == words(count)) is named
    boxes = [label.get_window_extent() for label in figure.axes[0].xaxis.get_ticklabels()]
    inner = boxes[1:-1]
    assert all(a.x1 <= b.x0 + 1 for a, b in itertools.pairwise(inner))  # names do not run into each other


def test_names_of_positions_are_shown_as_tokens_are(drawn):
    section = section_of(
        layer_of(random_weights(1, 3, 3), kind="channel"), axes=[Positions(3, ["red", "green", "blue"])]
    )
    assert labels(drawn(section, layer=0).axes[0].xaxis) == ["red", "green", "blue"]


def test_more_rows_than_can_be_computed_show_the_map(drawn):
    many = np.zeros((1, 2049, 3), np.float32)
    layer = Layer("a", "a", "self", np.full((1, 4, 4), 0.25, np.float32), QueryKey(many, many, 1.0), 2049, 2049, 0, 0)
    figure = drawn(section_of(layer), layer=0)
    assert picture_of(figure).shape == (4, 4)
    assert "attention per cell" in texts(figure)


def test_a_large_matrix_is_pooled_as_maps_are(drawn):
    weights = random_weights(1, 600, 700)
    figure = drawn(section_of(layer_of(weights)), layer=0)
    np.testing.assert_allclose(picture_of(figure), pooled(weights, 512, 512)[0], rtol=1e-4, atol=1e-7)
    assert figure.axes[0].get_xlim() == (-0.5, 699.5)


def test_the_largest_weights_of_each_row_show_the_map(drawn):
    weights = random_weights(2, 5, 6)
    order = np.argsort(-weights, axis=-1)
    some = layer_of(weights, TopWeights(order[..., :2], np.take_along_axis(weights, order[..., :2], -1)))
    np.testing.assert_allclose(picture_of(drawn(section_of(some), layer=0, heads=[1])), weights[1], rtol=1e-6)


def test_weights_that_are_all_0_can_be_drawn(drawn):
    assert picture_of(drawn(section_of(layer_of(np.zeros((2, 3, 3), np.float32))), layer=0)).max() == 0


# The overview.


def test_the_overview_has_each_head_of_each_layer_in_parts_of_its_largest_weight(drawn):
    layers = [layer_of(random_weights(3, 4, 4, seed), name=f"l.{seed}", label=f"layer {seed}") for seed in range(2)]
    figure = drawn(section_of(*layers))
    sheet, step = figure.axes[0].images[0].get_array(), 5
    assert sheet.shape == (2 * step - 1, 3 * step - 1)
    for i, layer in enumerate(layers):
        for j, cells in enumerate(layer.map):
            found = sheet[i * step : i * step + 4, j * step : j * step + 4]
            np.testing.assert_allclose(found, cells / cells.max(), rtol=1e-6)
    assert np.ma.getmaskarray(sheet)[4].all()  # nothing is drawn between them
    assert labels(figure.axes[0].yaxis) == ["layer 0", "layer 1"]
    assert labels(figure.axes[0].xaxis) == ["0", "1", "2"]
    box = figure.axes[0].get_window_extent()
    assert box.width / sheet.shape[1] == pytest.approx(box.height / sheet.shape[0])


def test_the_overview_of_one_layer_and_some_heads(drawn):
    layers = [layer_of(random_weights(3, 4, 4, seed), name=f"l.{seed}", label=f"layer {seed}") for seed in range(2)]
    figure = drawn(section_of(*layers), layer=1, heads=[2, 0], view="overview")
    sheet = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(sheet[:, :4], layers[1].map[2] / layers[1].map[2].max(), rtol=1e-6)
    np.testing.assert_allclose(sheet[:, 5:], layers[1].map[0] / layers[1].map[0].max(), rtol=1e-6)
    assert labels(figure.axes[0].xaxis) == ["2", "0"]


def test_the_overview_leaves_out_the_rollout_and_tells_self_from_cross(drawn):
    layers = [layer_of(random_weights(2, 3, 3), label="layers 0", kind=kind) for kind in ("self", "cross")]
    rollout = layer_of(random_weights(1, 3, 3), name="rollout", label="rollout", kind="rollout")
    figure = drawn(section_of(*layers, rollout))
    assert labels(figure.axes[0].yaxis) == ["layers 0 self", "layers 0 cross"]


def test_layers_of_fewer_heads_and_other_shapes_leave_places_empty(drawn):
    layers = [layer_of(random_weights(3, 4, 4)), layer_of(random_weights(1, 2, 4), kind="cross")]
    sheet = drawn(section_of(*layers, axes=[Positions()])).axes[0].images[0].get_array()
    assert np.ma.getmaskarray(sheet)[5:, 4:].all()
    np.testing.assert_allclose(sheet[5], sheet[6])  # a row of two is drawn over two
    assert not np.ma.getmaskarray(sheet)[5:, :4].any()


def test_many_layers_fit_a_page(drawn):
    layers = [layer_of(random_weights(20, 8, 8), label=f"layer {i}") for i in range(90)]
    figure = drawn(section_of(*layers))
    marks, names = figure.axes[0].get_yticks(), labels(figure.axes[0].yaxis)
    assert 20 < len(marks) < 90  # not every layer has a label
    apart = round((marks[1] - marks[0]) / (9 / 8))  # thumbnails are 1 wide, and a cell of 8 is between them
    assert names == [f"layer {i}" for i in range(0, 90, apart)]


# Pictures, sounds, series.


PIXELS = np.random.default_rng(2).integers(0, 255, (12, 16, 3), np.uint8)


def test_a_picture_shows_what_the_class_token_gives_to_each_patch(drawn):
    weights = random_weights(2, 13, 13)
    section = section_of(layer_of(weights), axes=[Picture(PIXELS, (3, 4), ["class token"])])
    figure = drawn(section, layer=0, heads=[1])
    assert figure.get_size_inches()[0] == SINGLE
    np.testing.assert_array_equal(picture_of(figure, 0), PIXELS)
    np.testing.assert_allclose(picture_of(figure, 1, 1), weights[1, 0, 1:].reshape(3, 4))
    assert "layer 0, head 1, from class token" in texts(figure)
    assert f"{weights[1, 0, 0]:.2g} of it goes to class token" in texts(figure)
    box = figure.axes[1].get_window_extent()
    assert box.width / box.height == pytest.approx(16 / 12)
    same = figure.axes[0].images[0].get_extent()
    assert all(image.get_extent() == same for image in figure.axes[1].images)


@pytest.mark.parametrize("holds", ["cells", "map", "curve"])
def test_a_picture_without_class_token_shows_an_average_query(drawn, holds):
    weights = random_weights(2, 12, 12)
    layer = layer_of(weights, None if holds != "cells" else "cells", curves={"received": weights.sum(1)})
    if holds == "curve":
        layer = Layer(**(vars(layer) | {"map": pooled(weights, 5, 5)}))
    section = section_of(layer, axes=[Picture(PIXELS[..., 0], (3, 4))])
    figure = drawn(section, heads=[0])
    np.testing.assert_allclose(picture_of(figure, 1, 1), weights[0].mean(0).reshape(3, 4), rtol=1e-5)
    assert "layer 0, head 0, from an average query" in texts(figure)


def test_what_links_know_of_the_class_token_is_shown(drawn):
    weights = random_weights(1, 13, 13)
    order = np.argsort(-weights, axis=-1)[..., :4]
    layer = layer_of(weights, TopWeights(order, np.take_along_axis(weights, order, -1)))
    figure = drawn(section_of(layer, axes=[Picture(PIXELS, (3, 4), ["class token"])]), layer=0)
    row = np.where(np.isin(np.arange(13), order[0, 0]), weights[0, 0], 0)
    np.testing.assert_allclose(picture_of(figure, 1, 1), row[1:].reshape(3, 4))


def test_a_picture_of_which_only_a_coarse_map_is_known(drawn, tmp_path):
    weights = random_weights(1, 12, 12)
    layer = Layer(**(vars(layer_of(weights, None)) | {"map": pooled(weights, 5, 5)}))
    section = section_of(layer, axes=[Picture(PIXELS, (3, 4))])
    assert picture_of(drawn(section, layer=0)).shape == (5, 5)  # the map
    with pytest.raises(ValueError, match="`view` 'picture' needs the weights of single patches"):
        draw_figure(section, tmp_path / "x.png", layer=0, view="picture")


def test_a_sound_stands_below_the_keys_in_seconds(drawn):
    sound = Sound(np.sin(np.arange(8000) / 9).astype(np.float32), 4000, seconds=3.0, name="speech")
    section = section_of(layer_of(random_weights(2, 4, 30), rows=1), axes=[sound, Text(words(4), name="transcript")])
    figure = drawn(section, layer=0)
    matrix, strip = figure.axes[0], figure.axes[1]
    assert matrix.get_xlim() == strip.get_xlim() == (0, 3)
    assert matrix.images[0].get_extent()[:2] == [0, 3]
    assert strip.get_xlabel() == "keys: speech (s)"
    assert labels(matrix.yaxis) == words(4)
    wave = strip.collections[0].get_paths()[0].vertices
    assert wave[:, 0].max() == pytest.approx(2, abs=0.01)  # the samples end before the positions do
    assert np.abs(wave[:, 1]).max() == pytest.approx(1, abs=1e-3)
    above, below = matrix.get_window_extent(), strip.get_window_extent()
    assert (above.x0, above.x1) == pytest.approx((below.x0, below.x1))
    assert drawn(section, layer=0, view="map").axes[0].get_xlim() == (-0.5, 29.5)


def test_a_series_stands_below_the_keys_as_lines(drawn):
    values = np.random.default_rng(0).normal(size=(90, 2)).astype(np.float32)
    series = Series(values, ["heat", "$oil$"], name="sensors")
    figure = drawn(section_of(layer_of(random_weights(1, 30, 30)), axes=[series]), layer=0)
    matrix, strip = figure.axes[:2]
    assert matrix.get_xlim() == strip.get_xlim() == (0, 90)
    assert matrix.get_ylim() == (90, 0)
    for channel, line in enumerate(strip.lines):
        low, high = values[:, channel].min(), values[:, channel].max()
        np.testing.assert_allclose(line.get_ydata(), (values[:, channel] - low) / (high - low), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(90) + 0.5)
    assert [text.get_text() for text in strip.get_legend().get_texts()] == ["heat", "$oil$"]


@pytest.mark.parametrize("values", [np.ones(7, np.float32), np.zeros((7, 9), np.float32)])
def test_a_series_of_one_value_or_of_many_channels(drawn, values):
    figure = drawn(section_of(layer_of(random_weights(1, 7, 7)), axes=[Series(values)]), layer=0)
    assert figure.axes[1].get_legend() is None
    assert len(figure.axes[1].lines) == values.reshape(7, -1).shape[1]


# Text of any kind, and files.


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_hostile_tokens_are_text(drawn, tmp_path, suffix):
    count = len(HOSTILE)
    layer = layer_of(random_weights(2, count, count), name="a\n$b$", label=HOSTILE[5] + "$\n$")
    section = section_of(layer, layer, axes=[Text(HOSTILE, name="$n$\n\u202e")])
    figure = drawn(section, suffix, layer="a\n$b$")
    shown = labels(figure.axes[0].xaxis)
    assert shown[0] == "$x^2$"
    assert shown[4] == "a\u21b5b\\t\\x00"
    assert shown[9:11] == ["\\u202eabc", "\\udc80"]
    assert max(map(len, shown)) == 16
    assert figure.axes[0].get_xlabel() == "keys: $n$\u21b5\\u202e"
    assert not any(text.get_parse_math() for text in figure.axes[0].xaxis.get_ticklabels())
    data = (tmp_path / f"figure{suffix}").read_bytes()
    if suffix == ".svg":
        assert b"&lt;/script&gt;" in data
        assert b"</script>" not in data
        assert b"$x^2$" in data  # text stays text
    if suffix == ".pdf":
        assert b"/CIDFontType2" in data  # TrueType
        assert b"/Type3" not in data
    drawn(section, suffix)


def test_a_png_has_the_size_and_the_resolution_of_print(drawn, tmp_path):
    figure = drawn(section_of(layer_of(random_weights(1, 3, 3))), ".png", layer=0)
    data = (tmp_path / "figure.png").read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == pytest.approx(figure.get_size_inches() * 300, abs=1)
    [per_metre] = struct.unpack(">I", re.search(rb"pHYs(....)", data, re.DOTALL)[1])
    assert per_metre == pytest.approx(300 / 0.0254, abs=1)


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_the_same_section_gives_the_same_file(drawn, tmp_path, suffix):
    section = section_of(layer_of(random_weights(1, 3, 3)))
    drawn(section, suffix)
    first = (tmp_path / f"figure{suffix}").read_bytes()
    drawn(section, suffix)
    assert (tmp_path / f"figure{suffix}").read_bytes() == first


def test_settings_of_the_caller_stay_and_do_not_matter(drawn):
    import matplotlib

    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"text.usetex": True, "image.cmap": "jet", "font.size": 30, "font.family": ["serif"]}):
        figure = drawn(section_of(layer_of(random_weights(1, 3, 3))), layer=0)
        assert matplotlib.rcParams["text.usetex"] is True
    assert figure.axes[0].images[0].get_cmap().name == "viridis"
    assert figure.axes[0].xaxis.label.get_fontfamily() == ["serif"]  # but the type is the caller's
    assert figure.axes[0].xaxis.label.get_fontsize() == 8
    assert dict(matplotlib.rcParams) == before


def test_a_file_that_stands_there_is_replaced_whole_or_stays(tmp_path, monkeypatch):
    path = tmp_path / "FIGURE.PNG"
    path.write_bytes(b"old")
    section = section_of(layer_of(random_weights(1, 3, 3)))

    def broken(source, target):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("heedful._files.os.replace", broken)
        with pytest.raises(OSError, match="the disk is full"):
            draw_figure(section, path)
    assert [file.name for file in tmp_path.iterdir()] == ["FIGURE.PNG"]
    assert path.read_bytes() == b"old"
    draw_figure(section, str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


# What cannot be drawn.


def two_layers():
    layers = [layer_of(random_weights(count, 3, 3), name=f"encoder.{count}") for count in (2, 4)]
    return section_of(*layers, axes=[Text(words(3))])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layer": 2}, "`layer` must be from 0 to 1, or a name: got 2."),
        ({"layer": -1}, "`layer` must be from 0 to 1, or a name: got -1."),
        ({"layer": "decoder"}, "`layer` must be one of encoder.2, encoder.4: got 'decoder'."),
        ({"heads": [0]}, "`layer` must be given where there are 2 layers: got None."),
        ({"view": "map"}, "`layer` must be given where there are 2 layers: got None."),
        ({"layer": 0, "heads": [2]}, "`heads` must be one or more different numbers from 0 to 1: got [2]."),
        ({"layer": 1, "heads": [-1]}, "`heads` must be one or more different numbers from 0 to 3: got [-1]."),
        ({"layer": 1, "heads": []}, "`heads` must be one or more different numbers from 0 to 3: got []."),
        ({"layer": 1, "heads": [1, 1]}, "`heads` must be one or more different numbers from 0 to 3: got [1, 1]."),
        ({"heads": [3], "view": "overview"}, "`heads` must be one or more different numbers from 0 to 1: got [3]."),
        ({"view": "heat"}, "`view` must be one of overview, map, picture, sound, series: got 'heat'."),
        ({"layer": 0, "view": "picture"}, "`view` 'picture' needs keys that are a picture: got text."),
        ({"layer": 0, "view": "sound"}, "`view` 'sound' needs keys that are a sound: got text."),
    ],
)
def test_what_the_section_does_not_have(tmp_path, asked, message):
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        draw_figure(two_layers(), tmp_path / "x.png", **asked)
    assert list(tmp_path.iterdir()) == []


def test_the_last_layer_of_a_name_is_drawn(drawn):
    first, last = (layer_of(random_weights(1, 3, 3, seed), name="decoder") for seed in range(2))
    figure = drawn(section_of(first, last), layer="decoder")
    np.testing.assert_array_equal(picture_of(figure), last.pairs.weights[0])


@pytest.mark.parametrize("name", ["figure", "figure.jpg", "figure.png.txt", ".png"])
def test_an_unknown_suffix(tmp_path, name):
    with pytest.raises(ValueError, match="`path` must end in one of .png, .svg, .pdf: got "):
        draw_figure(two_layers(), tmp_path / name)


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="must lie in a folder that exists: .*missing"):
        draw_figure(two_layers(), tmp_path / "missing" / "x.png")


def test_a_section_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`rows` of 'layer.0' must stand for 3 positions: got an axis of 4"):
        draw_figure(section_of(layer_of(random_weights(1, 3, 3)), axes=[Text(words(4))]), tmp_path / "x.png")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    known = builtins.__import__

    def without(name, *arguments):
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return known(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"`draw_figure` needs `pip install 'heedful\[figures\]'`: .* matplotlib is"):
        draw_figure(two_layers(), tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []
