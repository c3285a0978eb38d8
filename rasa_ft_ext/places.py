"""Where the value of a slot stands in a text, and whether one may have been worked out of another."""

from __future__ import annotations

import re
import unicodedata

from rasa_ft_ext.checks import words

NO_VALUES = {"", "none", "null", "true", "false"}
"""What is no value that one finds in a text, in small letters."""

_WITHOUT_BLANKS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER")  # scripts that put none between words
# The signs within a number, a date or a time of day: `1` is no value in 1.5, 1,000, 1'000, 3/1 and 10:01.
_IN_NUMBER, _NUMBER_GOES_ON = re.compile(r"\d['\u2019.,:/-]$"), re.compile(r"['\u2019.,:/-]\d")


def places_of(value: str, text: str) -> list[tuple[int, int]]:
    """Where a value stands in a text as whole words, whatever the case: `mid_range` also as `mid-range`."""
    if value.casefold() in NO_VALUES:
        return []
    pattern = r"[\s_-]+".join(re.escape(part) for part in re.split(r"[\s_]+", value) if part)
    found = (match.span() for match in re.finditer(pattern, text, re.I)) if pattern else ()
    return [span for span in found if _is_whole(text, *span)]


def stands_in(value: str, text: str) -> bool:
    return bool(places_of(value, text))


def may_follow(value: str, message: str, other: str) -> bool:
    """Whether the value that a message gave a slot may have been worked out of another one.

    "For three days" after May 14th gives May 17th. Such a value does not stand in its own message, and shares a word
    with the other, or both are days or numbers.
    """
    if stands_in(value, message):
        return False
    return (_is_reckoned(value) and _is_reckoned(other)) or any(stands_in(word, value) for word in other.split())


def _is_reckoned(value: str) -> bool:
    return any(sign.isdigit() for sign in value) or words.number(value) is not None or words.day_of(value) is not None


def is_without_blanks(text: str) -> bool:
    """Whether the text begins with a letter of a script that puts no blanks between words."""
    first = next((sign for sign in text if sign.isalpha()), "")
    return bool(first) and unicodedata.name(first, "").startswith(_WITHOUT_BLANKS)


def _is_whole(text: str, start: int, end: int) -> bool:
    if _IN_NUMBER.search(text[:start]) and text[start].isdigit():
        return False
    if text[end - 1].isdigit() and _NUMBER_GOES_ON.match(text, end):
        return False
    return not (_go_together(text[start - 1 : start], text[start]) or _go_together(text[end - 1], text[end : end + 1]))


def _go_together(one: str, other: str) -> bool:
    """Whether two signs side by side belong to one word or number."""
    both = one.isalnum() and other.isalnum()
    return both and not (is_without_blanks(one) or is_without_blanks(other))
