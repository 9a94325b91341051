"""The rows of the course, and the recipe that runs each."""

from typing import NamedTuple

from zoo.errors import unknown


class Row(NamedTuple):
    """A system of the lectures.

    Attributes:
        number: its row.
        system: what it is called.
        lectures: where it is from; `LECTURES` has their titles.
        recipe: the module of `zoo.recipes` that runs it.
    """

    number: int
    system: str
    lectures: str
    recipe: str


LECTURES = {
    "L1": "Introduction to Deep Learning (fully connected networks, Fashion-MNIST)",
    "L2": "A Soft Introduction to Deep Learning",
    "L3": "Neural Networks (perceptrons to backpropagation, CIFAR-10)",
    "L4": "Introduction to Deep Learning (perceptron to Dense layer)",
    "L5": "Neural networks and deep learning (logistic regression to CNNs)",
}
EVERY = "L1 L2 L3 L4 L5"
ROWS = (
    Row(1, "Threshold neuron (McCulloch and Pitts)", "L1 L2", "neuron"),
    Row(2, "One perceptron by hand", "L4", "perceptron_by_hand"),
    Row(3, "A small network by hand", "L3", "network_by_hand"),
    Row(4, "Counting", "L3", "counting"),
    Row(5, "World's smallest perceptron", "L3", "smallest_perceptron"),
    Row(6, "The perceptron rule and its critics", "L2", "perceptron"),
    Row(7, "Chain rule", "L1 L3 L5", "chain_rule"),
    Row(8, "Activations", EVERY, "activations"),
    Row(9, "Losses", "L1 L3 L4", "losses"),
    Row(10, "Decision boundaries", "L1 L3 L4", "boundaries"),
    Row(11, "Universality", "L2 L3 L5", "universality"),
    Row(12, "Will I pass this class?", "L4", "exam"),
    Row(13, "Logistic regression revisited", "L5", "logistic_regression"),
    Row(14, "Dense layer from scratch", "L4", "dense_layer"),
    Row(15, "Initialization", "L1 L2", "initialization"),
    Row(16, "Vanishing and exploding gradients", "L1", "vanishing_gradients"),
    Row(17, "Step size", "L1 L2", "step_size"),
    Row(18, "Local minima", "L1 L3", "local_minima"),
    Row(19, "Optimizers", "L1 L2 L5", "optimizers"),
    Row(20, "Mini-batches", "L2 L3", "batch_size"),
    Row(21, "Train, validation, test", "L2", "bias_variance"),
    Row(22, "Regularization", EVERY, "regularization"),
    Row(23, "Depth against width", "L2 L3", "depth_width"),
    Row(24, "Hyper-parameters", "L1 L2", "random_search"),
    Row(25, "Fashion-MNIST", "L1", "clothes"),
    Row(26, "Handwritten digits", "L3", "digits"),
    Row(27, "CIFAR-10", "L3", "templates"),
    Row(28, "Features seen", "L3", "features"),
    Row(29, "CNNs explained", "L5", "cnn_explained"),
    Row(30, "Overparametrization", "L5", "random_labels"),
    Row(31, "Double descent", "L5", "double_descent"),
    Row(32, "Music generation", "L4", "music"),
)
RECIPES = {row.recipe: row for row in ROWS}


def row(number: int | str) -> Row:
    """Return the row of a number.

    Raises:
        ZooError: there is no such row.
    """
    rows = {str(row.number): row for row in ROWS}
    if str(number) not in rows:
        raise unknown("the course's row", str(number), rows)
    return rows[str(number)]
