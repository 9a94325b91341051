import base64
import io

import numpy as np
import pytest
from PIL import Image

from zoo.report.pictures import data_uri, kernel_sheet


@pytest.mark.parametrize("channels, mode", [(1, "L"), (2, "LA"), (3, "RGB"), (5, "L")])
def test_a_data_uri_holds_the_pixels(channels, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, channels), np.uint8)
    head, _, code = data_uri(pixels).partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(code)))
    assert image.mode == mode
    expected = pixels[..., 0] if mode == "L" else pixels
    np.testing.assert_array_equal(np.asarray(image), expected)


def test_a_kernel_is_scaled_by_its_largest_weight():
    """Two kernels of one pixel each: -2 is black, and 0.5 is white."""
    sheet = kernel_sheet(np.array([-2.0, 0.5]).reshape(2, 1, 1, 1))
    assert sheet.shape == (36, 72, 2)  # 32 pixels, and a gap of 4
    assert (sheet[:32, :32] == [0, 255]).all()
    assert (sheet[:32, 36:68] == [255, 255]).all()
    assert (sheet[32:] == 0).all() and (sheet[:, 32:36] == 0).all()


def test_zero_is_the_middle_grey():
    assert (kernel_sheet(np.zeros((1, 32, 32, 1)))[:32, :32] == [128, 255]).all()


def test_rows_of_eight_in_colour():
    kernels = np.ones((10, 3, 3, 3))
    kernels[9, 0, 0] = [1, 0, -1]
    sheet = kernel_sheet(kernels)
    assert sheet.shape == (2 * 34, 8 * 34, 4)
    assert sheet[34, 34].tolist() == [255, 128, 0, 255]
    assert (sheet[34:, 2 * 34 :] == 0).all()
