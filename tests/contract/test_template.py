"""What the code relies on in template.yaml."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from aggregated_metrics.adapters.observability import HEARTBEATS, METRICS
from aggregated_metrics.adapters.pending_hours import LEASE_SECONDS
from aggregated_metrics.adapters.settings import Settings
from aggregated_metrics.core.models import BUILT_IN

from aggregated_metrics_cli.deployment import SETTINGS
from testbench.privileges import actions_of, statements_of
from testbench.templates import LISTS, ROOT, resources, template

BACKEND = "backend/template.yaml"
TEMPLATE = template("template.yaml")
GLOBALS = TEMPLATE["Globals"]["Function"]
FUNCTIONS = resources("template.yaml", "AWS::Serverless::Function")
MAPPINGS = resources("template.yaml", "AWS::Lambda::EventSourceMapping")
ALARMS = {
    name: alarm["Properties"]
    for name, alarm in resources("template.yaml", "AWS::CloudWatch::Alarm").items()
}


def properties(name: str) -> dict[str, Any]:
    """Those of a resource."""
    found: dict[str, Any] = TEMPLATE["Resources"][name]["Properties"]
    return found


def is_given(parameter: str) -> dict[str, Any]:
    """Whether a list parameter has anything: an empty one is a list of one empty text."""
    return {"!Not": [{"!Equals": [{"!Select": [0, {"!Ref": parameter}]}, ""]}]}


def test_every_stream_has_a_mapping_of_its_own_name() -> None:
    """Adding or removing a stream leaves the other mappings: a name depends on its stream alone."""
    arns = {name: mapping["Properties"]["EventSourceArn"] for name, mapping in MAPPINGS.items()}
    assert sorted(arns.values()) == sorted(LISTS["StreamArns"])
    for name, arn in arns.items():
        assert name == "Events" + "".join(filter(str.isalnum, arn))
        assert len(name) <= 255  # the most that a logical id may have


def test_a_mapping_names_the_shard_and_keeps_its_order_and_what_ages_out() -> None:
    """Checkpoints need the window and the factor: see docs/architecture.md."""
    for mapping in MAPPINGS.values():
        assert next(iter(mapping)) == "Type"  # AWS refuses a loop's body that begins otherwise
        assert (mapping["Condition"], mapping["DependsOn"]) == ("CountAnything", "StreamsPolicy")
        kept = {"Destination": {"!GetAtt": "FailedBatchesBucket.Arn"}}
        assert mapping["Properties"] == {
            "FunctionName": {"!Ref": "StreamAggregatorFunction"},
            "EventSourceArn": mapping["Properties"]["EventSourceArn"],
            "StartingPosition": "TRIM_HORIZON",
            "TumblingWindowInSeconds": 900,
            "ParallelizationFactor": 1,
            "BatchSize": 1000,
            "MaximumBatchingWindowInSeconds": {"!Ref": "BatchingWindowSeconds"},
            "MaximumRecordAgeInSeconds": 23 * 3600,
            "BisectBatchOnFunctionError": False,
            "DestinationConfig": {"OnFailure": kept},
        }


def test_functions_have_roles_and_logs_of_their_own() -> None:
    for key in ("Role", "LoggingConfig"):
        own = {json.dumps(function["Properties"][key]) for function in FUNCTIONS.values()}
        assert len(own) == len(FUNCTIONS)
    assert not any("Policies" in function["Properties"] for function in FUNCTIONS.values())
    # Step Functions tries its role's access to the log when it makes the machine
    assert TEMPLATE["Resources"]["BackfillStateMachine"]["DependsOn"] == "BackfillPolicy"


WITHOUT_RESOURCES: Mapping[str, tuple[str, ...]] = {
    "ListMappings": ("lambda:ListEventSourceMappings",),  # nor does this list of Lambda's
    "ReadMetricsAndMappings": ("cloudwatch:", "lambda:"),  # nor do these
    # what is read is not known before it is found, and is settings, no rows
    "ReadSettings": ("appsync:Get", "appsync:List", "dynamodb:", "lambda:"),
    "Log": ("logs:",),  # nor does the delivery of logs, which Step Functions uses
}


def every_statement() -> Iterator[dict[str, Any]]:
    for role in resources("template.yaml", "AWS::IAM::Role").values():
        for policy in role["Properties"].get("Policies", ()):
            yield from statements_of(policy)
    for kind in ("Policy", "ManagedPolicy"):
        for policy in resources("template.yaml", f"AWS::IAM::{kind}").values():
            yield from statements_of(policy["Properties"])


def test_roles_may_touch_named_resources_by_named_actions_only() -> None:
    for statement in every_statement():
        named = statement["Resource"]
        assert "*" not in "".join(actions_of([statement]))
        for action in actions_of([statement]) if named == "*" else ():
            assert action.startswith(WITHOUT_RESOURCES[statement["Sid"]])
        for resource in named if isinstance(named, list) else [named]:
            assert resource == "*" or isinstance(resource, dict), statement
        if statement["Action"] == "appsync:GraphQL" and named != {"!Ref": "ListingFieldArns"}:
            assert all("*" not in resource["!Sub"] for resource in named)


def variables(function: str) -> dict[str, Any]:
    own: dict[str, Any] = properties(function)["Environment"]["Variables"]
    return {**GLOBALS["Environment"]["Variables"], **own}


def test_the_environment_is_what_the_settings_and_the_command_line_read() -> None:
    known = {*Settings.model_fields, "LOG_LEVEL"}
    given = {name for function in FUNCTIONS for name in variables(function)}
    ours = {name for name in given if not name.startswith("POWERTOOLS_")}
    assert ours <= known
    assert known - ours == {"AWS_REGION"}  # Lambda sets it
    assert SETTINGS.keys() <= TEMPLATE["Parameters"].keys() | TEMPLATE["Outputs"].keys()


MODELS = ("SupportConversation", "CallRecording", "AgentReview", "Escalation", "Refund", "Delivery")
STREAM = (
    "arn:aws-us-gov:dynamodb:ap-southeast-1:123456789012:table/{}-"
    + "a" * 26
    + "-staging/stream/2026-11-22T10:00:00.000"
)


def test_eight_built_in_models_and_six_custom_ones_fit_into_4_kb() -> None:
    """All variables of a function share them. Names are as long as they come."""
    given = {
        "Models": "m" * 1_000,  # the most that six declarations take: tests/unit/test_declarations
        "StreamArns": ",".join(map(STREAM.format, (*(m.name for m in BUILT_IN), *MODELS))),
        "Breakdowns": "all",
        "GraphQLEndpoint": f"https://{'e' * 26}.appsync-api.ap-southeast-1.amazonaws.com/graphql",
        "SourceLifetimeDays": json.dumps(dict.fromkeys(MODELS, 365)),
    }
    for function in FUNCTIONS:
        values = {name: resolved(value, given) for name, value in variables(function).items()}
        size = sum(len(name) + len(value) for name, value in values.items())
        assert size <= 4096, (function, size)


def resolved(value: Any, given: dict[str, str]) -> str:
    """A variable's value; what only AWS knows is as long as a queue's URL with a long name."""
    match value:
        case str():
            return value
        case {"!Ref": str(name)} | {"!Join": [",", {"!Ref": str(name)}]}:
            default = TEMPLATE["Parameters"].get(name, {}).get("Default")
            return given.get(name, "q" * 120 if default is None else str(default))
        case _:
            return "n" * 80


def test_a_setting_and_its_parameter_have_one_default() -> None:
    least = {"GRAPHQL_ENDPOINT": "https://api.example/graphql", "PENDING_HOURS_TABLE": "hours"}
    refers = {
        name: str(TEMPLATE["Parameters"][value["!Ref"]]["Default"])
        for function in FUNCTIONS
        for name, value in variables(function).items()
        if isinstance(value, dict)
        and "Default" in TEMPLATE["Parameters"].get(str(value.get("!Ref")), {})
    }
    settings = Settings.from_environment(least)
    given = Settings.from_environment(least | refers)
    assert "BACKFILL_CONCURRENCY" in refers
    for name in refers.keys() & Settings.model_fields.keys():
        assert getattr(given, name) == getattr(settings, name), name


def test_schedules_are_as_often_as_the_alarms_expect_and_each_stacks_own() -> None:
    """No parameter slows them down: the alarm of a late run would ring.

    Nor does an invocation outlive the lease of its entry.
    """
    assert "Timeout" not in properties("StreamAggregatorFunction")
    assert GLOBALS["Timeout"] < LEASE_SECONDS
    scheduled = (*FUNCTIONS, "BackfillStateMachine")
    events = [each for name in scheduled for each in properties(name).get("Events", {}).items()]
    assert all(event["Type"] == "ScheduleV2" for _, event in events)
    found = {name: event["Properties"] for name, event in events}
    assert all(each["OmitName"] for each in found.values())
    assert found["Sweep"]["ScheduleExpression"] == "rate(1 minute)"
    assert found["Reconcile"]["ScheduleExpression"] == "rate(1 hour)"
    assert found["Reconcile"]["Input"] == {"!Sub": '{"repair": ${ReconcileRepairs}}'}
    assert json.loads(found["DeepVerify"]["Input"]) == {"tables": {"repair": False}}


def test_queues_are_encrypted_and_queues_and_buckets_reached_over_tls_only() -> None:
    for queue in resources("template.yaml", "AWS::SQS::Queue").values():
        assert queue["Properties"]["SqsManagedSseEnabled"] is True
    for kind, names in (("SQS::Queue", "Queues"), ("S3::Bucket", "Bucket")):
        secured = json.dumps(
            [
                policy["Properties"][names]
                for policy in resources("template.yaml", f"AWS::{kind}Policy").values()
                for each in policy["Properties"]["PolicyDocument"]["Statement"]
                if (each["Effect"], each["Principal"]) == ("Deny", "*")
                and each["Condition"]["Bool"] == {"aws:SecureTransport": "false"}
                and each["Condition"]["NotIpAddress"] == {"!Ref": "AWS::NoValue"}
            ]
        )
        assert all(f'"{name}"' in secured for name in resources("template.yaml", f"AWS::{kind}"))


def retained(path: str) -> set[str]:
    return {
        name
        for name, resource in template(path)["Resources"].items()
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate"
        and resource["UpdateReplacePolicy"] == "Retain"
    }


@pytest.mark.parametrize("path", ["template.yaml", BACKEND])
def test_a_first_deployment_that_fails_leaves_nothing(path: str) -> None:
    """A stack that could not be created can only be deleted; nothing of it may stay behind."""
    policies = [each.get("DeletionPolicy") for each in template(path)["Resources"].values()]
    assert "Retain" not in policies
    config = tomllib.loads((ROOT / path).with_name("samconfig.toml").read_text())
    for environment in (value for value in config.values() if isinstance(value, dict)):
        assert environment["deploy"]["parameters"]["on_failure"] == "DELETE"


def test_what_cannot_be_made_again_outlives_the_stack() -> None:
    assert retained("template.yaml") == {"QuarantineQueue", "FailedBatchesBucket", "BackfillBucket"}
    assert retained(BACKEND) == resources(BACKEND, "AWS::DynamoDB::Table").keys()


NAMESPACE = {"!Sub": "AggregatedMetrics/${AWS::StackName}"}


def watched_by(alarm: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The metrics that an alarm watches: its own, or those that its expression adds up."""
    queries = alarm.get("Metrics", [{"MetricStat": {"Metric": alarm}}])
    yield from (query["MetricStat"]["Metric"] for query in queries if "MetricStat" in query)


