"""docs/operations.md against template.yaml, the functions' logs and their metrics."""

import re
from collections.abc import Callable

import pytest
from aggregated_metrics.adapters.observability import METRICS
from aggregated_metrics.core import errors

from testbench.privileges import actions_of, statements_of
from testbench.templates import ROOT, resources, template
from testbench.world import World

RUNBOOK = (ROOT / "docs" / "operations.md").read_text()
MAPPING = {
    name
    for mapping in resources("template.yaml", "AWS::Lambda::EventSourceMapping").values()
    for name in mapping["Properties"]
}
ALARMS = resources("template.yaml", "AWS::CloudWatch::Alarm")
ENTRIES = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))


def test_every_alarm_has_an_entry_and_every_entry_an_alarm() -> None:
    assert ENTRIES.keys() == ALARMS.keys()


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_entry_means_what_its_alarm_says_which_may_notify(alarm: str) -> None:
    says = ALARMS[alarm]["Properties"]
    what = says["AlarmDescription"].partition(" - ")[0].rstrip(".")
    entry = " ".join(ENTRIES[alarm].replace("`", "").split())
    assert what
    assert entry.startswith(f"**Means.** {what}")
    assert all(f" **{part}.** " in entry for part in ("Look", "Do"))
    topic = {"!If": ["NotifyAlarms", [{"!Ref": "AlarmTopicArn"}], {"!Ref": "AWS::NoValue"}]}
    assert says["AlarmActions"] == says["OKActions"] == topic


def logged(work: Callable[[World], object]) -> set[str]:
    """The fields that functions log while they work."""
    world = World()
    work(world)
    return {"level", *(name for report in world.reports for name in report)}


def test_a_filter_names_what_the_function_logs() -> None:
    lines = {
        "StreamAggregatorLogs": logged(lambda w: w.invoke("stream_aggregator", {"Records": []})),
        "BucketSweeperLogs": logged(lambda world: world.invoke("bucket_sweeper", {})),
        "ReconcilerLogs": logged(World.check),
        "BackfillerLogs": logged(World.backfill),
    }
    filters = re.findall(r"logs (\w+Logs) \w+ '(\{.*\})'", RUNBOOK)
    assert {log for log, _ in filters} == lines.keys()
    for log, pattern in filters:
        assert set(re.findall(r"\$\.(\w+)", pattern)) <= lines[log], (log, pattern)


def test_the_errors_that_it_names_are_the_layers() -> None:
    named = set(re.findall(r"`(\w+Error)`", RUNBOOK))
    assert named
    assert named <= vars(errors).keys()


SERVICES = {"stepfunctions": "states"}
"""The names that permissions have where they are not the command line's."""
WIDER = {"lambda:Invoke", "scheduler:GetSchedule", "s3:Cp", "s3api:HeadBucket"}
"""What the page says that neither policy allows."""


def test_who_repairs_may_do_what_the_alarms_have_people_do() -> None:
    page = RUNBOOK.partition("# Alarms")[2].partition("# Other work")[0]
    commands = re.findall(r"aws ([a-z0-9]+) ([a-z-]+)", page)
    asked = {
        f"{SERVICES.get(service, service)}:{command.title().replace('-', '')}"
        for service, command in commands
    }
    assert "sqs:DeleteMessage" in asked
    policies = resources("template.yaml", "AWS::IAM::ManagedPolicy")
    may = (
        statements_of(policies[f"{name}Policy"]["Properties"]) for name in ("ReadOnly", "Repair")
    )
    assert asked - WIDER <= set().union(*map(actions_of, may))


def test_the_outputs_parameters_and_alarms_that_it_names_are_there() -> None:
    made = template("template.yaml")
    outputs = set(re.findall(r"\$\(output (\w+)\)", RUNBOOK))
    assert set() < outputs <= made["Outputs"].keys()
    known = {*made["Parameters"], *made["Outputs"], *made["Resources"]}
    named = set(re.findall(r"`((?:[A-Z][a-z]+){2,})`", RUNBOOK))
    awss_own = {"IteratorAge", "MemorySize", *MAPPING}
    known |= {name for name, _ in METRICS.values()}
    assert {name for name in named - awss_own if not name.endswith("Error")} <= known
