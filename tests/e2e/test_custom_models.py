"""A model that this project has never heard of, from a file outside the checkout.

The application has the model's table, its type and its query by account and time; the stack gets
its declaration as a user gives it: `attach --models`, then a deployment.
"""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aggregated_metrics_cli.exit_codes import DONE
from testbench import oracle
from testbench.emulated.functions import command, wait
from testbench.emulated.own_models import attach, extend
from testbench.streams import image
from tests.e2e.bench import RANGE, Bench
from tests.reviews import document, review, toml

TENANT = "tenant-1"


@pytest.fixture(scope="module")
def reviewed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The stack counts reviews from now on; gives some that were written before it did."""
    folder, declared = tmp_path_factory.mktemp("elsewhere"), document()
    extend(bench.stack, declared, folder)
    rows = [
        review("review-1", usage={"total": Decimal("0.25"), "detail": {"words": 120}}),
        review("review-2", usage={"total": Decimal("0.5"), "detail": {"words": 7}}),
        review("review-3", reviewedAt="2026-11-22T10:20:00.000Z", state="BROKEN", usage={}),
    ]
    for row in rows:
        bench.dynamodb.put_item(TableName=bench.stack.table("Review"), Item=image(row))
    file = folder / "models.toml"
    file.write_text(toml())
    attach(bench.stack, declared, file, folder)
    return rows


def counts(bench: Bench) -> dict[oracle.Key, tuple[int, ...]]:
    return {key: oracle.held(vars(each)) for key, each in bench.stored(TENANT).items()}


def test_a_model_is_counted_checked_backfilled_and_charted(
    bench: Bench, reviewed: list[Any], tmp_path: Path
) -> None:
    counted = oracle.buckets_of((("Review", row) for row in reviewed), breakdowns=True)
    wait(lambda: counts(bench) == counted)
    for each in bench.stored(TENANT).values():
        bench.change(TENANT, each.compositeKey, None)
    code, report = command(bench.stack, "backfill", "--yes", "--models", "Review")
    assert code == DONE, report
    assert counts(bench) == counted
    # checked through the model's own index
    asked = ("--account", TENANT, *RANGE, "--record-type", "reviews")
    code, report = command(bench.stack, "verify", *asked)
    assert (code, report["hours"], report["rows"] > 0) == (DONE, 1, True), report
    page = tmp_path / "page.html"
    day = ("--account", TENANT, "--day", "2026-11-22")
    code, said = command(bench.stack, "report", *day, "--output", str(page))
    assert code == DONE, said
    assert "phoneReviews" in page.read_text("utf-8")
