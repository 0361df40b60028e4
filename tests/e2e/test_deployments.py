"""Deploying again or beside, and removing a stack: what was counted stays counted, once."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import batched
from pathlib import Path
from typing import Any

import pytest
from amplify_api.models import read_models

from testbench import rows
from testbench.emulated.functions import StreamLog, wait
from testbench.emulated.own_models import create_table
from testbench.emulated.stack import APP_STACK, BUILDS, REGION, SCHEMA, SOURCE_MODELS, TOOLS
from testbench.streams import image
from testbench.templates import ROOT, resources
from testbench.traffic import Traffic
from tests.e2e.bench import Bench

UNDERWAY = 20
"""So many records are on their way while a deployment is."""
SECOND = "aggregated-metrics-second"
TABLE = "Task-second"
MODELS = read_models(SCHEMA.read_text())
OTHERS = ("Item-second", "Evaluation-second", "Procedure-second")
HASH = re.compile("[0-9a-f]{10}$")
"""What SAM puts behind the name of a layer."""
RESOLVER = "AWS::AppSync::Resolver"
README_STACKS = {
    "aggregated-metrics-staging": ("AWS::Lambda::EventSourceMapping", len(SOURCE_MODELS)),
    "metrics-backend": (RESOLVER, len(resources("backend/template.yaml", RESOLVER))),
}
"""The stacks that README's two blocks of commands deploy, and what a loop makes in each."""
KEPT = ("QuarantineQueue", "FailedBatchesBucket", "BackfillBucket")
LEFT = {*KEPT, "AggregatedMetricsLayer"}
"""What docs/operations.md says is left behind."""


@pytest.mark.thorough  # a minute: two deployments
def test_upgrades_while_rows_are_written_lose_and_double_nothing(
    bench: Bench, stream_log: StreamLog, tmp_path: Path
) -> None:
    made = bench.traffic("upgrade", 300, minutes=120, hours_ago=12)
    left = (replace(made, writes=[*part]) for part in batched(made.writes, 6, strict=False))
    expected = 0
    with ThreadPoolExecutor(1) as pool:
        for release in ("first", "second"):
            runs, taken_in = running(bench), stream_log.records
            template = changed(tmp_path / release)
            deployed = pool.submit(
                bench.stack.deploy, APP_STACK, bench.stack.app_parameters(), template
            )
            expected = write_until(deployed, bench, stream_log, left, expected)
            assert deployed.result() == bench.stack.app
            assert not runs & running(bench)
            assert stream_log.records > taken_in
    for part in left:
        expected += bench.write(part)
    stream_log.drain(expected)
    assert stream_log.records == expected
    assert bench.judge().differences == []


@pytest.mark.thorough  # a minute: two builds from nothing
def test_the_readmes_commands_build_and_deploy(bench: Bench, tmp_path: Path) -> None:
    """Plain `sam build` and `sam deploy`, in a checkout whose `make attach` has been run."""
    stack, formation = bench.stack, bench.stack.client("cloudformation")
    checkout, variables = copied(tmp_path / "checkout"), stack.sam_environment
    attach = [sys.executable, "-m", "aggregated_metrics_cli", "attach", "--env", "staging"]
    attach += ["--api-id", stack.backend["GraphQLApiId"], "--region", REGION]
    attach += ["--endpoint", stack.graphql_endpoint, "--config", "samconfig.toml"]
    subprocess.run(attach, cwd=checkout, env=variables, check=True)
    for (name, (kind, number)), block in zip(README_STACKS.items(), readme_blocks(), strict=True):
        subprocess.run(["sh", "-ec", block], cwd=checkout, env=variables, check=True)
        (made,) = formation.describe_stacks(StackName=name)["Stacks"]
        assert made["StackStatus"] == "CREATE_COMPLETE"
        assert [each["ResourceType"] for each in bench.resources(name)].count(kind) == number
        stack.delete(name)


@pytest.fixture(scope="module")
def second(bench: Bench) -> dict[str, str]:
    """The outputs of a second stack on the same API, over tables of its own: the first goes on."""
    stack = bench.stack
    streams = (create_table(stack, name, MODELS) for name in (TABLE, *OTHERS[:2]))
    return stack.deploy(SECOND, stack.app_parameters() | stack.attached(*streams))


def test_two_stacks_of_one_account_do_not_touch(bench: Bench, second: dict[str, str]) -> None:
    """Their alarms, schedules, queues, tables and mappings are each one's own."""
    assert not set(second.values()) & set(bench.stack.app.values())
    first, other = (
        {each["PhysicalResourceId"] for each in bench.resources(name)}
        for name in (APP_STACK, SECOND)
    )
    assert not first & other


