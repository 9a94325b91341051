"""Processes that are pinned to cores and train when they are told to."""

import contextlib
import dataclasses
import multiprocessing
import os
from collections.abc import Callable

from timing import whole_fashion_mnist

from zoo import console
from zoo.data import Examples, pipeline
from zoo.recipes import fashion_mnist
from zoo.training import launch


class Workers:
    """Processes that train together, or one that trains alone; a context manager.

    Args:
        *pinned: for each process, the numbers of the cores that it runs on.
    """

    def __init__(self, *pinned: list[int]):
        context = multiprocessing.get_context("spawn")
        configs = launch.tf_configs(len(pinned)) if len(pinned) > 1 else [None]
        self._processes, self._pipes = [], []
        for cores, config in zip(pinned, configs, strict=True):
            ours, theirs = context.Pipe()
            words = (theirs, cores, config)
            process = context.Process(target=_serve, args=words, daemon=True)
            process.start()
            theirs.close()  # so that its end ends our waiting
            self._processes.append(process)
            self._pipes.append(ours)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for pipe in self._pipes:
            pipe.close()  # which they take for their end
        for process in self._processes:
            process.join(timeout=10)
            process.kill()

    def start(self, *request) -> None:
        """Have every process do something; do not wait for it."""
        for pipe in self._pipes:
            pipe.send(request)

    def finish(self) -> object:
        """Wait for every process; return what the first answers."""
        return [pipe.recv() for pipe in self._pipes][0]

    def ask(self, *request) -> object:
        """Have every process do something; return what the first answers."""
        self.start(*request)
        return self.finish()

    def job(self, *request) -> Callable[[], object]:
        """Return a function that asks for it."""
        return lambda: self.ask(*request)


def _serve(pipe, cores, config):
    os.sched_setaffinity(0, cores)  # before TensorFlow counts them
    os.environ.pop("TF_CONFIG", None)
    if config is not None:
        os.environ["TF_CONFIG"] = config
    worker = _Worker()
    with contextlib.suppress(EOFError):
        while True:
            name, *arguments = pipe.recv()
            pipe.send(getattr(worker, name)(*arguments))


class _Worker:
    def __init__(self):
        console.import_keras()
        from zoo.training import distribute

        self._strategy = distribute.strategy()
        self._train = whole_fashion_mnist().train
        self._epochs, self._sum = {}, None

    def train(self, model: str, images: int, batch: int) -> int:
        """Train for an epoch of so many images; return its steps."""
        key = model, images, batch
        if key not in self._epochs:
            self._epochs[key] = self._epoch(*key)
        steps, epoch = self._epochs[key]
        epoch()
        return steps

    def _epoch(self, name, images, batch):
        from zoo.training import distribute

        examples = Examples(*(array[:images] for array in self._train))
        config = dataclasses.replace(fashion_mnist.PRESETS[name], batch_size=batch)
        with self._strategy.scope():
            model = distribute.prepare(fashion_mnist.build(config, images))

        def share_of(share):
            return pipeline.training(examples, batch, seed=0, share=share)

        batches = distribute.batches(self._strategy, share_of)
        steps, per_execution = pipeline.schedule(images, batch)
        model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)  # builds
        # As in all epochs of a `fit` but its first, which opens the data.
        iterator = iter(batches)

        def epoch():
            for _ in range(steps // per_execution):
                logs = model.train_function(iterator)
            return float(logs["loss"])  # when it is done

        return steps, epoch

    def collectives(self, model: str) -> tuple[int, int]:
        """Return a model's trainable parameters, and its small all-reduces in a step.

        Batch normalization over the global batch has one on the way forward, and its
        gradient has another.
        """
        import keras

        model = fashion_mnist.build(fashion_mnist.PRESETS[model])
        parameters = sum(v.shape.num_elements() for v in model.trainable_variables)
        norms = [isinstance(n, keras.layers.BatchNormalization) for n in model.layers]
        return parameters, 2 * sum(norms)

    def all_reduce(self, size: int, repeats: int) -> None:
        """Sum `size` bytes over the replicas, so many times."""
        import tensorflow as tf

        if self._sum is None:
            self._sum = self._repeated_sum()
        self._sum(tf.zeros([size // 4]), tf.constant(repeats)).numpy()

    def _repeated_sum(self):
        import tensorflow as tf

        strategy, vector = self._strategy, tf.TensorSpec([None])

        def in_replica(value):
            context = tf.distribute.get_replica_context()
            own = tf.identity(value)  # on the replica's device
            return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

        def once(number, value):
            summed = strategy.run(in_replica, args=(value,))
            return number + 1, strategy.experimental_local_results(summed)[0]

        @tf.function(input_signature=[vector, tf.TensorSpec([], tf.int32)])
        def repeated(value, repeats):
            state = (tf.constant(0), value)
            number, _ = tf.while_loop(lambda number, _: number < repeats, once, state)
            return number

        return repeated
