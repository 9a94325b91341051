"""The table of a docstring: what is read from it, and what holds."""

import pytest

from zoo import recipes
from zoo.course import claims, syllabus
from zoo.course.claims import Claim

TABLE = """A recipe: it does something.

    number     claim          measured        what
    he_rms     0.5 to 2       0.93 ± 0.04     rms activation, He
    xavier     <= 1e-4        3.1e-5          rms activation, Xavier
    accuracy   >= 90 %        92.1 ± 0.2 %    test accuracy
    seconds    -              13              on two CPU cores

    number     this           is              no table
"""


def test_the_table_is_read_to_its_end():
    table = claims.read(TABLE)
    assert [c.number for c in table] == ["he_rms", "xavier", "accuracy", "seconds"]
    assert table[0] == Claim("he_rms", "0.5 to 2", "0.93 ± 0.04", "rms activation, He")


@pytest.mark.parametrize(
    "bound, inside, outside",
    [
        ("= 0", [0, 0.4], [0.6, -1]),
        ("= 0.0025", [0.002473, 0.00254], [0.0024, 0.0026]),
        ("= 1,234", [1234], [1235]),
        ("= -6", [-6], [6]),
        (">= 90 %", [0.9, 1], [0.89]),
        ("<= 1e-4", [1e-4, 0], [1.1e-4]),
        ("> 0", [0.1], [0]),
        ("< 0.5", [0.4], [0.5]),
        ("0.5 to 2", [0.5, 1, 2], [0.4, 2.1]),
        ("10 to 20 %", [0.1, 0.2], [0.05, 10]),
        ("-", [-1e9, 1e9], []),
    ],
)
def test_bounds(bound, inside, outside):
    claim = Claim("x", bound, "0", "")
    assert all(claim.holds(value) for value in inside)
    assert not any(claim.holds(value) for value in outside)


@pytest.mark.parametrize(
    "measured, near, far",
    [
        ("0.93 ± 0.04", [0.93, 1.01, 0.85], [1.02, 0.84]),  # two spreads
        ("0.93", [0.93, 0.94, 0.92], [0.95]),  # a unit of the last digit
        ("92.1 ± 0.2 %", [0.921, 0.925], [0.926, 92.1]),
        ("3.1e-5", [3.1e-5, 3.2e-5], [3.4e-5, 3e-4]),
        ("0 ± 0", [0, 1], [2]),
    ],
)
def test_agreement_with_what_was_measured(measured, near, far):
    claim = Claim("x", "-", measured, "")
    assert all(claim.agrees(value) for value in near)
    assert not any(claim.agrees(value) for value in far)


@pytest.mark.parametrize(
    "measured, value, spread, text",
    [
        ("0.93 ± 0.04", 0.8765, 0.1234, "0.88 ± 0.12"),
        ("92.1 ± 0.2 %", 0.91234, 0.0056, "91.2 ± 0.6 %"),
        ("3.1e-5", 4.26e-5, 0, "4.3e-5"),
        ("3.1e5", 4.26e5, 0, "4.3e5"),
        ("1,234", 98765.4, 0, "98,765"),
        ("13", 2.6, 0, "3"),
    ],
)
def test_values_are_written_as_the_table_writes_them(measured, value, spread, text):
    assert Claim("x", "-", measured, "").text(value, spread) == text


@pytest.mark.parametrize(
    "docstring",
    [
        None,
        "No table.",
        "A.\n\n    number  claim  measured  what\n\n",
        TABLE.replace("rms activation, He", ""),
        TABLE.replace("0.5 to 2", "0.5 or 2"),
        TABLE.replace("<= 1e-4", "small"),
        TABLE.replace("3.1e-5", "little"),
    ],
)
def test_what_cannot_be_read_is_an_error(docstring):
    with pytest.raises(ValueError):
        claims.read(docstring)


@pytest.mark.parametrize("row", syllabus.ROWS, ids=lambda row: row.recipe)
def test_every_row_claims_something(row):
    recipe = recipes.module(row.recipe)
    table = claims.read(recipe.__doc__)
    assert any(claim.bound != "-" for claim in table)
    assert table[-1].number == "seconds" and table[-1].bound == "-"
    assert len({claim.number for claim in table}) == len(table)
    for claim in table:  # what is published is within what is claimed
        mean = claims._parse(f"= {claim.measured}")[1][0]
        assert claim.holds(mean), claim
