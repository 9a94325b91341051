"""`zoo verify`: measure published numbers again."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from zoo import console, pretrained
from zoo.course.verify import Rows
from zoo.errors import ZooError, positive_integer
from zoo.files import writable


@dataclass(frozen=True)
class Verify(Rows):
    """Measure published numbers again: those of pretrained models, or of the course.

    The exit code is 0 if all hold.
    """

    names: Annotated[
        Positional[tuple[str, ...]], arg(metavar="[NAME ...]", help_behavior_hint="")
    ] = ()
    """Pretrained models: zoo list --models shows them."""
    all: bool = False
    """Verify all pretrained models."""
    retrain: bool = False
    """Train the models again, and compare the mean accuracy with the card's."""
    seeds: int = 3
    """How often --retrain trains each."""
    course: bool = False
    """Verify the rows of the course: zoo list --course shows them."""
    runs_dir: Path = Path("runs")
    """Where the records of the course's rows go."""

    def __call__(self):
        """Measure, and print the tables."""
        models = self.all or bool(self.names)
        if self.all and self.names:
            raise ZooError("zoo verify takes names or --all, not both.")
        if models == self.course:
            raise ZooError(
                "zoo verify needs to know what: zoo verify NAME, --all for all "
                "pretrained models, or --course."
            )
        if models and (self.rows or self.quick):
            raise ZooError("--rows and --quick are for zoo verify --course.")
        if self.course and self.retrain:
            raise ZooError("--retrain is for pretrained models: zoo verify NAME.")
        if self.course:
            for _ in self._run(writable(self.runs_dir, "--runs-dir")):
                pass
            return
        names = pretrained.list_models() if self.all else self.names
        for name in names:
            pretrained.facts(name)  # before the first is measured
        positive_integer("--seeds", self.seeds)
        console.say("Loading TensorFlow ...")
        console.import_keras()
        from zoo.pretrained import verify

        given = {"data_dir": self.data_dir, "mirror": self.mirror}
        measure = verify.weights
        if self.retrain:
            measure = functools.partial(verify.retrained, seeds=self.seeds)
        failed = {"the card's numbers do not hold": [], "not measured": []}
        differ, unknown = failed.values()
        for name in names:
            try:
                if not measure(name, **given):
                    differ.append(name)
            except ZooError as why:  # without its data, say: the others have theirs
                console.say(f"{name}: not measured: {why}")
                unknown.append(name)
        hold = len(names) - len(differ) - len(unknown)
        print(f"{hold} of {len(names)} models hold.")
        if hold < len(names):
            said = [
                f"{why}: {', '.join(those)}" for why, those in failed.items() if those
            ]
            raise ZooError(f"{'; '.join(said)}.")
