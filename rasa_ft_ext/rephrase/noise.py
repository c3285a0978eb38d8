"""Slips as people and machines make them: what a speech recogniser leaves, typing errors, careless capitals.

    noise = read_noise("asr,typo,casing:0.3")
    noisy("I need a car in Basel, please", ("Basel",), noise, Random(1))     # ("asr", "i need a car in Basel please")

One wording gets slips of one kind, and few of them. What the label is read from stays as it is: the values of slots,
every word with a digit, addresses; from typing errors names as well. Typing errors are made in words of alphabets with
capitals only (Latin, Greek, Cyrillic), since a lost sign is a lost word elsewhere. Whether the message is still
understood is for the teacher to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.places import places_of

DEFAULT_SHARE = 0.2

Span = tuple[int, int]

_LETTERS = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_ALONE = re.compile(rf"(?<!\S){_LETTERS.pattern}(?!\S)")
_PUNCTUATION = re.compile(r"(?<!\w)[^\w\s]+|[^\w\s]+(?!\w)|[^\w\s'\u2019-]+")  # less those within a word
_EXACT = re.compile(r"\S*(?:\d|@|://|www\.)\S*(?<![.,;:!?])")
_SHORTEST = 4  # letters of a word in which a slip leaves enough to be read
_ONE_SLIP_IN = 8  # words
_STUTTER = 0.3

# Neighbours that are the same on QWERTY, QWERTZ and AZERTY.
_NEIGHBOURS = {
    letter: row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
    for row in ("ertuiop", "sdfghjkl", "xcvbn")
    for place, letter in enumerate(row)
}
# What an English recogniser confuses or writes as it is said; none of these is a word of another language.
_AS_HEARD = {
    "their": "there",
    "there": "their",
    "your": "you're",
    "you're": "your",
    "its": "it's",
    "it's": "its",
    "gonna": "going to",
    "wanna": "want to",
}


@dataclass(frozen=True)
class Noise:
    """Which kinds of slips there are, and which part of the wordings gets a noisy copy."""

    kinds: tuple[str, ...]
    share: float = DEFAULT_SHARE


def read_noise(text: str) -> Noise:
    """Read `KIND[,KIND...][:SHARE]`.

    Raises:
        ConfigError: there is no such kind, or the share is not above 0 and at most 1.
    """
    listed, colon, share = text.partition(":")
    kinds = tuple(dict.fromkeys(kind.strip() for kind in listed.split(",") if kind.strip()))
    problems = [f"{kind!r} is no kind of noise; there are {', '.join(_KINDS)}." for kind in kinds if kind not in _KINDS]
    if not kinds:
        problems.append(f"{text!r} names no kind of noise; there are {', '.join(_KINDS)}.")
    try:
        part = float(share) if colon else DEFAULT_SHARE
    except ValueError:
        part = 0.0
    if not 0 < part <= 1:
        problems.append(f"The share {share!r} is not a number above 0 and at most 1.")
    if problems:
        raise ConfigError("noise", problems)
    return Noise(kinds, part)


def noisy(text: str, values: Sequence[str], noise: Noise, random: Random) -> tuple[str, str] | None:
    """A kind, and a copy of a wording with slips of that kind; None where no kind finds anything to change.

    Args:
        text: The wording.
        values: The values that its label sets slots to.
        noise: The kinds to choose from.
        random: Chooses.
    """
    for kind in random.sample(noise.kinds, len(noise.kinds)):
        changed = _KINDS[kind](text, values, random)
        if changed.strip() and changed != text:
            return kind, changed
    return None


def _kept(text: str, values: Sequence[str]) -> list[Span]:
    """What must not change: the values, the words they are made of, and what has a digit or is an address."""
    parts = [part for value in values for part in (value, *_LETTERS.findall(value))]
    return [*(span for part in parts for span in places_of(part, text)), *(w.span() for w in _EXACT.finditer(text))]


def _is_kept(span: Span, kept: Sequence[Span]) -> bool:
    return any(span[0] < last and first < span[1] for first, last in kept)


def _cased(text: str, values: Sequence[str], change: Callable[[str], str]) -> str:
    """The text with the case of its letters changed, sign by sign, where that leaves the letter the same."""
    kept = _kept(text, values)

    def one(place: int, sign: str) -> str:
        changed = change(sign)
        is_same = len(changed) == 1 and changed.lower() == sign.lower()
        return changed if is_same and not _is_kept((place, place + 1), kept) else sign

    return "".join(one(place, sign) for place, sign in enumerate(text))


def _casing(text: str, values: Sequence[str], random: Random) -> str:
    """All small, small with a capital first, or all capitals: one that makes a difference."""
    small, large = _cased(text, values, str.lower), _cased(text, values, str.upper)
    forms = [form for form in dict.fromkeys((small, small[:1].upper() + small[1:], large)) if form != text]
    return random.choice(forms) if forms else text


def _asr(text: str, values: Sequence[str], random: Random) -> str:
    """What a speech recogniser leaves: no capitals, no punctuation, sometimes a word that was said twice."""
    text = _replaced(_PUNCTUATION, _cased(text, values, str.lower), values, lambda sign: "")
    text = " ".join(_replaced(_LETTERS, text, values, lambda word: _AS_HEARD.get(word, word)).split())
    kept = _kept(text, values)
    words = [word for word in _ALONE.finditer(text) if _has_case(word[0]) and not _is_kept(word.span(), kept)]
    if len(words) > 2 and random.random() < _STUTTER:
        word = random.choice(words)
        text = f"{text[: word.end()]} {word[0]}{text[word.end() :]}"
    return text


def _typo(text: str, values: Sequence[str], random: Random) -> str:
    """A few slips of the fingers, one in a word, in words that are no names."""
    kept = _kept(text, values)
    words = [word for word in _LETTERS.finditer(text) if _may_slip(word, text) and not _is_kept(word.span(), kept)]
    slips = min(len(words), 1 + len(text.split()) // _ONE_SLIP_IN)
    for word in sorted(random.sample(words, slips), key=lambda match: match.start(), reverse=True):
        text = text[: word.start()] + _slip(word[0], random) + text[word.end() :]
    return text


def _replaced(pattern: re.Pattern[str], text: str, values: Sequence[str], change: Callable[[str], str]) -> str:
    kept = _kept(text, values)
    return pattern.sub(lambda found: found[0] if _is_kept(found.span(), kept) else change(found[0]), text)


def _has_case(word: str) -> bool:
    return all(letter.lower() != letter.upper() for letter in word if letter.isalpha())


def _may_slip(word: re.Match[str], text: str) -> bool:
    begins = not re.search(r"\w", re.split(r"[.!?]", text[: word.start()])[-1])
    is_name = not word[0].islower() and not begins and not text.isupper()
    return len(word[0]) >= _SHORTEST and _has_case(word[0]) and not is_name


def _slip(word: str, random: Random) -> str:
    """One slip behind the first letter: two letters exchanged, one left out, one typed twice, or the key beside it."""
    place = random.randrange(1, len(word) - 1)
    before, here, after = word[:place], word[place], word[place + 1 :]
    forms = [before + after, before + here + here + after]
    if here != after[0]:
        forms.append(before + after[0] + here + after[1:])
    forms += [before + key + after for key in _NEIGHBOURS.get(here, "")]
    return random.choice(forms)


_KINDS: dict[str, Callable[[str, Sequence[str], Random], str]] = {
    "asr": _asr,
    "typo": _typo,
    "casing": _casing,
}
KINDS = tuple(_KINDS)
