"""Reads the rephraser's answer: which new wordings it holds for which of the messages that were asked about.

    read_answer("USER: to Basel\\n1. Basel, please.\\n2. To the city of Basel", ["to Basel"], count=2)
    # (("Basel, please.", "To the city of Basel"),)

The answer is a list of blocks: a line `USER: message`, and below it the wordings, numbered or with bullets. LLMs vary
that form, and each variation that leaves no doubt is understood. Where there is doubt, nothing is read: a wording
that is lost costs little. Whether a wording is any good is for others to say.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

_FENCE = re.compile(r"""^(```.*|~~~.*|["']{3}|={3,}|-{3,}|\*{3,})$""")
_USER = re.compile(r"^user(?:\s+message)?(?:\s+\d+)?\s*:\s*(.*)$", re.I)
_WORD_BEFORE_NUMBER = r"(?:(?:rephrasing|rephrase|variant|variation|version|option)\s*)?"
_NUMBER = re.compile(
    rf"^{_WORD_BEFORE_NUMBER}(?:\((\d{{1,3}})\)|#?(\d{{1,3}})\\?(?:\)|[.](?!\d)|:(?=\s)))\s*(.*)$", re.I
)
_BARE_NUMBER = re.compile(r"^(\d{1,3})\s+(.*)$")
_BULLET = re.compile(r"^[-*+•\u2013\u2014]\s+(.*)$")
_EMPHASIS = re.compile(r"^(\*\*|__|\*|_|`)(?=\S)(.+?)(?<=\S)\1(?=\W|$)")
_QUOTES = {"'": "'", '"': '"', "`": "`", "\u201c": "\u201d", "\u201e": "\u201c", "\u2018": "\u2019", "«": "»"}
_STRAIGHT = str.maketrans("\u2018\u2019\u201c\u201d\u201e", '\'\'"""')


@dataclass(frozen=True)
class _Line:
    """One line of the answer, without indentation and emphasis."""

    text: str
    indent: int


@dataclass
class _Block:
    """The message that a `USER:` line names, and the lines below it."""

    message: str
    lines: list[_Line] = field(default_factory=list)


def read_answer(answer: str, messages: Sequence[str], count: int) -> tuple[tuple[str, ...], ...]:
    """Read the wordings of each message.

    Args:
        answer: The rephraser's answer.
        messages: The messages it was asked about, in order; two of them may be equal.
        count: How many wordings were asked for; of more, the first ones count.

    Returns:
        For each message its wordings in the answer's order, without those that repeat the message or each other.
    """
    lines = [_plain(line) for line in answer.splitlines() if not _FENCE.match(line.strip())]
    found: dict[str, list[list[str]]] = {}
    last_number = 0
    for block in _blocks(lines, messages):
        items, last_number = _items(block.lines, count, last_number)
        found.setdefault(_normal(block.message), []).append(items)
    asked_before: dict[str, int] = {}
    results = []
    for message in messages:
        key = _normal(message)
        nth = asked_before.get(key, 0)
        asked_before[key] = nth + 1
        is_last = [_normal(other) for other in messages].count(key) == nth + 1
        results.append(_distinct(_share(found.get(key, []), nth, is_last), message)[:count])
    return tuple(results)


def _plain(line: str) -> _Line:
    text = line.strip().removeprefix('"""').removesuffix('"""').strip()
    text = text.lstrip("#>").strip() if re.match(r"(#+|>+)\s", text) else text
    bullet = re.match(r"^[-*+•]\s+(?=(\*\*|__))", text)
    mark = bullet[0] if bullet else ""
    rest = text[len(mark) :]
    bold = _EMPHASIS.match(rest)
    if bold and bold[1] in ("**", "__"):
        rest = bold[2] + rest[bold.end() :]
    return _Line(mark + rest, len(line) - len(line.lstrip()))


def _blocks(lines: Sequence[_Line], messages: Sequence[str]) -> list[_Block]:
    """Cut the answer into blocks; what stands before the first one is dropped."""
    known = {_normal(message) for message in messages}
    headers = (
        _headers(lines, known, marked=False)
        or _headers(lines, known, marked=True)
        or _headers_without_prefix(lines, known)
    )
    if not headers:
        return [_Block(messages[0], _from_first_mark(lines))] if len(messages) == 1 else []
    blocks: list[_Block] = []
    for index, line in enumerate(lines):
        if index in headers:
            blocks.append(_Block(headers[index]))
        elif blocks:
            blocks[-1].lines.append(line)
    _name_the_odd_one(blocks, messages)
    return blocks


def _headers(lines: Sequence[_Line], known: set[str], *, marked: bool) -> dict[int, str]:
    """The `USER:` lines with the message that each names.

    With list marks before them, they are headers only if they name a message that was asked about: a wording may
    begin with `USER:` as well.
    """
    headers = {}
    for index, line in enumerate(lines):
        text = _unmarked(line.text) if marked else line.text
        match = _USER.match(_unwrapped(text)) if text is not None else None
        if match and not match[1].strip("*_ ") and index + 1 < len(lines):
            headers[index] = lines[index + 1].text
        elif match and (not marked or _normal(match[1]) in known):
            headers[index] = match[1]
    return headers


def _name_the_odd_one(blocks: list[_Block], messages: Sequence[str]) -> None:
    """Where a single block fits no message and a single message has no block, they belong together.

    This happens when the LLM corrects the message's spelling while it repeats it.
    """
    asked, answered = {_normal(message) for message in messages}, {_normal(block.message) for block in blocks}
    if len(asked - answered) == len(answered - asked) == 1 and len(blocks) == len(messages):
        odd = next(block for block in blocks if _normal(block.message) not in asked)
        odd.message = next(message for message in messages if _normal(message) not in answered)


