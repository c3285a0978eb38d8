"""What is a secret in an LLM configuration, and how texts and manifests are kept free of it.

A secret is known by the name of its key (`api_key`, `azure_ad_token`, `aws_secret_access_key`), by standing in a
header, or by standing in a URL before the host or behind the question mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

_NAME = re.compile(r"key|secret|passw|credential|authorization|cookie|signature|(^|[_-])(token|auth|jwt)($|[_-])", re.I)
_HEADERS = re.compile(r"headers?$", re.I)
_URL = re.compile(r"(https?://)(?:([^/\s@]*)@)?([^\s?]*)(?:\?(\S*))?", re.I)
_LOOKS_LIKE_A_KEY = re.compile(r"(?<![\w-])(?:sk|pk|hf|gsk|xai|AIza|AKIA)[-_]?[\w*-]{8,}|(?<=Bearer )\S+")
_SHORTEST = 4  # whatever is shorter than this cannot be told from ordinary text

HIDDEN = "***"


def without_secrets(value: Any) -> Any:
    """The value for everybody's eyes: secret keys left out, header values hidden, URLs bare."""
    if isinstance(value, Mapping):
        return {
            key: {name: HIDDEN for name in entry} if _is_headers(key, entry) else without_secrets(entry)
            for key, entry in value.items()
            if not _NAME.search(key)
        }
    if isinstance(value, list | tuple):
        return [without_secrets(entry) for entry in value]
    return _URL.sub(r"\1\3", value) if isinstance(value, str) else value


def collect_secrets(value: Any, *, secret: bool = False) -> frozenset[str]:
    """Every secret text within a configuration."""
    if isinstance(value, Mapping):
        parts = [
            collect_secrets(entry, secret=secret or bool(_NAME.search(str(key))) or _is_headers(str(key), entry))
            for key, entry in value.items()
        ]
        return frozenset().union(*parts)
    if isinstance(value, list | tuple):
        return frozenset().union(*(collect_secrets(entry, secret=secret) for entry in value))
    if not isinstance(value, str):
        return frozenset()
    return frozenset({value, value.split(" ")[-1]} if secret else _in_url(value))


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text with `***` for every one of the secrets, and for whatever else looks like a key."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, HIDDEN)
    return _LOOKS_LIKE_A_KEY.sub(HIDDEN, _URL.sub(r"\1\3", text))


def _is_headers(key: str, value: Any) -> bool:
    return isinstance(value, Mapping) and bool(_HEADERS.search(key))


def _in_url(text: str) -> set[str]:
    found: set[str] = set()
    for _, user, _, query in _URL.findall(text):
        parts = {user, *user.split(":")[1:], query, *(part.partition("=")[2] for part in query.split("&"))}
        found |= parts | {unquote(part) for part in parts}
    return found - {""}
