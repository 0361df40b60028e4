"""Who may call: SigV4 signatures for service appsync, and API keys, checked as AppSync does."""

import functools
import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request,\s*"
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
        key_id, day, region, service, names, signature = parts.groups()
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
        text = _string_to_sign(request, names, f"{day}/{region}/{service}/aws4_request")
        signed = hmac.new(_signing_key(secret, day, region, service), text, hashlib.sha256)
        if not hmac.compare_digest(signed.hexdigest(), signature):
            raise AccessDeniedError(403, "InvalidSignatureException", _MISMATCH)


def _unauthorized(reason: str) -> AccessDeniedError:
    return AccessDeniedError(401, "UnauthorizedException", f"UnauthorizedException: {reason}")


@functools.lru_cache(maxsize=256)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _string_to_sign(request: Request, names: str, scope: str) -> bytes:
    headers = {"host": request.host} | dict(request.headers)
    canonical_headers = "".join(
        f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in names.split(";")
    )
    content = hashlib.sha256(request.body).hexdigest()
    canonical = f"POST\n{request.path}\n\n{canonical_headers}\n{names}\n{content}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"AWS4-HMAC-SHA256\n{request.headers.get('x-amz-date', '')}\n{scope}\n{digest}".encode()
