import json
import math
import random
import statistics

import keras_tuner
import pytest
from keras_tuner.oracles import RandomSearchOracle

from zoo import ZooError
from zoo.tuning.coarse_to_fine import CoarseToFine

SEED = 20_261_120
HIGHEST = keras_tuner.Objective("score", "max")
LOWEST = keras_tuner.Objective("score", "min")


def space(*declarations):
    """Return a space from (kind, name, keyword arguments)."""
    hp = keras_tuner.HyperParameters()
    for kind, name, arguments in declarations:
        getattr(hp, kind)(name, **arguments)
    return hp


UNIT = ("Float", "x", {"min_value": 0.0, "max_value": 1.0})


def make(directory, hyperparameters, max_trials, objective=HIGHEST, **arguments):
    arguments = {"seed": SEED, "max_consecutive_failed_trials": 10**6} | arguments
    kind = arguments.pop("kind", CoarseToFine)
    oracle = kind(
        objective=objective,
        max_trials=max_trials,
        hyperparameters=hyperparameters,
        **arguments,
    )
    oracle._set_project_dir(str(directory), "search")
    oracle.verbose = 0
    return oracle


def end(oracle, trial, score):
    """End a trial with a score; it fails for `None`."""
    trial.status = "FAILED"
    if score is not None:
        oracle.update_trial(trial.trial_id, {"score": score})
        trial.status = "COMPLETED"
    oracle.end_trial(trial)
    oracle.save()  # its own save says that the trial is still running


def search(oracle, score, worker="one", most=10**6):
    """Run the trials; return their values in order."""
    tried = []
    while len(tried) < most:
        trial = oracle.create_trial(worker)
        if trial.status == "STOPPED":
            break
        tried.append(dict(trial.hyperparameters.values))
        end(oracle, trial, score(tried[-1]))
    return tried


def box_of(directory, declaration, tried, objective=HIGHEST, **arguments):
    """Return the second round's box after trials of (values, score)."""
    oracle = make(
        directory, space(*declaration), 2 * len(tried), objective, rounds=2, **arguments
    )
    remaining = iter(tried)
    oracle._random_values = lambda: next(remaining, [None])[0]
    scores = iter([score for _, score in tried])
    search(oracle, lambda values: next(scores), most=len(tried))
    oracle.create_trial("one")
    assert [box["first_trial"] for box in oracle.boxes] == [0, len(tried)]
    return oracle.boxes[-1]["box"]


def ranked(name, best, worse):
    """Return trials of one hyper-parameter: two best ones, then the others."""
    return [({name: value}, 1.0) for value in best] + [
        ({name: value}, 0.0) for value in worse
    ]


NUMERIC = {
    # The best lie at 0.4 and 0.5; their neighbours at 0.2 and 0.9.
    "half way to the next": ({}, [0.4, 0.5], [0.0, 0.2, 0.9, 1.0], [0.3, 0.7]),
    "none beyond": ({}, [0.4, 0.5], [0.45], [0.0, 1.0]),
    "none above": ({}, [0.4, 0.5], [0.2], [0.3, 1.0]),
    "one value": ({}, [0.5, 0.5], [0.4, 0.6], [0.45, 0.55]),
}


@pytest.mark.parametrize("case", NUMERIC)
def test_a_box_reaches_half_way_to_the_next_trial(case, tmp_path):
    arguments, best, worse, expected = NUMERIC[case]
    box = box_of(tmp_path, [UNIT], ranked("x", best, worse))
    assert box["x"] == pytest.approx(expected)


def test_half_way_is_measured_on_the_scale_that_is_sampled(tmp_path):
    rate = ("Float", "x", {"min_value": 1e-6, "max_value": 1.0, "sampling": "log"})
    box = box_of(tmp_path, [rate], ranked("x", [1e-3, 1e-4], [1e-1, 1e-6]))
    assert box["x"] == pytest.approx([1e-5, 1e-2])


GRIDS = {
    "a range": ({"values": [1, 2, 4, 8, 16]}, [2, 4], [1, 8, 16], [2, 4]),
    "never one value": ({"values": [1, 2, 4, 8, 16]}, [4, 4], [1, 2, 8, 16], [2, 8]),
    "at the end": ({"values": [1, 2, 4, 8, 16]}, [1, 1], [2, 4, 8, 16], [1, 2]),
    "in any order": ({"values": [16, 1, 8, 2, 4]}, [4, 4], [1, 2, 8, 16], [2, 8]),
    "a gap": ({"values": [1, 2, 4, 8, 16]}, [1, 2], [16], [1, 4]),
}


