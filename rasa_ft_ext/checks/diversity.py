"""Rephrasings that only repeat: the message itself, or a rephrasing before it, in other case or punctuation.

Only what the rephraser said is looked at, and only where it says the same: a noisy copy is to be like what it is a copy
of, and "until July 4" instead of "until July 3" is another value to learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rasa_ft_ext.checks.findings import Finding, Place, TurnDiversity, quoted
from rasa_ft_ext.checks.similarity import NEARLY, overlap, pieces
from rasa_ft_ext.conversation import RephrasedFile
from rasa_ft_ext.scratch import digest, scratch

_ADVICE = (
    "Ask for wordings that differ in more, with a prompt template of your own in --rephrase-config or a higher "
    "temperature, or for fewer of them."
)


def diversity_of(files: Iterable[RephrasedFile]) -> Iterator[TurnDiversity]:
    """The figure of each message that has passing rephrasings."""
    for file in files:
        for conversation in file.conversations:
            for turn in conversation.turns:
                texts = [entry.text for entry in turn.passing if entry.origin == "rephraser" and not entry.differs]
                if texts:
                    repeating, mean = _repeating(turn.message, texts)
                    yield TurnDiversity(
                        test=conversation.id,
                        turn=turn.turn,
                        message=turn.message,
                        rephrasings=len(texts),
                        repeated=len(repeating),
                        repeating=tuple(repeating),
                        diversity=round(1 - mean, 4),
                    )


def _repeating(message: str, texts: Sequence[str]) -> tuple[list[str], float]:
    """Which rephrasings repeat, and how much of the message is in them on average."""
    original = pieces(message)
    seen, repeating, shares = [original], [], 0.0
    for text in texts:
        own = pieces(text)
        shares += overlap(original, own)
        if any(overlap(before, own) >= NEARLY for before in seen):
            repeating.append(text)
        seen.append(own)
    return repeating, shares / len(texts)


def check_diversity(turns: Iterable[TurnDiversity]) -> Iterator[Finding]:
    """One finding for each message of whose rephrasings some only repeat: a note, unless it is more than half.

    A message that several tests have with the same outcome is told once, at the first of them.
    """
    with scratch() as database:
        database.execute("CREATE TABLE repeating (outcome BLOB PRIMARY KEY, place INTEGER, tests INTEGER, first TEXT)")
        for place, turn in enumerate(turns):
            if turn.repeating:
                outcome = digest(turn.message, str(turn.rephrasings), *turn.repeating)
                database.execute(
                    "INSERT INTO repeating VALUES (?, ?, 1, ?) ON CONFLICT (outcome) DO UPDATE SET tests = tests + 1",
                    (outcome, place, turn.model_dump_json()),
                )
        for tests, first in database.execute("SELECT tests, first FROM repeating ORDER BY place"):
            yield _finding(TurnDiversity.model_validate_json(first), tests)


def _finding(turn: TurnDiversity, tests: int) -> Finding:
    what = f"{quoted(turn.message)} (in {tests} tests)" if tests > 1 else quoted(turn.message)
    text = (
        f"{len(turn.repeating)} of the {turn.rephrasings} rephrasings that pass of {what} only repeat it, or each "
        f"other: {', '.join(map(quoted, turn.repeating))}."
    )
    return Finding(
        kind="repetition",
        severity="warning" if 2 * len(turn.repeating) > turn.rephrasings else "note",
        place=Place(test=turn.test, turn=turn.turn),
        text=text,
        advice=_ADVICE,
    )
