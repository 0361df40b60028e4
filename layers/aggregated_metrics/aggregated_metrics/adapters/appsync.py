"""A client of an AppSync API that signs with IAM and tells errors apart by class: `connect`.

One `requests.Session` is one connection pool: keep it as long as the process lives. The transport's
retries are urllib3's, bounded and jittered. A request that is sent again after its answer was lost
may find its own write, so every write of this package carries a condition.
"""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from math import inf
from typing import Any, Protocol
from urllib.parse import urlsplit

import botocore.session
import requests
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from requests.adapters import HTTPAdapter
from requests_aws4auth import AWS4Auth
from urllib3.util import Retry

from aggregated_metrics.core.errors import (
    ApiError,
    AuthorizationError,
    ConditionFailedError,
    GraphQLError,
    SettingsError,
    ThrottledError,
    TransportError,
)

CONNECT_SECONDS = 3.0
READ_SECONDS = 30.0  # AppSync ends a request itself then
RETRIES = 3
CONNECTIONS = 8
ENDPOINTS = ("GraphQLEndpoint", "GraphQLApiEndpoint", "awsAppsyncApiEndpoint")
"""How this project's stacks and Amplify's root stack call the endpoint."""
_LOCAL_HOST = re.compile(
    r"localhost|127(\.\d{1,3}){3}|::1|host\.docker\.internal|172\.17\.0\.1"
).fullmatch
"""The loopback, and the host as its containers see it."""
_APPSYNC_HOST = re.compile(r"\.appsync-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$")
CONDITION_FAILED = "DynamoDB:ConditionalCheckFailedException"
_PERMISSION = "the role needs appsync:GraphQL on this field"
_UNKNOWN = (
    f"{_PERMISSION}; if it has that, a proxy or a firewall in front of the API refused the request"
)
_REMEDIES: Mapping[str, str] = {
    "WAFForbidden": "the API's firewall (AWS WAF) blocked the request, it is no permission: its "
    "common rules block bodies above 8 KB (MAX_REQUEST_BYTES=8000 keeps below), others name "
    "themselves in the web ACL's sampled requests",
    "AccessDenied|Unauthorized": _PERMISSION,
    "ExpiredToken|token included in the request is expired": "the session has expired: sign in "
    "again, or renew the temporary credentials",
    "RequestExpired|Signature expired|Signature not yet current": "this machine's clock is more "
    "than five minutes off: synchronize it (NTP), then try again",
    "Credential should be scoped|credential must be scoped": "the request was signed for "
    "another region than the API's: name the API's own region",
    "request signature we calculated|token included in the request is invalid": "AWS does not know "
    "this access key, or its secret is another one: check the profile and keys",
}
"""By words of an errorType, or of a refusal's message where AWS gives several causes one errorType
(BadRequestException, InvalidSignatureException), or none."""
_PASSING = re.compile(
    f"{CONDITION_FAILED}|Throttl|TooManyRequests|LimitExceeded|ProvisionedThroughputExceeded|"
    "InternalServerError|InternalFailure|ServiceUnavailable"
).search
"""Whether an error of this type may be another one, or none, at the next try."""


