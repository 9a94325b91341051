"""One version of a model in memory: loaded, warmed up, certified, ready to answer."""

import functools
import weakref
from concurrent.futures import Future
from pathlib import Path

from zoo.errors import unknown
from zoo.serving.batching import Batcher
from zoo.serving.errors import invalid
from zoo.serving.metrics import Metrics
from zoo.serving.model import model_of
from zoo.serving.signature import Arrays, Signature


class Servable:
    """A version of a model that answers requests, in batches.

    It is loaded with plain TensorFlow, after a look for operations that no model
    needs, is warmed up, and then has to give the answers of its certificate.

    It answers as long as someone holds it. Its thread ends with `close`, or when
    nobody holds it any more, so a request is never refused because of a newer version.

    Args:
        name: of the model.
        version: its number.
        path: the folder with its `saved_model.pb`.
        max_batch_size: rows that the model is called with at once, at most.
        batch_wait_ms: milliseconds that a batch waits for more requests, at most.
        metrics: is told of each batch.

    Attributes:
        signatures: by name.
        certificate: what its export recorded, or `None`.

    Raises:
        ZooError: the version cannot be served; the message says why.
    """

    def __init__(
        self,
        name: str,
        version: int,
        path: Path,
        *,
        max_batch_size: int = 64,
        batch_wait_ms: float = 2.0,
        metrics: Metrics,
    ):
        self.name, self.version, self.path = name, version, path
        title = f"{name} version {version}"
        model, self.certificate = model_of(path, title, max_batch_size)
        self.signatures: dict[str, Signature] = model.signatures
        self._batcher = Batcher(
            model,
            name=title,
            max_batch_size=max_batch_size,
            wait_seconds=batch_wait_ms / 1000,
            observe=functools.partial(metrics.batch, name),
        )
        # The thread holds the batcher alone, so that this object can be let go.
        weakref.finalize(self, self._batcher.stop)

    def submit(self, signature: str, inputs: Arrays) -> Future[Arrays]:
        """Queue a request, to be gathered into a batch.

        Args:
            signature: its name.
            inputs: arrays of exactly the signature's types and shapes; strings are
                arrays of `bytes` objects.

        Returns:
            The future of the outputs. It raises `Refused` if the model cannot take
            the inputs. Cancel it, and what was not run yet is not run.

        Raises:
            Refused: the signature is unknown, the inputs are not what it takes or too
                many, too much waits already, or `close` was called.
        """
        if signature not in self.signatures:
            known = self.signatures
            raise invalid(str(unknown("signature_name", signature[:80], known)))
        asked = self.signatures[signature]
        inputs = asked.check(inputs)
        rows = asked.num_rows(inputs)
        return self._batcher.submit(signature, inputs, rows, joint=asked.batched)

    def close(self) -> None:
        """Answer what is queued, and refuse what comes after."""
        self._batcher.close()
