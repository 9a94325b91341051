"""Dance tunes in ABC notation: a generator of simple ones, and a strict parser.

ABC writes a tune as text: a header of fields such as `M:6/8` (metre), `L:1/8` (the unit
of length) and `K:G` (key), then notes: `G2` is a G of two units, `g` the octave above,
`|` a bar line, `|: ... :|` a part that is played twice.
"""

import re
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from zoo.errors import ZooError, integer, positive_integer


class Note(NamedTuple):
    """A note or a rest.

    Attributes:
        pitch: its MIDI number, 60 for the middle C; `None` for a rest.
        length: in whole notes.
    """

    pitch: int | None
    length: Fraction


class Tune(NamedTuple):
    """A tune that was read.

    Attributes:
        fields: the header, letter -> text.
        bars: the notes of each bar, in the order they are written.
    """

    fields: dict[str, str]
    bars: list[list[Note]]


# --- generating ----------------------------------------------------------------------

# metre -> name, the rhythms of a beat (its notes in eighths), beats in a bar, its end
_DANCES = {
    "6/8": ("Jig", ((1, 1, 1), (1, 1, 1), (2, 1), (3,)), 2, (3, 3)),
    "4/4": (
        "Reel",
        ((1, 1, 1, 1), (1, 1, 1, 1), (2, 1, 1), (1, 1, 2), (2, 2)),
        2,
        (2, 2, 4),
    ),
    "3/4": ("Waltz", ((2,), (2,), (1, 1)), 3, (2, 4)),
}
_KEYS = {"C": 0, "D": 1, "G": 4, "A": -2, "Em": 2, "Am": 5, "Dm": 1}  # tonic's step
# Steps of the scale that the chords of four bars are built on.
_MAJOR = ((0, 0, 3, 4), (0, 4, 0, 4), (0, 3, 0, 4), (0, 5, 3, 4))
_MINOR = ((0, 6, 0, 6), (0, 0, 6, 4), (0, 6, 3, 4))


def generate(n: int, seed: int, parts: int = 2) -> list[str]:
    """Return `n` tunes in ABC: jigs, reels and waltzes of parts of eight bars.

    The melody walks over the scale by chance and meets a note of the bar's chord on
    every beat; half of a part comes again, with another end.

    Args:
        n: how many.
        seed: decides them; the same seed gives the same tunes.
        parts: 1 or 2, of each tune.

    Example:
        >>> len(parse(generate(1, seed=0)[0]).bars)
        16
    """
    integer("parts", parts, least=1, below=3)
    rng = np.random.default_rng(integer("seed", seed, least=0))
    return [_tune(rng, n, parts) for n in range(1, positive_integer("n", n) + 1)]


def _tune(rng, number, parts):
    metre = rng.choice(list(_DANCES))
    key = rng.choice(list(_KEYS))
    written = "".join(_part(rng, metre, key, high) for high in (0, 3)[:parts])
    return f"X:{number}\nT:{_DANCES[metre][0]}\nM:{metre}\nL:1/8\nK:{key}\n{written}"


def _part(rng, metre, key, high):
    """Write eight bars: four, and the first two of them again with an end."""
    chords = (_MINOR if key.endswith("m") else _MAJOR)[rng.integers(3)]
    tonic, bars, at = _KEYS[key], [], high
    for chord in chords:
        _, rhythms, beats, _ = _DANCES[metre]
        bar = []
        for _ in range(beats):
            at = _nearest(at + rng.integers(-2, 3), chord)
            for length in rhythms[rng.integers(len(rhythms))]:
                bar.append(_write(tonic + at, length))
                at += rng.choice([-1, 1])
        bars.append("".join(bar))
    ending = [0] * len(_DANCES[metre][3])
    ending[:-1] = [_nearest(at, 4)] * (len(ending) - 1)
    pairs = zip(ending, _DANCES[metre][3], strict=True)
    last = "".join(_write(tonic + step, length) for step, length in pairs)
    first, second = "|".join(bars), "|".join([*bars[:3], last])
    return f"|:{first}|\n{second}:|\n"