def dimensions(metric: dict[str, Any]) -> dict[str, Any]:
    return {each["Name"]: each["Value"] for each in metric["Dimensions"]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # EventBridge starts a sweep at any second of its minute: a minute may have none, or two
        ("StreamNotConsumed", {"Statistic": "Minimum", "EvaluationPeriods": 5}),
        # a batch that times out comes again about every other minute
        ("StreamBehind", {"Period": 300, "Threshold": 600_000, "EvaluationPeriods": 3}),
        *((name, {"Threshold": 0}) for name in ("FailedBatchLost", "FailedBatches", "Quarantined")),
        *((name, {"Threshold": 0}) for name in ("ExecutionFailed", "Deferred", "Drift")),
        ("CheckpointsEvicted", {"Threshold": 0}),
    ],
)
def test_an_alarm_rings_at_the_first_fault_and_not_at_what_is_usual(
    name: str, expected: dict[str, Any]
) -> None:
    alarm = ALARMS[f"{name}Alarm"]
    assert alarm.items() >= expected.items()
    if "EvaluationPeriods" in expected:
        assert alarm["DatapointsToAlarm"] == expected["EvaluationPeriods"] - 1


def test_an_alarm_that_adds_up_watches_what_has_no_other_and_takes_no_data_for_zero() -> None:
    errors = [dimensions(each) for each in watched_by(ALARMS["FunctionErrorsAlarm"])]
    assert {each["FunctionName"]["!Ref"] for each in errors} == (
        FUNCTIONS.keys() - {"StreamAggregatorFunction"}
    )
    drift = [dimensions(each) for each in watched_by(ALARMS["DriftAlarm"])]
    assert [(each["service"], each["check"]) for each in drift] == (
        [("reconciler", "hourly"), ("backfiller", "deep")]
    )
    for name in ("DriftAlarm", "FunctionErrorsAlarm"):
        *parts, whole = ALARMS[name]["Metrics"]
        filled = ", ".join(f"FILL({part['Id']}, 0)" for part in parts)
        assert whole["Expression"] == f"SUM([{filled}])"


