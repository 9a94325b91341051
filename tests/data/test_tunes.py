"""Tunes in ABC: what the parser must read, by hand, and what it must refuse."""

from fractions import Fraction

import pytest

from zoo import ZooError
from zoo.data import tunes

HEAD = "X:1\nM:{}\nL:1/8\nK:{}\n"


def read(body, metre="4/4", key="C"):
    """Return the bars of a tune as (pitch, length in eighths)."""
    bars = tunes.parse(HEAD.format(metre, key) + body).bars
    return [[(note.pitch, note.length * 8) for note in bar] for bar in bars]


def test_every_generated_tune_parses_and_lasts_eight_bars_a_part():
    for parts in (1, 2):
        for text in tunes.generate(50, seed=3, parts=parts):
            assert len(tunes.parse(text).bars) == 8 * parts


def test_the_seed_decides_the_tunes():
    assert tunes.generate(5, seed=1) == tunes.generate(5, seed=1)
    assert tunes.generate(5, seed=1) != tunes.generate(5, seed=2)


def test_pitches_and_lengths():
    half = Fraction(1, 2)
    assert read("C,2 C2 c2 c'z|]") == [[(48, 2), (60, 2), (72, 2), (84, 1), (None, 1)]]
    assert read("C/C/ D3/2E/2 A4 z|]")[0][:4] == [
        (60, half),
        (60, half),
        (62, 3 * half),
        (64, half),
    ]


def test_accidentals_hold_until_the_bar_line_and_keys_for_ever():
    assert [p for p, _ in read("^F4F4|F4=c4|]", key="C")[0]] == [66, 66]
    assert read("^F4F4|F4=c4|]", key="C")[1] == [(65, 4), (72, 4)]
    for key, pitches in (("G", (66, 72)), ("D", (66, 73)), ("D Mixolydian", (66, 72))):
        assert read("F4c4|]", key=key) == [[(pitches[0], 4), (pitches[1], 4)]]
    assert read("B4e4|]", key="Bb") == [[(70, 4), (75, 4)]]
    assert read("B4e4|]", key="Cm") == [[(70, 4), (75, 4)]]


def test_tuplets_and_dotted_pairs():
    assert read("(3CDE F2 G>A B<c|]")[0] == [
        *((pitch, Fraction(2, 3)) for pitch in (60, 62, 64)),
        (65, 2),
        (67, Fraction(3, 2)),
        (69, Fraction(1, 2)),
        (71, Fraction(1, 2)),
        (72, Fraction(3, 2)),
    ]


def test_an_upbeat_and_the_bar_that_it_completes():
    assert len(read("G2|C8|C6:|")) == 3
    assert len(read("G2|C8|[1C6:|[2C6|]")) == 4


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("C8|C7|C8|]", "add up"),
        ("C8|C9|]", "add up"),
        ("C8|C6|]", "add up"),  # there was no upbeat
        ("G2|C8|C5:|", "add up"),
        ("|:C8|", "no end"),
        ("C8|C8", "no end"),
        ("|:C8|:C8:|", "inside another"),
        ("C8?|]", "not a note"),
        ("(3CD|E8|]", "goes on"),
        ("C0|]", "not a length"),
        (">C8|]", "two notes"),
        ("|]", "no bar"),
    ],
)
def test_what_is_no_tune_is_refused(body, why):
    with pytest.raises(ZooError, match=why):
        read(body)


@pytest.mark.parametrize(
    "head", ["M:4/4\nL:1/8\nK:C\n", "X:1\nL:1/8\nK:C\n", "X:1\nM:4/4\nK:C\n", "X:1\n"]
)
def test_a_header_needs_its_four_fields(head):
    with pytest.raises(ZooError):
        tunes.parse(head + "C8|]\n")


@pytest.mark.parametrize(("metre", "key"), [("4/0", "C"), ("four", "C"), ("4/4", "H")])
def test_a_metre_or_key_that_does_not_exist_is_refused(metre, key):
    with pytest.raises(ZooError, match=r"not a (length|key)"):
        read("C8|]", metre, key)


def test_a_file_is_split_at_blank_lines():
    text = "% a comment\n\nX:1\nK:C\nC|\n\n\nX:2\r\nK:C\nD|\n"
    assert tunes.split(text) == ["X:1\nK:C\nC|\n", "X:2\nK:C\nD|\n"]