def _nearest(step, chord):
    """Return the step between -2 and 9 nearest to `step` that is in the chord."""
    steps = [s for s in range(-2, 10) if (s - chord) % 7 in (0, 2, 4)]
    return min(steps, key=lambda s: abs(s - step))


def _write(step, length):
    octave, letter = divmod(step, 7)
    letter = "CDEFGAB"[letter]
    text = letter + "," * -octave if octave < 1 else letter.lower() + "'" * (octave - 1)
    return text + (str(length) if length > 1 else "")


# --- parsing -------------------------------------------------------------------------

_LENGTH = r"(?P<times>\d*)(?P<halves>/*)(?P<by>\d*)"
_TOKEN = re.compile(
    r"(?P<bar>(?:\[\||:*\|{1,2}:*\]?|::)(?:\[?[1-9])?|\[[1-9])"
    rf"|(?P<sharp>\^{{1,2}}|_{{1,2}}|=|)(?P<letter>[A-Ga-gz])(?P<marks>[,']*){_LENGTH}"
    r"|\((?P<tuplet>[234])|(?P<broken>[<>])|(?P<blank>[\s!-])"
)
_TUPLET = {2: Fraction(3, 2), 3: Fraction(2, 3), 4: Fraction(3, 4)}
_SEMITONES = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))
_FIFTHS = "FCGDAEB"  # the order in which a key sharpens them
_MODES = {"": 0, "maj": 0, "m": -3, "min": -3, "dor": -2, "mix": -1, "phr": -4}


def split(text: str) -> list[str]:
    """Return the tunes of an ABC file: what blank lines part and `X:` begins."""
    tunes = re.split(r"\n\s*\n", text.replace("\r\n", "\n"))
    return [tune.strip() + "\n" for tune in tunes if tune.strip().startswith("X:")]


def parse(text: str) -> Tune:
    """Read one tune, strictly.

    Fields X (first), M, L and K (last) are there; after them come notes, rests, bar
    lines, repeats, tuplets and dotted pairs, nothing else; every bar's notes add up to
    the metre. A part may begin with a short bar, the upbeat, and only what an upbeat
    has may be missing at the end of a part. Every part ends, and so does every repeat.

    Raises:
        ZooError: (a `ValueError`) it is not such a tune; says why.
    """
    lines = text.strip().split("\n")
    count = next((n for n, line in enumerate(lines) if line.startswith("K:")), -1) + 1
    header, body = lines[:count], lines[count:]
    if not all(re.fullmatch(r"[A-Z]:.*", line) for line in header):
        raise ZooError(f"a header has fields such as M:6/8. Received: {header}")
    fields = {line[0]: line[2:].strip() for line in header}
    if not (set("XMLK") <= set(fields) and re.fullmatch(r"X:\s*\d+", header[0])):
        raise ZooError(f"a tune needs X:number, M:, L: and K:. Received: {header}")
    reader = _Reader(fields)
    for line in body:
        reader.read(line)
    return Tune(fields, reader.finish())


