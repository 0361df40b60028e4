"""Who may call: SigV4 signatures for service appsync, and API keys, checked as AppSync does."""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request,\s*"
    r"SignedHeaders=([^,]+),\s*Signature=([0-9a-f]{64})"
)
_UNKNOWN = "The security token included in the request is invalid."
_SCOPE = "Credential should be scoped to a valid region / correct service: 'appsync' (got {}/{})."
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)

type Denial = tuple[int, str, str]
"""Why a request is refused before anybody looks at its body: status, errorType and message."""


class Request(NamedTuple):
    """An HTTP request as it arrives: header names in lower case, host as the client wrote it."""

    body: bytes
    headers: Mapping[str, str]
    host: str
    path: str
    method: str = "POST"

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str], body: bytes | str | None) -> "Request":
        lower = {name.lower(): str(value) for name, value in headers.items()}
        parts = urlsplit(url)
        content = body.encode() if isinstance(body, str) else body or b""
        return cls(content, lower, lower.get("host", parts.netloc), parts.path or "/")


class Signatures:
    """The known access keys with their secrets, and the known API keys."""

    def __init__(self, secrets: Mapping[str, str], api_keys: Collection[str] = ()) -> None:
        self._secrets = dict(secrets)
        self._api_keys = frozenset(api_keys)

    def denial(self, request: Request) -> Denial | None:
        """None for a request that is signed, or carries a known API key."""
        api_key, authorization = map(request.headers.get, ("x-api-key", "authorization"))
        if authorization is None:
            reason = "Missing authorization" if api_key is None else "Invalid API key"
            return None if api_key in self._api_keys else _unauthorized(reason)
        parts = _AUTHORIZATION.fullmatch(authorization)
        if parts is None:
            return _unauthorized("Unable to parse authorization header")
        key_id, region, service, names, signature = parts.groups()
        if key_id not in self._secrets:
            return 403, "UnrecognizedClientException", _UNKNOWN
        if service != "appsync":
            return 403, "InvalidSignatureException", _SCOPE.format(region, service)
        if signature != _signature(request, names, self._secrets[key_id], region):
            return 403, "InvalidSignatureException", _MISMATCH
        return None


def _unauthorized(reason: str) -> Denial:
    return 401, "UnauthorizedException", f"UnauthorizedException: {reason}"


def _signature(request: Request, names: str, secret: str, region: str) -> str:
    """What the request's signature must be: of the headers that it names."""
    headers = {"host": request.host} | dict(request.headers)
    signed = AWSRequest(
        "POST",
        f"https://{request.host}{request.path}",
        {name: headers.get(name, "") for name in names.split(";")},
        request.body,
    )
    signed.context["timestamp"] = headers.get("x-amz-date", "")
    auth = SigV4Auth(Credentials("", secret), "appsync", region)
    text = auth.string_to_sign(signed, auth.canonical_request(signed))
    return str(auth.signature(text, signed))
