import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters.appsync import (
    CONNECT_SECONDS,
    READ_SECONDS,
    RETRIES,
    AppSyncClient,
    open_session,
    operation_name,
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

from testbench import local
from testbench.fakes.endpoint import Answer, ConnectionDroppedError, refusal
from testbench.fakes.signatures import Request, Signatures
from testbench.fakes.transport import FakeAdapter
from testbench.local import ENDPOINT
from testbench.world import World

LIST = "query ListAll { listAggregatedMetrics { items { count } } }"
CONDITION = "DynamoDB:ConditionalCheckFailedException"


def answer(body: Any, status: int = 200) -> Answer:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, text, {}, {}, ())


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


def test_a_signed_request_gives_its_data(world: World) -> None:
    assert world.client().execute(LIST) == {"listAggregatedMetrics": {"items": []}}
    assert world.client().execute(LIST, {"unused": 1}) is not None


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
    ],
)
def test_an_answers_status_says_its_class(
    world: World, status: int, kind: str, raised: type[ApiError]
) -> None:
    assert type(failure(world, refusal(status, kind, "No."))) is raised


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ([error(None)], GraphQLError),
        ([error(None, alias=None)], GraphQLError),
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
def test_an_errors_type_says_its_class(
    world: World, errors: list[dict[str, Any]], raised: type[ApiError]
) -> None:
    found = failure(world, answer({"data": {"b0": None, "b1": None}, "errors": errors}))
    assert type(found) is raised


@pytest.mark.parametrize(
    "message", ["The conditional request failed", "Rate exceeded", "Unauthorized"]
)
def test_the_text_of_a_message_decides_nothing(world: World, message: str) -> None:
    found = failure(world, answer({"data": None, "errors": [error(None, message=message)]}))
    assert type(found) is GraphQLError
    assert message in str(found)


def test_an_error_keeps_what_went_through_and_names_what_did_not(world: World) -> None:
    body = {
        "data": {"b0": {"count": 1}, "b1": None, "b2": None},
        "errors": [error(CONDITION, "b1"), error(CONDITION, "b2")],
    }
    found = failure(world, answer(body))
    assert isinstance(found, ConditionFailedError)
    assert found.failed == {"b1", "b2"}
    assert found.data["b0"] == {"count": 1}
    assert found.errors == body["errors"]


CLOCK, SESSION, REGION, KEY = "clock", "session has expired", "another region", "profile and keys"
PERMISSION, FIREWALL = "appsync:GraphQL on this field", "MAX_REQUEST_BYTES"
REMEDIES = (CLOCK, SESSION, REGION, KEY, PERMISSION, FIREWALL)
EXPIRED = "The security token included in the request is expired"
EARLIER = "Signature expired: 20261122T100000Z is now earlier than 20261122T101000Z"
LATER = "Signature not yet current: 20261122T103000Z is still later than 20261122T101500Z"
SCOPED = "Credential should be scoped to a valid region, not 'us-east-1'. "
MISMATCH = "The request signature we calculated does not match the signature you provided."
UNKNOWN_KEY = "The security token included in the request is invalid."


def remedies(found: ApiError) -> list[str]:
    return [remedy for remedy in REMEDIES if remedy in str(found)]


@pytest.mark.parametrize(
    ("status", "kind", "message", "remedy"),
    [
        (403, "AccessDenied", "No.", PERMISSION),
        (401, "UnauthorizedException", "Permission denied", PERMISSION),
        (403, "AccessDeniedException", "… on resource Signature expired", PERMISSION),
        (403, "WAFForbiddenException", "403 Forbidden", FIREWALL),
        (403, "ExpiredTokenException", "No.", SESSION),
        (403, "UnrecognizedClientException", EXPIRED, SESSION),
        (403, "UnrecognizedClientException", UNKNOWN_KEY, KEY),
        (403, "InvalidSignatureException", LATER, CLOCK),
        (403, "InvalidSignatureException", EARLIER, CLOCK),
        (400, "BadRequestException", EARLIER, CLOCK),
        (401, "BadRequestException", MISMATCH, KEY),
        (403, "com.amazonaws.deepdish.graphql.auth#BadRequestException", SCOPED, REGION),
    ],
)
def test_a_refusal_names_its_own_remedy_and_no_other(
    world: World, status: int, kind: str, message: str, remedy: str
) -> None:
    found = failure(world, refusal(status, kind, message))
    assert isinstance(found, AuthorizationError)
    assert remedies(found) == [remedy]


@pytest.mark.parametrize(
    ("header", "body", "remedy"),
    [
        ("", {"message": SCOPED}, REGION),
        ("", {"message": EXPIRED}, SESSION),
        ("", {"Message": LATER}, CLOCK),
        ("ExpiredTokenException:http://internal.example/", {"message": "No."}, SESSION),
        ("", {"__type": "com.amazon.coral#AccessDeniedException", "Message": "No."}, PERMISSION),
        ("", {"message": "Forbidden"}, PERMISSION),
        ("", {"message": None}, PERMISSION),
        ("", {"errors": "none", "message": MISMATCH}, KEY),
    ],
)
def test_a_gateways_message_is_a_refusal_too(
    world: World, header: str, body: dict[str, Any], remedy: str
) -> None:
    given = answer(body, 403)._replace(headers={"x-amzn-ErrorType": header})
    found = failure(world, given)
    assert isinstance(found, AuthorizationError)
    assert remedies(found) == [remedy]
    assert str(body.get("message") or body.get("Message") or "no message") in str(found)


