"""Music generation: a recurrent network writes dance tunes, letter by letter.

A network of gated recurrent units (GRU) reads tunes in ABC notation and learns which
character comes next (L4, whose first laboratory, of MIT's course 6.S191, does this with
Irish tunes). Then it writes tunes: a character is drawn from what it predicts, and fed
back. A strict parser tells whether they are music: the fields of the header are there,
every bar's notes add up to the metre, every repeat has an end. Nobody told the network
what a bar is. The tunes to learn from are generated, or those of `--tunes FILE`.

    number         claim    measured     what
    network_bits   -        1.08 ± 0.02  GRU: bits a character of held-out tunes
    bigram_bits    -        2.84 ± 0.01  from the character before alone, the same
    unigram_bits   -        4.46 ± 0.02  from how often each character is, the same
    bits_saved     >= 0.5   1.76 ± 0.02  bits that the GRU saves against the bigrams
    parsed         >= 10 %  87 ± 4 %     tunes of the GRU that parse
    bigram_parsed  <= 2 %   0 ± 0 %      tunes drawn from the bigrams that parse
    copied         <= 10 %  0 ± 0 %      tunes of the GRU whose notes are a known tune's
    seconds        -        43           seconds on two CPU cores; quick 4

The quick setting is one network, tunes of one part and 7 epochs.

With the 804 Irish tunes of MIT's laboratory (MIT licence, not part of zoo) in place of
the generated ones, the same command with `--tunes` gave 1.63 bits a character against
3.48 of the bigrams and 4.91 of the unigrams; 62 % of its tunes parse and none is a
copy. Of the Irish tunes themselves 96 % parse: the others have bars that do not add up,
change the metre, or hold words.
"""

import dataclasses
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo import console, course
from zoo.course import CourseOptions
from zoo.errors import ZooError

NAME = "music"
STREAMS, CHUNK = 32, 40  # texts read side by side, characters between two updates


@dataclass(frozen=True)
class Config(CourseOptions):
    """The options of a run."""

    tunes: Path | None = None
    """An ABC file to learn from; None generates tunes."""
    examples: int = 1000
    """How many tunes are generated; one in ten is held out."""
    parts: int = 2
    """How many parts of eight bars a generated tune has, 1 or 2."""
    units: int = 128
    """The width of the GRU."""
    epochs: int = 12
    """How often it reads the tunes."""
    temperature: float = 0.5
    """Below 1 the network takes fewer risks when it writes."""
    seeds: int = 3
    """How many networks are trained, each on tunes of its own."""
    written: int = 100
    """How many tunes it writes."""


QUICK = Config(quick=True, seeds=1, examples=600, parts=1, epochs=7)


