"""How training scales with workers, what they lose by talking, and what many would do.

    python benchmarks/scaling.py [--rounds 9]

Every worker is a process of its own on this machine, pinned to its core or cores, and
trains a recipe's model on Fashion-MNIST. Three parts:

1. An all-reduce of 2 workers alone, at several sizes, and a line through it: latency +
   bytes / bandwidth.
2. A step of the MLP and the CNN at two global batches: 1 worker on 1 core, 2 workers on
   2 cores, 1 worker on 2 cores; and 2 processes that each train a model of their own on
   half of the images. Those never talk: the time that 2 workers take longer is what
   they spend on communication.
3. What follows for 2 to 1,024 workers, if the all-reduce is a ring and nothing is
   computed meanwhile.
"""

import argparse
import contextlib
import os
import statistics
from typing import NamedTuple

import numpy as np
from processes import Workers
from timing import in_turns

IMAGES = {"mlp": 48_000, "cnn": 24_000}  # of a round
BATCHES = (256, 2048)
ALL = 2048  # images in a step, where the global batch stays what it is
SIZES = [1 << power for power in range(2, 27, 3)]  # 4 bytes to 64 MiB
LARGEST = 8 << 20  # that the line is drawn through: larger ones leave the cache
NUM_WORKERS = [1 << power for power in range(1, 11)]


class Link(NamedTuple):
    """What a message from one worker to the next takes.

    Attributes:
        latency: seconds, of an empty message.
        bandwidth: bytes a second.
    """

    latency: float
    bandwidth: float

    def all_reduce(self, size: float, workers: int) -> float:
        """Return the seconds of a ring all-reduce of `size` bytes.

        Reference:
            Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters
            of workstations", JPDC 2009: 2 (p - 1) messages of size / p one after the
            other. Thakur, Rabenseifner and Gropp, "Optimization of collective
            communication operations in MPICH", IJHPCA 2005: a message's cost is linear.
        """
        messages = 2 * (workers - 1)
        return messages * (self.latency + size / workers / self.bandwidth)


class Network(NamedTuple):
    """What a step of training takes.

    Attributes:
        parameters: trainable ones; a gradient has four bytes for each.
        small: all-reduces of some bytes besides that of the gradient.
        fixed: seconds of a step on one worker, without its images.
        per_image: seconds for each image on one worker.
        batch: images of each worker, where the global batch grows with the workers.
    """

    parameters: int
    small: int
    fixed: float
    per_image: float
    batch: int

    def compute(self, images: float) -> float:
        """Return the seconds that a worker computes on so many images."""
        return self.fixed + images * self.per_image

    def communicate(self, link: Link, workers: int) -> float:
        """Return the seconds that a step spends on all-reduces."""
        gradient = link.all_reduce(4 * self.parameters, workers)
        return gradient + self.small * link.all_reduce(0, workers)

    def efficiency(self, link: Link, workers: int, batch: int | None = None) -> float:
        """Return the throughput over that of as many workers that do not talk.

        Args:
            link: between the workers.
            workers: how many.
            batch: the global one; None: it is `batch` images for each worker, and
                otherwise the throughput is compared to one worker with all of it.
        """
        if batch is None:
            share = one = self.compute(self.batch)
        else:
            share, one = self.compute(batch / workers), self.compute(batch) / workers
        return one / (share + self.communicate(link, workers))


# Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017: 90
# epochs of 1,281,167 images in 29 hours on 8 P100 GPUs, each 32 images a step.
RESNET_50 = Network(
    parameters=25_600_000,
    small=0,
    fixed=0.0,
    per_image=29 * 3600 * 8 / (90 * 1_281_167),
    batch=32,
)
ETHERNET = Link(latency=50e-6, bandwidth=25e9 / 8)  # assumed


