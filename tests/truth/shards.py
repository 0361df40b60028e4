"""The shards of the tables' streams: which changes come through which, and what befalls them.

Troubles are drawn by seed: the histories that repairs are for. Epochs are numbered from 0. Where a
stream's records are lost to the counts, only what a repair can find is lost: rows that no record
names and no index lists are for a verification of whole tables.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from testbench import streams
from tests.truth.row_histories import MODELS, Change, Life

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
    def ended(self) -> int:
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


@dataclass
class Shard:
    """One shard of one table's stream, and those that it splits into.

    Attributes:
        named: whether its events carry a shardId.
        names: how many names its records come under.
        stream: makes its records.
    """

    model: str
    number: int
    named: bool
    names: int
    stream: streams.Stream
    changes: list[Change] = field(default_factory=list)

    @property
    def times(self) -> list[datetime]:
        """When its changes are written."""
        return [change.at for change in self.changes]

    @property
    def per_name(self) -> int:
        """So many records come under one name."""
        return max(1, -(-len(self.changes) // self.names))

    def name(self, record: int) -> str:
        """The name under which its n-th record comes."""
        return f"shardId-{self.number:08}-{record // self.per_name:06}-{self.model.lower()}"


def shards_of(
    lives: Sequence[Life], seed: int, per_table: int, troubles: Mapping[str, Troubles]
) -> list[Shard]:
    """Put lives into shards. A row's changes are all in one shard, as DynamoDB keeps them."""
    draw = random.Random(f"shards/{seed}")
    shards = [
        Shard(
            model,
            number,
            # Without a name a batch must come again from the same record: not when all comes again.
            named=draw.random() < 0.75 or _comes_again(troubles[model]),
            names=max(1, NAMES // per_table) if troubles[model].splits else 1,
            stream=streams.Stream(_arn(model, troubles[model]), first=10**20 * (number + 9) - 40),
        )
        for model in MODELS
        for number in range(per_table)
    ]
    by_model = {model: [shard for shard in shards if shard.model == model] for model in MODELS}
    for life in lives:
        row = life.changes[0].new or {}
        shard = random.Random(f"place/{seed}/{row['id']}").choice(by_model[life.model])
        shard.changes.extend(life.changes)
    for shard in shards:
        # Changes of one row have rising times, so sorting by time keeps their order.
        shard.changes.sort(key=lambda change: change.at)
    return shards


def source_tables(troubles: Mapping[str, Troubles]) -> str:
    """The setting that names the tables that are not named in Amplify's form."""
    return json.dumps({_table(m): m for m, trouble in troubles.items() if trouble.misnamed})


def _comes_again(trouble: Troubles) -> bool:
    return bool(trouble.replays or trouble.skipped or trouble.misnamed)


def _table(model: str) -> str:
    return f"rebuilt{model}-prod"


def _arn(model: str, trouble: Troubles) -> str:
    if not trouble.misnamed:
        return streams.stream_arn(model)
    return f"{streams.table_arn(_table(model))}/stream/2026-11-01T00:00:00.000"
