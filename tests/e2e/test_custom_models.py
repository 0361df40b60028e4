"""A model that this project has never heard of, from a file outside the checkout.

The application has the model's table, its type and its query by account and time; the stack gets
its declaration as a user gives it: `attach --models`, then a deployment.
"""

import io
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from amplify_api.models import Model, read_models

from aggregated_metrics_cli.exit_codes import DONE
from testbench import oracle, reviews
from testbench.emulated import corruption
from testbench.emulated.bench import Bench, wait
from testbench.emulated.check import measures_of
from testbench.emulated.functions import StepError, persistently
from testbench.emulated.stack import APP_STACK
from testbench.emulated.writing import put_all
from testbench.templates import ROOT
from testbench.traffic import Write

TENANT = "tenant-1"
BREAKDOWNS = "reviewsByScorecard,reviewsByScore"
ATTACHED = ("StreamArns", "TableArns", "ListingFieldArns")
RANGE = ("--start", "2026-11-22T10:00:00Z", "--end", "2026-11-22T11:00:00Z")
SCHEMA = (ROOT / "backend" / "functions" / "api" / "schema.graphql").read_text() + reviews.SDL


@pytest.fixture(scope="module")
def reviewed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """The stack counts reviews; gives some that were written before it did."""
    model = read_models(SCHEMA)["Review"]
    table = application(bench, model)
    rows = [
        reviews.review("review-1", usage={"total": Decimal("0.25"), "detail": {"words": 120}}),
        reviews.review("review-2", usage={"total": Decimal("0.5"), "detail": {"words": 7}}),
        reviews.review("review-3", reviewedAt="2026-11-22T10:20:00.000Z", state="BROKEN", usage={}),
    ]
    writes = [Write(bench.now, "Review", row["id"], row, is_new=True) for row in rows]
    put_all(bench.stack.client("dynamodb"), {"Review": table}, writes)
    config = attached(bench, tmp_path_factory.mktemp("elsewhere"))
    bench.stack.deploy(APP_STACK, bench.stack.app_template, config)
    yield rows
    before = bench.stack.app_parameters() | {"Models": ""}
    bench.stack.deploy(APP_STACK, bench.stack.app_template, before)


def application(bench: Bench, model: Model) -> str:
    """Have the API know the model; gives its table's name."""
    stack = bench.stack
    functions = stack.client("lambda")
    resolver = bench.physical_id("aggregated-metrics-backend", "ResolverFunction")
    deployed = functions.get_function_configuration(FunctionName=resolver)
    table = f"Review-{deployed['Environment']['Variables']['TABLE_SUFFIX']}"
    (index,) = model.indexes.values()
    names = ("id", index.hash_key, index.attribute)
    stack.client("dynamodb").create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": index.name,
                "KeySchema": [
                    {"AttributeName": index.hash_key, "KeyType": "HASH"},
                    {"AttributeName": index.attribute, "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    functions.update_function_code(FunctionName=resolver, ZipFile=resolver_code())
    allowed = '{"Effect": "Allow", "Action": "dynamodb:*", "Resource": "*"}'
    stack.client("iam").put_role_policy(
        RoleName=deployed["Role"].rpartition("/")[2],
        PolicyName="reviews",
        PolicyDocument=f'{{"Version": "2012-10-17", "Statement": [{allowed}]}}',
    )
    appsync, api = stack.client("appsync"), stack.backend["GraphQLApiId"]
    appsync.start_schema_creation(apiId=api, definition=SCHEMA.encode())
    other = appsync.get_resolver(apiId=api, typeName="Query", fieldName="listItems")["resolver"]
    same = {name: other[name] for name in ("dataSourceName", "runtime", "code")}
    (query,) = model.indexes
    appsync.create_resolver(apiId=api, typeName="Query", fieldName=query, **same)
    return table


def resolver_code() -> bytes:
    """The resolver's code with the application's schema."""
    built = ROOT / ".local" / "build" / "backend" / "build" / "ResolverFunction"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for file in built.rglob("*"):
            if file.is_file() and file.name != "schema.graphql":
                archive.write(file, file.relative_to(built))
        archive.writestr("schema.graphql", SCHEMA)
    return made.getvalue()


def attached(bench: Bench, folder: Path) -> Path:
    """The samconfig.toml that `attach` writes for a file of declarations.

    What differs on the local stack, and the breakdowns, are put in afterwards.
    """
    declared, config = folder / "models.toml", folder / "samconfig.toml"
    declared.write_text(reviews.toml())
    asked = ("--api-id", bench.stack.backend["GraphQLApiId"], "--models", str(declared))
    own = ("--endpoint", bench.stack.graphql_endpoint, "--config", str(config))

    def attach() -> None:
        code, said = bench.command("attach", *asked, *own)
        if code != DONE:
            raise StepError(said)

    persistently(attach)  # the API has new code to start
    written = tomlkit.parse(config.read_text())
    overrides: Any = written["default"]["global"]["parameters"]["parameter_overrides"]
    others = bench.stack.app_parameters() | {"Breakdowns": BREAKDOWNS}
    overrides.update({name: value for name, value in others.items() if name not in ATTACHED})
    config.write_text(tomlkit.dumps(written))
    return config


def counts(bench: Bench) -> dict[oracle.Key, tuple[int, ...]]:
    return {key: measures_of(each) for key, each in bench.stored(TENANT).items()}


def test_a_model_is_counted_checked_backfilled_and_charted(
    bench: Bench, reviewed: list[Any], tmp_path: Path
) -> None:
    counted = oracle.buckets_of((("Review", row) for row in reviewed), breakdowns=True)
    wait(lambda: counts(bench) == counted)
    for each in bench.stored(TENANT).values():
        key = {"accountId": each.accountId, "compositeKey": each.compositeKey}
        bench.vandal.execute(corruption.DELETE, {"input": key})
    code, report = bench.command("backfill", "--yes", "--models", "Review")
    assert code == DONE, report
    assert counts(bench) == counted
    # checked through the model's own index
    asked = ("--account", TENANT, *RANGE, "--record-type", "reviews")
    code, report = bench.command("verify", *asked)
    assert (code, report["hours"], report["rows"] > 0) == (DONE, 1, True), report
    page = tmp_path / "page.html"
    day = ("--account", TENANT, "--day", "2026-11-22")
    code, said = bench.command("report", *day, "--output", str(page))
    assert code == DONE, said
    assert "phoneReviews" in page.read_text("utf-8")
