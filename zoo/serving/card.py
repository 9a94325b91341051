"""What the page tells of a model: the parts of its certificate that a reader wants."""

import orjson

from zoo.serving.servable import Servable

NUM_EXAMPLES = 12
_CERTIFIED = {
    "class_names": list,
    "accuracy": dict,
    "data": dict,
    "command": str,
    "versions": dict,
    "created": str,
    "tolerance": (int, float),
}
_ODD = (LookupError, TypeError, ValueError, AttributeError)


def card(servable: Servable) -> dict:
    """Return a model's card, as JSON has it.

    Args:
        servable: a version that is loaded.

    Returns:
        `name`, `version`, `signatures` (their names), `image_shape` and `num_classes`
        (None if no signature tells); from the certificate, each None without one:
        `class_names`, `parameters`, `accuracy`, `data`, `command`, `versions`,
        `created`, `tolerance`; and `examples`, up to 12 golden images: each an
        `image`, a file as a data URI, and its true `label`, None if it is not known.
        What of a certificate is not of the kind that an export writes is left out.
    """
    certificate = servable.certificate or {}
    return {
        "name": servable.name,
        "version": servable.version,
        "signatures": sorted(servable.signatures),
        "image_shape": _image_shape(servable),
        "num_classes": _num_classes(servable),
        "parameters": _sound(lambda: certificate["model"]["parameters"], int),
        **{
            key: _sound(lambda key=key: certificate[key], kind)
            for key, kind in _CERTIFIED.items()
        },
        "examples": _sound(lambda: _examples(certificate), list) or [],
    }


def _sound(read, kind):
    """Return what is read if it is of a kind and can be answered in JSON, or None."""
    try:
        value = read()
        orjson.dumps(value)  # not every text or number that Python reads
    except _ODD:
        return None
    return value if isinstance(value, kind) else None


def _image_shape(servable):
    for signature in servable.signatures.values():
        spec = (signature.inputs | signature.outputs).get("images")
        if spec is not None and spec.shape.rank is not None:
            return spec.shape.as_list()[1:]
    return None


def _num_classes(servable):
    for signature in servable.signatures.values():
        spec = signature.outputs.get("probabilities")
        if spec is not None and spec.shape.rank == 2:
            return spec.shape[1]
    return None


def _examples(certificate):
    inputs = {
        request["signature"]: request["inputs"] for request in certificate["requests"]
    }
    if not {"serving_default", "serve_bytes"} <= set(inputs):
        return []
    # The golden images as PNG files, and after them some in other encodings.
    files = inputs["serve_bytes"]["image_bytes"]["values"]
    (number, *_) = inputs["serving_default"]["images"]["shape"]
    files = files[: min(number, NUM_EXAMPLES)]
    labels = certificate.get("labels") or [None] * number
    return [
        {"image": f"data:image/png;base64,{file}", "label": label}
        for file, label in zip(files, labels, strict=False)
    ]
