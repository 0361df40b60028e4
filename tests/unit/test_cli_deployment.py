"""Where the command line finds a deployment: one session for account and region."""

import re
from pathlib import Path
from unittest.mock import Mock

import pytest
from aggregated_metrics.adapters.appsync import READ_SECONDS
from botocore.exceptions import ClientError

from aggregated_metrics_cli.arguments import parse
from aggregated_metrics_cli.deployment import Deployment, acting_on, connect, describe, session_of
from aggregated_metrics_cli.errors import CommandError

ENDPOINT = "https://x.appsync-api.eu-west-1.amazonaws.com/graphql"
MAKEFILE = Path(__file__).parents[2] / "Makefile"
SHOW = ("show", "--account", "a", "--day", "2026-11-22")


@pytest.fixture(autouse=True)
def _account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up-for-tests")
    (tmp_path / "config").write_text("[default]\nregion = us-west-2\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr("aggregated_metrics_cli.deployment.acting_on", lambda _: "account 1")


def test_the_region_is_the_one_asked_for_then_the_environments_then_the_profiles() -> None:
    environment = {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-west-1"}
    assert session_of(None, "ap-south-1", environment).region_name == "ap-south-1"
    assert session_of(None, None, environment).region_name == "eu-central-1"
    assert session_of(None, None, {"AWS_DEFAULT_REGION": "eu-west-1"}).region_name == "eu-west-1"
    assert session_of(None, None, {}).region_name == "us-west-2"


def test_without_a_region_credentials_or_a_known_profile_the_message_says_what_to_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as without:
        without.setattr("botocore.session.Session.get_credentials", lambda _: None)
        with pytest.raises(CommandError, match=r"no AWS credentials: sign in, or .* --profile"):
            session_of(None, None, {})
    with pytest.raises(CommandError, match=r"nobody.*--profile"):
        session_of("nobody", None, {})
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(CommandError, match="no region is named: pass --region"):
        session_of(None, None, {})


def test_what_a_stack_limits_is_obeyed_by_readers() -> None:
    stack = {"GraphQLEndpoint": ENDPOINT, "MaxRequestBytes": "8000"}
    found = Deployment(session_of(None, None, {}), stack)
    assert (found.client.request_bytes, found.process.settings.region) == (8000, "eu-west-1")


def test_a_command_waits_for_an_answer_as_long_as_appsync_may_take() -> None:
    found = Deployment(session_of(None, None, {}), {"GraphQLEndpoint": ENDPOINT})
    assert found.client._timeout()[1] == READ_SECONDS


def test_the_stack_goes_before_the_environment_and_an_endpoint_before_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = ENDPOINT.replace("//x", "//y")
    monkeypatch.setattr(
        "aggregated_metrics_cli.deployment.describe", lambda *_: {"GraphQLEndpoint": ENDPOINT}
    )
    environment = {"GRAPHQL_ENDPOINT": "https://z.example.com/graphql", "AWS_REGION": "us-east-2"}
    found = connect(parse([*SHOW, "--stack", "s"]), environment)
    assert found.aws("stepfunctions").meta.region_name == "us-east-2"
    assert found.acts_on.endswith("account 1")
    assert found.process.settings.GRAPHQL_ENDPOINT == ENDPOINT
    found = connect(parse([*SHOW, "--stack", "s", "--endpoint", other]), environment)
    assert other == found.process.settings.GRAPHQL_ENDPOINT


def test_what_is_not_known_is_named_with_its_remedy() -> None:
    found = Deployment(session_of(None, None, {}))
    with pytest.raises(CommandError, match="--stack, or the API with --endpoint"):
        _ = found.process
    with pytest.raises(CommandError, match="no output BackfillStateMachine"):
        found.needs("BackfillStateMachine")


def refused(code: str) -> Mock:
    return Mock(side_effect=ClientError({"Error": {"Code": code, "Message": "no"}}, "Describe"))


def test_a_stack_is_described_by_its_parameters_and_outputs_or_says_what_to_check() -> None:
    stack = {
        "Parameters": [{"ParameterKey": "StreamArns", "ParameterValue": "a,b"}],
        "Outputs": [{"OutputKey": "PendingHoursTable", "OutputValue": "pending"}],
    }
    cloudformation = Mock(describe_stacks=Mock(return_value={"Stacks": [stack]}))
    found = describe(cloudformation, "counts")
    assert found == {"StreamArns": "a,b", "PendingHoursTable": "pending"}
    cloudformation.describe_stacks.assert_called_once_with(StackName="counts")
    with pytest.raises(CommandError, match="--stack, --region and the credentials"):
        describe(Mock(describe_stacks=refused("ValidationError")), "x")


def test_the_account_is_named_and_that_it_is_unknown() -> None:
    session = session_of(None, "us-east-1", {})
    sts = Mock(get_caller_identity=Mock(return_value={"Account": "123456789012"}))
    assert acting_on(session, sts) == "account 123456789012, us-east-1"
    sts.get_caller_identity = refused("ExpiredToken")
    assert acting_on(session, sts).startswith("account unknown (")


def test_no_target_of_make_overrides_the_region_of_a_deployments_commands() -> None:
    for line in MAKEFILE.read_text().splitlines():
        if "$(COMMAND)" in line:
            assert not re.search(r"AWS_(DEFAULT_)?REGION=", line)