def test_adding_and_removing_a_table_leaves_the_other_mappings(
    bench: Bench, second: dict[str, str]
) -> None:
    """A mapping that is made anew reads a day of its stream again."""
    stack, before = bench.stack, mappings(bench, second)
    assert before.keys() == {TABLE, *OTHERS[:2]}
    streams = {name: arn for name, (_, arn) in before.items() if name != OTHERS[0]}
    now = {OTHERS[2]: create_table(stack, OTHERS[2], MODELS)} | streams
    attached = stack.app_parameters() | stack.attached(*now.values())
    assert stack.deploy(SECOND, attached) == second
    after = mappings(bench, second)
    assert after.keys() == now.keys()
    assert {name: after[name] for name in streams} == {name: before[name] for name in streams}


def test_removing_a_stack_leaves_the_counts_and_what_is_nowhere_else(
    bench: Bench, second: dict[str, str]
) -> None:
    stack = bench.stack
    dynamodb, s3 = bench.dynamodb, stack.client("s3")
    dynamodb.put_item(TableName=TABLE, Item=image(rows.task(accountId="removed")))
    wait(lambda: len(bench.stored("removed")) == 4)
    s3.put_object(Bucket=second["OnFailureBucket"], Key="batch", Body=b"{}")
    assert remove(bench) == LEFT
    assert len(bench.stored("removed")) == 4
    assert len(dynamodb.scan(TableName=TABLE)["Items"]) == 1
    (kept,) = s3.list_objects_v2(Bucket=second["OnFailureBucket"])["Contents"]
    assert kept["Key"] == "batch"
    listed = stack.client("scheduler").list_schedules()["Schedules"]
    own = {each["PhysicalResourceId"] for each in bench.resources(APP_STACK)}
    assert {each["Name"] for each in listed} <= own


def copied(checkout: Path) -> Path:
    """What a deployment needs of this checkout, as if it had been cloned and `make sync` run."""
    for name in ("backend", "functions", "layers", "statemachines"):
        shutil.copytree(ROOT / name, checkout / name)
    for name in ("template.yaml", "samconfig.toml", "Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy2(ROOT / name, checkout / name)
    (checkout / ".tools").symlink_to(TOOLS)
    return checkout


def readme_blocks() -> list[str]:
    """The commands of README's "Deploy it", without the two that are done already."""
    text = (ROOT / "README.md").read_text().partition("## Deploy it")[2].partition("\n## ")[0]
    return [
        re.sub("^make (sync|attach).*$", "", block, flags=re.MULTILINE)
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    ]


def mappings(bench: Bench, stack: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Table to its mapping's UUID and the stream, of a stack with these outputs."""
    listed = bench.stack.client("lambda").list_event_source_mappings(
        FunctionName=stack["StreamAggregatorFunction"]
    )["EventSourceMappings"]
    return {
        each["EventSourceArn"].split("/")[1]: (each["UUID"], each["EventSourceArn"])
        for each in listed
    }


def running(bench: Bench) -> set[str]:
    """The code and the layer that the functions run with."""
    client = bench.stack.client("lambda")
    found = [
        client.get_function_configuration(FunctionName=bench.stack.app[name])
        for name in resources("template.yaml", "AWS::Serverless::Function")
    ]
    return {run for each in found for run in (each["CodeSha256"], each["Layers"][0]["Arn"])}


def changed(folder: Path) -> Path:
    """The build with another line in the layer and in each function; gives its template."""
    shutil.copytree(BUILDS[APP_STACK].parent, folder)
    template = folder / "template.yaml"
    text = re.sub(r"(DefinitionUri: )\S*(statemachines/\S+)", rf"\1{ROOT}/\2", template.read_text())
    template.write_text(text)
    package = folder / "AggregatedMetricsLayer" / "python" / "aggregated_metrics"
    for module in (package / "__init__.py", *folder.glob("*Function/app.py")):
        with module.open("a") as file:
            file.write(f"# the {folder.name} release\n")
    return template


def write_until(
    deployed: Future[Any], bench: Bench, log: StreamLog, left: Iterator[Traffic], expected: int
) -> int:
    """Write part after part while a deployment is underway; gives how many records there are.

    As fast as they are applied, so that some are on their way at each moment.
    """
    while not deployed.done():
        expected += bench.write(next(left))
        least = expected - UNDERWAY
        wait(lambda: log.look().records >= least or deployed.done())  # noqa: B023 - called at once
    return expected


def remove(bench: Bench) -> set[str]:
    """Remove the second stack; gives the resources that were left."""
    formation = bench.stack.client("cloudformation")
    stack_id = formation.describe_stacks(StackName=SECOND)["Stacks"][0]["StackId"]
    bench.stack.delete(SECOND)
    pages = formation.get_paginator("describe_stack_events").paginate(StackName=stack_id)
    return {
        HASH.sub("", event["LogicalResourceId"])
        for page in pages
        for event in page["StackEvents"]
        if event["ResourceStatus"] == "DELETE_SKIPPED"
    }
