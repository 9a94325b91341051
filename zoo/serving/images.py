"""How large an encoded image is, told by its header: asked before it is decoded.

The headers are read as the decoders behind `tf.io.decode_image` read them. A library
for images would parse more than is asked, which a hostile file can make slow.
"""

import re
import struct
from collections.abc import Iterator

import numpy as np

from zoo.serving.errors import invalid, too_large

MAX_PIXELS = 25_000_000
_MOST_SEGMENTS = 10_000  # of a JPEG; cameras write a few dozen
_SCANS = 20  # of a JPEG for one price: each goes over all pixels, however short it is
_MARKER = re.compile(rb"\xff+([^\x00\xff])")  # FF 00 is none
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_BMP = (
    "a BMP file must have 24 or 32 bits a pixel, or 8 and a palette of greys from "
    "black on, and not be compressed: send it as PNG."
)
_FRAME_PIXELS = 1024  # that a frame of a GIF counts for at least, however small


def check(image_bytes: bytes, max_pixels: int = MAX_PIXELS) -> int:
    """Return how many pixels an encoded image has; nothing is decoded.

    Each frame of a GIF counts as much as the largest, since its decoder unpacks them
    all to that size; a JPEG of more than 20 scans counts once for every 20.

    Args:
        image_bytes: a file: PNG, JPEG, BMP or GIF.
        max_pixels: the most that are allowed.

    Raises:
        Refused: it has more pixels (413), is no such image, or is a BMP file that
            TensorFlow cannot decode, or decodes to other colours (400).

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
            f"{len(image_bytes)} bytes that begin with {image_bytes[:8].hex(' ')}."
        )
    if pixels > max_pixels:
        raise too_large(
            f"the image has {pixels:,} pixels or more, with all frames and scans; this "
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
    begin, width, height = struct.unpack_from(">8sII", data, 8)
    # The decoder would skip unknown chunks before it.
    return width * height if begin == b"\0\0\0\rIHDR" else None


def _bmp(data, max_pixels):
    header, width, height, _, bits, packing = struct.unpack_from("<IiiHHI", data, 14)
    if header < 40:
        raise invalid(f"{_BMP} Received: one of OS/2.")
    if not _is_plain(data, header, bits, packing):
        raise invalid(f"{_BMP} Received: {bits} bits, compression {packing}.")
    return abs(width * height)  # a negative height begins with the upper row


def _is_plain(data, header, bits, packing) -> bool:
    """Return whether a BMP file is what TensorFlow takes it for.

    It reads neither the palette nor the masks of colours, and unpacks nothing.
    """
    if bits == 8:
        (colours,) = struct.unpack_from("<I", data, 46)
        greys = bytes(range(min(colours or 256, 256)))
        palette = data[14 + header :][: 4 * len(greys)]
        return packing == 0 and all(palette[i::4] == greys for i in range(3))
    if (bits, packing) == (32, 3):
        return struct.unpack_from("<III", data, 54) == (0xFF0000, 0xFF00, 0xFF)
    return bits in (24, 32) and packing == 0


def _jpeg(data, max_pixels):
    pixels = scans = 0
    for number, (marker, position) in enumerate(_segments(data)):
        if number == _MOST_SEGMENTS:
            return None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, position + 3)
            pixels = max(pixels, width * height)
        scans += marker == 0xDA
    return pixels * max(1, -(-scans // _SCANS)) or None


def _segments(data) -> Iterator[tuple[int, int]]:
    """Give the marker of each segment of a JPEG, and where its length stands.

    Raises:
        ValueError: no marker is where one is due; the decoder would look for the next.
    """
    position = 2
    while position < len(data):
        found = _MARKER.match(data, position)
        if found is None:
            raise ValueError
        marker, position = found[1][0], found.end()
        yield marker, position
        if marker == 0xD9:  # the end
            return
        if marker != 0x01 and not 0xD0 <= marker <= 0xD8:  # these stand alone
            position += struct.unpack_from(">H", data, position)[0]
        if marker == 0xDA:
            found = _AFTER_SCAN.search(data, position)
            position = found.start() if found else len(data)


def _gif(data, max_pixels):
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position, frames, pixels = 13 + _table(flags), 0, width * height
    while pixels <= max_pixels and data[position] in b",!":
        if data[position] == ord(","):  # a frame
            *size, flags = struct.unpack_from("<HHB", data, position + 5)
            width, height = max(width, size[0]), max(height, size[1])
            frames += 1
            pixels = frames * max(width * height, _FRAME_PIXELS)
            position += 11 + _table(flags)
        else:  # an extension
            position += 2
            if not data[position]:  # the decoder would read on after its end
                return None
        while data[position]:  # blocks, each with its length before it
            position += 1 + data[position]
        position += 1
    return pixels


def _table(flags):
    """Return the bytes of the colour table that these flags announce."""
    return 3 << (flags % 8 + 1) if flags & 0x80 else 0


_PIXELS = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8\xff": _jpeg,
    b"BM": _bmp,
    b"GIF8": _gif,
}
