"""What the code relies on in template.yaml."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from aggregated_metrics.adapters.observability import HEARTBEATS, METRICS
from aggregated_metrics.adapters.pending_hours import LEASE_SECONDS
from aggregated_metrics.adapters.settings import Settings
from aggregated_metrics.core.declarations import Document
from aggregated_metrics.core.models import BUILT_IN

from aggregated_metrics_cli.deployment import OUTPUTS, PARAMETERS
from testbench.privileges import statements_of
from testbench.templates import LISTS, ROOT, resources, template

BACKEND = "backend/template.yaml"
MAPPINGS = resources("template.yaml", "AWS::Lambda::EventSourceMapping")


def _statements() -> Iterator[dict[str, Any]]:
    for role in resources("template.yaml", "AWS::IAM::Role").values():
        for policy in role["Properties"].get("Policies", ()):
            yield from statements_of(policy)
    for kind in ("Policy", "ManagedPolicy"):
        for policy in resources("template.yaml", f"AWS::IAM::{kind}").values():
            yield from statements_of(policy["Properties"])


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


def test_nothing_is_read_where_no_stream_is_given() -> None:
    conditions = template("template.yaml")["Conditions"]
    assert {mapping["Condition"] for mapping in MAPPINGS.values()} == {"CountAnything"}
    assert conditions["CountAnything"] == is_given("StreamArns")
    for mapping in MAPPINGS.values():
        assert next(iter(mapping)) == "Type"  # AWS refuses a loop's body that begins otherwise


def test_mappings_name_the_shard_and_keep_its_order() -> None:
    """Checkpoints need both: see docs/architecture.md."""
    for mapping in MAPPINGS.values():
        assert mapping["Properties"]["TumblingWindowInSeconds"] == 900
        assert mapping["Properties"]["ParallelizationFactor"] == 1
        assert mapping["Properties"]["BisectBatchOnFunctionError"] is False


def test_mappings_start_at_the_oldest_record_and_keep_what_ages_out() -> None:
    for mapping in MAPPINGS.values():
        assert mapping["Properties"]["StartingPosition"] == "TRIM_HORIZON"
        assert mapping["Properties"]["MaximumRecordAgeInSeconds"] == 23 * 3600
        destination = mapping["Properties"]["DestinationConfig"]["OnFailure"]["Destination"]
        assert destination == {"!GetAtt": "FailedBatchesBucket.Arn"}


def test_functions_have_roles_of_their_own() -> None:
    functions = resources("template.yaml", "AWS::Serverless::Function").values()
    roles = [function["Properties"]["Role"]["!GetAtt"] for function in functions]
    assert len(set(roles)) == len(roles)
    assert not any("Policies" in function["Properties"] for function in functions)


WITHOUT_RESOURCES = {
    "ListMappings": "lambda:ListEventSourceMappings",  # nor does this list of Lambda's
    "ReadMetricsAndMappings": ("cloudwatch:", "lambda:"),  # nor do these
    # what is read is not known before it is found, and is settings, no rows
    "ReadSettings": ("appsync:Get", "appsync:List", "dynamodb:", "kms:", "lambda:", "wafv2:Get"),
    "Log": "logs:",  # nor does the delivery of logs, which Step Functions uses
}


def test_roles_may_touch_named_resources_only() -> None:
    for statement in _statements():
        if statement["Resource"] == "*":
            actions = statement["Action"]
            for action in actions if isinstance(actions, list) else [actions]:
                assert action.startswith(WITHOUT_RESOURCES[statement["Sid"]])
                assert "*" not in action
            continue
        named = statement["Resource"]
        for resource in named if isinstance(named, list) else [named]:
            assert isinstance(resource, dict), statement
        if statement["Action"] == "appsync:GraphQL" and named != {"!Ref": "ListingFieldArns"}:
            assert all("*" not in resource["!Sub"] for resource in statement["Resource"])


def test_the_environment_is_what_the_settings_read() -> None:
    known = {*Settings.model_fields, "LOG_LEVEL"}
    variables = set(template("template.yaml")["Globals"]["Function"]["Environment"]["Variables"])
    for function in resources("template.yaml", "AWS::Serverless::Function").values():
        variables |= set(function["Properties"]["Environment"]["Variables"])
    ours = {name for name in variables if not name.startswith("POWERTOOLS_")}
    assert ours <= known
    assert known - ours == {"AWS_REGION"}  # Lambda sets it


def _variables(function: str) -> dict[str, Any]:
    shared = template("template.yaml")["Globals"]["Function"]["Environment"]["Variables"]
    own = template("template.yaml")["Resources"][function]["Properties"]["Environment"]
    return {**shared, **own["Variables"]}


_CUSTOM = """
[[models]]
name = "{name}"
recordType = "{records}"
account = "organizationId"
time = ["completedAt", "updatedAt", "createdAt"]
identifier = ["organizationId", "{records}Id"]
listing = {{ query = "list{name}ByOrganizationIdAndUpdatedAt", by = "updatedAt" }}
split = {{ channel = {{ phone = "{records}ByPhone", mail = "{records}ByMail" }} }}
required = ["organizationId", "channel", "state"]
types = {{ rating = "Float", attempts = "Int" }}
[models.breakdowns]
{records}ByScorecard = "scorecardId"
{records}ByScore = ["scorecardId", "scoreId"]
[models.measures]
cost = {{ dollars = ["usage.total_cost", "usage.total"] }}
errorCount = {{ equals = {{ state = ["FAILED", "ERROR", "BROKEN"] }} }}
{name}Words = {{ number = ["details.words", "legacyDetails.words"] }}
{name}Answers = {{ present = "details.answer" }}
"""
MODELS = ("SupportConversation", "CallRecording", "AgentReview", "Escalation", "Refund", "Delivery")
STREAM = (
    "arn:aws-us-gov:dynamodb:ap-southeast-1:123456789012:table/{}-"
    + "a" * 26
    + "-staging/stream/2026-11-22T10:00:00.000"
)


def test_eight_built_in_models_and_six_custom_ones_fit_into_4_kb() -> None:
    """All variables of a function share them. Names are as long as they come."""
    custom = "".join(_CUSTOM.format(name=m, records=m[0].lower() + m[1:]) for m in MODELS)
    streams = [STREAM.format(model) for model in (*(m.name for m in BUILT_IN), *MODELS)]
    given = {
        "Models": Document.of_toml(custom).as_variable(),
        "StreamArns": ",".join(streams),
        "Breakdowns": "all",
        "GraphQLEndpoint": f"https://{'e' * 26}.appsync-api.ap-southeast-1.amazonaws.com/graphql",
        "SourceLifetimeDays": json.dumps(dict.fromkeys(MODELS, 365)),
    }
    for function in resources("template.yaml", "AWS::Serverless::Function"):
        variables = {name: resolved(value, given) for name, value in _variables(function).items()}
        size = sum(len(name) + len(value) for name, value in variables.items())
        assert size <= 4096, (function, size)
        variables["GRAPHQL_ENDPOINT"] = given["GraphQLEndpoint"]
        assert set(MODELS) <= {m.name for m in Settings.from_environment(variables).models}


def resolved(value: Any, given: dict[str, str]) -> str:
    """A variable's value; what only AWS knows is as long as a queue's URL with a long name."""
    match value:
        case str():
            return value
        case {"!Ref": str(name)} | {"!Join": [",", {"!Ref": str(name)}]}:
            parameters = template("template.yaml")["Parameters"]
            default = parameters[name].get("Default") if name in parameters else None
            return given.get(name, "q" * 120 if default is None else str(default))
        case _:
            return "n" * 80


def test_a_setting_and_its_parameter_have_one_default() -> None:
    least = {"GRAPHQL_ENDPOINT": "https://api.example/graphql", "PENDING_HOURS_TABLE": "hours"}
    parameters = template("template.yaml")["Parameters"]
    variables: dict[str, Any] = {}
    for function in resources("template.yaml", "AWS::Serverless::Function"):
        variables |= _variables(function)
    refers = {
        name: parameters[value["!Ref"]]["Default"]
        for name, value in variables.items()
        if isinstance(value, dict) and "Default" in parameters.get(str(value.get("!Ref")), {})
    }
    settings = Settings.from_environment(least)
    given = Settings.from_environment(
        least | {name: str(default) for name, default in refers.items()}
    )
    assert "BACKFILL_CONCURRENCY" in refers
    for name in refers.keys() & Settings.model_fields.keys():
        assert getattr(given, name) == getattr(settings, name), name


def test_the_reconcilers_schedule_asks_for_the_pending_hours() -> None:
    function = template("template.yaml")["Resources"]["ReconcilerFunction"]["Properties"]
    schedule = function["Events"]["Reconcile"]["Properties"]["Input"]["!Sub"]
    for repairs in template("template.yaml")["Parameters"]["ReconcileRepairs"]["AllowedValues"]:
        event = json.loads(schedule.replace("${ReconcileRepairs}", repairs))
        assert event == {"repair": repairs == "true"}


def test_the_deep_verify_only_compares_whole_tables() -> None:
    machine = template("template.yaml")["Resources"]["BackfillStateMachine"]["Properties"]
    asked = json.loads(machine["Events"]["DeepVerify"]["Properties"]["Input"])
    assert asked == {"tables": {"repair": False}}


def test_an_entry_outlives_the_invocations_that_count() -> None:
    """The lease of an entry, see docs/decisions."""
    timeout = template("template.yaml")["Globals"]["Function"]["Timeout"]
    function = template("template.yaml")["Resources"]["StreamAggregatorFunction"]["Properties"]
    assert "Timeout" not in function
    assert timeout < LEASE_SECONDS


def test_every_function_keeps_its_log_for_a_time_and_has_one_of_its_own() -> None:
    functions = resources("template.yaml", "AWS::Serverless::Function").values()
    groups = [function["Properties"]["LoggingConfig"]["LogGroup"]["!Ref"] for function in functions]
    assert len(set(groups)) == len(groups)
    for group in resources("template.yaml", "AWS::Logs::LogGroup").values():
        assert group["Properties"]["RetentionInDays"] == {"!Ref": "LogRetentionDays"}


def test_what_is_stored_is_encrypted() -> None:
    for table in resources("template.yaml", "AWS::DynamoDB::Table").values():
        # DynamoDB's own key: it always encrypts, and a managed one is billed by request
        assert table["Properties"]["SSESpecification"] == {"SSEEnabled": False}
    for queue in resources("template.yaml", "AWS::SQS::Queue").values():
        assert queue["Properties"]["SqsManagedSseEnabled"] is True
    for bucket in resources("template.yaml", "AWS::S3::Bucket").values():
        assert bucket["Properties"]["BucketEncryption"]
        assert all(bucket["Properties"]["PublicAccessBlockConfiguration"].values())


def test_queues_and_buckets_are_reached_over_tls_only() -> None:
    secured: set[str] = set()
    for kind, names in (("SQS::QueuePolicy", "Queues"), ("S3::BucketPolicy", "Bucket")):
        for policy in resources("template.yaml", f"AWS::{kind}").values():
            (deny,) = (
                statement
                for statement in policy["Properties"]["PolicyDocument"]["Statement"]
                if statement["Effect"] == "Deny"
            )
            assert deny["Principal"] == "*"
            assert deny["Condition"]["Bool"] == {"aws:SecureTransport": "false"}
            target = policy["Properties"][names]
            secured.add((target[0] if isinstance(target, list) else target)["!Ref"])
    stores = resources("template.yaml", "AWS::SQS::Queue") | resources(
        "template.yaml", "AWS::S3::Bucket"
    )
    assert secured == stores.keys()


def test_on_aws_no_action_has_a_wildcard_and_no_address_is_let_off() -> None:
    for statement in _statements():
        actions = statement["Action"]
        for action in actions if isinstance(actions, list) else [actions]:
            assert "*" not in action, statement
    for kind in ("SQS::QueuePolicy", "S3::BucketPolicy"):
        for policy in resources("template.yaml", f"AWS::{kind}").values():
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                spared = statement.get("Condition", {}).get("NotIpAddress")
                assert spared in (None, {"!Ref": "AWS::NoValue"})


def retained(path: str) -> set[str]:
    return {
        name
        for name, resource in template(path)["Resources"].items()
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate"
    }


def test_what_cannot_be_made_again_outlives_the_stack() -> None:
    assert retained("template.yaml") == {"QuarantineQueue", "FailedBatchesBucket", "BackfillBucket"}
    assert retained("backend/template.yaml") == resources(BACKEND, "AWS::DynamoDB::Table").keys()
    for path in ("template.yaml", BACKEND):
        for name in retained(path):
            assert template(path)["Resources"][name]["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("path", ["template.yaml", "backend/template.yaml"])
def test_a_first_deployment_that_fails_leaves_nothing(path: str) -> None:
    """A stack that could not be created can only be deleted; nothing of it may stay behind."""
    for resource in template(path)["Resources"].values():
        assert resource.get("DeletionPolicy") != "Retain"
    config = tomllib.loads((ROOT / path).with_name("samconfig.toml").read_text())
    environments = [value for value in config.values() if isinstance(value, dict)]
    for environment in environments:
        assert environment["deploy"]["parameters"]["on_failure"] == "DELETE"


def test_the_state_machine_is_made_when_its_role_may_do_everything() -> None:
    """Step Functions tries the role's access to the log when it makes the machine."""
    machine = template("template.yaml")["Resources"]["BackfillStateMachine"]
    assert machine["DependsOn"] == "BackfillPolicy"
    policy = template("template.yaml")["Resources"]["BackfillPolicy"]["Properties"]
    assert policy["Roles"] == [{"!Ref": "BackfillRole"}]
    assert "Log" in {statement["Sid"] for statement in statements_of(policy)}


