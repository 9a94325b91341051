"""TensorFlow Serving's gRPC API: Predict, GetModelMetadata and GetModelStatus."""

import asyncio

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from zoo.serving import images, tensors
from zoo.serving.errors import invalid
from zoo.serving.grpc_server import Server
from zoo.serving.metrics import Metrics
from zoo.serving.repository import Repository
from zoo.serving.signature import DEFAULT, Signature

MAX_MESSAGE_BYTES = 16 * 2**20
_LARGE = 16 * 1024  # bytes: what takes longer than a millisecond
_UNKNOWN_ERROR = 2  # google.rpc.Code, as TensorFlow Serving reports failed loads


def start(
    repository: Repository,
    metrics: Metrics,
    host: str,
    port: int,
    *,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    max_pixels: int = images.MAX_PIXELS,
) -> tuple[Server, int]:
    """Serve models over gRPC, in the background.

    Args:
        repository: the models.
        metrics: what counts requests.
        host: the name or address to listen on.
        port: 0 lets the system choose one.
        max_message_bytes: of a request, and of each array that it describes.
        max_pixels: of the encoded images in a request, together.

    Returns:
        The server, whose `stop(grace)` ends it, and the port.

    Raises:
        ZooError: it cannot listen there.
    """
    api = _Api(repository, metrics, max_message_bytes, max_pixels)
    host = f"[{host}]" if ":" in host else host  # IPv6
    server = Server(api.services(), f"{host}:{port}", max_message_bytes)
    return server, server.port


class _Api:
    def __init__(self, repository, metrics, max_bytes, max_pixels):
        self._repository, self._metrics = repository, metrics
        self._max_bytes, self._max_pixels = max_bytes, max_pixels

    def services(self):
        return {
            "tensorflow.serving.PredictionService": {
                "Predict": self.predict,
                "GetModelMetadata": self.metadata,
            },
            "tensorflow.serving.ModelService": {"GetModelStatus": self.status},
        }

    async def predict(self, data):
        with self._metrics.request("", "grpc") as count:
            return await self._predict(data, count)

    async def _predict(self, data, count):
        request, inputs = await _aside(len(data), self._request, data, count)
        spec = request.model_spec
        servable = self._repository.get(spec.name, _version(spec))
        signature = spec.signature_name or DEFAULT
        names = list(request.output_filter)
        _check_filter(names, servable.signatures.get(signature))
        outputs = await asyncio.wrap_future(servable.submit(signature, inputs))
        if names:
            outputs = {name: outputs[name] for name in names}
        size = sum(array.nbytes for array in outputs.values())
        return await _aside(size, _response, _spec_of(servable, signature), outputs)

    def _request(self, data, count):
        request = _parsed(predict_pb2.PredictRequest, data)
        count.model = request.model_spec.name
        named = request.inputs.items()
        return request, {name: self._input(name, proto) for name, proto in named}

    def _input(self, name, proto):
        try:
            array = tensors.to_array(proto, self._max_bytes)
        except ValueError as error:
            raise invalid(f"the tensor of input {name!r} is wrong: {error}.") from None
        if array.dtype == object:
            images.check_all({name: array}, self._max_pixels)
        return array

    async def metadata(self, data):
        kind = get_model_metadata_pb2
        request = _parsed(kind.GetModelMetadataRequest, data)
        spec, fields = request.model_spec, request.metadata_field
        servable = self._repository.get(spec.name, _version(spec))
        if set(fields) != {"signature_def"}:
            received = ", ".join(fields) or "none"
            raise invalid(
                f"metadata_field must be signature_def. Received: {received}."
            )
        response = kind.GetModelMetadataResponse(model_spec=_spec_of(servable))
        response.metadata["signature_def"].Pack(signature_map(servable.signatures))
        return response.SerializeToString()

    async def status(self, data):
        request = _parsed(get_model_status_pb2.GetModelStatusRequest, data)
        spec = request.model_spec
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self._repository.status(spec.name, _version(spec)):
            entry = response.model_version_status.add(
                version=status.version, state=status.state
            )
            if status.error is not None:
                entry.status.error_code = _UNKNOWN_ERROR
                entry.status.error_message = status.error
        return response.SerializeToString()


async def _aside(size, function, *arguments):
    # The loop serves everybody, so what takes long goes into another thread.
    if size <= _LARGE:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


def _parsed(kind, data):
    try:
        request = kind.FromString(data)
    except DecodeError:
        raise invalid(f"the message is no {kind.DESCRIPTOR.name}.") from None
    if not request.HasField("model_spec"):
        raise invalid("model_spec is missing; its name says which model is meant.")
    return request


def _version(spec):
    chosen = spec.WhichOneof("version_choice")
    if chosen == "version_label":
        raise invalid(
            f"there are no version labels here: {spec.version_label!r}; choose by "
            "version, or leave it out for the newest."
        )
    return spec.version.value if chosen else None


def _check_filter(names, signature):
    # A signature that does not exist is for `submit` to refuse.
    for name in names:
        if signature is not None and name not in signature.outputs:
            known = ", ".join(sorted(signature.outputs))
            raise invalid(f"output_filter must be among {known}. Received: {name!r}.")
    if len(set(names)) < len(names):
        raise invalid(f"output_filter names an output twice: {', '.join(names)}.")


def _spec_of(servable, signature=""):
    spec = model_pb2.ModelSpec(name=servable.name, signature_name=signature)
    spec.version.value = servable.version
    return spec


def _response(spec, outputs: dict[str, np.ndarray]) -> bytes:
    response = predict_pb2.PredictResponse(model_spec=spec)
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(tensors.to_proto(array))
    return response.SerializeToString()


def signature_map(
    signatures: dict[str, Signature],
) -> get_model_metadata_pb2.SignatureDefMap:
    """Return signatures as TensorFlow Serving describes them.

    The names of graph nodes, of no use to a client, are left out: only the model's
    file has them, and that may be gone while the model is still served.
    """
    made = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in signatures.items():
        entry = made.signature_def[name]
        entry.method_name = "tensorflow/serving/predict"
        for specs, infos in (
            (signature.inputs, entry.inputs),
            (signature.outputs, entry.outputs),
        ):
            for key, spec in specs.items():
                infos[key].dtype = spec.dtype.as_datatype_enum
                infos[key].tensor_shape.CopyFrom(spec.shape.as_proto())
    return made
