"""The TOML file that declares custom models, and the stack's parameter that holds what it says."""

import json
import tomllib
import zlib
from base64 import urlsafe_b64encode

from aggregated_metrics.core.declarations import Document
from aggregated_metrics.core.errors import SettingsError

_READABLE = 1_000


def read_toml(text: str) -> Document:
    """Read a file of declarations.

    Raises:
        SettingsError: naming the model, the key and what to write.
    """
    try:
        return Document.of(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"this is not TOML: {error}") from error


def as_variable(document: Document) -> str:
    """What Document.of_variable reads; compressed if long: all variables share four kilobytes."""
    content = document.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(content, separators=(",", ":"))
    if len(text) <= _READABLE:
        return text
    return urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode()