def test_two_stacks_of_one_account_do_not_share_a_schedule() -> None:
    scheduled = resources("template.yaml", "AWS::Serverless::Function") | resources(
        "template.yaml", "AWS::Serverless::StateMachine"
    )
    for function in scheduled.values():
        for event in function["Properties"].get("Events", {}).values():
            assert event["Type"] == "ScheduleV2"
            assert event["Properties"]["OmitName"] is True


NAMESPACE = {"!Sub": "AggregatedMetrics/${AWS::StackName}"}
ALARMS = resources("template.yaml", "AWS::CloudWatch::Alarm")


def watched_by(alarm: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The metrics that an alarm watches: its own, or those that its expression adds up."""
    queries = alarm["Properties"].get("Metrics")
    if queries is None:
        yield alarm["Properties"]
    for query in queries or ():
        if "MetricStat" in query:
            yield query["MetricStat"]["Metric"]


def dimensions(metric: dict[str, Any]) -> dict[str, Any]:
    return {each["Name"]: each["Value"] for each in metric["Dimensions"]}


def test_two_stacks_of_one_account_do_not_share_a_metric() -> None:
    variables = template("template.yaml")["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["POWERTOOLS_METRICS_NAMESPACE"] == NAMESPACE
    for name, alarm in ALARMS.items():
        for metric in watched_by(alarm):
            if metric["Namespace"] != NAMESPACE:  # AWS's own: by a resource of this stack
                assert all(isinstance(value, dict) for value in dimensions(metric).values()), name


def test_two_stacks_of_one_account_do_not_share_a_name() -> None:
    """What CloudFormation does not name itself has the stack's name in its own."""
    for name, resource in template("template.yaml")["Resources"].items():
        for key, value in resource.get("Properties", {}).items():
            if key.endswith("Name") and key not in {"FunctionName", "MetricName", "PolicyName"}:
                assert "${AWS::StackName}" in value["!Sub"], (name, key)


def test_the_alarms_are_the_rows_of_one_table_and_four_beside_it() -> None:
    rows = template("template.yaml")["Mappings"]["Alarms"]
    beside = {"OldestOpenCheckAlarm", "DeferredAlarm", "DriftAlarm", "FunctionErrorsAlarm"}
    assert ALARMS.keys() == {f"{name}Alarm" for name in rows} | beside
    assert len(ALARMS) <= 12
    known = {"Kind", "Of", "Metric", "Statistic", "Period", "Periods", "Datapoints"}
    for row in rows.values():
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
    watched = ALARMS[name]["Properties"]
    assert (watched["MetricName"], watched["TreatMissingData"]) == (metric, "breaching")
    assert (watched["DatapointsToAlarm"] + 2) * watched["Period"] <= seconds


def test_only_silence_of_a_heartbeat_is_an_alarm_and_every_heartbeat_has_one() -> None:
    """Zeros of other metrics are not sent: AWS bills a metric for each hour that has data."""
    silent = {
        alarm["Properties"]["MetricName"]
        for alarm in ALARMS.values()
        if alarm["Properties"]["TreatMissingData"] == "breaching"
    }
    assert silent == {METRICS[name][0] for name in HEARTBEATS}


def test_one_minute_without_a_sweep_is_no_alarm() -> None:
    """EventBridge starts a sweep at any second of its minute: a minute may have none, or two."""
    watched = ALARMS["StreamNotConsumedAlarm"]["Properties"]
    assert (watched["Period"], watched["Statistic"]) == (60, "Minimum")
    assert watched["EvaluationPeriods"] > watched["DatapointsToAlarm"] >= 4


def test_a_stream_is_behind_if_sparse_retries_say_so() -> None:
    """A batch that times out comes again about every other minute."""
    watched = ALARMS["StreamBehindAlarm"]["Properties"]
    assert (watched["MetricName"], watched["Threshold"]) == ("IteratorAge", 600_000)
    assert watched["Period"] >= 300
    assert watched["DatapointsToAlarm"] < watched["EvaluationPeriods"]


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("FailedBatchLostAlarm", "DestinationDeliveryFailures"),
        ("FailedBatchesAlarm", "ApproximateNumberOfMessagesVisible"),
        ("QuarantinedAlarm", "ApproximateNumberOfMessagesVisible"),
        ("ExecutionFailedAlarm", "ExecutionsFailed"),
        ("DeferredAlarm", "Deferred"),
        ("CheckpointsEvictedAlarm", "CheckpointsEvicted"),
    ],
)
def test_what_would_stay_unnoticed_has_an_alarm(name: str, metric: str) -> None:
    watched = ALARMS[name]["Properties"]
    assert (watched["MetricName"], watched["Threshold"]) == (metric, 0)


