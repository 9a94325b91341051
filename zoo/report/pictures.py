"""Images as PNG data URIs, so that a page needs no other file."""

import base64
import io

import numpy as np

_GAP = 4  # pixels between kernels
_COLUMNS = 8


def data_uri(pixels: np.ndarray) -> str:
    """Return a PNG of an image as a data URI.

    Args:
        pixels: uint8 `(height, width, channels)`: grey, grey and alpha, colour, or
            colour and alpha; of more channels the first is drawn.
    """
    from PIL import Image

    channels = pixels.shape[-1]
    if channels == 1 or channels > 4:
        pixels = pixels[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def kernel_sheet(kernels: np.ndarray) -> np.ndarray:
    """Lay kernels out side by side, each scaled by its largest weight.

    Args:
        kernels: float `(k, height, width, channels)`; k at least 1.

    Returns:
        uint8 `(height, width, 2)` or, of three channels, `(height, width, 4)`: zero is
        the middle grey, and the gaps are transparent.
    """
    if kernels.shape[-1] != 3:
        kernels = kernels.mean(-1, keepdims=True)
    largest = np.abs(kernels).max((1, 2, 3), keepdims=True)
    pixels = 127.5 + 127.5 * kernels / np.where(largest > 0, largest, 1)
    opaque = np.full((*pixels.shape[:3], 1), 255)
    tiles = np.concatenate([pixels, opaque], -1).round().astype(np.uint8)
    enlarged = max(1, 32 // kernels.shape[1])
    tiles = tiles.repeat(enlarged, 1).repeat(enlarged, 2)
    rows = -(-len(tiles) // _COLUMNS)
    fill = rows * _COLUMNS - len(tiles) if rows > 1 else 0
    tiles = np.pad(tiles, [(0, fill), (0, _GAP), (0, _GAP), (0, 0)])
    columns = len(tiles) // rows
    height, width, channels = tiles.shape[1:]
    grid = tiles.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, channels)
