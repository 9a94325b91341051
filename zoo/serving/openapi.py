"""What /openapi.json says besides what FastAPI finds in the routes."""

from fastapi import FastAPI

ABOUT = {
    "title": "zoo serve",
    "description": "TensorFlow Serving's REST API, a page to try it, and health.",
    "version": "1",
}


def _object(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_OBJECT = {"type": "object"}
_LIST = {"type": "array", "minItems": 1}
_ERROR = _object(error={"type": "string", "pattern": r"^[^\n]+$"})

MODELS = _object(models={"type": "array", "items": _object(name=_TEXT)})
STATUS = _object(
    model_version_status={
        "type": "array",
        "items": _object(
            version=_TEXT,
            state=_TEXT,
            status=_object(error_code=_TEXT, error_message=_TEXT),
        ),
    }
)
METADATA = _object(
    model_spec=_object(name=_TEXT, signature_name=_TEXT, version=_TEXT),
    metadata=_object(signature_def=_OBJECT),
)
CARD = {"type": "object", "properties": {"name": _TEXT, "version": _NUMBER}}
HEALTH = _object(status=_TEXT)

_SIGNATURE = {"signature_name": {"type": "string", "default": "serving_default"}}
_BODY = {
    "oneOf": [
        _object(instances=_LIST) | {"properties": {"instances": _LIST, **_SIGNATURE}},
        _object(inputs={}) | {"properties": {"inputs": {}, **_SIGNATURE}},
    ]
}
_ANSWER = {"oneOf": [_object(predictions=_LIST), _object(outputs={})]}


def _content(schema):
    return {"application/json": {"schema": schema}}


def answered(schema: dict) -> dict:
    """Return the description of an answer that is JSON of this schema."""
    return {200: {"description": "The answer.", "content": _content(schema)}}


def _errors(**reasons):
    return {
        int(code[1:]): {"description": reason, "content": _content(_ERROR)}
        for code, reason in reasons.items()
    }


REFUSED = _errors(
    _400="There is not one Host header.",
    _403="The Host header names another server, or the Origin header another site.",
    _500="A defect of the server.",
)
NO_MODEL = _errors(
    _400="The version is not a number.",
    _404="No such model or version is served.",
)
NOT_READY = _errors(_503="No model is served, or not yet, or no longer.")
_NOT_PREDICTED = _errors(
    _400="The body is not what the signature takes.",
    _408="The body did not come in time.",
    _413="The body, or an image in it, is too large.",
    _415="The body is compressed.",
    _503="Too much is waiting already.",
)
TEXT = {200: {"description": "The numbers.", "content": {"text/plain": {}}}}
HTML = {200: {"description": "The page.", "content": {"text/html": {}}}}
PREDICT = {
    "responses": answered(_ANSWER) | _NOT_PREDICTED,
    "openapi_extra": {
        "requestBody": {"required": True, "content": _content(_BODY)},
    },
}


def without_validation(app: FastAPI) -> None:
    """Take out the answers that FastAPI says it gives to invalid parameters."""
    described = app.openapi()
    for operations in described["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    described.get("components", {}).pop("schemas", None)