def test_drift_alarms_where_no_operator_reads_a_report() -> None:
    watched = {(each["service"], each["check"]) for each in map(dimensions, drift_metrics())}
    assert watched == {("reconciler", "hourly"), ("backfiller", "deep")}


def drift_metrics() -> list[dict[str, Any]]:
    found = list(watched_by(ALARMS["DriftAlarm"]))
    assert {each["MetricName"] for each in found} == {"Drift"}
    return found


@pytest.mark.parametrize("name", ["DriftAlarm", "FunctionErrorsAlarm"])
def test_an_alarm_that_adds_up_takes_a_metric_without_data_for_zero(name: str) -> None:
    *parts, whole = ALARMS[name]["Properties"]["Metrics"]
    filled = ", ".join(f"FILL({part['Id']}, 0)" for part in parts)
    assert whole["Expression"] == f"SUM([{filled}])"
    assert "ReturnData" not in whole
    assert not any(part["ReturnData"] for part in parts)
    assert {part["MetricStat"]["Stat"] for part in parts} == {"Sum"}


def test_errors_of_the_functions_that_have_no_alarm_of_consequences_are_watched() -> None:
    watched = {each["FunctionName"]["!Ref"] for each in map(dimensions, function_errors())}
    functions = resources("template.yaml", "AWS::Serverless::Function").keys()
    assert watched == functions - {"StreamAggregatorFunction"}