def test_a_refusal_of_an_unknown_kind_names_what_may_stand_before_the_api(world: World) -> None:
    assert "a proxy or a firewall" in str(failure(world, answer({"message": "Forbidden"}, 403)))


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
    assert "check GRAPHQL_ENDPOINT" in str(found)


def test_an_html_page_of_a_proxy_is_told_by_its_status(world: World) -> None:
    assert isinstance(failure(world, answer(b"<html></html>", 502)), TransportError)


def test_a_long_list_of_errors_gives_a_short_message(world: World) -> None:
    errors = [error(None, message=f"{n} " + "x" * 5000) for n in range(50)]
    assert len(str(failure(world, answer({"data": None, "errors": errors})))) < 2000


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(world: World, status: int) -> None:
    left = iter([refusal(status, "Passing", "Soon.")] * RETRIES)
    world.before = lambda _: next(left, None)
    assert world.client().execute(LIST) == {"listAggregatedMetrics": {"items": []}}
    assert len(world.log) == RETRIES + 1


def test_a_reset_connection_is_tried_again_and_then_is_a_transport_error(world: World) -> None:
    def reset(_: Request) -> Answer | None:
        raise ConnectionDroppedError

    world.before = reset
    with pytest.raises(TransportError, match=r"ListAll: no answer .* check GRAPHQL_ENDPOINT"):
        world.client().execute(LIST)
    assert len(world.log) == RETRIES + 1


@pytest.mark.parametrize("status", [400, 401, 403])
def test_what_cannot_pass_is_not_tried_again(world: World, status: int) -> None:
    failure(world, refusal(status, "Never", "No."))
    assert len(world.log) == 1


def test_retries_wait_longer_each_time_with_jitter_and_not_as_the_server_likes() -> None:
    retry = open_session(None, "").get_adapter(ENDPOINT).max_retries  # type: ignore[attr-defined]
    assert retry.backoff_factor > 0
    assert retry.backoff_jitter > 0
    assert retry.is_retry("POST", 503)
    assert not retry.respect_retry_after_header


def test_requests_keep_within_the_time_that_is_left() -> None:
    session = open_session(None, "")
    assert AppSyncClient(ENDPOINT, session)._timeout() == (CONNECT_SECONDS, READ_SECONDS)
    assert AppSyncClient(ENDPOINT, session, lambda: 900.0)._timeout() == (3.0, 10.0)
    assert AppSyncClient(ENDPOINT, session, lambda: 60.0)._timeout() == (3.0, 7.5)
    assert AppSyncClient(ENDPOINT, session, lambda: 4.0)._timeout() == (0.5, 0.5)
    assert AppSyncClient(ENDPOINT, session, lambda: -1.0)._timeout() == (0.2, 0.2)


def test_a_wrong_secret_is_refused(world: World) -> None:
    world.api._signatures = Signatures({local.KEY: "another secret"})
    with pytest.raises(AuthorizationError, match="signature"):
        world.client().execute(LIST)


def test_requests_are_signed_with_the_credentials_of_the_moment() -> None:
    now = datetime.now(UTC)
    issued = iter(["SECOND", "THIRD"])

    def issue(lives: timedelta = timedelta(minutes=1)) -> dict[str, str]:
        key = next(issued)
        return {
            "access_key": key,
            "secret_key": f"secret of {key}",
            "token": f"token of {key}",
            "expiry_time": (now + lives).isoformat(),
        }

    credentials = RefreshableCredentials(
        "FIRST",
        "secret of FIRST",
        "token of FIRST",
        now + timedelta(minutes=1),
        refresh_using=issue,
        method="test",
    )
    seen: list[tuple[str, str]] = []
    keys = ("FIRST", "SECOND", "THIRD")
    world = World(http=True)
    world.api._signatures = Signatures({key: f"secret of {key}" for key in keys})

    def note(request: Request) -> None:
        key = request.headers["authorization"].partition("Credential=")[2].partition("/")[0]
        seen.append((key, request.headers["x-amz-security-token"]))

    world.after = note
    session = open_session(credentials, "us-east-1")
    session.mount("https://", FakeAdapter(world))
    client = AppSyncClient(ENDPOINT, session)
    for _ in range(2):
        client.execute(LIST)
    assert seen == [("SECOND", "token of SECOND"), ("THIRD", "token of THIRD")]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("query LoadHours($a: String) { x }", "LoadHours"),
        ("mutation SaveHours{ x }", "SaveHours"),
        ("query", "query"),
    ],
)
def test_errors_name_the_operation(query: str, name: str) -> None:
    assert operation_name(query) == name
