"""What the value of an argument may be: each function reads one from its text, or says what is wrong with it."""

from __future__ import annotations

from argparse import ArgumentTypeError

MAX_REPHRASES = 49


def num_rephrases(text: str) -> int:
    number = _integer(text)
    if not 0 <= number <= MAX_REPHRASES:
        raise ArgumentTypeError(f"{number} is not between 0 and {MAX_REPHRASES}")
    return number


def positive_int(text: str) -> int:
    number = _integer(text)
    if number < 1:
        raise ArgumentTypeError(f"{number} is not 1 or more")
    return number


def fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < number <= 1:
        raise ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return number


def wording(text: str) -> str:
    if text not in ("drafts", "llm"):
        hint = "A folder goes before --suggest, or write --suggest drafts."
        raise ArgumentTypeError(f"'{text}' is neither drafts nor llm. {hint}")
    return text


def share(text: str) -> float:
    number = _number(text)
    if not 0 <= number <= 1:
        raise ArgumentTypeError(f"{text} is not from 0 to 1")
    return number


def percentage(text: str) -> float:
    number = _number(text.removesuffix("%").strip())
    if 0 < number < 1:
        raise ArgumentTypeError(f"{text} is a share; give a percentage, such as {100 * number:g}")
    if not 0 <= number <= 100:
        raise ArgumentTypeError(f"{text} is no percentage: a number from 0 to 100")
    return number


def count(text: str) -> int:
    number = _integer(text)
    if number < 0:
        raise ArgumentTypeError(f"{number} is not 0 or more")
    return number


def price(text: str) -> float:
    number = _number(text)
    if not 0 <= number < float("inf"):
        raise ArgumentTypeError(f"{text} is no price")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a whole number") from None


def port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"'{text}' is no port: a number from 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ArgumentTypeError(f"'{text}' is no number of seconds")
    return number


def positive(text: str) -> float:
    number = _number(text)
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text} is not above 0")
    return number


def price_per_1k(text: str) -> str:
    from rasa_ft_ext.llm.options import read_price

    try:
        read_price(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}: {error}") from None
    return text