def main() -> None:
    """Measure, fit and predict."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("this needs two cores")
    with contextlib.ExitStack() as stack:
        one, other, wide, pair = (
            stack.enter_context(Workers(*pinned))
            for pinned in ([cores[:1]], [cores[1:]], [cores], [cores[:1], cores[1:]])
        )
        here = fit_link(pair, rounds)
        networks = {
            model: measure(model, (one, other, wide, pair), rounds, here)
            for model in IMAGES
        }
    networks["ResNet-50"] = RESNET_50
    predict(networks, here, "the link of part 1")
    predict(networks, ETHERNET, "an assumed link, 50 µs and 25 Gbit/s")


def fit_link(pair, rounds) -> Link:
    """Time all-reduces of two workers; return the link that explains them best."""
    repeats = {size: max(3, min(200, (32 << 20) // size)) for size in SIZES}
    jobs = {s: pair.job("all_reduce", s, n) for s, n in repeats.items()}
    seconds = {
        size: statistics.median(values) / repeats[size]
        for size, values in in_turns(jobs, rounds).items()
    }
    link = fitted({s: value for s, value in seconds.items() if s <= LARGEST})
    print(f"\n{'all-reduce of 2 workers':24} {'measured':>12} {'line':>12}")
    for size, value in seconds.items():
        line = 1000 * link.all_reduce(size, 2)
        print(f"  {size:16,} bytes {1000 * value:9.3f} ms {line:9.3f} ms")
    print(
        f"  a message: {1e6 * link.latency:.0f} µs + bytes / "
        f"{link.bandwidth / 1e6:,.0f} MB/s",
        flush=True,
    )
    return link


def fitted(seconds: dict[int, float]) -> Link:
    """Return the link whose all-reduces between two workers take these seconds.

    Args:
        seconds: by size in bytes. Each counts by its relative error: the large ones
            would drown the latency.
    """
    sizes, times = np.array(list(seconds.items()), float).T
    weighted = np.stack([2 / times, sizes / times], axis=1)
    latency, per_byte = np.linalg.lstsq(weighted, np.ones_like(times))[0]
    return Link(latency, 1 / per_byte)


def measure(model, groups, rounds, link) -> Network:
    """Time a model's steps; return what they say of one core."""
    one, other, wide, pair = groups
    parameters, small = one.ask("collectives", model)
    images, sizes, alone = IMAGES[model], [], []
    for batch in BATCHES:
        whole, half = (model, images, batch), (model, images // 2, batch // 2)
        jobs = {
            "1 worker, 1 core": one.job("train", *whole),
            "2 workers, 2 cores": pair.job("train", *whole),
            "1 worker, 2 cores": wide.job("train", *whole),
            "2 that do not talk": at_once([one, other], "train", *half),
        }
        steps = one.ask("train", *whole)
        seconds = {
            name: [epoch / steps for epoch in epochs]
            for name, epochs in in_turns(jobs, rounds).items()
        }
        size = images / steps
        medians = show(f"{model}, global batch {batch:,}", size, seconds)
        network = Network(parameters, small, 0.0, 0.0, batch)
        lost = medians["2 workers, 2 cores"] - medians["2 that do not talk"]
        print(
            f"  communication: {1000 * lost:.2f} ms a step; the line says "
            f"{1000 * network.communicate(link, 2):.2f} ms",
            flush=True,
        )
        sizes.append(size)
        alone.append(medians["1 worker, 1 core"])
    per_image = (alone[1] - alone[0]) / (sizes[1] - sizes[0])
    fixed = max(0.0, alone[0] - sizes[0] * per_image)
    return Network(parameters, small, fixed, per_image, BATCHES[0])


def show(title, size, seconds) -> dict[str, float]:
    """Print how long steps of `size` images take; return the medians."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    reference = next(iter(medians.values()))
    print(
        f"\n{title:24} {'a step':>11} {'images/s':>9} {'speed-up':>9} {'slowest':>12}"
    )
    for name, median in medians.items():
        print(
            f"  {name:22} {1000 * median:8.2f} ms {size / median:9,.0f} "
            f"{reference / median:9.2f} {1000 * max(seconds[name]):9.2f} ms"
        )
    return medians


def at_once(groups, *request):
    """Return a function that has all groups do the same, and waits for them."""

    def job():
        for group in groups:
            group.start(*request)
        for group in groups:
            group.finish()

    return job


def predict(networks, link, what) -> None:
    """Print the efficiency of each network for 2 to 1,024 workers."""
    growing = [(name, f"{n.batch} each", n, None) for name, n in networks.items()]
    fixed = [(name, f"{ALL:,} in all", n, ALL) for name, n in networks.items()]
    columns = growing + fixed
    print(f"\nPredicted efficiency with {what}; images of a step:")
    print("          " + " ".join(f"{name:>12}" for name, _, _, _ in columns))
    print("  workers " + " ".join(f"{images:>12}" for _, images, _, _ in columns))
    for workers in NUM_WORKERS:
        cells = (n.efficiency(link, workers, batch) for _, _, n, batch in columns)
        print(f"  {workers:7,} " + " ".join(f"{cell:12.1%}" for cell in cells))


if __name__ == "__main__":
    main()
