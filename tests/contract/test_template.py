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
from aggregated_metrics.jobs.probe import EVERY_SECONDS

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
    """The ledger needs both: see "Ledger" in docs/architecture.md."""
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
    "AskWhoReadsTheStreams": "lambda:ListEventSourceMappings",  # nor does this list of Lambda's
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


def test_a_setting_and_its_parameter_have_one_default() -> None:
    least = {"GRAPHQL_ENDPOINT": "https://api.example/graphql", "PENDING_HOURS_TABLE": "hours"}
    parameters = template("template.yaml")["Parameters"]
    variables = dict(template("template.yaml")["Globals"]["Function"]["Environment"]["Variables"])
    for function in resources("template.yaml", "AWS::Serverless::Function").values():
        variables |= function["Properties"]["Environment"]["Variables"]
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


def test_the_reconcilers_schedule_asks_for_the_closed_hours() -> None:
    function = template("template.yaml")["Resources"]["ReconcilerFunction"]["Properties"]
    schedule = function["Events"]["Reconcile"]["Properties"]["Input"]["!Sub"]
    for repairs in template("template.yaml")["Parameters"]["ReconcileRepairs"]["AllowedValues"]:
        event = json.loads(schedule.replace("${ReconcileRepairs}", repairs))
        assert event == {"repair": repairs == "true"}


def test_a_mark_outlives_the_invocations_that_count() -> None:
    """The lease of a mark, see docs/decisions."""
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


def test_two_stacks_of_one_account_do_not_share_a_metric() -> None:
    variables = template("template.yaml")["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["POWERTOOLS_METRICS_NAMESPACE"] == NAMESPACE
    for name, alarm in ALARMS.items():
        watched = alarm["Properties"]
        if watched["Namespace"] != NAMESPACE:  # AWS's own: by a resource of this stack
            (dimension,) = watched["Dimensions"]
            assert isinstance(dimension["Value"], dict), name


def test_two_stacks_of_one_account_do_not_share_a_name() -> None:
    """What CloudFormation does not name itself has the stack's name in its own."""
    for name, resource in template("template.yaml")["Resources"].items():
        for key, value in resource.get("Properties", {}).items():
            if key.endswith("Name") and key not in {"FunctionName", "MetricName", "PolicyName"}:
                assert "${AWS::StackName}" in value["!Sub"], (name, key)


def test_the_alarms_are_the_rows_of_one_table() -> None:
    rows = template("template.yaml")["Mappings"]["Alarms"]
    assert ALARMS.keys() == {f"{name}Alarm" for name in rows}
    assert len(ALARMS) <= 12
    known = {"Kind", "Of", "Metric", "Statistic", "Period", "Periods", "Datapoints"}
    for row in rows.values():
        assert row.keys() <= {*known, "Threshold", "Missing", "Text"}


@pytest.mark.parametrize(
    ("name", "metric", "seconds"),
    [
        ("SweeperLateAlarm", "OldestPendingHour", 5 * 60),
        ("ReconcilerLateAlarm", "OldestClosedHour", 3 * 3600),
        ("StreamNotConsumedAlarm", "StreamNotConsumed", 15 * 60),
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


def test_a_stream_that_is_not_consumed_is_heard_within_ten_minutes() -> None:
    """In each period there is a look; one of a deployment's moment is no alarm."""
    watched = ALARMS["StreamNotConsumedAlarm"]["Properties"]
    assert watched["Period"] >= EVERY_SECONDS + 60
    assert watched["DatapointsToAlarm"] == watched["EvaluationPeriods"] == 2
    assert 3 * watched["Period"] <= 600


def test_the_sweeper_is_late_only_if_several_sweeps_say_so() -> None:
    """EventBridge starts a sweep at any second of its minute: a minute may have none, or two."""
    watched = ALARMS["SweeperLateAlarm"]["Properties"]
    assert watched["Period"] == 60
    assert watched["DatapointsToAlarm"] < watched["EvaluationPeriods"]


def test_what_ages_out_is_repaired_by_itself_where_repairs_are_wanted() -> None:
    """On the first day a mapping finds records that are older than it may apply."""
    events = template("template.yaml")["Resources"]["ReconcilerFunction"]["Properties"]["Events"]
    schedule = events["Recover"]["Properties"]["Input"]["!Sub"]
    assert json.loads(schedule.replace("${ReconcileRepairs}", "true")) == {"lostBatches": True}


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
        ("QuarantineAlarm", "ApproximateNumberOfMessagesVisible"),
        ("BackfillFailedAlarm", "ExecutionsFailed"),
        ("DeferredAlarm", "Deferred"),
        ("CheckpointsEvictedAlarm", "CheckpointsEvicted"),
        ("DriftAlarm", "Drift"),  # of the hourly check alone: a range's is RangeDrift
        ("DeepDriftAlarm", "DeepDrift"),
    ],
)
def test_what_would_stay_unnoticed_has_an_alarm(name: str, metric: str) -> None:
    watched = ALARMS[name]["Properties"]
    assert (watched["MetricName"], watched["Threshold"]) == (metric, 0)


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


def test_the_functions_know_the_streams_that_are_mapped() -> None:
    variables = template("template.yaml")["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["STREAM_ARNS"] == {"!Join": [",", {"!Ref": "StreamArns"}]}


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
    hourly = "rate(1 hour)"
    assert rates == {"Sweep": "rate(1 minute)", "Reconcile": hourly, "Recover": hourly}


def test_own_metrics_are_watched_by_the_names_they_are_sent_with() -> None:
    services = {
        function["Properties"]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        for function in resources("template.yaml", "AWS::Serverless::Function").values()
    }
    sent = {name for name, _ in METRICS.values()}
    for alarm in resources("template.yaml", "AWS::CloudWatch::Alarm").values():
        if alarm["Properties"]["Namespace"] == NAMESPACE:
            (dimension,) = alarm["Properties"]["Dimensions"]
            assert dimension["Name"] == "service"
            assert dimension["Value"] in services
            assert alarm["Properties"]["MetricName"] in sent
    body = template("template.yaml")["Resources"]["StackDashboard"]["Properties"]["DashboardBody"]
    for widget in json.loads(body["!Sub"])["widgets"]:
        for metric in widget["properties"].get("metrics", ()):
            if metric[0] == NAMESPACE["!Sub"]:
                assert metric[1] in sent
                assert metric[3] in services


def test_the_dashboard_is_made_where_it_is_asked_for() -> None:
    """It would be more than all else that an idle stack is billed for."""
    assert template("template.yaml")["Parameters"]["Dashboard"]["Default"] == "false"
    assert template("template.yaml")["Resources"]["StackDashboard"]["Condition"] == "ShowDashboard"
    assert template("template.yaml")["Outputs"]["Dashboard"]["Condition"] == "ShowDashboard"


def test_the_dashboard_shows_every_alarm() -> None:
    body = template("template.yaml")["Resources"]["StackDashboard"]["Properties"]["DashboardBody"]
    shown = json.loads(body["!Sub"])["widgets"][0]["properties"]["alarms"]
    alarms = resources("template.yaml", "AWS::CloudWatch::Alarm")
    assert sorted(shown) == sorted(f"${{{name}.Arn}}" for name in alarms)


def test_the_command_line_reads_a_stack_by_the_names_that_it_has() -> None:
    assert PARAMETERS.keys() <= template("template.yaml")["Parameters"].keys()
    assert OUTPUTS.keys() <= template("template.yaml")["Outputs"].keys()