def function_errors() -> list[dict[str, Any]]:
    return list(watched_by(ALARMS["FunctionErrorsAlarm"]))


def allowed(policy: str) -> dict[str, Any]:
    """A policy's first statement, and the condition that the policy is there under."""
    found = resources("template.yaml", "AWS::IAM::Policy")[policy]
    statement = next(iter(statements_of(found["Properties"])))
    return {**statement, "Condition": found["Condition"]}


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
    statement = allowed(policy)
    assert statement["Resource"] == {"!Ref": parameter}
    assert statement["Condition"] == condition
    assert template("template.yaml")["Conditions"][condition] == is_given(parameter)
    assert template("template.yaml")["Parameters"][parameter]["Default"] == ""


@pytest.mark.parametrize("function", ["BucketSweeperFunction", "BackfillerFunction"])
def test_the_functions_that_ask_for_streams_know_those_that_are_mapped(function: str) -> None:
    assert _variables(function)["STREAM_ARNS"] == {"!Join": [",", {"!Ref": "StreamArns"}]}


def test_a_mapping_is_made_when_its_stream_may_be_read() -> None:
    assert {mapping["DependsOn"] for mapping in MAPPINGS.values()} == {"StreamsPolicy"}


def test_the_mappings_differ_in_their_stream_alone() -> None:
    found = {
        json.dumps(mapping).replace(mapping["Properties"]["EventSourceArn"], "…")
        for mapping in MAPPINGS.values()
    }
    assert len(found) == 1