def test_an_alarms_row_has_no_other_keys_than_the_loop_reads() -> None:
    """A misspelt one would be its default; and AWS bills each alarm."""
    assert len(ALARMS) <= 12
    known = {"Kind", "Of", "Metric", "Statistic", "Period", "Periods", "Datapoints"}
    for row in TEMPLATE["Mappings"]["Alarms"].values():
        assert row.keys() <= {*known, "Threshold", "Missing", "Text"}


@pytest.mark.parametrize(
    ("name", "metric", "seconds"),
    [
        ("StreamNotConsumedAlarm", "StreamNotConsumed", 6 * 60),
        ("OldestOpenCheckAlarm", "OldestOpenCheck", 3 * 3600),
    ],
)
def test_silence_is_heard_when_the_alarm_says(name: str, metric: str, seconds: int) -> None:
    """CloudWatch retrieves two data points more than the evaluation periods.

    It evaluates the existing ones first and fills up with what stands for missing data: so many
    must be missing as breach, and those two more.
    """
    watched = ALARMS[name]
    assert (watched["MetricName"], watched["TreatMissingData"]) == (metric, "breaching")
    assert (watched["DatapointsToAlarm"] + 2) * watched["Period"] <= seconds


def test_only_silence_of_a_heartbeat_is_an_alarm_and_every_heartbeat_has_one() -> None:
    """Zeros of other metrics are not sent: AWS bills a metric for each hour that has data."""
    silent = {
        alarm["MetricName"] for alarm in ALARMS.values() if alarm["TreatMissingData"] == "breaching"
    }
    assert silent == {METRICS[name][0] for name in HEARTBEATS}


