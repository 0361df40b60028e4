import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from aggregated_metrics.adapters.appsync import (
    CONNECT_SECONDS,
    READ_SECONDS,
    RETRIES,
    AppSyncClient,
    open_session,
)
from aggregated_metrics.core.errors import (
    ApiError,
    AuthorizationError,
    ConditionFailedError,
    GraphQLError,
    ThrottledError,
    TransportError,
)
from botocore.credentials import RefreshableCredentials

from testbench.fakes.endpoint import Answer, ConnectionDroppedError, refusal
from testbench.fakes.signatures import Request, Signatures
from testbench.fakes.transport import FakeAdapter
from testbench.local import ENDPOINT
from testbench.world import World

LIST = "query ListAll { listAggregatedMetrics { items { count } } }"
CONDITION = "DynamoDB:ConditionalCheckFailedException"


def answer(body: Any, status: int = 200) -> Answer:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, text)


def error(kind: str | None, alias: str | None = "b0", message: str = "No.") -> dict[str, Any]:
    described: dict[str, Any] = {"message": message}
    if kind is not None:
        described["errorType"] = kind
    if alias is not None:
        described["path"] = [alias]
    return described


def failure(world: World, given: Answer) -> ApiError:
    """What the client raises when the API gives this answer for as long as it is asked."""
    world.before = lambda _: given
    with pytest.raises(ApiError) as caught:
        world.client().execute(LIST)
    assert str(caught.value).startswith("ListAll: ")
    assert caught.value.operation == "ListAll"
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (401, "UnauthorizedException", AuthorizationError),
        (403, "AccessDeniedException", AuthorizationError),
        (400, "MalformedHttpRequestException", GraphQLError),
        (404, "NotFound", GraphQLError),
        (429, "TooManyRequestsException", ThrottledError),
        (500, "InternalFailure", TransportError),
        (503, "ServiceUnavailable", TransportError),
        (504, "GatewayTimeout", TransportError),
        (502, None, TransportError),
    ],
)
def test_an_answers_status_says_its_class(
    world: World, status: int, kind: str | None, raised: type[ApiError]
) -> None:
    page = answer(b"<html></html>", status)
    assert type(failure(world, refusal(status, kind, "No.") if kind else page)) is raised
    assert len(world.log) == (1 if status < 429 else RETRIES + 1), "only what may pass is tried"


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ([error(None)], GraphQLError),
        ([error(None, alias=None)], GraphQLError),
        ([error(None, message="The conditional request failed")], GraphQLError),
        ([error(None, message="Rate exceeded")], GraphQLError),
        ([error(None, message="Unauthorized")], GraphQLError),
        ([error("DynamoDB:ValidationException")], GraphQLError),
        ([error("Unauthorized")], AuthorizationError),
        ([error("AccessDeniedException")], AuthorizationError),
        ([error(CONDITION)], ConditionFailedError),
        ([error("DynamoDB:ThrottlingException")], ThrottledError),
        ([error("ThrottlingException", alias=None)], ThrottledError),
        ([error("DynamoDB:ProvisionedThroughputExceededException")], ThrottledError),
        ([error("DynamoDB:InternalServerError")], ThrottledError),
        ([error(CONDITION), error("ThrottlingException", "b1")], ThrottledError),
        ([error(CONDITION), error("Unauthorized", "b1")], AuthorizationError),
        ([error(CONDITION), error("DynamoDB:ValidationException", "b1")], GraphQLError),
        ([error("ThrottlingException"), error(None, "b1")], GraphQLError),
    ],
)
def test_an_errors_type_says_its_class_and_its_text_nothing(
    world: World, errors: list[dict[str, Any]], raised: type[ApiError]
) -> None:
    found = failure(world, answer({"data": {"b0": None, "b1": None}, "errors": errors}))
    assert type(found) is raised
    assert errors[0]["message"] in str(found)


def test_an_error_keeps_what_went_through_and_names_what_did_not(world: World) -> None:
    body = {
        "data": {"b0": {"count": 1}, "b1": None, "b2": None},
        "errors": [error(CONDITION, "b1"), error(CONDITION, "b2"), {"errorType": CONDITION}],
    }
    found = failure(world, answer(body))
    assert isinstance(found, ConditionFailedError)
    assert found.failed == {"b1", "b2"}
    assert found.data["b0"] == {"count": 1}
    assert found.errors == body["errors"]


CLOCK, SESSION, REGION, KEY = "clock", "session has expired", "another region", "profile and keys"
PERMISSION, FIREWALL = "appsync:GraphQL on this field", "MAX_REQUEST_BYTES"
EXPIRED = "The security token included in the request is expired"
EARLIER = "Signature expired: 20261122T100000Z is now earlier than 20261122T101000Z"
LATER = "Signature not yet current: 20261122T103000Z is still later than 20261122T101500Z"
SCOPED = "Credential should be scoped to a valid region, not 'us-east-1'. "
MISMATCH = "The request signature we calculated does not match the signature you provided."
UNKNOWN_KEY = "The security token included in the request is invalid."


