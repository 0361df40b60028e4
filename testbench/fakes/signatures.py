"""Who may call: SigV4 signatures for service appsync, and API keys, checked as AppSync does."""

import hmac
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
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)


class Request(NamedTuple):
    """An HTTP POST as it arrives: header names in lower case, host as the client wrote it."""

    body: bytes
    headers: Mapping[str, str]
    host: str
    path: str

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str], body: bytes | str | None) -> "Request":
        lower = {name.lower(): str(value) for name, value in headers.items()}
        parts = urlsplit(url)
        content = body.encode() if isinstance(body, str) else body or b""
        return cls(content, lower, lower.get("host", parts.netloc), parts.path or "/")


class AccessDeniedError(Exception):
    """The request is refused before anybody looks at its body."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message


class Signatures:
    """The known access keys with their secrets, and the known API keys."""

    def __init__(self, secrets: Mapping[str, str], api_keys: Collection[str] = ()) -> None:
        self._secrets = dict(secrets)
        self._api_keys = frozenset(api_keys)

    def check(self, request: Request) -> None:
        """Raise AccessDeniedError unless the request is signed or carries a known API key."""
        api_key = request.headers.get("x-api-key")
        authorization = request.headers.get("authorization")
        if authorization is None and api_key is None:
            raise _unauthorized("Missing authorization")
        if authorization is None:
            if api_key not in self._api_keys:
                raise _unauthorized("Invalid API key")
            return
        parts = _AUTHORIZATION.fullmatch(authorization)
        if parts is None:
            raise _unauthorized("Unable to parse authorization header")
        self._check_signature(request, parts)

    def _check_signature(self, request: Request, parts: re.Match[str]) -> None:
        key_id, region, service, names, signature = parts.groups()
        secret = self._secrets.get(key_id)
        if secret is None:
            raise AccessDeniedError(
                403,
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )
        if service != "appsync":
            raise AccessDeniedError(
                403,
                "InvalidSignatureException",
                "Credential should be scoped to a valid region / correct service: 'appsync' "
                f"(got {region}/{service}).",
            )
        if not hmac.compare_digest(_signature(request, names, secret, region), signature):
            raise AccessDeniedError(403, "InvalidSignatureException", _MISMATCH)


def _unauthorized(reason: str) -> AccessDeniedError:
    return AccessDeniedError(401, "UnauthorizedException", f"UnauthorizedException: {reason}")


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
