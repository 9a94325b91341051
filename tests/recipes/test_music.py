"""Row 32: tunes that parse; n-grams, bits and draws against hand computation."""

import numpy as np
import pytest

from tests.course.rows import check
from zoo import ZooError
from zoo.recipes import music


def test_the_row(tmp_path, monkeypatch, capsys):
    numbers = check("music", tmp_path, monkeypatch, capsys)["numbers"]
    assert numbers["unigram_bits"]["mean"] > numbers["bigram_bits"]["mean"]


def test_a_file_of_tunes_is_split_and_one_in_ten_is_held_out(tmp_path):
    tune = "X:{}\nM:4/4\nL:1/4\nK:C\n|:CDEF:|\n"
    path = tmp_path / "tunes.abc"
    path.write_text("\n".join(tune.format(n) for n in range(100)))
    known, held_out = music.texts(music.Config(tunes=path))
    assert (len(known), len(held_out)) == (90, 10)
    assert set(known + held_out) == {tune.format(n) for n in range(100)}


def test_a_file_that_is_missing_or_too_small_is_one_line(tmp_path):
    with pytest.raises(ZooError, match="cannot be read"):
        music.texts(music.Config(tunes=tmp_path / "none.abc"))
    path = tmp_path / "small.abc"
    path.write_text("X:1\nK:C\n")
    with pytest.raises(ZooError, match="too little"):
        music.texts(music.Config(tunes=path))


def test_codes_begin_and_end_with_zero():
    assert music.encode(["ab", "b?"], "ab").tolist() == [0, 1, 2, 0, 2, 0]


def test_chunks_go_on_where_the_batch_before_stopped():
    long = music.STREAMS * music.CHUNK
    x, y = music.chunks(np.arange(2 * long + 1))
    np.testing.assert_array_equal(y, x + 1)
    assert x.shape == (2 * music.STREAMS, music.CHUNK)
    first, second = np.split(x, 2)
    np.testing.assert_array_equal(second[:, 0], first[:, -1] + 1)


def test_ngrams_by_hand():
    single, pairs = music.ngrams(np.array([0, 1, 1, 0]), size=2)
    np.testing.assert_allclose(2**single, [2 / 5, 3 / 5])
    np.testing.assert_allclose(2**pairs, [[1 / 3, 2 / 3], [1 / 2, 1 / 2]])


def test_equal_logits_cost_the_logarithm_of_the_number_of_characters():
    class Equal:
        def predict_on_batch(self, x):
            return np.ones((*x.shape, 8))

    assert music.bits(Equal(), np.arange(100) % 8) == pytest.approx(3)


def test_characters_are_drawn_as_often_as_their_probability_says():
    logits = np.log([[0.1, 0.3, 0.6]])
    drawn = music.write(
        lambda codes, state: (np.repeat(logits, len(state), 0), state),
        *(np.zeros((20_000, 1)), "ab", 1, 1.0, 0),
    )
    share = [drawn.count(text) / len(drawn) for text in ("", "a", "b")]
    np.testing.assert_allclose(share, [0.1, 0.3, 0.6], atol=0.02)
    cold = music.write(
        lambda codes, state: (np.repeat(logits, len(state), 0), state),
        *(np.zeros((20_000, 1)), "ab", 1, 0.5, 0),
    )
    expected = 0.36 / (0.01 + 0.09 + 0.36)  # squares, as 1 / 0.5 = 2
    assert cold.count("b") / len(cold) == pytest.approx(expected, abs=0.02)


def test_the_step_gives_what_the_reader_gives():
    _, reader, step = music.networks(5, units=4)
    codes = np.array([[1, 4, 2]], "int32")
    state = np.zeros((1, 4), "float32")
    for place in range(3):
        logits, state = step.predict_on_batch([codes[:, place : place + 1], state])
    expected = reader.predict_on_batch(codes)[:, -1]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_notes_are_what_stands_below_the_header():
    assert music.notes("X:1\nK:C\n|:C D|\nE:|\n") == "|:CD|E:|"