@pytest.mark.parametrize("case", GRIDS)
def test_boxes_of_ordered_choices(case, tmp_path):
    arguments, best, worse, expected = GRIDS[case]
    box = box_of(tmp_path, [("Choice", "n", arguments)], ranked("n", best, worse))
    assert box["n"] == expected


INTEGERS = {
    "half way": ({}, 0, 100, [40, 50], [20, 90], [30, 70]),
    "rounded inwards": ({}, 0, 100, [40, 50], [39, 53], [40, 51]),
    "never one": ({}, 0, 100, [40, 40], [39, 41], [39, 41]),
    "steps": ({"step": 10}, 0, 100, [40, 50], [10, 90], [30, 70]),
    "logarithmic steps": (
        {"step": 2, "sampling": "log"}, 1, 256, [8, 16], [1, 256], [4, 64],
    ),
    "logarithmic": ({"sampling": "log"}, 1, 1000, [1, 1], [2, 1000], [1, 2]),
}  # fmt: skip


@pytest.mark.parametrize("case", INTEGERS)
def test_boxes_of_integers(case, tmp_path):
    arguments, lowest, highest, best, worse, expected = INTEGERS[case]
    declaration = (
        "Int", "n", {"min_value": lowest, "max_value": highest, **arguments},
    )  # fmt: skip
    box = box_of(tmp_path, [declaration], ranked("n", best, worse))
    assert box["n"] == expected
    assert all(type(value) is int for value in box["n"])


def test_a_step_that_binary_fractions_miss(tmp_path):
    # 0.1 + 5 * 0.1 is 0.6, but (0.6 - 0.1) // 0.1 is 4: value_to_prob is a step off.
    tenths = ("Float", "x", {"min_value": 0.1, "max_value": 0.7, "step": 0.1})
    values = list(space(tenths).space[0].values)
    tried = ranked("x", values[4:6], values[:4])
    assert box_of(tmp_path, [tenths], tried)["x"] == values[4:6] == [0.5, 0.6]


def test_sets_are_those_of_the_best(tmp_path):
    declarations = [
        ("Boolean", "flag", {}),
        ("Choice", "kind", {"values": ["a", "b", "c"]}),
        ("Choice", "size", {"values": [1.0, 2.0, 3.0], "ordered": False}),
        ("Fixed", "same", {"value": 7}),
    ]
    best = [
        ({"flag": True, "kind": "c", "size": 3.0, "same": 7}, 1.0),
        ({"flag": True, "kind": "a", "size": 3.0, "same": 7}, 1.0),
    ]
    worse = [({"flag": False, "kind": "b", "size": 1.0, "same": 7}, 0.0)]
    box = box_of(tmp_path, declarations, best + worse)
    assert box == {
        "flag": {"values": [True]},
        "kind": {"values": ["a", "c"]},
        "size": {"values": [3.0]},
    }


@pytest.mark.parametrize("objective", [HIGHEST, LOWEST])
def test_the_best_are_those_of_the_objective(objective, tmp_path):
    # Of 8 trials a quarter are 2: the two highest, or the two lowest x.
    tried = [({"x": x / 10}, x / 10) for x in range(1, 9)]
    box = box_of(tmp_path, [UNIT], tried, objective)
    expected = [0.65, 1.0] if objective is HIGHEST else [0.0, 0.25]
    assert box["x"] == pytest.approx(expected)


@pytest.mark.parametrize("share, expected", [(0.25, 0.65), (0.5, 0.45), (0.01, 0.65)])
def test_how_many_are_best(share, expected, tmp_path):
    tried = [({"x": x / 10}, x / 10) for x in range(1, 9)]
    box = box_of(tmp_path, [UNIT], tried, share=share)
    assert box["x"] == pytest.approx([expected, 1.0])


def test_the_first_of_equals_is_best(tmp_path):
    tried = [({"x": x / 10}, 0.5) for x in range(1, 9)]
    assert box_of(tmp_path, [UNIT], tried)["x"] == pytest.approx([0.0, 0.25])


def conditional():
    hp = space(("Choice", "model", {"values": ["mlp", "cnn"]}))
    hp.Float("width", 0.0, 1.0, parent_name="model", parent_values=["mlp"])
    hp.Float("depth", 0.0, 1.0, parent_name="model", parent_values=["cnn"])
    return hp