class Client(Protocol):
    """Anything that carries out a GraphQL document and returns its `data`."""

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Carry out one document; raise on any error."""


class AppSyncClient:
    """Carries out GraphQL documents at one endpoint, within the seconds that the caller has left.

    `request_bytes` is how large a request may be (a firewall's limit; 0 for any size), for
    the callers that build documents.
    """

    def __init__(
        self,
        endpoint: str,
        session: requests.Session,
        time_left: Callable[[], float] = lambda: inf,
        *,
        request_bytes: int = 0,
    ) -> None:
        self.request_bytes = request_bytes
        self._endpoint = endpoint
        self._session = session
        self._time_left = time_left

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Carry out one document and return its `data`.

        Raises:
            TransportError: no usable answer after bounded retries.
            ThrottledError: throttled, or failed for a passing reason; see `failed`.
            AuthorizationError: the caller may not do this.
            ConditionFailedError: the aliases in `failed` did not meet their condition.
            GraphQLError: any other error that the API names.
        """
        operation = operation_name(query)
        body = body_of(query, variables)
        try:
            response = self._session.post(
                self._endpoint,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=self._timeout(),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise TransportError(
                f"no answer from {self._endpoint} ({type(error).__name__}: {error}); "
                "check the endpoint and the network",
                operation=operation,
            ) from error
        return _data(response, operation)

    def _timeout(self) -> tuple[float, float]:
        share = max(0.2, self._time_left() / (1 + RETRIES) / 2)  # a try connects and reads
        return min(CONNECT_SECONDS, share), min(READ_SECONDS, share)


def connect(
    endpoint: str | None = None,
    *,
    stack: str | None = None,
    region: str | None = None,
    profile: str | None = None,
) -> AppSyncClient:
    """A client that signs with the credentials of boto3's default chain.

    The caller needs `appsync:GraphQL` on the fields of Query that start with `getAggregatedMetrics`
    and `listAggregatedMetrics`, and with `stack` also `cloudformation:DescribeStacks`.

    >>> client = connect("https://abc.appsync-api.us-east-1.amazonaws.com/graphql")

    Args:
        endpoint: the GraphQL API's URL (amplify_outputs.json: data.url).
        stack: instead, a CloudFormation stack that names it: this application's, or Amplify's. Its
            `MaxRequestBytes` holds for the client's readers, too.
        region: AWS region; otherwise AWS_REGION, AWS_DEFAULT_REGION, or the profile's own, in this
            order. It is where the stack is; requests are signed for the endpoint's own region,
            unless the endpoint does not show one.
        profile: AWS profile; otherwise AWS_PROFILE, or the environment's credentials.

    Raises:
        SettingsError: there is no such endpoint, stack, region or credentials; says what to do.
    """
    if (endpoint is None) == (stack is None):
        raise SettingsError("pass either connect(endpoint) or connect(stack=…), exactly one")
    try:
        session = botocore.session.Session(profile=profile)
        # As the AWS CLI: botocore itself does not read AWS_REGION.
        found = region or os.environ.get("AWS_REGION") or session.get_config_variable("region")
        named = {} if stack is None else _described(session, stack, found)
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise SettingsError(f"{error}; check the profile and the region") from error
    if credentials is None:
        raise SettingsError(
            "there are no AWS credentials: sign in, or choose some with profile= or AWS_PROFILE"
        )
    url = str(endpoint) if stack is None else next(filter(None, map(named.get, ENDPOINTS)))
    http = open_session(credentials, _region(url, found))
    return AppSyncClient(url, http, request_bytes=int(named.get("MaxRequestBytes") or 0))


def _region(endpoint: str, found: str | None) -> str:
    """The region to sign for: the endpoint's own, otherwise what was found."""
    if not is_safe(endpoint):
        raise SettingsError(f"{endpoint!r} is not the https:// URL of a GraphQL API")
    if region := region_of(endpoint) or found:
        return region
    host = urlsplit(endpoint).hostname
    raise SettingsError(f"{host} does not say its region: pass region=, or set AWS_REGION")


def _described(session: Any, stack: str, region: str | None) -> dict[str, str]:
    """A stack's parameters and outputs, by name; one is the endpoint."""
    config = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 3})
    try:
        cloudformation = session.create_client("cloudformation", region_name=region, config=config)
        described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        raise SettingsError(
            f"the stack {stack!r} cannot be described in {region} ({error}); check its name, the "
            "region and the credentials"
        ) from error
    found = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", ())}
    parameters = described.get("Parameters", ())
    found |= {each["ParameterKey"]: each["ParameterValue"] for each in parameters}
    if found.keys().isdisjoint(ENDPOINTS):
        raise SettingsError(
            f"the stack {stack!r} has no parameter or output {', '.join(ENDPOINTS)}: pass the "
            "endpoint"
        )
    return found


def is_safe(endpoint: str) -> bool:
    """Whether it is https, or http to this machine."""
    parts = urlsplit(endpoint)
    is_local = parts.scheme == "http" and _LOCAL_HOST(parts.hostname or "")
    return bool(parts.hostname and (parts.scheme == "https" or is_local))


def region_of(endpoint: str) -> str | None:
    """The region in AppSync's own host names; None for a domain name of the API's own."""
    match = _APPSYNC_HOST.search(urlsplit(endpoint).hostname or "")
    return match[1] if match else None


