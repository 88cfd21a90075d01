import contextlib
import io

import numpy as np
import pytest
import torch
from PIL import Image

from heedful._errors import DataError
from heedful.data import _decode, read_images, read_unlabeled


def encode(picture, kind="PNG", **options):
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return io.BytesIO(content.getvalue())


def one(picture, kind="PNG", **options):
    return read_unlabeled([encode(picture, kind, **options)]).images[0]


def noise(*shape, top=256, dtype=np.uint8):
    return np.random.default_rng(2).integers(0, top, shape, dtype)


def test_gray_and_color():
    gray, color = noise(5, 7), noise(5, 7, 3)
    assert torch.equal(one(Image.fromarray(gray)), torch.from_numpy(gray)[None])
    assert torch.equal(one(Image.fromarray(color)), torch.from_numpy(color).permute(2, 0, 1))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats(kind):
    color = np.repeat(np.uint8([[[200, 30, 0], [0, 60, 255]]]), 5, axis=0)
    options = {"lossless": True} if kind == "WEBP" else {}
    assert torch.equal(one(Image.fromarray(color), kind, **options), torch.from_numpy(color).permute(2, 0, 1))


def test_a_damaged_tiff_prints_nothing(capfd):
    content = bytearray(encode(Image.fromarray(noise(40, 40)), "TIFF", compression="tiff_lzw").getvalue())
    content[20:200] = b"\xff" * 180
    with pytest.raises(DataError, match="^x.tif: must be a whole picture"):
        _decode.decode_picture(bytes(content), "x.tif")
    assert capfd.readouterr() == ("", "")


def test_one_bit():
    assert one(Image.fromarray(np.array([[True, False, True]]))).tolist() == [[[255, 0, 255]]]


