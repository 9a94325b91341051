"""Train Fashion-MNIST on a Ray cluster; what follows -- goes to the recipe.

    python deploy/ray/fashion_mnist.py --workers 2 -- --model mlp --seed 1

Start it from a folder that all nodes see: the record and the SavedModel are left there.
Needs `pip install -e '.[ray]'`, in a checkout, on all of them.
"""

import argparse
import json
import os
import sys

import ray.train
from ray.train.tensorflow import TensorflowTrainer


def train(work: dict) -> None:
    """Run the recipe as one of Ray's workers; report its numbers and what it exports.

    Args:
        work: `folder`, where to work, and `argv`, the options of the recipe.
    """
    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # Ray asks for Keras 2
    os.chdir(work["folder"])
    from zoo.recipes import fashion_mnist

    metrics = fashion_mnist.main(work["argv"])
    numbers = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
    checkpoint = None
    if ray.train.get_context().get_world_rank() == 0:  # the chief, which has exported
        checkpoint = ray.train.Checkpoint.from_directory(metrics["saved_model"])
    ray.train.report(numbers, checkpoint=checkpoint)


def main(argv: list[str]) -> ray.train.Result:
    """Train; return the numbers of the recipe, and its SavedModel as a checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2, help="how many")
    parser.add_argument("--cpus", type=int, default=1, help="of each worker")
    parser.add_argument(
        "--max-failures", type=int, default=0, help="how often to go on after one"
    )
    parser.add_argument("recipe", nargs="*", help="options of the recipe, after --")
    options = parser.parse_args(argv)
    trainer = TensorflowTrainer(
        train,
        train_loop_config={
            "folder": os.getcwd(),
            "argv": [*options.recipe, "--resume", "auto"],
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=options.workers, resources_per_worker={"CPU": options.cpus}
        ),
        run_config=ray.train.RunConfig(
            name="fashion_mnist",
            storage_path=os.path.abspath("ray_results"),
            failure_config=ray.train.FailureConfig(max_failures=options.max_failures),
        ),
    )
    return trainer.fit()


if __name__ == "__main__":
    result = main(sys.argv[1:])
    print(json.dumps(result.metrics, indent=2))
    print(f"SavedModel   {result.checkpoint.path}")