@pytest.mark.parametrize(
    ("policy", "condition", "parameter"),
    [
        ("StreamsPolicy", "CountAnything", "StreamArns"),
        ("SourceTablesPolicy", "DescribeTables", "TableArns"),
        ("SourceScanPolicy", "DescribeTables", "TableArns"),
        ("ListingsPolicy", "ListRows", "ListingFieldArns"),
    ],
)
def test_what_attach_lists_is_all_that_may_be_read(
    policy: str, condition: str, parameter: str
) -> None:
    """Without the condition an empty list would be a policy on an empty text, which AWS refuses."""
    statement = next(iter(statements_of(properties(policy))))
    assert statement["Resource"] == {"!Ref": parameter}
    assert TEMPLATE["Resources"][policy]["Condition"] == condition
    assert TEMPLATE["Conditions"][condition] == is_given(parameter)
    if policy in {"StreamsPolicy", "SourceScanPolicy"}:
        # a customer's key comes with what it opens: a mapping is tried when it is made
        (_, decrypt) = properties(policy)["PolicyDocument"]["Statement"]
        key = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": {"!Ref": "SourceKeyArns"}}
        assert decrypt == {"!If": ["UseSourceKeys", key, {"!Ref": "AWS::NoValue"}]}
        assert TEMPLATE["Conditions"]["UseSourceKeys"] == is_given("SourceKeyArns")


