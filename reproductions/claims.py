"""What a reproduction consists of."""

from __future__ import annotations

import copy
import importlib
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from peer.experiment import Experiment
from topology.errors import UserError

HERE = Path(__file__).parent
PAPERS = ("diffusion", "fegan", "oasis", "distributed_gan", "later", "ours")

Keys = Mapping[str, Any]
"""Those of an experiment file."""

Numbers = Mapping[str, Any]
"""What was measured of one run, in types that JSON knows."""

Found = Mapping[str, Sequence[Numbers]]
"""By system, the numbers of each seed."""


class Holds(StrEnum):
    """What a verdict says."""

    YES = "holds"
    PART = "holds in part"
    NO = "does not hold"

    @classmethod
    def by(cls, *tests: bool) -> Holds:
        """It holds if all tests do, in part if some do."""
        return cls.YES if all(tests) else cls.PART if any(tests) else cls.NO


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds, and the numbers that say so, as a sentence.

    ``part`` says what of it holds, and what does not, where it holds in part.
    """

    holds: Holds
    numbers: str
    part: str = ""

    @classmethod
    def by(cls, tests: Mapping[str, bool], numbers: str) -> Verdict:
        """Of the tests of a rule, by what they test: ``{"the ordering": True, "the factor": ...}``.

        The words are read after "holds in part:", and those of what failed after "not".
        """
        holds = Holds.by(*tests.values())
        if holds is not Holds.PART:
            return cls(holds, numbers)
        held = _listed([words for words, held in tests.items() if held], "and")
        failed = _listed([words for words, held in tests.items() if not held], "or")
        return cls(holds, numbers, f"{held}, not {failed}")


def _listed(words: Sequence[str], last: str) -> str:
    """``a, b and c``."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


@dataclass(frozen=True)
class Reproduction:
    """One figure or table.

    Attributes:
        source: the paper and the figure: ``"Diffusion GAN, figure 6"``.
        claim: what the paper says, in its words, shortened.
        smaller: what is smaller here, and why that is fair.
        rule: when it holds, in part, or not; written before the run.
        experiments: by system, the keys of an experiment file without ``seed``.
        measure: of one run's folder, the numbers; they are kept.
        verdict: the rule, carried out.
        draw: the figure, of the numbers alone.
        caption: what the figure shows.
        seeds: how many: five where a run takes less than three minutes, three where less than 15.
        engine: of the simulator.
        disputed: what somebody who read the page beside the paper has against the rule.
        attempts: what was tried when it did not hold, two at most, by what it is: keys that change
            in all experiments, or a function that gives those of each system.
        carry_out: what is done with an experiment and a folder in place of a simulation, where a
            claim needs more than that; the folder then holds what it wrote.
    """

    source: str
    claim: str
    smaller: str
    rule: str
    experiments: Callable[[], Mapping[str, Keys]]
    measure: Callable[[Path], Numbers]
    verdict: Callable[[Found], Verdict]
    draw: Callable[[Found], Figure]
    caption: str
    seeds: int = 5
    engine: str = "event"
    attempts: Mapping[str, Keys | Callable[[str], Keys]] = field(default_factory=dict)
    disputed: str = ""
    carry_out: Callable[[Experiment, Path], None] | None = None


def names() -> list[str]:
    """Of all reproductions, in the order of papers and figures: ``fegan-fig6-8``."""
    return [name_of(path) for paper in PAPERS for path in _files(paper)]


def _files(paper: str) -> list[Path]:
    return sorted((HERE / paper).glob("[!_]*.py"), key=lambda path: _order(path.stem))


def _order(stem: str) -> list[tuple[int, int, str]]:
    """``fig9`` before ``fig10``, figures before tables."""
    parts = "".join(c if c.isdigit() else f" {c} " if c == "_" else c for c in stem)
    split = "".join(f" {c}" if c.isdigit() and not p.isdigit() else c for p, c in _pairs(parts))
    return [(0, int(x), "") if x.isdigit() else (1, 0, x) for x in split.split()]


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    return zip(" " + text, text, strict=False)


def name_of(path: Path) -> str:
    """A module's name on the command line: ``fegan/fig6_8.py`` is ``fegan-fig6-8``."""
    return f"{path.parent.name}-{path.stem}".replace("_", "-")


def find(name: str) -> Reproduction:
    """The reproduction of that name.

    Raises:
        UserError: there is none.
    """
    for paper in PAPERS:
        for path in _files(paper):
            if name_of(path) == name:
                module = importlib.import_module(f"reproductions.{paper}.{path.stem}")
                found: Reproduction = module.REPRODUCTION
                return found
    raise UserError(f"there is no reproduction '{name}'; choose from {', '.join(names())}")


def merged(keys: Keys, changes: Keys) -> dict[str, Any]:
    """``keys`` with ``changes``; what is a mapping in both is merged, too."""
    result = copy.deepcopy(dict(keys))
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return result


def column(found: Found, system: str, key: str) -> list[float]:
    """A number of every seed; NaN where it is not known."""
    return [math.nan if each.get(key) is None else float(each[key]) for each in found[system]]


def mean(found: Found, system: str, key: str) -> float:
    """Over the seeds in which it is known; NaN where it is in none."""
    known = [x for x in column(found, system, key) if math.isfinite(x)]
    return statistics.fmean(known) if known else math.nan


def spread(found: Found, system: str, key: str, form: str = ".3g") -> str:
    """Mean and standard deviation over seeds, as text: ``12.3 ± 0.4``."""
    known = [x for x in column(found, system, key) if math.isfinite(x)]
    if not known:
        return "unknown"
    text = f"{statistics.fmean(known):{form}}"
    return text if len(known) == 1 else f"{text} ± {statistics.stdev(known):{form}}"


def wins(found: Found, better: str, worse: str, key: str, ratio: float = 1.0) -> int:
    """In how many seeds ``better`` is below ``ratio`` times ``worse``; lower is better."""
    pairs = zip(column(found, better, key), column(found, worse, key), strict=True)
    return sum(one < ratio * other for one, other in pairs)
