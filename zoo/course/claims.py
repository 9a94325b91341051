"""The table in a recipe's docstring: what it claims, and what was measured.

    number      claim          measured        what
    he_rms      0.5 to 2       0.93 ± 0.04     rms activation of layer 30, He
    and_wrong   = 0            0               inputs that AND gets wrong
    accuracy    >= 90 %        92.1 ± 0.2 %    test accuracy of the CNN
    ratio       -              13              claimed nowhere, only told

Columns are two or more spaces apart. A claim is `= x` (to the digits written), `>= x`,
`<= x`, `> x`, `< x`, `x to y`, or `-` for a number that is told without a claim.
`measured` is what the whole setting gave: a mean and, over several seeds, the standard
deviation. The table ends with a blank line.
"""

import re
from decimal import Decimal
from typing import NamedTuple

HEADING = ["number", "claim", "measured", "what"]
_NUMBER = r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"
_CLAIM = re.compile(
    rf"(?:([<>]=?|=) ({_NUMBER})(?: ± ({_NUMBER}))?|({_NUMBER}) to ({_NUMBER}))( %)?"
)


class Claim(NamedTuple):
    """A line of the table.

    Attributes:
        number: the name of the number, as `metrics.json` has it.
        bound: what it must be, e.g. `">= 90 %"`; `"-"` if nothing is claimed.
        measured: what it was, e.g. `"92.1 ± 0.2 %"`.
        what: the number in words.
    """

    number: str
    bound: str
    measured: str
    what: str

    def holds(self, value: float) -> bool:
        """Return whether a value is within the bound."""
        if self.bound == "-":
            return True
        sign, *limits = _parse(self.bound)
        lower, *upper = (limit for limit, _ in limits)
        if sign == "to":
            return lower <= value <= upper[0]
        if sign == "=":
            return abs(value - lower) <= limits[0][1] * (1 + 1e-9)
        return {
            ">=": value >= lower,
            "<=": value <= lower,
            ">": value > lower,
            "<": value < lower,
        }[sign]

    def agrees(self, value: float) -> bool:
        """Return whether a value is the measured one, by its spread and its digits.

        Within two standard deviations, or one unit of the last digit written.
        """
        _, (mean, half), *spread = _parse(f"= {self.measured}")
        spread = spread[0][0] if spread else 0.0
        return abs(value - mean) <= max(2 * half, 2 * spread) * (1 + 1e-9)

    def text(self, value: float, spread: float = 0.0) -> str:
        """Return a value as the table writes the measured one: digits, unit, spread."""
        percent = "%" in self.measured
        scale = 100 if percent else 1
        texts = [_like(self.measured, value * scale)]
        if "±" in self.measured:
            texts.append(_like(self.measured.partition("±")[2], spread * scale))
        return " ± ".join(texts) + (" %" if percent else "")


def read(docstring: str) -> list[Claim]:
    """Return the claims of a recipe, from its docstring.

    Raises:
        ValueError: there is no table, or a line of it cannot be read.
    """
    lines = (line.strip() for line in (docstring or "").splitlines())
    table = []
    for line in lines:
        words = re.split(r"\s{2,}", line)
        if words == HEADING:
            table.append(words)
        elif table and not line:
            break
        elif table:
            if len(words) != 4:
                raise ValueError(f"not a line of a table of claims: {line!r}")
            claim = Claim(*words)
            claim.holds(0.0), claim.agrees(0.0)  # can be read
            table.append(claim)
    if len(table) < 2:
        raise ValueError("the docstring has no table: number  claim  measured  what")
    return table[1:]


def text(docstring: str) -> tuple[str, str]:
    """Return what stands before the table of claims, and what stands after it."""
    lines = docstring.splitlines()
    start = next(n for n, line in enumerate(lines) if line.split() == HEADING)
    blank = (n for n in range(start, len(lines)) if not lines[n].strip())
    after = lines[next(blank, len(lines)) :]
    return "\n".join(lines[:start]).strip(), "\n".join(after).strip()


def _parse(text: str):
    """Return the sign and, for each number, its value and half a unit of its last."""
    found = _CLAIM.fullmatch(text)
    if not found:
        raise ValueError(f"not a claim: {text!r}")
    sign, *numbers, percent = found.groups()
    scale = Decimal(100 if percent else 1)
    values = [Decimal(n.replace(",", "")) for n in numbers if n]
    return sign or "to", *(
        (float(v / scale), float(Decimal((0, (5,), v.as_tuple().exponent - 1)) / scale))
        for v in values
    )


def _like(model: str, value: float) -> str:
    """Write a value with as many digits as the number in `model` has."""
    number = re.search(_NUMBER, model)[0]
    digits, _, exponent = number.partition("e")
    places = len(digits.partition(".")[2])
    if exponent:
        return re.sub(r"e([-+])0*(\d)", r"e\1\2", f"{value:.{places}e}").replace(
            "e+", "e"
        )
    return f"{value:,.{places}f}"
