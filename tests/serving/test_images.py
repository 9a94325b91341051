"""What the headers of images say, against what Pillow wrote into them."""

import io
import struct
import zlib

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
        # TEM stands alone: the next two bytes are a marker and not its length.
        encoded("JPEG").replace(b"\xff\xd8", b"\xff\xd8\xff\x01", 1),
        encoded("JPEG") + b"\xff\xda what follows the end" * 100,
    ],
)
def test_the_pixels_of_each_format(data):
    assert images.check(data) == 40 * 30


def test_a_bmp_that_begins_with_its_upper_row():
    data = bytearray(encoded("BMP"))
    struct.pack_into("<i", data, 22, -30)
    assert images.check(bytes(data)) == 40 * 30


def bmp(mode, bits=None, packing=None, masks=None):
    """A BMP file of noise, whose header is then changed."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, "BMP")
    data = bytearray(file.getvalue())
    if bits is not None:
        struct.pack_into("<H", data, 28, bits)
    if packing is not None:
        struct.pack_into("<I", data, 30, packing)
    if masks is not None:
        struct.pack_into("<III", data, 54, *masks)
    return bytes(data)


def palette(*greys):
    indices = np.arange(1200, dtype=np.uint8).reshape(30, 40) % len(greys)
    picture = Image.fromarray(indices)
    picture.putpalette([channel for grey in greys for channel in (grey,) * 3])
    file = io.BytesIO()
    picture.save(file, "BMP")
    return file.getvalue()


USUAL = (0xFF0000, 0xFF00, 0xFF)


@pytest.mark.parametrize(
    "data",
    [palette(0, 1, 2), bmp("L"), bmp("RGBA"), bmp("RGBA", packing=3, masks=USUAL)],
)
def test_a_bmp_that_tensorflow_sees_as_it_is(data):
    assert images.check(data) == 40 * 30
    decoded = tf.io.decode_image(data, expand_animations=False).numpy()
    told = Image.open(io.BytesIO(data)).convert("RGB")
    channels = [0, 0, 0] if decoded.shape[-1] == 1 else [0, 1, 2]
    np.testing.assert_array_equal(decoded[..., channels], told)


@pytest.mark.parametrize(
    ("data", "received"),
    [
        (palette(255, 254, 253), "8 bits, compression 0"),
        (palette(0, 85, 170), "8 bits, compression 0"),
        (bmp("L", packing=1), "8 bits, compression 1"),
        (bmp("1"), "1 bits, compression 0"),
        (bmp("L", bits=4), "4 bits, compression 0"),
        (bmp("RGB", bits=16), "16 bits, compression 0"),
        (bmp("RGBA", packing=3, masks=USUAL[::-1]), "32 bits, compression 3"),
        (b"BM" + bytes(12) + struct.pack("<I", 12) + bytes(99), "one of OS/2"),
    ],
)
def test_a_bmp_that_tensorflow_takes_for_another_is_refused(data, received):
    with pytest.raises(Refused, match="send it as PNG") as refused:
        images.check(data)
    assert refused.value.status == 400
    assert str(refused.value).endswith(f"Received: {received}.")


def test_the_frames_of_a_gif_count_one_by_one():
    file = io.BytesIO()
    # Pillow would merge frames that are equal.
    rng = np.random.default_rng(0)
    noise = [
        Image.fromarray(rng.integers(0, 256, (50, 40), np.uint8)) for _ in range(3)
    ]
    noise[0].save(file, "GIF", save_all=True, append_images=noise[1:])
    assert images.check(file.getvalue()) == 3 * 40 * 50


def test_each_frame_of_a_gif_counts_as_much_as_the_largest():
    assert images.check(gif((1, 1), screen=(300, 200))) == 300 * 200
    assert images.check(gif((50, 40), (30, 80), table=False)) == 2 * 50 * 80
    file, rest = io.BytesIO(), [Image.new("L", (80, 60)) for _ in range(3)]
    for index, image in enumerate(rest):
        image.putpixel((index, 0), 255)  # all that is in its frame
    Image.new("L", (80, 60)).save(file, "GIF", save_all=True, append_images=rest)
    assert tf.io.decode_gif(file.getvalue()).shape == (4, 60, 80, 3)
    assert images.check(file.getvalue()) == 4 * 60 * 80


def test_a_frame_of_a_gif_is_not_free_however_small():
    assert tf.io.decode_gif(gif(*[(1, 1)] * 10)).shape == (10, 1, 1, 3)
    assert images.check(gif(*[(1, 1)] * 10)) == 10 * 1024
    with pytest.raises(Refused, match="more, with all frames and scans") as refused:
        images.check(gif(*[(1, 1)] * 10), max_pixels=9000)
    assert refused.value.status == 413


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "JPEG"])
def test_too_many_pixels(kind):
    data = encoded(kind)
    images.check(data, max_pixels=1200)
    with pytest.raises(Refused, match="decodes at most 1,199: send it smaller") as no:
        images.check(data, max_pixels=1199)
    assert no.value.status == 413


def chunk(name, content):
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def hidden(large, small):
    """A JPEG with another size in a comment, and FF 00 where a marker is due.

    The decoder skips FF 00 and finds the size after it. Who takes it for a segment,
    with a length, is led into the comment.
    """
    begin = large.index(b"\xff\xc0")
    (length,) = struct.unpack_from(">H", large, begin + 2)
    end = begin + 2 + length
    fake = (
        large[begin : begin + 5] + struct.pack(">HH", *small) + large[begin + 9 : end]
    )
    skipped = large[2:end] + b"\xff\xfe" + struct.pack(">H", 2 + len(fake))
    length = struct.pack(">H", 2 + len(skipped))
    return b"\xff\xd8\xff\0" + length + skipped + fake + large[end:]


PNG = encoded("PNG")
GIF = encoded("GIF", mode="L")
FRAME = GIF.index(b",\0\0\0\0")


@pytest.mark.parametrize(
    "data",
    [
        hidden(encoded("JPEG", mode="L"), (8, 8)),
        PNG[:8] + chunk(b"abCd", struct.pack(">II", 1, 1)) + PNG[8:],
        GIF[:FRAME] + b"!\xfe\0\x01x\0" + GIF[FRAME:],
    ],
    ids=["jpeg_ff00", "png_chunk_before_the_first", "gif_empty_extension"],
)
def test_a_file_that_decoders_read_otherwise_is_refused(data):
    assert tf.io.decode_image(data).shape[-3:-1] == (30, 40)
    with pytest.raises(Refused, match="a whole PNG, JPEG, BMP or GIF file"):
        images.check(data)


def test_scans_of_a_jpeg_that_do_nothing_count():
    data = encoded("JPEG", mode="L", progressive=True)  # of 6 scans
    scan = data[data.rindex(b"\xff\xda") : -2]
    for scans, price in ((20, 1), (21, 2), (41, 3)):
        several = data[:-2] + scan * (scans - 6) + b"\xff\xd9"
        assert images.check(several) == price * 40 * 30


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
        b"\xff\xd8" + b"\xff" * 2**20,
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
