"""How large an encoded image is, told by its header: asked before it is decoded.

The headers are read as the decoders behind `tf.io.decode_image` read them. A library
for images would parse more than is asked, which a hostile file can make slow.
"""

import struct

import numpy as np

from zoo.serving.errors import invalid, too_large

MAX_PIXELS = 25_000_000
_MOST_SEGMENTS = 10_000  # before the size of a JPEG; cameras write a few dozen
_FRAME_PIXELS = 1024  # that a frame of a GIF counts for at least, however small


def check(image_bytes: bytes, max_pixels: int = MAX_PIXELS) -> int:
    """Return how many pixels an encoded image has; nothing is decoded.

    The frames of a GIF count one by one, since its decoder unpacks them all.

    Args:
        image_bytes: a file: PNG, JPEG, BMP or GIF.
        max_pixels: the most that are allowed.

    Raises:
        Refused: it has more pixels (413), or is no such image (400).

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("L", (40, 30)).save(file, "PNG")
        >>> check(file.getvalue())
        1200
    """
    pixels = None
    for begin, of in _PIXELS.items():
        if image_bytes.startswith(begin):
            try:
                pixels = of(image_bytes, max_pixels)
            except (struct.error, IndexError, ValueError):  # it ends too early
                pass
    if pixels is None:
        raise invalid(
            "image_bytes must be a whole PNG, JPEG, BMP or GIF file. Received: "
            f"{len(image_bytes)} bytes that begin with {bytes(image_bytes[:8])!r}."
        )
    if pixels > max_pixels:
        raise too_large(
            f"the image has {pixels:,} pixels or more, with all its frames; this "
            f"server decodes at most {max_pixels:,}: send it smaller."
        )
    return pixels


def check_all(inputs: dict[str, np.ndarray], max_pixels: int = MAX_PIXELS) -> None:
    """Check the images of a request, which share the limit.

    Args:
        inputs: of a signature; only strings called `image_bytes` are looked at.
        max_pixels: the most that they may have together.

    Raises:
        Refused: as `check` does.
    """
    images = np.ravel(inputs.get("image_bytes", ()))
    if images.dtype != object:
        return
    pixels = sum(check(image_bytes, max_pixels) for image_bytes in images)
    if pixels > max_pixels:
        raise too_large(
            f"the {len(images)} images have {pixels:,} pixels; this server decodes at "
            f"most {max_pixels:,} for a request: send fewer, or smaller ones."
        )


def _png(data, max_pixels):
    width, height = struct.unpack_from(">II", data, 16)
    return width * height


def _bmp(data, max_pixels):
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width * height)  # a negative height begins with the upper row


def _jpeg(data, max_pixels):
    position = 2
    for _ in range(_MOST_SEGMENTS):
        position = data.index(b"\xff", position)
        while data[position] == 0xFF:  # any number of them
            position += 1
        marker = data[position]
        position += 1
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, position + 3)
            return width * height
        if marker != 0x01 and not 0xD0 <= marker <= 0xD8:  # these stand alone
            position += struct.unpack_from(">H", data, position)[0]
    return None


def _gif(data, max_pixels):
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position, frames = 13 + _table(flags), 0
    while frames <= max_pixels and data[position] in b",!":
        if data[position] == ord(","):  # a frame
            size = struct.unpack_from("<HHB", data, position + 5)
            frames += max(size[0] * size[1], _FRAME_PIXELS)
            position += 11 + _table(size[2])
        else:  # an extension
            position += 2
        while data[position]:  # blocks, each with its length before it
            position += 1 + data[position]
        position += 1
    return max(width * height, frames)


def _table(flags):
    """Return the bytes of the colour table that these flags announce."""
    return 3 << (flags % 8 + 1) if flags & 0x80 else 0


_PIXELS = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8\xff": _jpeg,
    b"BM": _bmp,
    b"GIF8": _gif,
}
