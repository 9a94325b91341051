"""Watch the gradients of every training step, and say what is wrong with them."""

import collections
import math
import statistics
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from keras.ops import convert_to_numpy

from zoo.callbacks import heat_map
from zoo.callbacks.findings import Finding, find
from zoo.console import one_line
from zoo.errors import ZooError, positive_integer
from zoo.files import replacing, write_json


class GradientMonitor(keras.callbacks.Callback):
    """Watches the gradients that the training step computed, inside the compiled step.

    It stands between the step and the optimizer: nothing is computed twice, and the
    model and its `compile` stay as they are. The gradients are those that the optimizer
    is handed: of the step's loss, unscaled under mixed precision, summed over replicas,
    before clipping, and before accumulation (`gradient_accumulation_steps`).

    Numbers of an epoch, for each variable, each layer and the whole model:

    | key | what | taken |
    |---|---|---|
    | `gradient_norm` | Euclidean norm of the gradient, mean over steps | every step |
    | `gradient_norm_max` | the largest of those norms | every step |
    | `nonfinite` | components that were NaN or infinite | every step |
    | `nonfinite_step` | first step with one, from 1; 0 is none | every step |
    | `largest_component` | largest absolute value of a component | `detail_every` |
    | `zero_share` | share of components that are exactly zero | `detail_every` |
    | `weight_norm` | Euclidean norm of the weights | `detail_every` |
    | `update_norm` | Euclidean norm of the update, mean | `detail_every` |
    | `update_ratio` | norm of the update / norm of the weights, mean | `detail_every` |

    With a `probe`, for each layer with an activation, at the end of each epoch: the
    share of `dead` units (ReLU family) or `saturated` ones (sigmoid, tanh); see
    `zoo.callbacks.unit_health`.

    Logged at the end of each epoch, so put it before `CSVLogger` and `TensorBoard`:

    | key | what |
    |---|---|
    | `learning_rate` | of the next step |
    | `gradient_norm` | of the whole model, mean over steps |
    | `gradient_norm_max` | of the whole model, largest |
    | `update_ratio` | median over layers |
    | `dead_units`, `saturated_units` | largest share among layers, with a `probe` |

    What it costs, `benchmarks/callbacks.py` measures: some percent of a step. Gradients
    of embeddings are made dense, which costs more. In a `train_step` of your own, every
    `apply` of the model's optimizer counts as a step; other optimizers are not seen.

    Args:
        probe: a batch of inputs to look at the units with, some 100 to 500; `None`
            looks at gradients alone.
        detail_every: updates from one with details to the next; the first of each
            epoch has them. 1 takes them always.
        stop_on_nonfinite: stop at the first step with a NaN or an infinity in its
            gradients; that update and later ones are left out, so the weights stay as
            they were before it.
        log_dir: also write the layers' numbers there, for TensorBoard.
        verbose: 1 prints each finding when it first appears, 0 none.

    Attributes:
        layers: names of the layers with trainable variables, `outer/inner` if nested.
        epochs: a dict for each epoch: `epoch` (from 1), `loss`, `learning_rate`, the
            numbers above in `variables`, `layers` (name -> numbers) and `model`, and
            `dead` and `saturated` (name -> share).
        findings: what is wrong, a `Finding` each; empty if all is well.

    Raises:
        ZooError: (a `ValueError`) when training begins, on another backend than
            TensorFlow, or if the model has nothing to train.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1, name="line")])
        >>> model.compile("sgd", "mse")
        >>> monitor = GradientMonitor()
        >>> x, y = np.zeros((8, 3)), np.ones((8, 1))
        >>> _ = model.fit(x, y, callbacks=[monitor], verbose=0)
        >>> monitor.epochs[0]["variables"]["line/kernel"]["gradient_norm"]
        0.0

    Reference:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward
        neural networks", AISTATS 2010, which watches gradients and activations so.
    """

    def __init__(
        self,
        probe=None,
        detail_every: int = 16,
        stop_on_nonfinite: bool = False,
        log_dir: str | Path | None = None,
        verbose: int = 1,
    ):
        super().__init__()
        self.probe = probe
        self.detail_every = positive_integer("detail_every", detail_every)
        self.stop_on_nonfinite = stop_on_nonfinite
        self.log_dir = log_dir
        self.verbose = verbose
        self.layers, self.epochs, self._statistics = [], [], None

    @property
    def findings(self) -> list[Finding]:
        """What is wrong with the training, with its evidence and its remedy."""
        return find(self.epochs)

    def on_train_begin(self, logs=None):
        """Stand before the optimizer, and have the step traced anew."""
        model, optimizer = self.model, self.model.optimizer
        if keras.backend.backend() != "tensorflow":
            raise ZooError(
                "GradientMonitor needs Keras's TensorFlow backend: set "
                "KERAS_BACKEND=tensorflow, or train without it. Received: "
                f"{keras.backend.backend()}"
            )
        self.epochs, self._printed, self._writer = [], set(), None
        self._statistics, self._next_look = None, 1
        self._release()  # if an earlier fit was interrupted
        if model.built and all(layer.built for _, layer in named_layers(model)):
            self._begin()
            self._units()  # a wrong probe shows before the first epoch
        apply = optimizer.apply

        def observed(grads, trainable_variables=None):
            if self._statistics is None:  # a model that its first batch builds
                self._begin()
            self._statistics.apply(apply, grads, trainable_variables)

        optimizer.apply = observed
        model.make_train_function(force=True)
        step, history = model.train_function, model.history

        def watched(iterator):
            if model.history is not history:  # another fit: ours was interrupted
                self._release()
                model.make_train_function(force=True)
                return model.train_function(iterator)
            return step(iterator)

        model.train_function = watched

    def _begin(self):
        import tensorflow as tf

        from zoo.callbacks.gradient_statistics import GradientStatistics

        if not self.model.trainable_variables:
            raise ZooError("nothing to watch: no layer of the model is trainable")
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        self.layers, self._variables, layer_of = _names(self.model)
        with tf.init_scope():
            self._statistics = GradientStatistics(
                self.model, layer_of, self.detail_every, self.stop_on_nonfinite
            )

    def on_train_batch_end(self, batch, logs=None):
        """Stop if a gradient was not finite and that was asked for."""
        if self.stopped:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        """Take the epoch's numbers, log them, and print what is newly found."""
        record = {
            "epoch": epoch + 1,
            "learning_rate": float(
                convert_to_numpy(self.model.optimizer.learning_rate)
            ),
            "loss": math.nan if logs is None else float(logs.get("loss", math.nan)),
            **self._numbers(),
            **self._units(),
        }
        self.epochs.append(record)
        if logs is not None:
            logs.update(_worth_plotting(record))
        if self.log_dir:
            self._write_summaries(record)
        if len(self.epochs) >= self._next_look:
            self._print_findings()

    def on_train_end(self, logs=None):
        """Leave the model as it was."""
        self._print_findings()
        self._release()
        self.model.train_function = None  # the next fit traces a step without us

    def get_state(self) -> dict:
        """Return what `set_state` needs to continue after the step that just ended."""
        return {
            "epochs": list(self.epochs),
            "printed": sorted(self._printed),
            "next_look": self._next_look,
            "statistics": self._statistics.get_state() if self._statistics else None,
        }

    def set_state(self, state: dict) -> None:
        """Continue from what `get_state` returned; call it while `fit` runs."""
        self.epochs, self._printed = list(state["epochs"]), set(state["printed"])
        self._next_look = state["next_look"]
        if state["statistics"] is not None:
            if self._statistics is None:  # the model was built after `fit` began
                self._begin()
            self._statistics.set_state(state["statistics"])

    def save(self, path: str | Path) -> None:
        """Write `epochs`, and `findings` as sentences, to a JSON file."""
        findings = [str(finding) for finding in self.findings]
        write_json(Path(path), {"epochs": self.epochs, "findings": findings})

    def heat_map(self, path: str | Path) -> None:
        """Draw the layers' gradient norms over the epochs; the suffix says the format.

        Raises:
            ZooError: no epoch has ended yet.
        """
        from matplotlib.figure import Figure  # without pyplot: no global state

        if not self.epochs:
            raise ZooError("there is no heat map before the first epoch has ended")
        figure = Figure(figsize=heat_map.size(self.epochs), layout="constrained")
        heat_map.draw(figure, self.epochs)
        with replacing(Path(path)) as beside:
            figure.savefig(beside, dpi=150)

    @property
    def stopped(self) -> bool:
        """Whether `stop_on_nonfinite` stopped the training."""
        watching = self.stop_on_nonfinite and self._statistics
        return bool(watching and self._statistics.stopped)

    def _print_findings(self):
        # Every epoch at first, then whenever there are a tenth more to look through.
        self._next_look = 1 + len(self.epochs) + len(self.epochs) // 10
        for finding in self.findings if self.verbose else ():
            if finding.verdict not in self._printed:
                self._printed.add(finding.verdict)
                print(f"\n{finding}", flush=True)

    def _release(self):
        vars(self.model.optimizer).pop("apply", None)

    def _numbers(self):
        if self._statistics is None or not self._statistics.steps:
            raise ZooError(
                "GradientMonitor saw no step: give `fit` one monitor only, and let "
                "train_step use the optimizer that the model was compiled with"
            )
        columns = self._statistics.end_of_epoch()
        numbers = [
            {name: _number(column[index]) for name, column in columns.items()}
            for index in range(len(columns["gradient_norm"]))
        ]
        num_variables = len(self._variables)
        return {
            "model": numbers[-1],
            "layers": dict(zip(self.layers, numbers[num_variables:-1], strict=True)),
            "variables": dict(
                zip(self._variables, numbers[:num_variables], strict=True)
            ),
            "unconnected": [self._variables[n] for n in self._statistics.unconnected],
        }

    def _units(self):
        from zoo.callbacks import unit_health

        alike = [
            name
            for name, variable in zip(
                self._variables, self.model.trainable_variables, strict=True
            )
            if len(variable.shape) > 1 and unit_health.alike(convert_to_numpy(variable))
        ]
        shares = {"dead": {}, "saturated": {}}
        if self.probe is not None:
            try:
                layers = named_layers(self.model)
                shares = unit_health.measure(self.model, layers, self.probe)
            except (ValueError, TypeError, AttributeError) as error:
                raise ZooError(
                    "probe must be a batch of the model's inputs, arrays without their "
                    f"labels ({one_line(error)})"
                ) from error
        return {"alike": alike, **shares}

    def _write_summaries(self, record):
        import tensorflow as tf

        self._writer = self._writer or tf.summary.create_file_writer(str(self.log_dir))
        with self._writer.as_default(step=record["epoch"] - 1):  # as TensorBoard counts
            for layer, numbers in record["layers"].items():
                for key in ("gradient_norm", "update_ratio"):
                    if numbers[key] is not None:
                        tf.summary.scalar(f"{key}/{layer}", numbers[key])
            for kind in ("dead", "saturated"):
                for layer, share in record[kind].items():
                    tf.summary.scalar(f"{kind}/{layer}", share)
        self._writer.flush()