@pytest.mark.parametrize("policy", ["StreamsPolicy", "SourceScanPolicy"])
def test_tables_with_keys_of_the_customers_are_read_with_them(policy: str) -> None:
    """The key comes with what it opens: a mapping is tried when it is made."""
    parts = resources("template.yaml", "AWS::IAM::Policy")[policy]["Properties"]["PolicyDocument"]
    key = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": {"!Ref": "SourceKeyArns"}}
    assert parts["Statement"][1:] == [{"!If": ["UseSourceKeys", key, {"!Ref": "AWS::NoValue"}]}]
    assert template("template.yaml")["Conditions"]["UseSourceKeys"] == is_given("SourceKeyArns")


def test_the_batching_window_is_what_lambda_takes() -> None:
    parameter = template("template.yaml")["Parameters"]["BatchingWindowSeconds"]
    assert (parameter["Default"], parameter["MinValue"], parameter["MaxValue"]) == (10, 0, 300)
    for mapping in MAPPINGS.values():
        window = mapping["Properties"]["MaximumBatchingWindowInSeconds"]
        assert window == {"!Ref": "BatchingWindowSeconds"}


def test_the_architecture_is_one_setting_for_build_and_functions() -> None:
    chosen = {"!Ref": "Architecture"}
    layer = template("template.yaml")["Resources"]["AggregatedMetricsLayer"]
    assert layer["Metadata"]["BuildArchitecture"] == chosen
    assert layer["Properties"]["CompatibleArchitectures"] == [chosen]
    assert template("template.yaml")["Globals"]["Function"]["Architectures"] == [chosen]


