"""The shortest history that still fails: rows are left out as long as the failure stays.

Where a failure needs a race it does not come at every run, so each candidate has some tries.
"""

from collections.abc import Callable

from tests.truth.plans import Plan, lives_of
from tests.truth.row_histories import Life
from tests.truth.run import Run

TRIES = 3


def shrink(plan: Plan, say: Callable[[str], None]) -> list[Life]:
    """Lives of which none can be left out (delta debugging by halves)."""
    kept = lives_of(plan)
    parts = 2
    while len(kept) > 1:
        size = max(1, len(kept) // parts)
        chunks = [kept[i : i + size] for i in range(0, len(kept), size)]
        for i in range(len(chunks)):
            rest = [life for j, chunk in enumerate(chunks) if j != i for life in chunk]
            if rest and _fails(plan, rest):
                kept, parts = rest, max(parts - 1, 2)
                say(f"{len(kept)} rows still fail")
                break
        else:
            if size == 1:
                break
            parts = min(len(kept), parts * 2)
    return kept


def _fails(plan: Plan, candidate: list[Life]) -> bool:
    return any(not Run(plan, candidate).go().exact for _ in range(TRIES))
