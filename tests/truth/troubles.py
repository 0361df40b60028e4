"""What befalls the streams of each model, by seed: the histories that repairs are for.

Epochs are numbered from 0. Where a stream's records are lost to the counts, only what a repair can
find is lost: rows that no record names and no index lists are for a verification of whole tables.
"""

import random
from dataclasses import dataclass
from datetime import timedelta

from tests.truth.row_histories import MODELS

NAMES = 200
"""As many shards one table has had by the end, where shards split."""
LIFETIME = timedelta(days=1)
_NONE = range(0)


@dataclass(frozen=True)
class Troubles:
    """What befalls one model's stream.

    Attributes:
        odd: its rows expire, or are listed nowhere, or cannot be given; nothing of it is lost.
        off: the mapping is off in these epochs, and goes on where it was.
        skipped: a mapping that begins at LATEST sees nothing of these epochs (from 0: the rows are
            older than the deployment).
        misnamed: the table is not named in SOURCE_TABLES: its records go to quarantine.
        replays: at the beginning of these epochs the mapping is made again at TRIM_HORIZON.
        renamed: what was skipped comes again at last, under names that no ledger knows.
        splits: shards split, until the table has had NAMES of them.
        ages_out: how likely a batch that failed is given up.
    """

    odd: bool = False
    off: range = _NONE
    skipped: range = _NONE
    misnamed: range = _NONE
    replays: tuple[int, ...] = ()
    renamed: bool = False
    splits: bool = False
    ages_out: float = 0.0

    @property
    def mended(self) -> int:
        """The epoch at whose end everything that was lost is repaired."""
        return max(self.skipped.stop, self.misnamed.stop)


def no_troubles() -> dict[str, Troubles]:
    """A run without repairs: every row is counted by its stream alone."""
    return {model: Troubles() for model in MODELS}


def troubles(seed: int) -> dict[str, Troubles]:
    """Which model is befallen by what: each trouble falls on one or two."""
    draw = random.Random(f"troubles/{seed}")
    odd, older, latest, misnamed, aged, renewed = draw.sample(MODELS, len(MODELS))
    off = draw.randrange(2, 5)
    first, renamed = draw.randrange(2, 6), draw.random() < 0.5
    return {
        odd: Troubles(odd=True, off=range(off, off + 2), replays=(draw.randrange(6, 10),)),
        older: Troubles(skipped=range(2), splits=True, ages_out=0.5),
        latest: Troubles(
            skipped=range(first, first + 2),
            # What has been applied under its own name may not come under another one.
            replays=(first + 3, first + 5) if renamed else (first + 2, first + 3, first + 5),
            renamed=renamed,
        ),
        misnamed: Troubles(
            misnamed=range(first, first + 1),
            off=range(first + 2, first + 4),
            splits=True,
            replays=(first + 5,),
            ages_out=0.5,
        ),
        aged: Troubles(splits=True, ages_out=0.5, off=range(first + 1, first + 2)),
        renewed: Troubles(skipped=range(first + 1, first + 2), replays=(first + 2, first + 4)),
    }
