"""What the headers of images say, against what Pillow wrote into them."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from zoo.serving import images
from zoo.serving.errors import Refused


def encoded(kind, size=(40, 30), mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def gif(*frames, screen=(1, 1), table=True):
    """A GIF of single-coloured frames of these sizes, with an extension before each."""
    colours = bytes(6)
    data = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80 * table, 0, 0)
    data += colours * table
    for width, height in frames:
        data += b"!\xf9\x04\0\0\0\0\0"
        data += b"," + struct.pack("<HHHHB", 0, 0, width, height, 0x80) + colours
        data += b"\x02\x02\x44\x01\0"  # one pixel, in a block of two bytes
    return data + b";"


@pytest.mark.parametrize(
    "data",
    [
        encoded("PNG"),
        encoded("PNG", mode="RGBA"),
        encoded("PNG", mode="I;16"),
        encoded("BMP"),
        encoded("BMP", mode="L"),
        encoded("GIF", mode="P"),
        encoded("JPEG"),
        encoded("JPEG", progressive=True),
        encoded("JPEG", mode="CMYK", comment=b"\xff\xc0 looks like a marker"),
        encoded("JPEG", exif=b"Exif\0\0" + bytes(5000)),
        encoded("JPEG").replace(b"\xff\xd8", b"\xff\xd8\xff\xff", 1),  # filled up
    ],
)
def test_the_pixels_of_each_format(data):
    assert images.check(data) == 40 * 30


def test_a_bmp_that_begins_with_its_upper_row():
    data = bytearray(encoded("BMP"))
    struct.pack_into("<i", data, 22, -30)
    assert images.check(bytes(data)) == 40 * 30


def test_the_frames_of_a_gif_count_one_by_one():
    file = io.BytesIO()
    # Pillow would merge frames that are equal.
    rng = np.random.default_rng(0)
    noise = [
        Image.fromarray(rng.integers(0, 256, (50, 40), np.uint8)) for _ in range(3)
    ]
    noise[0].save(file, "GIF", save_all=True, append_images=noise[1:])
    assert images.check(file.getvalue()) == 3 * 40 * 50


def test_the_screen_of_a_gif_counts_and_frames_that_are_larger():
    assert images.check(gif((1, 1), screen=(300, 200))) == 300 * 200
    assert images.check(gif((50, 40), (300, 200), table=False)) == 50 * 40 + 300 * 200


def test_a_frame_of_a_gif_is_not_free_however_small():
    assert tf.io.decode_gif(gif(*[(1, 1)] * 10)).shape == (10, 1, 1, 3)
    assert images.check(gif(*[(1, 1)] * 10)) == 10 * 1024
    with pytest.raises(Refused, match="more, with all its frames") as refused:
        images.check(gif(*[(1, 1)] * 10), max_pixels=9000)
    assert refused.value.status == 413


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "JPEG"])
def test_too_many_pixels(kind):
    data = encoded(kind)
    images.check(data, max_pixels=1200)
    with pytest.raises(Refused, match="decodes at most 1,199: send it smaller") as no:
        images.check(data, max_pixels=1199)
    assert no.value.status == 413


def test_a_bomb_is_known_by_its_header_alone():
    data = bytearray(encoded("PNG"))
    struct.pack_into(">II", data, 16, 2**31 - 1, 2**31 - 1)
    with pytest.raises(Refused, match="4,611,686,014,132,420,609 pixels"):
        images.check(bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        b"<svg/>",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"\xff\xd8" + b"\xff\xe0\0\x02" * 20_000,  # segments without end
        b"BM",
        b"GIF89a",
        encoded("GIF")[:-5],
        encoded("TIFF"),
        encoded("WEBP"),
    ],
)
def test_what_is_no_such_image(data):
    with pytest.raises(Refused, match="whole PNG, JPEG, BMP or GIF file") as refused:
        images.check(data)
    assert refused.value.status == 400
    assert len(str(refused.value)) < 200


def test_what_tensorflow_decodes_is_not_refused():
    for kind in ("PNG", "BMP", "GIF", "JPEG"):
        data = encoded(kind)
        decoded = tf.io.decode_image(data, expand_animations=False)
        height, width = decoded.shape[:2]
        assert images.check(data) == height * width


def test_the_images_of_a_request_share_the_limit():
    inputs = {"image_bytes": np.array([encoded("PNG")] * 3, object)}
    images.check_all(inputs, max_pixels=3600)
    with pytest.raises(Refused, match="the 3 images have 3,600 pixels") as refused:
        images.check_all(inputs, max_pixels=3599)
    assert refused.value.status == 413


def test_other_inputs_are_not_looked_at():
    images.check_all({"images": np.zeros((2, 3, 3, 1), np.uint8)})
    images.check_all({"image_bytes": np.zeros(3)})
    images.check_all({"text": np.array([b"no image"], object)})
