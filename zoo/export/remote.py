"""Asking a server that speaks TensorFlow Serving's API, as a certificate is replayed.

Nothing here is special to `zoo serve`: TensorFlow Serving itself is asked the same way.
"""

import base64
import re
from urllib.parse import quote

import numpy as np

from zoo.console import import_tensorflow, one_line
from zoo.errors import ZooError
from zoo.export.replay import Arrays, Ask

TIMEOUT = 60.0  # seconds that an answer may take
_NUMPY_NAMES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64"}  # the others are alike


def rest(url: str, name: str, version: int | None = None) -> Ask:
    """Return what asks a server over REST.

    Args:
        url: of the server, such as `http://localhost:8501`.
        name: of the model.
        version: of the model; None is the one that the server prefers.

    Returns:
        A function `ask(signature, inputs) -> outputs`, which raises a `ZooError`, too.

    Raises:
        ZooError: the server cannot be reached, or it refuses, or it is another kind of
            server.
    """
    model = f"/v1/models/{quote(name, safe='')}"
    model += "" if version is None else f"/versions/{version}"
    signatures = _signatures(_answer(url, f"{model}/metadata"), url)

    def ask(signature: str, inputs: Arrays) -> Arrays:
        if signature not in signatures:
            raise ZooError(f"{name} at {url} has no signature {signature}.")
        columns = {key: _to_json(values) for key, values in inputs.items()}
        body = {"signature_name": signature, "inputs": columns}
        answer = _answer(url, f"{model}:predict", body)
        return _outputs(answer, signatures[signature], url)

    return ask


def _answer(server, path, body=None) -> dict:
    """Return what a server answers: to `body`, if there is one, or to GET."""
    import requests

    method, url = "POST" if body else "GET", server.rstrip("/") + path
    try:
        response = requests.request(method, url, json=body, timeout=TIMEOUT)
    except requests.Timeout:
        raise ZooError(f"{url} did not answer within {TIMEOUT:g} s.") from None
    except requests.ConnectionError as error:
        if "BadStatusLine(" in str(error):
            raise ZooError(
                f"what answers at {server} does not speak HTTP: the port of the REST "
                "API is another than gRPC's, 8501 unless it was chosen."
            ) from None
        raise ZooError(
            f"no server answers at {url} ({_reason(error)}): start one, for example "
            "with zoo serve, or mend the address."
        ) from None
    except ValueError:
        raise ZooError(
            f"the URL must be like http://localhost:8501. Received: {server!r}"
        ) from None
    except requests.RequestException as error:
        raise _foreign(url, error) from None
    try:
        answer = response.json()
        problem = answer.get("error")
    except (ValueError, AttributeError) as error:
        raise _foreign(url, error) from None
    if problem is not None or not response.ok:
        text = " ".join(str(problem or answer).split())[:200]
        raise ZooError(f"{url} answers {response.status_code}: {text}")
    return answer


def _reason(error):
    # The cause is inside, behind urllib3's account of its retries.
    found = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error))
    return found[1] if found else one_line(error)


def _signatures(answer, url) -> dict[str, dict]:
    try:
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        return {
            name: {key: spec["dtype"] for key, spec in signature["outputs"].items()}
            for name, signature in signatures.items()
        }
    except (LookupError, TypeError, AttributeError) as error:
        raise _foreign(url, error) from None


def _to_json(values):
    return values.tolist() if values.dtype != object else _each(_b64, values).tolist()


def _b64(value):
    return {"b64": base64.b64encode(value).decode()}


def _each(function, values):
    return np.vectorize(function, otypes=[object])(values)


def _outputs(answer, dtypes, url):
    try:
        outputs = answer["outputs"]
        if len(dtypes) == 1:  # then its name is left out
            outputs = {next(iter(dtypes)): outputs}
        return {key: _from_json(outputs[key], dtypes[key]) for key in dtypes}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _foreign(url, error) from None


def _from_json(content, dtype):
    if dtype != "DT_STRING":
        name = dtype.removeprefix("DT_").lower()
        return np.array(content, _NUMPY_NAMES.get(dtype, name))
    return _each(_bytes, np.array(content, object))


def _bytes(text):
    return base64.b64decode(text["b64"]) if isinstance(text, dict) else text.encode()


def _foreign(where, error):
    return ZooError(
        f"what answers at {where} does not speak TensorFlow Serving's API "
        f"({one_line(error)})."
    )


def grpc(address: str, name: str, version: int | None = None) -> Ask:
    """Return what asks a server over gRPC.

    Args:
        address: of the server, `HOST:PORT`, such as `localhost:8500`.
        name: of the model.
        version: of the model; None is the one that the server prefers.

    Returns:
        A function `ask(signature, inputs) -> outputs`. It raises a `ZooError` if the
        server cannot be reached, or refuses, or is another kind of server.

    Raises:
        ZooError: the address is none.
    """
    if not re.fullmatch(r"[^/\s]+:\d+", address):
        raise ZooError(
            f"the address must be HOST:PORT, like localhost:8500. Received: {address!r}"
        )
    tf = import_tensorflow()
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    unlimited = [("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(address, unlimited)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(signature: str, inputs: Arrays) -> Arrays:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        for key, values in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
        try:
            response = stub.Predict(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            raise _refusal(address, error) from None
        return {key: tf.make_ndarray(proto) for key, proto in response.outputs.items()}

    return ask


def _refusal(address, error):
    import grpc

    code, text = error.code(), " ".join(error.details().split())[:200]
    if code == grpc.StatusCode.UNAVAILABLE:
        return ZooError(
            f"no gRPC server answers at {address} ({text}): start one, for example "
            "with zoo serve, or mend the address."
        )
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return ZooError(f"{address} did not answer within {TIMEOUT:g} s.")
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return _foreign(address, error)
    return ZooError(f"{address} answers {code.name}: {text}")
