"""What runs do."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from testbench.fakes.faults import Rates
from tests.truth.row_histories import Life, lives
from tests.truth.shards import LIFETIME, Troubles, troubles

RATES = Rates(
    drop_before=0.02,
    drop_after=0.03,
    too_many_requests=0.01,
    server_error=0.01,
    throttled_request=0.01,
    throttled_aliases=0.02,
    slow=0.02,
    stale_read=0.15,
    longest=0.05,
    staleness=0.4,
)
EPOCH = timedelta(hours=2)


@dataclass(frozen=True)
class Plan:
    """What a run does; the same plan draws the same history, deliveries and faults.

    Attributes:
        repairs: whether checks repair all the while, and streams lose what only a repair can bring
            back. Without it the streams alone must be exact.
        corrupts: whether another writer corrupts buckets, too, which checks must repair.
        mutation: the rule that is removed.
    """

    rows: int = 500
    seed: int = 1
    repairs: bool = False
    corrupts: bool = False
    workers: int = 3
    shards: int = 2
    mutation: str | None = None
    start: datetime = field(
        default_factory=lambda: datetime.now(UTC).replace(minute=7) - timedelta(days=2),
        repr=False,
    )

    @property
    def batch(self) -> int:
        """Records of a batch, at most."""
        return min(1000, max(100, self.rows // 40))

    @property
    def page(self) -> int:
        """Rows of a page when source rows are read."""
        return min(1000, max(5, self.rows // 20))


def lives_of(plan: Plan) -> list[Life]:
    """The rows' lives that a plan draws, as its models' troubles let them be."""
    if not plan.repairs:
        return lives(plan.seed, plan.rows, plan.start)
    befallen = troubles(plan.seed)
    odd = [model for model, trouble in befallen.items() if trouble.odd]
    made = []
    for drawn in lives(plan.seed, plan.rows, plan.start, odd):
        trouble = befallen[drawn.model]
        life = drawn.in_a_table(LIFETIME if trouble.odd else None)
        made.append(life.plain(partial(_is_skipped, plan, trouble)))
    return made


def _is_skipped(plan: Plan, trouble: Troubles, at: datetime) -> bool:
    return int((at - plan.start) / EPOCH) in trouble.skipped
