import matplotlib.image
import numpy as np
import pytest

from zoo import ZooError
from zoo.data import Examples, Splits
from zoo.data.figure import grid


@pytest.mark.parametrize("channels, classes", [(1, 3), (3, 12), (1, 30)])
def test_grid(channels, classes, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 8, 8, channels), np.uint8)
    part = Examples(x, np.arange(60) % classes)
    names = tuple(f"class {label}" for label in range(classes))
    splits = Splits("things", part, part, part, names, "nowhere", "")
    path = grid(splits, tmp_path / "grid")
    assert path == tmp_path / "grid.png"
    picture = matplotlib.image.imread(path)
    assert picture.shape[1] == 9 * 120  # ten columns of 0.7 inches and the labels
    assert picture[..., :3].std() > 0.1  # not blank
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ZooError, match="suffix must be one of .*png"):
        grid(splits, tmp_path / "grid.foo")
