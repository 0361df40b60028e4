"""A model that this project has never heard of, from a file outside the checkout.

The application has the model's table, its type and its query by account and time; the stack gets
its declaration as a user gives it: `attach --models`, then a deployment.
"""

import shutil
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from amplify_api.models import Model, read_models

from aggregated_metrics_cli.exit_codes import DONE
from testbench import oracle, reviews
from testbench.emulated.functions import command, persistently, wait
from testbench.emulated.stack import APP_STACK, BACKEND_STACK, BUILDS, SCHEMA, StepError
from testbench.streams import image
from tests.e2e.bench import RANGE, Bench

TENANT = "tenant-1"
BREAKDOWNS = "reviewsByScorecard,reviewsByScore"
WITH_REVIEWS = SCHEMA.read_text() + reviews.SDL


@pytest.fixture(scope="module")
def reviewed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The stack counts reviews from now on; gives some that were written before it did."""
    folder = tmp_path_factory.mktemp("elsewhere")
    table = application(bench, read_models(WITH_REVIEWS)["Review"], folder)
    rows = [
        reviews.review("review-1", usage={"total": Decimal("0.25"), "detail": {"words": 120}}),
        reviews.review("review-2", usage={"total": Decimal("0.5"), "detail": {"words": 7}}),
        reviews.review("review-3", reviewedAt="2026-11-22T10:20:00.000Z", state="BROKEN", usage={}),
    ]
    for row in rows:
        bench.dynamodb.put_item(TableName=table, Item=image(row))
    bench.stack.deploy(APP_STACK, attached(bench, folder))
    return rows


def application(bench: Bench, model: Model, folder: Path) -> str:
    """Have the API know the model; gives its table's name."""
    stack = bench.stack
    functions = stack.client("lambda")
    resolver = bench.physical_id(BACKEND_STACK, "ResolverFunction")
    deployed = functions.get_function_configuration(FunctionName=resolver)
    table = f"Review-{deployed['Environment']['Variables']['TABLE_SUFFIX']}"
    (index,) = model.indexes.values()
    keys = {index.hash_key: "HASH", index.attribute: "RANGE"}
    listing = {
        "IndexName": index.name,
        "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        "Projection": {"ProjectionType": "ALL"},
    }
    bench.table(table, *keys, GlobalSecondaryIndexes=[listing])
    functions.update_function_code(FunctionName=resolver, ZipFile=resolver_code(folder))
    allowed = '{"Effect": "Allow", "Action": "dynamodb:*", "Resource": "*"}'
    stack.client("iam").put_role_policy(
        RoleName=deployed["Role"].rpartition("/")[2],
        PolicyName="reviews",
        PolicyDocument=f'{{"Version": "2012-10-17", "Statement": [{allowed}]}}',
    )
    appsync, api = stack.client("appsync"), stack.backend["GraphQLApiId"]
    appsync.start_schema_creation(apiId=api, definition=WITH_REVIEWS.encode())
    other = appsync.get_resolver(apiId=api, typeName="Query", fieldName="listItems")["resolver"]
    same = {name: other[name] for name in ("dataSourceName", "runtime", "code")}
    (query,) = model.indexes
    appsync.create_resolver(apiId=api, typeName="Query", fieldName=query, **same)
    return table


def resolver_code(folder: Path) -> bytes:
    """The resolver's code with the application's schema."""
    code = folder / "resolver"
    shutil.copytree(BUILDS[BACKEND_STACK].parent / "ResolverFunction", code)
    (code / "schema.graphql").write_text(WITH_REVIEWS)
    return Path(shutil.make_archive(str(code), "zip", code)).read_bytes()


def attached(bench: Bench, folder: Path) -> dict[str, str]:
    """The parameters that `attach` writes for a file of declarations, and the local stack's."""
    declared, config = folder / "models.toml", folder / "samconfig.toml"
    declared.write_text(reviews.toml())
    asked = ("--api-id", bench.stack.backend["GraphQLApiId"], "--models", str(declared))
    own = ("--endpoint", bench.stack.graphql_endpoint, "--config", str(config))

    def attach() -> None:
        code, said = command(bench.stack, "attach", *asked, *own)
        if code != DONE:
            raise StepError(said)

    persistently(attach)  # the API has new code to start
    written = tomllib.loads(config.read_text())
    overrides: dict[str, str] = written["default"]["global"]["parameters"]["parameter_overrides"]
    local = bench.stack.app_parameters()
    both = f"{local['Breakdowns']},{BREAKDOWNS}"
    ours = {"GraphQLEndpoint": bench.stack.graphql_endpoint, "Breakdowns": both}
    return local | overrides | ours


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