@pytest.mark.parametrize(
    "models, names",
    [
        (["mlp", "mlp"], {"model", "width"}),
        (["mlp", "cnn"], {"model", "width", "depth"}),
    ],
)
def test_a_conditional_one_has_a_box_where_it_is_active(models, names, tmp_path):
    oracle = make(tmp_path, conditional(), 40, rounds=2)
    part = {"mlp": "width", "cnn": "depth"}
    best = [{"model": model, part[model]: 0.5} for model in models]
    worse = [{"model": m, part[m]: x} for m in part for x in (0.1, 0.2, 0.8, 0.9)]
    values, scores = iter(best + worse), iter([1.0] * 2 + [0.0] * 18)
    random_values = oracle._random_values
    oracle._random_values = lambda: next(values, None) or random_values()
    oracle.share = 0.1  # 2 of 20
    search(oracle, lambda values: next(scores), most=20)
    later = search(oracle, lambda values: 0.0)
    box = oracle.boxes[1]["box"]
    assert set(box) == names
    assert box["model"] == {"values": [m for m in part if m in models]}
    for name in names - {"model"}:
        assert 0.2 < box[name][0] < 0.5 < box[name][1] < 0.8
    assert {values["model"] for values in later} == set(models)
    for values in later:
        name = part[values["model"]]
        assert set(values) == {"model", name}
        assert box[name][0] <= values[name] <= box[name][1]


def test_the_first_round_is_random_search(tmp_path):
    tried = search(make(tmp_path / "a", space(*MIXED), 40, rounds=2), peak)
    plain = make(tmp_path / "b", space(*MIXED), 40, kind=RandomSearchOracle)
    expected = search(plain, peak)
    assert tried[:20] == expected[:20]
    assert tried[20] != expected[20]


def drawn(directory, declaration, box):
    """Return the values that 2,000 draws from a box have."""
    oracle = make(directory, space(declaration), 3)
    oracle.boxes = [{"round": 1, "first_trial": 0, "box": {declaration[1]: box}}]
    return [oracle.populate_space("0")["values"][declaration[1]] for _ in range(2000)]


CONTINUOUS = {
    "linear": (-1.0, 1.0, [-0.3, 0.5], lambda x: x),
    "log": (1e-5, 1.0, [1e-4, 0.1], math.log),
    "reverse_log": (0.1, 1.0, [0.2, 0.9], lambda x: -math.log(0.1 + 1.0 - x)),
}


@pytest.mark.parametrize("sampling", CONTINUOUS)
def test_draws_are_uniform_on_the_scale_of_the_sampling(sampling, tmp_path):
    lowest, highest, (low, high), scale = CONTINUOUS[sampling]
    arguments = {"min_value": lowest, "max_value": highest, "sampling": sampling}
    values = drawn(tmp_path, ("Float", "x", arguments), [low, high])
    assert low <= min(values) and max(values) <= high
    places = [(scale(x) - scale(low)) / (scale(high) - scale(low)) for x in values]
    for quarter in range(4):
        count = sum(quarter <= 4 * place < quarter + 1 for place in places)
        assert count == pytest.approx(500, abs=78)  # 4 standard deviations


FEW = {"min_value": 1, "max_value": 64}
DISCRETE = {
    "integers": ("Int", "n", FEW),
    "choice": ("Choice", "n", {"values": list(range(64, 0, -1))}),
    "log": ("Int", "n", FEW | {"sampling": "log"}),
    "reverse_log": ("Int", "n", FEW | {"sampling": "reverse_log"}),
}


@pytest.mark.parametrize("case", DISCRETE)
def test_the_ends_of_a_box_are_drawn_like_the_rest(case, tmp_path):
    values = drawn(tmp_path, DISCRETE[case], [2, 5])
    assert set(values) == {2, 3, 4, 5}
    # As in a search of all: an integer has the part of the scale up to the next one.
    scale = {
        "log": math.log,
        "reverse_log": lambda n: -math.log(65 + 1 - n),
    }.get(case, lambda n: n)
    for n in range(2, 6):
        expected = 2000 * (scale(n + 1) - scale(n)) / (scale(6) - scale(2))
        assert values.count(n) == pytest.approx(expected, abs=90)


def test_the_values_of_a_set_are_drawn_alike(tmp_path):
    declaration = ("Choice", "kind", {"values": list("abcdefgh")})
    values = drawn(tmp_path, declaration, {"values": ["b", "g"]})
    assert set(values) == {"b", "g"}
    assert values.count("b") == pytest.approx(1000, abs=90)  # 4 standard deviations