def test_palette():
    picture = Image.new("P", (3, 2), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    assert one(picture)[:, 1, 2].tolist() == [10, 20, 30]


def test_sixteen_bits_are_scaled_by_their_whole_range():
    values = np.array([[0, 257, 32768, 65535, 128, 129]], np.uint16)
    assert one(Image.fromarray(values)).tolist() == [[[0, 1, 128, 255, 0, 1]]]
    assert one(Image.fromarray(values.astype(np.int32)), "TIFF").tolist() == [[[0, 1, 128, 255, 0, 1]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_transparency_is_put_over_white(kind):
    picture = Image.new("RGBA", (3, 2), (200, 100, 0, 0))
    picture.putpixel((0, 0), (200, 100, 0, 255))
    picture.putpixel((1, 0), (0, 100, 0, 51))
    pixels = one(picture, kind)
    assert pixels[:, 0, 0].tolist() == [200, 100, 0]
    assert pixels[:, 0, 1].tolist() == [204, 224, 204]
    assert pixels[:, 1, 2].tolist() == [255, 255, 255]


def test_gray_with_transparency_stays_gray():
    picture = Image.new("LA", (3, 2), (100, 0))
    picture.putpixel((0, 0), (100, 255))
    assert one(picture).tolist() == [[[100, 255, 255], [255, 255, 255]]]


def test_a_transparent_color():
    assert one(Image.new("L", (3, 2), 7), transparency=7).unique().tolist() == [255]
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert one(palette, transparency=1)[:, 0, 0].tolist() == [255, 255, 255]


def test_cmyk():
    pixels = one(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")
    assert pixels[:, 4, 4].tolist() == [255, 0, 0]


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (3, 2), color) for color in ("red", "blue")]
    for kind in ("GIF", "PNG", "TIFF"):
        pixels = one(frames[0], kind, save_all=True, append_images=frames[1:])
        assert pixels[:, 0, 0].tolist() == [255, 0, 0], kind


def test_the_orientation_that_a_camera_noted():
    picture = Image.fromarray(np.repeat(np.uint8([[0], [255]]), 16, axis=1).repeat(8, axis=0))  # dark above
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: dark on the right
    content = encode(picture, "JPEG", exif=exif)
    assert one(picture, "JPEG", exif=exif).shape == (1, 16, 16)
    pixels = read_unlabeled([content]).images[0, 0].float()
    assert pixels[:, :7].min() > 250
    assert pixels[:, 9:].max() < 5


def test_orientation_decides_the_size():
    exif = Image.Exif()
    exif[0x0112] = 8
    assert one(Image.new("L", (24, 8)), "JPEG", exif=exif).shape == (1, 24, 8)


def test_one_picture_in_color_makes_all_color(folder, png):
    (folder / "cats" / "11.png").write_bytes(png((1, 2, 3), mode="RGB"))
    pictures = read_images(str(folder))
    assert pictures.images.shape == (6, 3, 5, 7)
    columns = pictures.images[:, :, 4, 6].tolist()
    assert columns == [[2] * 3, [10] * 3, [1, 2, 3], [11] * 3, [101] * 3, [103] * 3]


def test_channels_as_asked(folder, png):
    assert read_images(str(folder), channels=3).images[:, :, 0, 0].tolist()[4] == [103, 103, 103]
    (folder / "cats" / "11.png").write_bytes(png((255, 0, 0), mode="RGB"))
    gray = read_images(str(folder), channels=1).images
    assert gray[:, 0, 0, 0].tolist() == [2, 10, 76, 11, 101, 103]


def test_size_is_height_and_width():
    stripes = np.zeros((6, 8), np.uint8)
    stripes[:, 4:] = 200
    images = read_unlabeled([encode(Image.fromarray(stripes))], size=(3, 2)).images
    assert images.tolist() == [[[[0, 200]] * 3]]


def test_shrinking_by_a_whole_number_takes_the_mean():
    picture = noise(6, 10)
    images = read_unlabeled([encode(Image.fromarray(picture))], size=(3, 2)).images
    means = picture.reshape(3, 2, 2, 5).mean((1, 3))
    assert np.abs(images[0, 0].numpy() - means).max() <= 1  # two passes, each rounded to 8 bits


def test_other_sizes_are_resized_with_antialiasing():
    checks = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    images = read_unlabeled([encode(Image.fromarray(checks.astype(np.uint8)))], size=(13, 17)).images
    assert images.float().sub(127.5).abs().max() < 8  # picking pixels would give 0 and 255


def test_large_jpegs_are_resized_alike():
    slope = Image.linear_gradient("L").resize((1024, 1024))
    images = read_unlabeled([encode(slope, "JPEG"), encode(slope, "PNG")], size=(32, 32)).images
    assert (images[0].int() - images[1].int()).abs().max() <= 2


def test_sizes_that_differ_name_two_pictures_and_the_setting(folder, png):
    (folder / "dogs" / "2.png").write_bytes(png(1, height=3, width=11))
    message = (
        rf"^{folder}/dogs/2.png: all pictures must have one size, height x width: got 3 x 11 here and 5 x 7 in "
        rf"{folder}/cats/2.png; resize them with --set data.size=32$"
    )
    with pytest.raises(DataError, match=message):
        read_images(str(folder))
    assert read_images(str(folder), size=(4, 4)).images.shape == (6, 1, 4, 4)


def test_a_cut_picture(tmp_path):
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        content = encode(Image.fromarray(noise(64, 64, 3)), kind).getvalue()
        for length in (len(content) // 3, len(content) * 2 // 3):
            (tmp_path / "cut").write_bytes(content[:length])
            with pytest.raises(DataError, match=rf"^{tmp_path}/cut: must be a (whole )?picture"):
                read_unlabeled(tmp_path / "cut")


def test_a_file_of_no_bytes_or_of_no_picture(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match=rf"^{tmp_path}/x.png: must be a picture \(PNG, .*\): got an empty file$"):
        read_unlabeled(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(DataError, match=r"x.png: must be a picture .*: got 47 bytes that begin with b'%!PS-Ado'$"):
        read_unlabeled(tmp_path / "x.png")


@pytest.mark.parametrize("factor", [1, 2])
def test_more_pixels_than_the_limit(monkeypatch, factor):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30 // factor)
    with pytest.raises(
        DataError, match=r"^stream: must be a whole picture: got the error 'Image size \(35 pixels\) exceeds limit"
    ):
        read_unlabeled([encode(Image.new("L", (7, 5)))])


def test_numbers_that_are_not_8_or_16_bits():
    with pytest.raises(DataError, match=r"^stream: must have 8 or 16 bits a channel: got floating point numbers$"):
        one(Image.fromarray(np.ones((2, 3), np.float32)), "TIFF")
    with pytest.raises(DataError, match=r"^stream: must have 8 or 16 bits a channel: got values -1 to 70,000$"):
        one(Image.fromarray(np.array([[-1, 70000]], np.int32)), "TIFF")


def test_random_damage_is_always_a_data_error(tmp_path):
    random = np.random.default_rng(3)
    refused = 0
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        content = np.frombuffer(encode(Image.fromarray(noise(16, 16, 3)), kind).getvalue(), np.uint8)
        for _ in range(40):
            damaged = content.copy()
            where = random.integers(0, min(len(content), 200), 4)
            damaged[where] = random.integers(0, 256, 4)
            with contextlib.suppress(DataError):  # damage to a pixel cannot be seen; any other exception is a failure
                read_unlabeled([io.BytesIO(damaged.tobytes())])
                refused -= 1
            refused += 1
    assert refused > 50


def test_every_format_is_one_that_pillow_has():
    Image.init()
    assert set(_decode.FORMATS) <= set(Image.OPEN)


def test_twelve_bits_in_sixteen_are_not_black(tmp_path):
    Image.fromarray(np.array([[0, 4095], [2048, 16]], np.uint16)).save(tmp_path / "twelve.tiff")
    assert read_unlabeled(tmp_path / "twelve.tiff").images.flatten().tolist() == [0, 255, 128, 1]
