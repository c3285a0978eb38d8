"""What the travel assistant can look up. Read once, never changed: conversations share nothing."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

_DATA = Path(__file__).parent / "data"


@cache
def table(name: str) -> Any:
    """Return the content of `data/<name>.json`."""
    return json.loads((_DATA / f"{name}.json").read_text(encoding="utf-8"))


def city(text: str | None) -> str | None:
    """Return the catalogue's name of a city, however the traveller spelled it."""
    wanted = (text or "").strip().casefold()
    return next((name for name, spellings in table("cities").items() if wanted in spellings), None)


def offers(kind: str, destination: str | None, price_range: str | None = None) -> list[dict[str, Any]]:
    """Return the cars, hotels or excursions of a city, the hotels of one price range only."""
    found: list[dict[str, Any]] = table(kind).get(city(destination), [])
    return [offer for offer in found if price_range is None or offer["range"] == price_range]


def readable(found: list[dict[str, Any]]) -> str | None:
    """Return the names of the offers as one line, or nothing if there are none."""
    return ", ".join(offer["name"] for offer in found) or None


def flights(first_day: str, last_day: str) -> list[dict[str, Any]]:
    """Return the flights between two days, both included, each day in ISO format."""
    return [flight for flight in table("flights") if first_day <= flight["day"] <= last_day]


def bookings(customer: str | None) -> dict[str, Any]:
    """Return what a customer has booked: `flight` (or nothing) and `others`."""
    found: dict[str, Any] = table("bookings").get(customer, {"flight": None, "others": []})
    return found


def reference(kind: str, *parts: object) -> str:
    """Return a booking number that follows from what is booked, so that the same booking has the same number."""
    return f"{kind[:3].upper()}-{crc32('|'.join(map(str, parts)).encode()) % 10_000:04}"