def test_the_architecture_is_one_setting_for_build_and_functions() -> None:
    chosen = {"!Ref": "Architecture"}
    layer = TEMPLATE["Resources"]["AggregatedMetricsLayer"]
    assert layer["Metadata"]["BuildArchitecture"] == chosen
    assert layer["Properties"]["CompatibleArchitectures"] == [chosen]
    assert GLOBALS["Architectures"] == [chosen]


def test_the_layers_requirements_are_pinned_by_their_contents() -> None:
    text = (ROOT / "layers" / "aggregated_metrics" / "requirements.txt").read_text()
    requirements = [line for line in text.splitlines() if line[0] not in "# "]
    assert requirements
    for line in requirements:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+ \\", line), line
    pinned = text.replace("\\\n", "").splitlines()[1:]
    assert all(re.search("--hash=sha256:[0-9a-f]{64}", line) for line in pinned)


def shown() -> Iterator[tuple[str, dict[str, Any]]]:
    """The stack's own metrics on the dashboard: name and dimensions."""
    for widget in WIDGETS:
        for namespace, metric, *named in widget["properties"].get("metrics", ()):
            if namespace == NAMESPACE["!Sub"]:
                texts = [each for each in named if isinstance(each, str)]
                yield metric, dict(zip(texts[::2], texts[1::2], strict=True))


WIDGETS = json.loads(properties("StackDashboard")["DashboardBody"]["!Sub"])["widgets"]
WATCHED = [metric for alarm in ALARMS.values() for metric in watched_by(alarm)]
ALARMED = [
    (metric["MetricName"], dimensions(metric))
    for metric in WATCHED
    if metric["Namespace"] == NAMESPACE
]
"""The stack's own metrics that alarms watch: name and dimensions."""


def test_every_metric_that_is_sent_is_used_and_what_is_used_is_sent() -> None:
    """AWS bills each: what neither an alarm, the dashboard nor the runbook uses is not sent."""
    assert GLOBALS["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"] == NAMESPACE
    used = {name for name, _ in (*ALARMED, *shown())}
    runbook = (ROOT / "docs" / "operations.md").read_text()
    named = {name for name, _ in METRICS.values() if f"`{name}`" in runbook}
    assert used | named == {name for name, _ in METRICS.values()}


CHECKS = {"hourly", "range", "quarantine", "failedBatches", "deep", "backfill"}
OF_CHECKS = {"Drift", "InFlux", "Unverified", "Deferred", "OldestOpenCheck"}


def test_metrics_are_asked_for_by_the_dimensions_they_are_sent_with() -> None:
    services = {variables(function)["POWERTOOLS_SERVICE_NAME"] for function in FUNCTIONS}
    others = [each["Namespace"] for each in WATCHED if each["Namespace"] != NAMESPACE]
    assert {*others} == {"AWS/Lambda", "AWS/SQS", "AWS/States"}
    for name, named in (*ALARMED, *shown()):
        assert named["service"] in services
        assert named.keys() == ({"service", "check"} if name in OF_CHECKS else {"service"})
        assert named.get("check", "hourly") in CHECKS


def test_the_dashboard_is_made_where_it_is_asked_for_and_shows_every_alarm() -> None:
    """It would be more than all else that an idle stack is billed for."""
    assert TEMPLATE["Parameters"]["Dashboard"]["Default"] == "false"
    for part in ("Resources", "StackDashboard"), ("Outputs", "Dashboard"):
        assert TEMPLATE[part[0]][part[1]]["Condition"] == "ShowDashboard"
    named = WIDGETS[0]["properties"]["alarms"]
    assert sorted(named) == sorted(f"${{{name}.Arn}}" for name in ALARMS)