def gateway(header: str, **body: Any) -> Answer:
    return answer(body, 403)._replace(headers={"x-amzn-ErrorType": header})


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (refusal(403, "AccessDenied", "No."), PERMISSION),
        (refusal(401, "UnauthorizedException", "Permission denied"), PERMISSION),
        (refusal(403, "AccessDeniedException", "… on resource Signature expired"), PERMISSION),
        (refusal(403, "WAFForbiddenException", "403 Forbidden"), FIREWALL),
        (refusal(403, "ExpiredTokenException", "No."), SESSION),
        (refusal(403, "UnrecognizedClientException", EXPIRED), SESSION),
        (refusal(403, "UnrecognizedClientException", UNKNOWN_KEY), KEY),
        (refusal(403, "InvalidSignatureException", LATER), CLOCK),
        (refusal(403, "InvalidSignatureException", EARLIER), CLOCK),
        (refusal(400, "BadRequestException", EARLIER), CLOCK),
        (refusal(401, "BadRequestException", MISMATCH), KEY),
        (refusal(403, "com.amazonaws.deepdish.graphql.auth#BadRequestException", SCOPED), REGION),
        (gateway("", message=SCOPED), REGION),
        (gateway("", Message=LATER), CLOCK),
        (gateway("ExpiredTokenException:http://internal.example/", message="No."), SESSION),
        (gateway("", __type="com.amazon.coral#AccessDeniedException", Message="No."), PERMISSION),
        (gateway("", message="Forbidden"), f"{PERMISSION}.*a proxy or a firewall"),
        (gateway("", message=None), f"no message.*{PERMISSION}"),
        (gateway("", errors="none", message=MISMATCH), f"{MISMATCH}.*{KEY}"),
    ],
)
def test_a_refusal_names_its_own_remedy_and_no_other(
    world: World, given: Answer, remedy: str
) -> None:
    found = failure(world, given)
    assert isinstance(found, AuthorizationError)
    assert re.search(remedy, str(found))
    every = (CLOCK, SESSION, REGION, KEY, PERMISSION, FIREWALL)
    assert sum(each in str(found) for each in every) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["https://other.example/graphql", "/elsewhere"])
def test_credentials_follow_no_redirect(world: World, status: int, place: str) -> None:
    given = answer({}, status)._replace(headers={"location": place})
    found = failure(world, given)
    assert isinstance(found, TransportError)
    assert f"redirects to {place}" in str(found)
    assert len(world.log) == 1


@pytest.mark.parametrize(
    "body", [b"<html>Hello</html>", b"", b"[1]", b"null", b'{"data": null}', b'{"data": [1]}']
)
def test_an_answer_that_is_not_graphqls_is_no_data(world: World, body: bytes) -> None:
    found = failure(world, answer(body))
    assert isinstance(found, TransportError)
    assert "check the endpoint" in str(found)


def test_a_long_list_of_errors_gives_a_short_message(world: World) -> None:
    errors = [error(None, message=f"{n} " + "x" * 5000) for n in range(50)]
    assert len(str(failure(world, answer({"data": None, "errors": errors})))) < 2000


def test_what_may_pass_is_tried_again(world: World) -> None:
    left = iter([refusal(503, "Passing", "Soon.")] * RETRIES)
    world.before = lambda _: next(left, None)
    assert world.client().execute(LIST) == {"listAggregatedMetrics": {"items": []}}
    assert len(world.log) == RETRIES + 1


def test_a_reset_connection_is_tried_again_and_then_is_a_transport_error(world: World) -> None:
    world.before = Mock(side_effect=ConnectionDroppedError)
    with pytest.raises(TransportError, match=r"ListAll: no answer .* check the endpoint"):
        world.client().execute(LIST)
    assert len(world.log) == RETRIES + 1


def test_retries_wait_longer_each_time_with_jitter_and_not_as_the_server_likes() -> None:
    retry = open_session(None, "").get_adapter(ENDPOINT).max_retries  # type: ignore[attr-defined]
    assert retry.backoff_factor > 0
    assert retry.backoff_jitter > 0
    assert retry.is_retry("POST", 503)
    assert not retry.respect_retry_after_header


def test_requests_keep_within_the_time_that_is_left() -> None:
    session = open_session(None, "")
    assert AppSyncClient(ENDPOINT, session)._timeout() == (CONNECT_SECONDS, READ_SECONDS)
    assert AppSyncClient(ENDPOINT, session, lambda: 900.0)._timeout() == (3.0, 30.0)
    assert AppSyncClient(ENDPOINT, session, lambda: 60.0)._timeout() == (3.0, 7.5)
    assert AppSyncClient(ENDPOINT, session, lambda: 4.0)._timeout() == (0.5, 0.5)
    assert AppSyncClient(ENDPOINT, session, lambda: -1.0)._timeout() == (0.2, 0.2)


def test_requests_are_signed_with_the_credentials_of_the_moment() -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    keys = {key: f"secret of {key}" for key in ("FIRST", "SECOND", "THIRD")}
    first, *issued = (
        {"access_key": key, "secret_key": secret, "token": f"of {key}", "expiry_time": soon}
        for key, secret in keys.items()
    )
    issue = Mock(side_effect=issued)
    credentials = RefreshableCredentials.create_from_metadata(first, issue, "test")
    session = open_session(credentials, "us-east-1")
    seen: list[tuple[str, str]] = []
    world = World(http=True)
    world.api._signatures = Signatures(keys)

    def note(request: Request) -> None:
        key = request.headers["authorization"].partition("Credential=")[2].partition("/")[0]
        seen.append((key, request.headers["x-amz-security-token"]))

    world.after = note
    session.mount("https://", FakeAdapter(world))
    client = AppSyncClient(ENDPOINT, session)
    for _ in range(2):
        client.execute(LIST)
    assert seen == [("SECOND", "of SECOND"), ("THIRD", "of THIRD")]