def _headers_without_prefix(lines: Sequence[_Line], known: set[str]) -> dict[int, str]:
    """Lines that repeat a message and are followed by a list, for answers that leave out every `USER:`."""
    headers = {}
    for index, line in enumerate(lines):
        marked, below = _unmarked(line.text), next((other.text for other in lines[index + 1 :] if other.text), "")
        text, wording = line.text if marked is None else marked, _unmarked(below)
        if _normal(text) in known and wording is not None and _normal(wording) not in known:
            headers[index] = text
    return headers


def _from_first_mark(lines: Sequence[_Line]) -> list[_Line]:
    first = next((index for index, line in enumerate(lines) if _unmarked(line.text) is not None), len(lines))
    return list(lines[first:])


def _items(lines: Sequence[_Line], count: int, last_number: int) -> tuple[list[str], int]:
    """The wordings below a `USER:` line, and the number of the last one, if they are numbered."""
    numbered, last = _numbered(lines, _NUMBER, (1, 0, last_number + 1))
    if numbered:
        return numbered, last
    bare, last = _numbered(lines, _BARE_NUMBER, (1,))
    if len(bare) > 1 and len(bare) == sum(bool(line.text) for line in lines):
        return bare, last
    bullets = _bulleted(lines)
    if bullets:
        inner = [_Line(text, 0) for text in bullets]
        numbered, last = _numbered(inner, _NUMBER, (1,))
        return (numbered, last) if len(numbered) == len(bullets) > 1 else (bullets, 0)
    unmarked = _first_paragraph(lines)
    return (unmarked if len(unmarked) == count else []), 0


def _numbered(lines: Sequence[_Line], pattern: re.Pattern[str], starts: tuple[int, ...]) -> tuple[list[str], int]:
    """The lines that go on with one enumeration; in some answers every line has the number 1."""
    items: list[str] = []
    last: int | None = None
    open_item = False
    all_ones = _are_all_ones(lines, pattern)
    for line in lines:
        match = pattern.match(line.text)
        number = int(next(group for group in match.groups()[:-1] if group)) if match else None
        if match and (all_ones or (number in starts if last is None else number == last + 1)):
            items.append(match[match.re.groups])
            last, open_item = number, True
        elif items and open_item and line.text and line.indent >= 2 and _unmarked(line.text) is None:
            items[-1] += f" {line.text}"
        else:
            open_item = False
    return items, last or 0


def _are_all_ones(lines: Sequence[_Line], pattern: re.Pattern[str]) -> bool:
    matches = [match for line in lines if (match := pattern.match(line.text))]
    return pattern is _NUMBER and len(matches) > 1 and all("1" in match.groups()[:-1] for match in matches)


def _bulleted(lines: Sequence[_Line]) -> list[str]:
    """The first run of bullets; blank lines may stand within it."""
    items: list[str] = []
    for line in lines:
        match = _BULLET.match(line.text)
        if match:
            items.append(match[1])
        elif line.text and items and line.indent >= 2:
            items[-1] += f" {line.text}"
        elif line.text and items:
            break
    return items


def _first_paragraph(lines: Sequence[_Line]) -> list[str]:
    paragraph: list[str] = []
    for line in lines:
        if line.text:
            paragraph.append(line.text)
        elif paragraph:
            break
    return paragraph


def _unmarked(text: str) -> str | None:
    """The text behind a list mark; None where there is none."""
    number, bullet = _NUMBER.match(text), _BULLET.match(text)
    return number[3] if number else bullet[1] if bullet else None


def _share(blocks: list[list[str]], nth: int, is_last: bool) -> list[str]:
    """The wordings for the n-th of several equal messages: its own block, or the last one if there are fewer.

    Blocks that are left over go to the last of the messages: an answer can repeat the message before every wording.
    """
    if not blocks:
        return []
    own = blocks[min(nth, len(blocks) - 1) :] if is_last else blocks[min(nth, len(blocks) - 1) :][:1]
    return [item for block in own for item in block]


def _distinct(items: Sequence[str], message: str) -> tuple[str, ...]:
    seen = {_same(message)}
    kept = []
    for item in items:
        text = _cleaned(item)
        if any(character.isalnum() for character in text) and _is_typed(text) and _same(text) not in seen:
            seen.add(_same(text))
            kept.append(text)
    return tuple(kept)


def _is_typed(text: str) -> bool:
    """Whether a person may have typed it: no control characters, and no half ones, which no file can hold."""
    return not any(unicodedata.category(sign) in ("Cc", "Cs") and sign != "\t" for sign in text)


def _cleaned(item: str) -> str:
    text = _unwrapped(item)
    prefixed = _USER.match(text)
    return _unwrapped(prefixed[1]) if prefixed else text


def _unwrapped(text: str) -> str:
    """The text without the quotes or the emphasis around it; quotes around a part of it stay."""
    text = text.strip()
    emphasis = _EMPHASIS.match(text)
    if emphasis and emphasis.end() == len(text):
        return _unwrapped(emphasis[2])
    closing = _QUOTES.get(text[:1])
    if closing and len(text) > 2 and text.endswith(closing):
        inner = text[1:-1]
        of_parts = re.search(r"\w'\s.*\s'\w", inner) if closing == "'" else closing in inner
        return text if of_parts else _unwrapped(inner)
    return text


def _same(text: str) -> str:
    return " ".join(text.casefold().split())


def _normal(text: str) -> str:
    """What two spellings of the same message have in common."""
    text = _same(_unwrapped(text).translate(_STRAIGHT))
    return text.strip(" \"'`*_.,;:!?…") or text
