"""Mask e-mail addresses, phone numbers, card numbers and IBANs in what users wrote.

    redactor = Redactor()                                   # one for each conversation
    redactor.text("Call 0170 1234567 or +49 170 1234567")   # "Call PHONE_1 or PHONE_1"
    redactor.text("It was +49-170-1234567")                 # "It was PHONE_1"

The same value gets the same placeholder as long as the redactor lives, however it is written. A placeholder is one word
of letters, digits and `_`, so that the command language carries it as the value of a slot.

Cards and IBANs are taken for one only where their check digits fit, phone numbers where the number could be dialled in
one of `regions` or is written with its country code. Names, addresses, dates of birth and numbers that only one company
knows are not masked: nothing in their form tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

REGIONS = ("DE", "AT", "CH", "GB", "US", "CN")

_LETTERS = "A-Za-z0-9\u00c0-\u024f"  # Latin only: in Chinese no blank divides an address from what is before it
_EMAIL = re.compile(
    rf"[{_LETTERS}_][{_LETTERS}._%+'-]{{0,63}}(?<!\.)@[{_LETTERS}](?:[{_LETTERS}-]{{0,62}}\.)+[A-Za-z\u00c0-\u024f]"
    rf"[{_LETTERS}-]+"
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ -]?\d{2}(?:[ -]?[A-Za-z0-9]){11,30}")
_CARD = re.compile(r"(?<![\w+.,/-])[2-6]\d{3}(?:[ -]?\d){9,15}", re.ASCII)
PLACEHOLDER = re.compile(r"(?<![A-Za-z0-9_])(EMAIL|PHONE|CARD|IBAN)_\d+(?![A-Za-z0-9_])")
"""What stands for a value."""
_FEWEST_DIGITS = 6  # of what is worth looking at as a phone number
_FEWEST_OF_A_COUNTRY = 7  # digits of a phone number without its country's
_LONGEST_IBAN = 34


class Found(NamedTuple):
    """A value to mask: where it stands, what it is, and the one way of writing it that all others come down to."""

    start: int
    end: int
    kind: str
    value: str


class Redactor:
    """Masks what stands in the texts of one conversation.

    Args:
        regions: The countries (ISO codes such as `DE`) whose numbers are known without a country code.
    """

    def __init__(self, regions: Iterable[str] = REGIONS) -> None:
        self._regions = tuple(regions)
        self._names: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}

    def text(self, text: str) -> str:
        """The text with every value that was found replaced by its placeholder."""
        parts, at = [], 0
        for found in find(text, self._regions):
            parts += [text[at : found.start], self._placeholder(found)]
            at = found.end
        return "".join([*parts, text[at:]])

    def _placeholder(self, found: Found) -> str:
        key = (found.kind, found.value)
        if key not in self._names:
            self._counts[found.kind] = self._counts.get(found.kind, 0) + 1
            self._names[key] = f"{found.kind}_{self._counts[found.kind]}"
        return self._names[key]


def unnumbered(text: str) -> str:
    """The text with the kind of each value, or placeholder, in its place: equal for a text and the same one masked."""
    parts, at = [], 0
    for found in find(text):
        parts += [text[at : found.start], found.kind]
        at = found.end
    return PLACEHOLDER.sub(r"\1", "".join([*parts, text[at:]]))


def find(text: str, regions: Iterable[str] = REGIONS) -> list[Found]:
    """The values to mask, in order; where two overlap, the kind with the stronger proof wins."""
    taken: list[Found] = []
    for found in _candidates(text, regions):
        if all(found.end <= other.start or other.end <= found.start for other in taken):
            taken.append(found)
    return sorted(taken)


def one_phone(one: str, other: str) -> bool:
    """Whether two values of phones are one number, of which a country code was guessed where none was written.

    That of the first fitting region is taken: 078 123 45 67 is found as a German number, +41 78 123 45 67 is not.
    """
    from phonenumbers import parse

    shorter, longer = sorted((str(parse(value).national_number) for value in (one, other)), key=len)
    return len(shorter) >= _FEWEST_OF_A_COUNTRY and longer.endswith(shorter)


def unknown_regions(regions: Iterable[str]) -> list[str]:
    """Those that are no country with a numbering plan."""
    from phonenumbers import SUPPORTED_REGIONS

    return [region for region in regions if region not in SUPPORTED_REGIONS]


def _candidates(text: str, regions: Iterable[str]) -> Iterator[Found]:
    for match in _EMAIL.finditer(text):
        yield Found(match.start(), match.end(), "EMAIL", match[0].casefold())
    if sum(character.isdigit() for character in text) < _FEWEST_DIGITS:
        return
    yield from _checked(text, _IBAN, "IBAN")
    yield from _checked(text, _CARD, "CARD")
    yield from _phones(text, regions)


def _checked(text: str, pattern: re.Pattern[str], kind: str) -> Iterator[Found]:
    """What a pattern finds and check digits prove; the longest part of a match that they do."""
    at = 0
    while match := pattern.search(text, at):
        at = match.start() + 1
        for end in range(match.end(), match.start(), -1):
            at_an_end = not text[end : end + 1].isascii() or not text[end : end + 1].isalnum()
            value = re.sub("[ -]", "", text[match.start() : end]).upper()
            if at_an_end and text[end - 1].isalnum() and _PROOFS[kind](value):
                yield Found(match.start(), end, kind, value)
                at = end
                break


def _is_iban(value: str) -> bool:
    from stdnum import iban

    return len(value) <= _LONGEST_IBAN and bool(iban.is_valid(value, check_country=False))


def _is_card(value: str) -> bool:
    from stdnum import luhn

    return 13 <= len(value) <= 19 and bool(luhn.is_valid(value))


_PROOFS = {"IBAN": _is_iban, "CARD": _is_card}


def _phones(text: str, regions: Iterable[str]) -> Iterator[Found]:
    from phonenumbers import PhoneNumberFormat, PhoneNumberMatcher, format_number

    for region in (None, *regions):  # None: those with a country code
        for match in PhoneNumberMatcher(text, region):
            yield Found(match.start, match.end, "PHONE", format_number(match.number, PhoneNumberFormat.E164))