def texts(config):
    """Return `(known, held_out)`: tunes to learn from and tunes to test with."""
    from zoo.data import tunes

    if config.tunes is None:
        found = tunes.generate(config.examples, config.seed, config.parts)
    else:
        try:
            found = tunes.split(config.tunes.read_text(encoding="utf8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ZooError(f"--tunes cannot be read: {error}") from None
    order = np.random.default_rng(config.seed).permutation(len(found))
    found = [found[n] for n in order]
    cut = len(found) // 10
    if sum(map(len, found[cut:])) <= STREAMS * CHUNK or not cut:
        raise ZooError(
            "there is too little to learn from: take a hundred tunes or more. "
            f"Received: {len(found)}"
        )
    return found[cut:], found[:cut]


def encode(tunes, characters):
    """Return their codes one after another, int `(n,)`; a 0 parts two tunes."""
    index = {character: code for code, character in enumerate(characters, start=1)}
    codes = [0]
    for tune in tunes:
        codes += [index[character] for character in tune if character in index] + [0]
    return np.array(codes, "int32")


def chunks(codes):
    """Return `(x, y)`, each `(k * STREAMS, CHUNK)`; y is one character ahead of x.

    The text is cut into `STREAMS` long pieces. Each batch holds the next chunk of every
    piece, so that the state after a batch is the one to begin the next with.
    """
    count = (len(codes) - 1) // (STREAMS * CHUNK)

    def cut(part):
        pieces = part[: count * STREAMS * CHUNK].reshape(STREAMS, count, CHUNK)
        return pieces.swapaxes(0, 1).reshape(-1, CHUNK)

    return cut(codes[:-1]), cut(codes[1:])


def ngrams(codes, size):
    """Return `log2 p` of each character, and of each after each, with counts plus 1."""
    before, after = codes[:-1], codes[1:]
    single = np.bincount(after, minlength=size) + 1.0
    pairs = np.ones((size, size))
    np.add.at(pairs, (before, after), 1)
    return np.log2(single / single.sum()), np.log2(pairs / pairs.sum(1, keepdims=True))


def networks(size, units):
    """Return the network that is trained, one that reads, one that makes a step.

    The last two share their weights, those of the first are copied to them. The step
    takes a character `(batch, 1)` and a state `(batch, units)`, and returns the logits
    of the next character and the new state.
    """
    import keras
    from keras import layers

    def build(batch, length):
        codes = keras.Input(batch_shape=(batch, length), dtype="int32")
        embed, top = layers.Embedding(size, 32), layers.Dense(size)
        gru = layers.GRU(
            units, return_sequences=True, return_state=True, stateful=bool(batch)
        )
        return keras.Model(codes, top(gru(embed(codes))[0])), (embed, gru, top)

    trained, _ = build(STREAMS, CHUNK)
    reader, (embed, gru, top) = build(None, None)
    code, state = keras.Input((1,), dtype="int32"), keras.Input((units,))
    outputs, after = gru(embed(code), initial_state=state)
    return trained, reader, keras.Model([code, state], [top(outputs)[:, 0], after])


def write(step, state, characters, longest, temperature, seed):
    """Draw tunes character by character, all at once, until each has its end.

    Args:
        step: takes codes `(tunes, 1)` and the state, returns logits and a new state.
        state: to begin with, `(tunes, ...)`.
        characters: those of the codes 1, 2, ...
        longest: the most characters that are drawn for a tune.
        temperature: what the logits are divided by.
        seed: decides what is drawn.
    """
    rng = np.random.default_rng(seed)
    code = np.zeros(len(state), "int32")
    drawn = []
    for _ in range(longest):
        logits, state = step(code[:, None], state)
        noise = rng.gumbel(size=logits.shape)  # the place of the largest sum is a draw
        code = (logits / temperature + noise).argmax(-1).astype("int32")
        drawn.append(code)
    rows = np.stack([*drawn, np.zeros_like(code)], axis=1)
    return ["".join(characters[c - 1] for c in row[: row.argmin()]) for row in rows]


def bits(reader, codes):
    """Return the bits that a network needs for each character of a text."""
    count = (len(codes) - 1) // 16  # characters of 16 pieces that are read at once
    x = codes[: 16 * count].reshape(16, count)
    y = codes[1 : 16 * count + 1].reshape(16, count)
    z = reader.predict_on_batch(x).astype("float64")
    true = np.take_along_axis(z, y[..., None], -1)[..., 0]
    return (np.log(np.exp(z).sum(-1)) - true).mean() / np.log(2)


def parsed(text):
    """Return the tune, or `None` if it is not one."""
    from zoo.data import tunes

    try:
        return tunes.parse(text)
    except ZooError:
        return None


def notes(text):
    """Return what stands below the header, without blanks."""
    return "".join(text.partition("\nK:")[2].partition("\n")[2].split())


def measure(run):
    """Read, write and parse, once for each seed; return the numbers, what to draw."""
    each = [once(run, dataclasses.replace(run.config, seed=n)) for n in run.seeds]
    names = each[0][0]
    numbers = {name: [numbers[name] for numbers, *_ in each] for name in names}
    return numbers, each[0]


def once(run, config):
    """Train one network; return its numbers, its learning curve, a tune of its."""
    import keras

    keras.utils.set_random_seed(config.seed)
    known, held_out = texts(config)
    characters = sorted(set("".join(known)))
    size = len(characters) + 1
    train, test = encode(known, characters), encode(held_out, characters)
    trained, reader, step = networks(size, config.units)
    x, y = chunks(train)
    rate = keras.optimizers.schedules.CosineDecay(
        0.01, len(x) // STREAMS * config.epochs
    )
    trained.compile(
        keras.optimizers.Adam(rate, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    curve = []

    def look(epoch, logs):
        reader.set_weights(trained.get_weights())
        curve.append((logs["loss"] / np.log(2), bits(reader, test)))

    trained.fit(
        x,
        y,
        batch_size=STREAMS,
        epochs=config.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_end=look),
            run.epochs(config.epochs),
        ],
    )
    single, pairs = ngrams(train, size)
    state = np.zeros((1, config.units), "float32")
    for code in encode(known[-1:], characters)[:-1]:  # as in training, a tune before
        _, state = step.predict_on_batch([np.full((1, 1), code), state])
    state = np.repeat(state, config.written, axis=0)
    longest = max(map(len, known))
    drawing = characters, longest, config.temperature, config.seed
    tunes = write(lambda c, s: step.predict_on_batch([c, s]), state, *drawing)
    chance = write(lambda c, s: (pairs[c[:, 0]] * np.log(2), s), state, *drawing)
    music = {notes(tune) for tune in known}
    numbers = {
        "network_bits": curve[-1][1],
        "bigram_bits": -pairs[test[:-1], test[1:]].mean(),
        "unigram_bits": -single[test[1:]].mean(),
        "parsed": np.mean([parsed(tune) is not None for tune in tunes]),
        "bigram_parsed": np.mean([parsed(tune) is not None for tune in chance]),
        "copied": np.mean([notes(tune) in music for tune in tunes]),
    }
    numbers["bits_saved"] = numbers["bigram_bits"] - numbers["network_bits"]
    one = next(filter(parsed, tunes), tunes[0])
    return numbers, np.array(curve), one


def conclude(numbers):
    """Return the sentence that the numbers allow."""
    return (
        f"{numbers['parsed']:.0%} of the tunes that the network writes parse, bar for "
        f"bar, against {numbers['bigram_parsed']:.0%} of those drawn from pairs of "
        f"characters; it needs {numbers['network_bits']:.2f} bits for a character of "
        f"tunes that it has not seen, the pairs {numbers['bigram_bits']:.2f}, and "
        f"{numbers['copied']:.0%} of its tunes are copies."
    )


def paint(figure, drawn):
    """Draw the learning curves, a tune as text, and the same as a piano roll."""
    from matplotlib.ticker import MaxNLocator

    numbers, curve, one = drawn
    top = figure.subplot_mosaic([["curve", "text"], ["roll", "roll"]])
    axes, epochs = top["curve"], np.arange(1, len(curve) + 1)
    axes.plot(epochs, curve[:, 0], "C0-", label="GRU, training")
    axes.plot(epochs, curve[:, 1], "C1--", label="GRU, held out")
    for name, dash in (("bigram", "-."), ("unigram", ":")):
        level = numbers[f"{name}_bits"]
        axes.axhline(level, color="C5", linestyle=dash, label=f"{name}s, held out")
    axes.set(title="Learning to spell tunes", xlabel="epoch", ylabel="bits a character")
    axes.set(ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    top["text"].axis("off")
    title = f"{numbers['parsed']:.0%} of its tunes parse; one:"
    top["text"].set_title(title)
    lines = [text for line in one.split("\n") for text in textwrap.wrap(line, 36)]
    top["text"].text(
        0, 1, "\n".join(lines[:14]), va="top", family="monospace", fontsize=10
    )
    _roll(top["roll"], parsed(one))


def _roll(axes, tune):
    """Draw a tune's notes over time, measured in bars."""
    from matplotlib.ticker import MaxNLocator

    for place, bar in enumerate(tune.bars if tune else [], start=1):
        whole, at = max(float(sum(note.length for note in bar)), 1e-9), float(place)
        axes.axvline(place, color="C5", linewidth=1)
        for note in bar:
            length = float(note.length) / whole
            if note.pitch is not None:
                axes.hlines(note.pitch, at, at + 0.85 * length, "C0", linewidth=5)
            at += length
    axes.set(title="The same tune as a piano roll", xlabel="bar", ylabel="pitch (MIDI)")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(20, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def main(argv: list[str] | None = None) -> dict:
    """Run it; return what `metrics.json` holds."""
    return course.run(sys.modules[__name__], argv)


if __name__ == "__main__":
    console.command_line(main)
