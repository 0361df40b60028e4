"""What an endpoint's URL says: whether it is safe to send signed requests to, and its region."""

import ipaddress
import re
from urllib.parse import urlsplit

_CONTAINER_HOSTS = frozenset({"host.docker.internal", "172.17.0.1"})
_APPSYNC_HOST = re.compile(r"\.appsync-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$")


def is_safe(endpoint: str) -> bool:
    """Whether it is https, or http to this machine."""
    parts = urlsplit(endpoint)
    if not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_local(parts.hostname))


def region_of(endpoint: str) -> str | None:
    """The region in AppSync's own host names; None for a domain name of the API's own."""
    match = _APPSYNC_HOST.search(urlsplit(endpoint).hostname or "")
    return match[1] if match else None


def _is_local(host: str) -> bool:
    if host == "localhost" or host in _CONTAINER_HOSTS:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
