"""The shards of the tables' streams: which changes come through which, and under which names."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from testbench import streams
from tests.truth.row_histories import MODELS, Change, Life
from tests.truth.troubles import NAMES, Troubles


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


def meddled(model: str, troubles: Mapping[str, Troubles], number: int) -> Shard:
    """A shard for changes that are not planned."""
    stream = streams.Stream(_arn(model, troubles[model]), first=10**20 * (number + 9) - 40)
    return Shard(model, number, named=True, names=1, stream=stream)


def _comes_again(trouble: Troubles) -> bool:
    return bool(trouble.replays or trouble.skipped or trouble.misnamed)


def _table(model: str) -> str:
    return f"rebuilt{model}-prod"


def _arn(model: str, trouble: Troubles) -> str:
    if not trouble.misnamed:
        return streams.stream_arn(model)
    return f"{streams.table_arn(_table(model))}/stream/2026-11-01T00:00:00.000"
