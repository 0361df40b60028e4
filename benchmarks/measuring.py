"""A line of a table, repeats with their median and spread, and whether a bar is reached."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """Repeats of one quantity."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        """Of a fresh process: whatever else the machine does only adds to what it takes."""
        return min(self.values)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles."""
        if len(self.values) < 3:
            return (max(self.values) - min(self.values)) / 2
        low, _, high = statistics.quantiles(self.values, n=4)
        return (high - low) / 2

    def over(self, other: "Sample", less: "Sample | None" = None) -> "Sample":
        """Round by round, this over the other; `less` is taken off both first."""
        off = less.values if less is not None else [0.0] * len(self.values)
        return Sample(
            [(a - c) / (b - c) for a, b, c in zip(self.values, other.values, off, strict=True)]
        )

    def minus(self, other: "Sample") -> "Sample":
        return Sample([a - b for a, b in zip(self.values, other.values, strict=True)])


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        group: which part of the benchmark.
        what: what was measured.
        value: the median, or a number that does not vary.
        unit: of `value`.
        spread: half the distance between the quartiles; None for a number that does not vary.
        bar: the most that it may be; None where nothing is promised.
    """

    group: str
    what: str
    value: float
    unit: str = ""
    spread: float | None = None
    bar: float | None = None

    @property
    def reached(self) -> bool | None:
        return None if self.bar is None else self.value <= self.bar

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached}


type Work = tuple[Callable[[], Any], Callable[[Any], object]]
"""What prepares a work, which is not measured, and the work, which gets what was prepared."""


def interleaved(works: Mapping[str, Work], repeats: int) -> dict[str, Sample]:
    """CPU seconds of each work, one after the other in every round, so that all share the noise.

    What a work returns, if a float, are seconds that do not count. Anything else is freed before
    the next work starts: freeing it is no part of any work.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for measured in range(-1, repeats):
        for name, (prepare, work) in works.items():
            gc.collect()
            prepared = prepare()
            started = time.process_time()
            off = work(prepared)
            took = time.process_time() - started - (off if isinstance(off, float) else 0.0)
            del off, prepared
            if measured >= 0:  # the first round only warms up
                taken[name].append(took)
    return {name: Sample(values) for name, values in taken.items()}
