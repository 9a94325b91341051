"""Searches as their directories have them, made up: nothing is trained."""

import dataclasses
import json
import math
import random

import keras_tuner

from zoo.tuning import records
from zoo.tuning.records import Trial

FACTS = {
    "name": "fashion_mnist mlp",
    "objective": "val_accuracy",
    "direction": "max",
    "tuner": "random",
    "trials": 12,
    "retrains": 1,
    "seed": 0,
    "over": "all 12 trials are done",
    "max_minutes": None,
    "command": ["-m", "zoo", "tune", "fashion_mnist", "--model", "mlp"],
}


def space():
    """Return four kinds of hyper-parameters, the last of which is conditional."""
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", 1e-5, 1e-1, sampling="log")
    hp.Int("width", 16, 512)
    hp.Boolean("normalize")
    hp.Choice("regularization", ["none", "dropout"])
    with hp.conditional_scope("regularization", ["dropout"]):
        hp.Float("rate", 0.1, 0.5)
    return hp


def values(random, hp):
    """Return values of a space, the active ones, as an oracle draws them."""
    drawn = {}
    for one in hp.space:
        if all(condition.is_active(drawn) for condition in one.conditions):
            drawn[one.name] = one.random_sample(random.random())
    return drawn


def score(drawn):
    """Return an accuracy: best at a learning rate of 0.001 and a large width."""
    away = math.log10(drawn["learning_rate"]) + 3
    return 0.9 - 0.05 * away**2 + 0.02 * drawn["width"] / 512


def trials(count, hp=None, retrains=1, failed=(), score=score):
    """Return trials of random values; those with a number in `failed` have failed."""
    rng, hp, made = random.Random(0), hp or space(), []
    for number in range(1, count + 1):
        trial = Trial(number, f"{number:02}", values(rng, hp), seconds=2.5 * number)
        if number in failed:
            change = {
                "status": "failed",
                "error": "ValueError: <no> & never",
                "traceback": f"Traceback <of> {number}\nValueError: <no> & never",
            }
        else:
            mean = score(trial.values)
            change = {
                "status": "completed",
                "scores": tuple(mean + 0.004 * k for k in range(retrains)),
                "parameters": 1000 * number,
            }
        made.append(dataclasses.replace(trial, **change))
    return made


def write(directory, trials, hp=None, boxes=(), result=None, facts=()):
    """Write a search into a directory and return it."""
    hp = hp or space()
    directory.mkdir(parents=True)
    dump(directory / "search.json", FACTS | dict(facts))
    oracle = {
        "hyperparameters": {**hp.get_config(), "values": {}},
        "start_order": [trial.id for trial in trials],
        "boxes": list(boxes),
    }
    dump(directory / "oracle.json", oracle)
    for trial in trials:
        folder = directory / f"trial_{trial.id}"
        records.write(folder, trial)
        theirs = {"hyperparameters": {"space": [], "values": trial.values}}
        dump(folder / "trial.json", theirs)
    if result is not None:
        dump(directory / "result.json", result)
    return directory


def dump(path, content):
    path.write_text(json.dumps(content), encoding="utf8")
