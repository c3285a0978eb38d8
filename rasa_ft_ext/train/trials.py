"""The trials of a sweep: what came of each, which is best, and which others may be just as good.

    ranked = rank(trials)            # best first, failed ones last, each with its verdict
    conclusion(ranked)               # sentences for a person

Every trial is compared with the best one on the same validation examples. This module knows neither models nor files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any, Literal

from pydantic import Field

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.scores import interval
from rasa_ft_ext.train.comparison import SIGNIFICANT, holm, mcnemar, needed

Verdict = Literal["best", "as good", "worse", "failed"]


class Trial(Record):
    """What came of a trial.

    `right` has for every validation example, in their order, whether it was answered with just the expected commands;
    empty for a trial that failed, which has a `reason` in place of it. `loss` and `best_step` are those of the kept
    checkpoint, and `best_epoch` is when that was. `seconds` is None where the trial was interrupted in between.
    """

    number: int
    chosen: dict[str, Any]
    right: tuple[bool, ...] = Field(default=(), exclude=True)
    loss: float | None = None
    best_step: int | None = None
    best_epoch: float | None = None
    reason: str | None = None
    seconds: float | None = Field(default=None, exclude=True)

    @property
    def hits(self) -> int:
        return sum(self.right)

    @property
    def settings(self) -> str:
        return shown(self.chosen)


class Ranked(Trial):
    """A trial among the others.

    `accuracy` is the share of right answers, `interval` where it lies with 95 % confidence. `p_value` is that of
    McNemar's exact test against the best trial, `p_corrected` the same after Holm's correction for all of them.
    """

    verdict: Verdict
    examples: int
    correct: int = 0
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    p_corrected: float | None = None


def rank(trials: Iterable[Trial]) -> tuple[Ranked, ...]:
    """The trials, best first: by command accuracy, then by lower loss, then by their number; failed ones last.

    A trial is `worse` than the best where that is significant at 5 % in all comparisons together, else `as good`.
    """
    trials = list(trials)
    done = sorted((trial for trial in trials if not trial.reason), key=_order)
    ranked = []
    p_values = [mcnemar(done[0].right, trial.right) for trial in done[1:]]
    for place, (trial, p_value, corrected) in enumerate(
        zip(done, [None, *p_values], [None, *holm(p_values)], strict=True)
    ):
        verdict: Verdict = "as good" if place else "best"
        ranked.append(
            Ranked(
                **dict(trial),
                verdict="worse" if corrected is not None and corrected < SIGNIFICANT else verdict,
                examples=len(trial.right),
                correct=trial.hits,
                accuracy=trial.hits / len(trial.right),
                interval=interval(trial.hits, len(trial.right)),
                p_value=p_value,
                p_corrected=corrected,
            )
        )
    failed = (Ranked(**dict(trial), verdict="failed", examples=0) for trial in trials if trial.reason)
    return (*ranked, *failed)


def conclusion(ranked: Sequence[Ranked]) -> tuple[str, ...]:
    """What the comparison says, and what it cannot say."""
    best, *others = [trial for trial in ranked if trial.verdict != "failed"]
    low, high = best.interval or (0.0, 1.0)
    said = [
        f"Best is trial {best.number}: {best.settings}. It has {best.correct} of {best.examples} validation examples "
        f"right ({low:.0%} to {high:.0%} with 95 % confidence). It was chosen on these very examples, so expect "
        "somewhat less on others."
    ]
    if not best.correct:
        said.append("Not one trial learned anything, so this says nothing: train longer, or search other settings.")
    equal = [trial for trial in others if trial.verdict == "as good"]
    how = f"McNemar's exact test on the same examples, Holm's correction for {_count(len(others), 'comparison')}"
    if not others:
        said.append("There is no other trial to compare it with.")
    elif not equal:
        said.append(f"All others are worse ({how}).")
    else:
        numbers = ", ".join(str(trial.number) for trial in equal)
        one = len(equal) == 1
        said.append(
            f"{'Trial' if one else 'Trials'} {numbers} cannot be told from it ({how}): "
            f"{'its distance' if one else 'their distances'} may be chance. That is no proof that "
            f"{'it is' if one else 'they are'} equal."
        )
        least = needed(len(others))
        said.append(
            f"To be told apart here, two trials must differ on at least {least} examples, all to one side"
            + (f"; there are only {best.examples}." if least > best.examples else ".")
        )
    return tuple(said)


def _order(trial: Trial) -> tuple[int, float, int]:
    return -trial.hits, inf if trial.loss is None else trial.loss, trial.number


def shown(chosen: Mapping[str, Any]) -> str:
    """Settings in a line."""
    return ", ".join(f"{name} {value(entry)}" for name, entry in chosen.items())


def value(entry: object) -> str:
    """One of them."""
    return f"{entry:g}" if isinstance(entry, float) else str(entry)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
