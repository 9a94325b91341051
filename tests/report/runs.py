"""Run directories for the tests, made without a training."""

import json

import numpy as np

CLASSES = ["T-shirt/top", "Trouser", "Bag <b>"]
COMMAND = "python -m zoo.recipes.fashion_mnist --model cnn"
HISTORY = """\
epoch,accuracy,loss,val_accuracy,val_loss,learning_rate
0,0.7,0.9,0.75,0.8,0.005
1,0.9,0.4,0.85,0.5,0.001
2,0.95,0.2,0.84,0.6,0.0001
"""


def metrics(**changes):
    return {
        "recipe": "fashion_mnist",
        "model": "cnn",
        "seed": 0,
        "parameters": 80_730,
        "data": {
            "name": "fashion_mnist", "source": "a mirror", "train": 5400,
            "validation": 600, "test": 60, "digest": "5027f0",
        },
        "command": COMMAND,
        "status": "complete",
        "epochs": 3,
        "train_seconds": 4.25,
        "images_per_second": 3784,
        "training_accuracy": 0.93,
        "validation_accuracy": 0.85,
        "test_accuracy": 0.8,
        "test_loss": 0.5,
        "saved_model": "saved_models/fashion_mnist_cnn/1",
        **changes,
    }  # fmt: skip


def layer(norm, largest, ratio):
    return {
        "gradient_norm": norm, "gradient_norm_max": largest, "update_ratio": ratio
    }  # fmt: skip


def gradients(**changes):
    """Return what `GradientMonitor.save` writes, of two layers in three epochs."""
    numbers = [
        [(0.1, 0.2, 0.001), (1.0, 2.0, 0.002)],
        [(0.01, 0.02, 0.001), (None, None, None)],
        [(0.0, 0.0, None), (0.5, 1.5, 0.001)],
    ]
    epochs = [
        {
            "epoch": epoch,
            "layers": {"conv_1": layer(*conv), "predictions": layer(*dense)},
            "dead": {"activation_1": dead},
            "saturated": {},
        }
        for epoch, (conv, dense), dead in zip(
            (1, 2, 3), numbers, (0.0, 0.25, 0.125), strict=True
        )
    ]
    findings = ["Vanishing: conv_1 <= 0 in epoch 3."]
    return {"epochs": epochs, "findings": findings, **changes}


def evaluation(num_classes=3, side=8, channels=1, points=30):
    """Return arrays as `evaluation.measure` keeps them, of 60 test images.

    Of every five images of class k the last was read as class k + 1.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(60) % num_classes
    read = np.where(np.arange(60) % 5 == 4, (labels + 1) % num_classes, labels)
    probabilities = np.full((60, num_classes), 0.1 / (num_classes - 1), np.float32)
    probabilities[np.arange(60), read] = 0.9
    wrong = np.flatnonzero(read != labels)
    names = CLASSES if num_classes == 3 else [f"class {k}" for k in range(num_classes)]
    return {
        "class_names": np.array(names),
        "labels": labels,
        "probabilities": probabilities,
        "picture_index": wrong,
        "pictures": rng.integers(0, 256, (len(wrong), side, side, channels), np.uint8),
        "kernels": rng.normal(size=(10, 3, 3, channels)).astype(np.float32),
        "sample": np.arange(points),
        "pca": rng.normal(size=(points, 2)),
        "tsne": rng.normal(size=(points, 2)),
        "explained_variance": np.array([0.5, 0.25]),
    }


def make(path, **files):
    """Write a run directory; `files` replaces a part of it, `None` leaves it out."""
    files = {
        "config": {"model": "cnn", "widths": [16, 64], "seed": 0, "flip": False},
        "environment": {"zoo": "0.1.0", "python": "3.11"},
        "metrics": metrics(),
        "history": HISTORY,
        "gradients": gradients(),
        "evaluation": evaluation(),
        **files,
    }
    path.mkdir(parents=True)
    for name, content in files.items():
        if content is None:
            continue
        if name == "history":
            (path / "history.csv").write_text(content)
        elif name == "evaluation":
            np.savez_compressed(path / "evaluation.npz", **content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            (path / f"{name}.json").write_text(text)
    return path