def test_the_layers_requirements_are_pinned_by_their_contents() -> None:
    text = (ROOT / "layers" / "aggregated_metrics" / "requirements.txt").read_text()
    requirements = [line for line in text.splitlines() if line[0] not in "# "]
    assert requirements
    for line in requirements:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+ \\", line), line
    pinned = text.replace("\\\n", "").splitlines()[1:]
    assert all(re.search("--hash=sha256:[0-9a-f]{64}", line) for line in pinned)


def test_schedules_are_as_often_as_the_alarms_expect() -> None:
    """No parameter slows them down: the alarm of a late run would ring."""
    functions = resources("template.yaml", "AWS::Serverless::Function")
    rates = {
        name: event["Properties"]["ScheduleExpression"]
        for function in functions.values()
        for name, event in function["Properties"].get("Events", {}).items()
    }
    assert rates == {"Sweep": "rate(1 minute)", "Reconcile": "rate(1 hour)"}


def shown() -> Iterator[tuple[str, dict[str, Any]]]:
    """The stack's own metrics on the dashboard: name and dimensions."""
    body = template("template.yaml")["Resources"]["StackDashboard"]["Properties"]["DashboardBody"]
    for widget in json.loads(body["!Sub"])["widgets"]:
        for namespace, metric, *named in widget["properties"].get("metrics", ()):
            if namespace == NAMESPACE["!Sub"]:
                texts = [each for each in named if isinstance(each, str)]
                yield metric, dict(zip(texts[::2], texts[1::2], strict=True))