def named_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the innermost layers of a model with their names, `outer/inner` if nested.

    A layer of several that is no model, such as an attention layer, counts as one. The
    second of a name is `name_2`.
    """
    seen = collections.Counter()
    for layer in model.layers:
        seen[layer.name] += 1
        number = seen[layer.name]
        name = prefix + layer.name + (f"_{number}" if number > 1 else "")
        if isinstance(layer, keras.Model):
            yield from named_layers(layer, f"{name}/")
        else:
            yield name, layer


def _names(model):
    """Return the layers' names, the variables' names, and each variable's layer."""
    owner = {}
    for name, layer in named_layers(model):
        for variable in layer.trainable_variables:
            tail = variable.path.rpartition(f"{layer.name}/")[2]
            owner.setdefault(id(variable), (name, f"{name}/{tail}"))
    pairs = [
        owner.get(id(variable), (model.name, f"{model.name}/{variable.name}"))
        for variable in model.trainable_variables
    ]
    layers = list(dict.fromkeys(layer for layer, _ in pairs))
    return (
        layers,
        [name for _, name in pairs],
        [layers.index(layer) for layer, _ in pairs],
    )


def _number(value):
    return None if np.isnan(value) else value.item()


def _worth_plotting(record):
    ratios = [numbers["update_ratio"] for numbers in record["layers"].values()]
    ratios = [ratio for ratio in ratios if ratio is not None]
    logs = {
        "learning_rate": record["learning_rate"],
        "gradient_norm": _or_nan(record["model"]["gradient_norm"]),
        "gradient_norm_max": record["model"]["gradient_norm_max"],
        "update_ratio": statistics.median(ratios) if ratios else math.nan,
    }
    for kind in ("dead", "saturated"):
        if record[kind]:
            logs[f"{kind}_units"] = max(record[kind].values())
    return logs


def _or_nan(value):
    return math.nan if value is None else value
