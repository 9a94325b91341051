import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from zoo.report import measures

PROBABILITIES = np.array(
    [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [1.0, 0.0]]
)  # read as 0 0 1 1 0
LABELS = np.array([0, 1, 1, 0, 1])


def test_confusion_and_scores_are_scikit_learn_s():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 7, (2, 500))
    matrix = measures.confusion(labels, predictions, 7)
    np.testing.assert_array_equal(matrix, confusion_matrix(labels, predictions))
    expected = precision_recall_fscore_support(labels, predictions)
    np.testing.assert_allclose(measures.per_class(matrix), expected)


def test_what_cannot_be_divided_is_nan():
    """Class 1 is never read; class 2 never occurs, and is never read."""
    scores = measures.per_class(
        measures.confusion(np.array([0, 1]), np.array([0, 0]), 3)
    )
    np.testing.assert_array_equal(scores.precision, [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(scores.recall, [1, 0, np.nan])
    np.testing.assert_allclose(scores.f1, [2 / 3, 0, np.nan])


def test_expected_calibration_error_by_hand():
    """Two bins, (0, 0.5] and (0.5, 1]: all five are in the second, 2 of 5 right."""
    result = measures.calibration(LABELS, PROBABILITIES, bins=2)
    np.testing.assert_array_equal(result.count, [0, 5])
    np.testing.assert_allclose(result.confidence, [np.nan, 0.8])
    np.testing.assert_allclose(result.accuracy, [np.nan, 0.4])
    assert result.error == pytest.approx(0.4)


def test_each_bin_counts_by_its_share():
    """Five bins: 0.6 and 0.7; 0.8, 0.9 and 1.0 in the upper two, an edge to the left.

    (0.4, 0.6] holds 0.6 (wrong), (0.6, 0.8] holds 0.7 (right) and 0.8 (wrong),
    (0.8, 1] holds 0.9 (right) and 1.0 (wrong).
    """
    result = measures.calibration(LABELS, PROBABILITIES, bins=5)
    np.testing.assert_array_equal(result.count, [0, 0, 1, 2, 2])
    expected = (1 * 0.6 + 2 * abs(0.5 - 0.75) + 2 * abs(0.5 - 0.95)) / 5
    assert result.error == pytest.approx(expected)


def test_the_bins_are_fifteenths():
    """0.7 is alone in (10/15, 11/15], and (11/15, 12/15] holds 0.8; five would merge.

    0.6 is in (8/15, 9/15], an edge to the left; 0.9 in the 14th bin, 1.0 in the last.
    """
    result = measures.calibration(LABELS, PROBABILITIES)
    assert np.flatnonzero(result.count).tolist() == [8, 10, 11, 13, 14]
    assert len(result.count) == 15 and result.count.sum() == 5
    # Right at 0.7 and 0.9; wrong at 0.6, 0.8 and 1.0.
    assert result.error == pytest.approx((0.3 + 0.1 + 0.6 + 0.8 + 1.0) / 5)


def test_mistakes_come_most_confident_first():
    assert measures.worst_mistakes(LABELS, PROBABILITIES, 9).tolist() == [4, 1, 3]
    assert measures.worst_mistakes(LABELS, PROBABILITIES, 2).tolist() == [4, 1]


def test_pairs_come_most_frequent_first():
    matrix = np.array([[50, 2, 0], [0, 50, 7], [1, 0, 50]])
    assert measures.confused_pairs(matrix, 9) == [(1, 2, 7), (0, 1, 2), (2, 0, 1)]
    assert measures.confused_pairs(matrix, 1) == [(1, 2, 7)]
    assert measures.pair_examples(LABELS, PROBABILITIES, 1, 0, 9).tolist() == [1, 4]
    assert measures.pair_examples(LABELS, PROBABILITIES, 1, 0, 1).tolist() == [1]


def test_nearest_neighbour_is_another_point():
    points = np.array([[0, 0], [0, 1], [5, 5], [5, 6], [5, 8]], float)
    labels = np.array([0, 0, 1, 0, 0])  # 0 <-> 1, 2 <-> 3, 4 -> 3
    assert measures.nearest_neighbour_accuracy(points, labels) == 3 / 5
