"""What TensorFlow Serving's REST API says in JSON, and what it means.

Reference: https://www.tensorflow.org/tfx/serving/api_rest
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import orjson
from google.protobuf import json_format

from zoo.errors import unknown
from zoo.serving import grpc_api
from zoo.serving.errors import invalid
from zoo.serving.repository import Status
from zoo.serving.servable import Servable
from zoo.serving.signature import DEFAULT, Signature
from zoo.serving.values import from_array, is_base64, shown, to_array

_KEYS = ("signature_name", "instances", "inputs")


@dataclass(frozen=True)
class Question:
    """What the body of a `:predict` request asks.

    Attributes:
        signature: the name of the signature that answers.
        inputs: its inputs.
        rows: they came as `instances`, so the answer is a list with one for each.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    rows: bool


def question(body: bytes, signatures: dict[str, Signature]) -> Question:
    """Read the body of a `:predict` request.

    Args:
        body: JSON with either `instances`, a list with a row for each item, or
            `inputs`, whole arrays; and `signature_name`, by default `serving_default`.
            A row, and `inputs`, is an object with the inputs by name; if there is only
            one input, it can stand for itself.
        signatures: of the model.

    Raises:
        Refused: it is not that, or no array of an input's type and rank (400).

    Example: `{"instances": [{"b64": "iVBORw0KGgo="}], "signature_name": "serve_bytes"}`
    """
    content = _content(body)
    name = content.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(f"signature_name must be a string. Received: {shown(name)}.")
    name = name or DEFAULT
    if name not in signatures:
        raise invalid(str(unknown("signature_name", name[:80], signatures)))
    specs = signatures[name].inputs
    rows = "instances" in content
    if rows:
        values = _columns(content["instances"], specs)
    else:
        values = _whole(content["inputs"], specs)
    inputs = {key: to_array(key, values[key], spec) for key, spec in specs.items()}
    return Question(name, inputs, rows)


def _content(body):
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise invalid(f"the body must be a JSON object. Received: {shown(content)}.")
    for key in content:
        if key not in _KEYS:
            raise invalid(str(unknown("a key of the body", key[:80], _KEYS)))
    if ("instances" in content) == ("inputs" in content):
        raise invalid(
            "the body must have either instances, a list with a row for each item, or "
            f"inputs, whole arrays. Received: {shown(content)}."
        )
    return content


def _columns(instances, specs):
    """Return what the rows have for each input, as a list."""
    if not isinstance(instances, list) or not instances:
        raise invalid(
            f"instances must be a list with a row at least. Received: "
            f"{shown(instances)}."
        )
    if len(specs) == 1 and not any(map(_is_named, instances)):
        return {key: instances for key in specs}
    for index, instance in enumerate(instances):
        _check_names(instance, specs, f"item {index} of instances")
    return {key: [instance[key] for instance in instances] for key in specs}


def _whole(value, specs):
    if len(specs) == 1 and not _is_named(value):
        return {key: value for key in specs}
    _check_names(value, specs, "inputs")
    return value


def _check_names(value, specs, what):
    if not _is_named(value) or value.keys() != specs.keys():
        raise invalid(
            f"{what} must be an object with {', '.join(specs)}. "
            f"Received: {shown(value)}."
        )


def _is_named(value):
    return isinstance(value, dict) and not is_base64(value)


def answer(outputs: dict[str, np.ndarray], rows: bool) -> bytes:
    """Return the body of the answer to a `:predict` request.

    Args:
        outputs: of a signature; a single one stands without its name.
        rows: the request was one of `instances`; the answer is `predictions`.

    Raises:
        Refused: the outputs have not the same number of rows (400).
    """
    columns = {name: from_array(name, array) for name, array in outputs.items()}
    key = "predictions" if rows else "outputs"
    sizes = {array.shape[:1] for array in outputs.values()}
    if rows and (len(sizes) > 1 or () in sizes):
        raise invalid("the outputs have no rows in common; ask with inputs instead.")
    if len(columns) == 1:
        (content,) = columns.values()
    elif rows:
        items = zip(*columns.values(), strict=True)
        content = [dict(zip(columns, item, strict=True)) for item in items]
    else:
        content = columns
    return orjson.dumps({key: content}, option=orjson.OPT_SERIALIZE_NUMPY)


def status(statuses: Iterable[Status]) -> dict:
    """Return the states of a model's versions, a `GetModelStatusResponse` in JSON."""
    return {
        "model_version_status": [
            {
                "version": str(one.version),
                "state": one.state,
                "status": {
                    "error_code": "UNKNOWN" if one.error else "OK",
                    "error_message": one.error or "",
                },
            }
            for one in statuses
        ]
    }


def metadata(servable: Servable) -> dict:
    """Return a version's signatures, a `GetModelMetadataResponse` in JSON."""
    definitions = json_format.MessageToDict(
        grpc_api.signature_map(servable.signatures),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    version = str(servable.version)
    return {
        "model_spec": {"name": servable.name, "signature_name": "", "version": version},
        "metadata": {"signature_def": definitions},
    }