def open_session(credentials: Any, region: str) -> requests.Session:
    """A session that keeps its connections, signs (with credentials), and retries what may pass."""
    retry = Retry(
        total=RETRIES,
        backoff_factor=0.1,
        backoff_jitter=0.2,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=False,  # it could ask for more time than is left
    )
    session = requests.Session()
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=CONNECTIONS, max_retries=retry)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.auth = _signer(credentials, region) if credentials else None
    return session


def _signer(
    credentials: Any, region: str
) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Signs requests; one for all threads."""
    signer = AWS4Auth(region=region, service="appsync", refreshable_credentials=credentials)
    lock = threading.Lock()

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        with lock:  # AWS4Auth renews its key in place
            signed: requests.PreparedRequest = signer(request)
            return signed

    return sign


def body_of(query: str, variables: Mapping[str, Any] | None) -> bytes:
    """What is sent for a document; firewalls judge its size."""
    content = {"query": query, "variables": variables or {}}
    return json.dumps(content, separators=(",", ":")).encode()


def fitting[Part](
    whole: Sequence[Part],
    most: int,
    document: Callable[[Sequence[Part]], tuple[str, dict[str, Any]]],
    request_bytes: int,
) -> Iterator[Sequence[Part]]:
    """At most that many at a time, and no more than fit into a request, in their order.

    A single one is never split; `request_bytes` 0 means any size.
    """
    for first in range(0, len(whole), most):
        part = whole[first : first + most]
        if request_bytes and len(part) > 1 and len(body_of(*document(part))) > request_bytes:
            yield from fitting(part, (len(part) + 1) // 2, document, request_bytes)
        else:
            yield part


def operation_name(query: str) -> str:
    """`LoadHours` of `query LoadHours(...) {...}`; the first words where there is no name."""
    words = query.replace("{", " ").replace("(", " ").split()
    return words[1] if len(words) > 1 else query[:40]


def _data(response: requests.Response, operation: str) -> dict[str, Any]:
    if response.is_redirect:
        raise TransportError(
            f"the endpoint redirects to {response.headers['location']}, and credentials are sent "
            "to no other place: check the endpoint",
            operation=operation,
        )
    try:
        answer = response.json()
    except ValueError:
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    errors, data = _errors(answer, response), answer.get("data")
    if errors or response.status_code != requests.codes.ok:
        kind, message = _judged(response.status_code, errors)
        raise kind(message, operation=operation, errors=errors, data=data)
    if not isinstance(data, dict):
        raise TransportError("the answer is not GraphQL's: check the endpoint", operation=operation)
    return data


def _errors(answer: Mapping[str, Any], response: requests.Response) -> list[dict[str, Any]]:
    """An answer's errors; a gateway's `{"message": …}` is one, of the type in its header."""
    errors = answer.get("errors")
    given = [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
    message = answer.get("message") or answer.get("Message")
    if given or message is None or response.ok:
        return given
    kind = answer.get("__type") or response.headers.get("x-amzn-ErrorType", "")
    return [{"message": message, "errorType": str(kind).split(":")[0]}]


def _judged(status: int, errors: list[dict[str, Any]]) -> tuple[type[ApiError], str]:
    """The class of an answer's errors, and the message with its remedy."""
    texts = list(dict.fromkeys(str(error.get("message"))[:500] for error in errors))
    message = f"HTTP {status}: {'; '.join(texts[:3]) or 'no message'}"
    kinds = [str(error.get("errorType") or "").rpartition("#")[2] for error in errors]
    remedy = next(filter(None, map(_remedy, repeat(status), kinds, errors)), None)
    if remedy or status in {401, 403}:
        return AuthorizationError, f"{message}; {remedy or _UNKNOWN}"
    if status == requests.codes.too_many_requests:
        return ThrottledError, message
    if status >= requests.codes.internal_server_error:
        return TransportError, message
    if errors and all(kind == CONDITION_FAILED for kind in kinds):
        return ConditionFailedError, message
    passes = errors and all(map(_PASSING, kinds))
    return ThrottledError if passes else GraphQLError, message


def _remedy(status: int, kind: str, error: Mapping[str, Any]) -> str | None:
    """What to do about a refusal of the caller; None for any other error."""
    # A signature is refused before a document is read: the text of a document's error says nothing.
    is_early = requests.codes.bad_request <= status < requests.codes.internal_server_error
    text = f"{kind}: {error.get('message')}" if is_early else kind
    return next((remedy for words, remedy in _REMEDIES.items() if re.search(words, text)), None)
