"""Rephrasings that only repeat: the message itself, or a rephrasing before it, in other case or punctuation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rasa_ft_ext.checks.findings import Finding, Place, TurnDiversity
from rasa_ft_ext.checks.similarity import NEARLY, overlap, pieces
from rasa_ft_ext.conversation import RephrasedFile

_ADVICE = (
    "Ask for wordings that differ in more, with a prompt template of your own in --rephrase-config or a higher "
    "temperature, or for fewer of them."
)


def diversity_of(files: Iterable[RephrasedFile]) -> Iterator[TurnDiversity]:
    """The figure of each message that has passing rephrasings."""
    for file in files:
        for conversation in file.conversations:
            for turn in conversation.turns:
                texts = [rephrasing.text for rephrasing in turn.passing]
                if texts:
                    repeated, mean = _repeated(turn.message, texts)
                    yield TurnDiversity(
                        test=conversation.id,
                        turn=turn.turn,
                        message=turn.message,
                        rephrasings=len(texts),
                        repeated=repeated,
                        diversity=round(1 - mean, 4),
                    )


def _repeated(message: str, texts: Sequence[str]) -> tuple[int, float]:
    """How many rephrasings repeat, and how much of the message is in them on average."""
    original = pieces(message)
    seen, repeated, shares = [original], 0, 0.0
    for text in texts:
        own = pieces(text)
        shares += overlap(original, own)
        repeated += any(overlap(before, own) >= NEARLY for before in seen)
        seen.append(own)
    return repeated, shares / len(texts)


def check_diversity(turns: Iterable[TurnDiversity]) -> Iterator[Finding]:
    """One finding for each message of whose rephrasings some only repeat: a note, unless it is more than half."""
    for turn in turns:
        if turn.repeated:
            text = (
                f"{turn.repeated} of the {turn.rephrasings} rephrasings that pass of {turn.message!r} only repeat it, "
                "or each other."
            )
            yield Finding(
                kind="repetition",
                severity="warning" if 2 * turn.repeated > turn.rephrasings else "note",
                place=Place(test=turn.test, turn=turn.turn),
                text=text,
                advice=_ADVICE,
            )