def alarmed() -> Iterator[tuple[str, dict[str, Any]]]:
    """The stack's own metrics that alarms watch: name and dimensions."""
    for alarm in ALARMS.values():
        for metric in watched_by(alarm):
            if metric["Namespace"] == NAMESPACE:
                yield metric["MetricName"], dimensions(metric)


def test_every_metric_that_is_sent_is_used_and_what_is_used_is_sent() -> None:
    """AWS bills each: what neither an alarm, the dashboard nor the runbook uses is not sent."""
    used = {name for name, _ in (*alarmed(), *shown())}
    runbook = (ROOT / "docs" / "operations.md").read_text()
    named = {name for name, _ in METRICS.values() if f"`{name}`" in runbook}
    assert used | named == {name for name, _ in METRICS.values()}


def test_metrics_are_asked_for_by_the_dimensions_they_are_sent_with() -> None:
    services = {
        _variables(function)["POWERTOOLS_SERVICE_NAME"]
        for function in resources("template.yaml", "AWS::Serverless::Function")
    }
    checks = {"reconciler": {"hourly", "range", "quarantine", "failedBatches"}}
    checks["backfiller"] = {"deep", "backfill"}
    for name, named in (*alarmed(), *shown()):
        assert named.pop("service") in services
        of_check = named.pop("check", None)
        assert named == {}
        assert (of_check is not None) == (name in OF_CHECKS)
        assert of_check is None or any(of_check in each for each in checks.values())


OF_CHECKS = {"Drift", "InFlux", "Unverified", "Deferred", "OldestOpenCheck"}


def test_the_dashboard_is_made_where_it_is_asked_for() -> None:
    """It would be more than all else that an idle stack is billed for."""
    assert template("template.yaml")["Parameters"]["Dashboard"]["Default"] == "false"
    assert template("template.yaml")["Resources"]["StackDashboard"]["Condition"] == "ShowDashboard"
    assert template("template.yaml")["Outputs"]["Dashboard"]["Condition"] == "ShowDashboard"


def test_the_dashboard_shows_every_alarm() -> None:
    body = template("template.yaml")["Resources"]["StackDashboard"]["Properties"]["DashboardBody"]
    named = json.loads(body["!Sub"])["widgets"][0]["properties"]["alarms"]
    assert sorted(named) == sorted(f"${{{name}.Arn}}" for name in ALARMS)


def test_the_command_line_reads_a_stack_by_the_names_that_it_has() -> None:
    assert PARAMETERS.keys() <= template("template.yaml")["Parameters"].keys()
    assert OUTPUTS.keys() <= template("template.yaml")["Outputs"].keys()
