"""What runs do, and what comes of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
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


class Repairs(StrEnum):
    """What checks do while a run goes on.

    Attributes:
        OFF: no check runs: the streams alone are exact.
        ON: checks repair all the while, and streams lose what only a repair can bring back.
        CORRUPTION: as ON, and another writer corrupts buckets, which must be repaired.
    """

    OFF = "off"
    ON = "on"
    CORRUPTION = "corruption"


@dataclass(frozen=True)
class Plan:
    """What a run does; the same plan draws the same history, deliveries and faults."""

    rows: int = 500
    seed: int = 1
    workers: int = 3
    shards: int = 2
    batch: int = 100
    repairs: Repairs = Repairs.OFF
    redeliver: float = 0.15
    die: float = 0.06
    rates: Rates = RATES
    mutation: str | None = None
    pace: float = 0.5
    page: int = 50
    start: datetime = field(
        default_factory=lambda: datetime.now(UTC).replace(minute=7) - timedelta(days=2)
    )


@dataclass
class Verdict:
    """What came of a run. `wrong` has sentences of what is not exact."""

    plan: Plan
    wrong: list[str] = field(default_factory=list)
    buckets: int = 0
    records: int = 0
    invocations: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    deaths: int = 0
    quarantined: int = 0
    corrupted: int = 0
    given_up: int = 0
    scans: int = 0
    repaired: int = 0
    healed: int = 0

    @property
    def exact(self) -> bool:
        return not self.wrong

    @property
    def summary(self) -> str:
        """The run in a line."""
        return (
            f"seed {self.plan.seed}, repairs {self.plan.repairs}: {len(self.wrong)} wrong of "
            f"{self.buckets} buckets, {self.plan.rows} rows, {self.records} records, "
            f"{self.invocations.total()} invocations of which {self.failures.total()} failed, "
            f"{self.deaths} deaths, {self.requests} requests, {self.faults.total()} faults, "
            f"{self.quarantined} quarantined, {self.given_up} given up, "
            f"{self.corrupted} corrupted, {self.repaired} repaired, {self.healed} healed"
        )


def lives_of(plan: Plan) -> list[Life]:
    """The rows' lives that a plan draws, as its models' troubles let them be."""
    if plan.repairs is Repairs.OFF:
        return lives(plan.seed, plan.rows, plan.start)
    befallen = troubles(plan.seed)
    made = []
    for drawn in lives(plan.seed, plan.rows, plan.start, odd_models(befallen)):
        trouble = befallen[drawn.model]
        life = drawn.in_a_table(LIFETIME if trouble.odd else None)
        made.append(life.plain(partial(_is_skipped, plan, trouble)))
    return made


def odd_models(befallen: Mapping[str, Troubles]) -> list[str]:
    """The models whose rows no check may take for absent."""
    return [model for model, trouble in befallen.items() if trouble.odd]


def _is_skipped(plan: Plan, trouble: Troubles, at: datetime) -> bool:
    return int((at - plan.start) / EPOCH) in trouble.skipped