def peak(values):
    return -((values["x"] - 0.3) ** 2) - (math.log10(values["rate"]) + 2) ** 2


MIXED = [
    UNIT,
    ("Float", "rate", {"min_value": 1e-4, "max_value": 1.0, "sampling": "log"}),
    ("Int", "units", {"min_value": 8, "max_value": 256, "sampling": "log"}),
    ("Boolean", "flag", {}),
]


@pytest.mark.parametrize("killed", ["between trials", "in a trial"])
def test_a_search_that_is_killed_goes_on_as_if_it_were_not(killed, tmp_path):
    whole = make(tmp_path / "whole", space(*MIXED), 24)
    expected = search(whole, peak)
    tried = []
    for _ in range(24):
        oracle = make(tmp_path / "killed", space(*MIXED), 24)
        if tried:
            oracle.reload()
        trial = oracle.create_trial("one")
        if killed == "in a trial":
            oracle = make(tmp_path / "killed", space(*MIXED), 24)
            oracle.reload()
            trial = oracle.create_trial("one")
        tried.append(dict(trial.hyperparameters.values))
        end(oracle, trial, peak(tried[-1]))
    assert tried == expected
    assert oracle.boxes == whole.boxes
    state = json.loads((tmp_path / "killed/search/oracle.json").read_text())
    assert state["boxes"] == whole.boxes
    assert [box["round"] for box in whole.boxes] == [1, 2, 3]
    assert [box["first_trial"] for box in whole.boxes] == [0, 8, 16]
    assert whole.boxes[0]["box"] == {}


def test_a_round_waits_for_the_trials_before_it(tmp_path):
    oracle = make(tmp_path, space(*MIXED), 6, rounds=2)
    running = [oracle.create_trial(name) for name in "abc"]
    assert oracle.create_trial("d").status == "IDLE"
    for trial in running:
        assert len(oracle.boxes) == 1
        assert oracle.create_trial("d").status == "IDLE"
        end(oracle, trial, 0.5)
    assert oracle.create_trial("d").status == "RUNNING"
    assert oracle.create_trial("a").status == "RUNNING"
    assert [box["first_trial"] for box in oracle.boxes] == [0, 3]


def test_many_workers_try_what_one_tries(tmp_path):
    def score(values):  # of which many are the same
        return round(peak(values))

    alone = search(make(tmp_path / "one", space(*MIXED), 24), score)
    oracle = make(tmp_path / "many", space(*MIXED), 24)
    order, running = random.Random(SEED), {}
    while len(oracle.end_order) < 24:
        worker = order.choice("abcd")
        if worker in running:  # they end in any order
            trial = running.pop(worker)
            end(oracle, trial, score(trial.hyperparameters.values))
            continue
        trial = oracle.create_trial(worker)
        if trial.status == "RUNNING":
            running[worker] = trial
    trials = [oracle.trials[name] for name in oracle.start_order]
    assert [trial.hyperparameters.values for trial in trials] == alone
    assert oracle.end_order != oracle.start_order


def test_failed_trials_count_but_make_no_box(tmp_path):
    def score(values):
        return None if values["x"] > 0.5 else values["x"]

    oracle = make(tmp_path, space(UNIT), 30)
    tried = search(oracle, score)
    assert len(tried) == 30
    assert [box["first_trial"] for box in oracle.boxes] == [0, 10, 20]
    failed = [values["x"] for values in tried[:10] if values["x"] > 0.5]
    best = sorted(values["x"] for values in tried[:10] if values["x"] <= 0.5)[-2:]
    low, high = oracle.boxes[1]["box"]["x"]
    assert failed and low < best[0]
    assert high == 1.0  # none completed beyond the best


@pytest.mark.parametrize("completed", [0, 1])
def test_without_two_to_go_by_the_box_is_the_whole_space(completed, tmp_path):
    scores = iter([0.5] * completed + [None] * 9)
    oracle = make(tmp_path, space(UNIT), 9)
    tried = search(oracle, lambda values: next(scores))
    assert [box["box"] for box in oracle.boxes] == [{}, {}, {}]
    plain = make(tmp_path / "other", space(UNIT), 9, kind=RandomSearchOracle)
    assert tried == search(plain, lambda values: 0.0)


def test_an_exhausted_space_ends_the_search(tmp_path):
    small = space(
        ("Choice", "kind", {"values": ["a", "b", "c"]}), ("Boolean", "flag", {})
    )
    oracle = make(tmp_path, small, 30)
    oracle._max_collisions = 200
    tried = search(oracle, lambda values: "abc".index(values["kind"]))
    assert len(tried) == 6  # all there are, and each once
    assert len({tuple(values.items()) for values in tried}) == 6


