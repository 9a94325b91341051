from types import SimpleNamespace

import numpy as np
import orjson
import pytest
import tensorflow as tf

from zoo.export import replay
from zoo.serving import card
from zoo.serving.servable import Signature

IMAGES = tf.TensorSpec((None, 2, 3, 1), tf.uint8)
IMAGE_BYTES = tf.TensorSpec((None,), tf.string)
PROBABILITIES = tf.TensorSpec((None, 4), tf.float32)


def servable(certificate, **signatures):
    made = {
        name: Signature(name, inputs, outputs, batched=True)
        for name, (inputs, outputs) in signatures.items()
    }
    return SimpleNamespace(
        name="a", version=7, signatures=made, certificate=certificate
    )


def certificate(labels):
    """Three golden images; after them, one of them in another encoding."""
    files = np.array([b"0", b"1", b"2", b"other"], object)
    images = np.zeros((3, 2, 3, 1), np.uint8)
    return {
        "class_names": ["a", "b", "c", "d"],
        "model": {"parameters": 12, "weights": "..."},
        "labels": labels,
        "requests": [
            {"signature": name, "inputs": {key: replay.encode(values)}}
            for name, key, values in (
                ("serving_default", "images", images),
                ("serve_bytes", "image_bytes", files),
            )
        ],
    }


def test_without_a_certificate_the_signatures_tell():
    made = card.card(
        servable(
            None,
            serve_bytes=(
                {"image_bytes": IMAGE_BYTES},
                {"probabilities": PROBABILITIES},
            ),
            decode=({"image_bytes": IMAGE_BYTES}, {"images": IMAGES}),
        )
    )
    assert {key: value for key, value in made.items() if value is not None} == {
        "name": "a",
        "version": 7,
        "signatures": ["decode", "serve_bytes"],
        "image_shape": [2, 3, 1],
        "num_classes": 4,
        "examples": [],
    }


def test_a_signature_that_is_no_image_classifiers():
    unknown = tf.TensorSpec(None, tf.float32)
    made = card.card(
        servable(None, f=({"images": unknown}, {"probabilities": unknown}))
    )
    assert made["image_shape"] is made["num_classes"] is None


def test_the_examples_are_the_golden_images_themselves():
    made = card.card(servable(certificate([3, 0, 1])))
    assert made["parameters"] == 12 and made["class_names"] == ["a", "b", "c", "d"]
    assert made["examples"] == [  # base64 of "0", "1", "2"
        {"image": "data:image/png;base64,MA==", "label": 3},
        {"image": "data:image/png;base64,MQ==", "label": 0},
        {"image": "data:image/png;base64,Mg==", "label": 1},
    ]


def test_no_more_examples_than_fit(monkeypatch):
    monkeypatch.setattr(card, "NUM_EXAMPLES", 2)
    examples = card.card(servable(certificate(None)))["examples"]
    assert [one["label"] for one in examples] == [None, None]


def test_a_model_that_reads_no_files_has_no_examples():
    only_arrays = certificate([3, 0, 1])
    del only_arrays["requests"][1]
    assert card.card(servable(only_arrays))["examples"] == []


@pytest.mark.parametrize("odd", [None, 5, "text", [1], {"a": 10**30}, "\ud800"])
def test_what_is_odd_in_a_certificate_is_left_out(odd):
    whole = card.card(servable(certificate([3, 0, 1])))
    for key in (*certificate(None), "accuracy", "data", "command", "tolerance"):
        made = card.card(servable(certificate([3, 0, 1]) | {key: odd}))
        orjson.dumps(made)
        for name in {*whole} - {key, "parameters", "examples"}:
            assert made[name] == whole[name]
    odd_class_names = card.card(servable({"class_names": odd}))["class_names"]
    assert odd_class_names == (odd if isinstance(odd, list) else None)
