"""docs/operations.md against template.yaml: whoever is called out finds the way."""

import re
from pathlib import Path

import pytest
from aggregated_metrics.adapters.observability import METRICS
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.jobs.closed_hours import Closed
from aggregated_metrics.jobs.reconciler import Checked
from aggregated_metrics.jobs.sweeper import Swept

from testbench.templates import resources, template

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()
MAPPING = {
    name
    for mapping in resources("template.yaml", "AWS::Lambda::EventSourceMapping").values()
    for name in mapping["Properties"]
}
ENTRIES = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))


def test_every_alarm_has_an_entry_and_every_entry_an_alarm() -> None:
    assert ENTRIES.keys() == resources("template.yaml", "AWS::CloudWatch::Alarm").keys()


@pytest.mark.parametrize("alarm", ENTRIES)
def test_an_entry_says_what_it_means_where_to_look_and_what_to_do(alarm: str) -> None:
    for part in ("Means.", "Look.", "Do."):
        assert f"\n**{part}**" in f"\n{ENTRIES[alarm]}"


@pytest.mark.parametrize("alarm", ENTRIES)
def test_an_entry_is_on_one_screen(alarm: str) -> None:
    assert len(ENTRIES[alarm].splitlines()) <= 40


@pytest.mark.parametrize("alarm", resources("template.yaml", "AWS::CloudWatch::Alarm"))
def test_an_alarm_says_what_it_is_about_and_may_notify(alarm: str) -> None:
    properties = resources("template.yaml", "AWS::CloudWatch::Alarm")[alarm]["Properties"]
    assert properties["AlarmDescription"]
    for action in ("AlarmActions", "OKActions"):
        condition, topic, nothing = properties[action]["!If"]
        assert condition == "NotifyAlarms"
        assert topic == [{"!Ref": "AlarmTopicArn"}]
        assert nothing == {"!Ref": "AWS::NoValue"}


def test_a_filter_names_what_the_function_logs() -> None:
    lines = {
        "BucketSweeperLogs": Swept().as_report(),
        "ReconcilerLogs": Checked(Findings(), repair=False, closed=Closed()).as_report(),
    }
    filters = re.findall(r"output (\w+Logs)\).* --filter-pattern '(\{.*\})'", RUNBOOK)
    assert {log for log, _ in filters} > lines.keys()
    for log, pattern in filters:
        named = set(re.findall(r"\$\.(\w+)", pattern))
        assert named <= {"level", *METRICS, *lines.get(log, ())}, (log, pattern)


def test_the_outputs_that_it_names_are_there() -> None:
    named = set(re.findall(r"\$\(output (\w+)\)", RUNBOOK))
    assert named
    assert named <= template("template.yaml")["Outputs"].keys()


def test_the_parameters_and_alarms_that_it_names_are_there() -> None:
    known = {
        *template("template.yaml")["Parameters"],
        *template("template.yaml")["Outputs"],
        *template("template.yaml")["Resources"],
    }
    named = set(re.findall(r"`((?:[A-Z][a-z]+){2,})`", RUNBOOK))
    awss_own = {"IteratorAge", "MemorySize", *MAPPING}
    errors = {name for name in named if name.endswith("Error")}
    known |= {name for name, _ in METRICS.values()}
    assert named - errors - awss_own <= known