def test_all_workers_are_told_that_the_search_has_ended(tmp_path):
    oracle = make(tmp_path, space(("Choice", "kind", {"values": list("abcdefgh")})), 30)
    oracle._max_collisions = 0  # one draw that is not new, and the search is over
    assert len(search(oracle, lambda values: 0.0)) < 8
    for number in range(30):
        assert oracle.create_trial(str(number)).status == "STOPPED"


def test_an_exhausted_box_is_left_for_the_whole_space(tmp_path):
    declarations = [("Choice", "kind", {"values": list("abcdefgh")})]
    oracle = make(tmp_path, space(*declarations), 8, rounds=2)
    oracle._max_collisions = 200
    tried = search(oracle, lambda values: "abcdefgh".index(values["kind"]))
    # The box is the kinds of the two best, which were tried already.
    assert len(oracle.boxes[1]["box"]["kind"]["values"]) == 2
    assert sorted(values["kind"] for values in tried) == list("abcdefgh")


def bowl(values):
    """One lowest point; two of five matter, one more than the other."""
    return 3 * (values["a"] - 0.3) ** 2 + (values["b"] - 0.8) ** 2


def test_it_ends_lower_than_random_search(tmp_path, monkeypatch):
    for kind in (CoarseToFine, RandomSearchOracle):
        monkeypatch.setattr(kind, "save", lambda self: None)
        monkeypatch.setattr(kind, "_save_trial", lambda self, trial: None)
    unit = {"min_value": 0.0, "max_value": 1.0}
    declarations = [("Float", name, unit) for name in "abcde"]
    lowest = {CoarseToFine: [], RandomSearchOracle: []}
    for number in range(30):
        seed = random.Random(number).randrange(2**31)
        for kind, found in lowest.items():
            oracle = make(
                tmp_path, space(*declarations), 48, LOWEST, kind=kind, seed=seed
            )
            found.append(min(map(bowl, search(oracle, bowl))))
    fine, plain = lowest.values()
    assert sum(a < b for a, b in zip(fine, plain, strict=True)) >= 20
    assert statistics.median(fine) < 0.5 * statistics.median(plain)


BAD = {
    "rounds must be a positive integer. Received: rounds=0": {"rounds": 0},
    "max_trials must be an integer, at least 3. Received: max_trials=2": {
        "max_trials": 2
    },
    "max_trials must be an integer, at least 3. Received: max_trials=None": {
        "max_trials": None
    },
    "share must be above 0 and below 1. Received: share=1": {"share": 1},
    "shares must be 3 positive numbers that sum to 1, one a round. Received: "
    "shares=(0.5, 0.5)": {"shares": (0.5, 0.5)},
    "shares must be 3 positive numbers that sum to 1, one a round. Received: "
    "shares=(0.5, 0.5, 0.5)": {"shares": (0.5, 0.5, 0.5)},
    "shares must be 3 positive numbers that sum to 1, one a round. Received: "
    "shares=(1.5, -1, 0.5)": {"shares": (1.5, -1, 0.5)},
    "shares must be 3 positive numbers that sum to 1, one a round. Received: "
    "shares=0.5": {"shares": 0.5},
    "shares must leave each round a trial of max_trials=12. Received: "
    "shares=[0.98, 0.01, 0.01]": {"shares": (0.98, 0.01, 0.01)},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message):
    with pytest.raises(ZooError) as caught:
        CoarseToFine(**{"objective": HIGHEST, "max_trials": 12} | BAD[message])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "arguments, first",
    [
        ({"max_trials": 10}, [0, 4, 7]),
        ({"max_trials": 60}, [0, 20, 40]),
        ({"max_trials": 3}, [0, 1, 2]),
        ({"max_trials": 10, "rounds": 1}, [0]),
        ({"max_trials": 20, "shares": (0.5, 0.25, 0.25)}, [0, 10, 15]),
        ({"max_trials": 30, "shares": (0.1, 0.2, 0.7)}, [0, 3, 9]),
    ],
)
def test_how_the_rounds_share_the_trials(arguments, first, tmp_path):
    oracle = make(tmp_path, space(UNIT), **arguments)
    assert len(search(oracle, lambda values: values["x"])) == arguments["max_trials"]
    assert [box["first_trial"] for box in oracle.boxes] == first