class _Reader:
    """What has been read so far, and what the next note depends on."""

    def __init__(self, fields):
        self.metre, self.key = _metre(fields["M"]), _key(fields["K"])
        self.unit = _fraction(fields["L"])
        self.parts, self.bar, self.sharps = [[]], [], {}
        self.tuplet, self.broken, self.repeating = [], None, False

    def read(self, line):
        if line.startswith("K:"):
            self.key = _key(line[2:].strip())
            return
        at = 0
        while at < len(line):
            found = _TOKEN.match(line, at)
            if not found or found.end() == at:
                raise ZooError(f"this is not a note nor a bar line: {line[at:]!r}")
            at = found.end()
            if found["bar"]:
                self._bar(found["bar"])
            elif found["letter"]:
                self._note(found)
            elif found["tuplet"]:
                count = int(found["tuplet"])
                self.tuplet = [_TUPLET[count]] * count
            elif found["broken"]:
                self._dot(found["broken"] == ">")

    def finish(self):
        if self.bar or self.repeating:
            raise ZooError("the last bar or repeat has no end.")
        parts = [part for part in self.parts if part]
        sums = [[sum(note.length for note in bar) for bar in part] for part in parts]
        upbeats = {part[0] for part in sums if len(part) > 1 and part[0] < self.metre}
        short = {self.metre - upbeat for upbeat in upbeats}
        for part in sums:
            inner = part[1:-1] if part[0] in upbeats and len(part) > 1 else part[:-1]
            if set(inner) - {self.metre} or part[-1] not in short | {self.metre}:
                told = " ".join(str(value) for value in part)
                raise ZooError(f"these bars do not add up to {self.metre}: {told}")
        if not parts:
            raise ZooError("there is no bar.")
        return [bar for part in parts for bar in part]

    def _bar(self, sign):
        if self.tuplet or self.broken is not None:
            raise ZooError("a tuplet or a dotted pair goes on after its bar.")
        if self.bar:
            self.parts[-1].append(self.bar)
        self.bar, self.sharps = [], {}
        begins = sign.rstrip("[123456789").endswith(":")
        ends = sign.startswith(":")
        if begins and self.repeating and not ends:
            raise ZooError("a repeat begins inside another.")
        if begins or ends:
            self.repeating = begins
        if begins or ends or "||" in sign or "]" in sign:
            self.parts.append([])

    def _note(self, found):
        times, by = (int(found[group] or 1) for group in ("times", "by"))
        if found["by"] and len(found["halves"]) != 1 or not times * by:
            raise ZooError(f"this is not a length: {found[0]!r}")
        halves = 1 if found["by"] else 2 ** len(found["halves"])
        length = self.unit * Fraction(times, by * halves)
        if self.tuplet:
            length *= self.tuplet.pop()
        if self.broken is not None:
            length, self.broken = length * self.broken, None
        self.bar.append(Note(self._pitch(found), length))

    def _pitch(self, found):
        letter, marks = found["letter"], found["marks"]
        if letter == "z":
            return None
        if found["sharp"]:  # holds until the bar line
            signs = {"^": 1, "_": -1, "=": 0}
            self.sharps[letter] = sum(signs[sign] for sign in found["sharp"])
        octave = letter.islower() + marks.count("'") - marks.count(",")
        sharp = self.sharps.get(letter, self.key[letter.upper()])
        return 60 + 12 * octave + _SEMITONES[letter.upper()] + sharp

    def _dot(self, first):
        if not self.bar or self.broken is not None:
            raise ZooError("a dotted pair needs two notes.")
        long, short = Fraction(3, 2), Fraction(1, 2)
        note, self.broken = self.bar[-1], short if first else long
        self.bar[-1] = note._replace(length=note.length * (long if first else short))


def _fraction(text):
    if not re.fullmatch(r"[1-9]\d*/[1-9]\d*", text):
        raise ZooError(f"this is not a length or a metre: {text!r}")
    return Fraction(text)


def _metre(text):
    return Fraction(1) if text in ("C", "C|") else _fraction(text)


def _key(text):
    """Return by how much a key raises each letter."""
    found = re.fullmatch(r"([A-G])([#b]?)\s*([A-Za-z]*)", text)
    mode = found and (found[3] if found[3] == "m" else found[3][:3].lower())
    if not found or mode not in _MODES:
        raise ZooError(f"this is not a key: {text!r}")
    fifths = _FIFTHS.index(found[1]) - 1 + _MODES[mode]
    fifths += {"": 0, "#": 7, "b": -7}[found[2]]
    return {letter: (fifths + 6 - place) // 7 for place, letter in enumerate(_FIFTHS)}
