"""The funnel from E2E tests to rows: what there was at each step, what came through it, and why the rest did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rasa_ft_ext.report.figures import Annotated, DataFigures, Divided, Made, Rephrased
from rasa_ft_ext.report.words import count, percent

_MAKERS = {
    "rephraser": "the rephraser",
    "substitution": "another value for a slot",
    "noise": "slips",
    "noise: asr": "slips of a speech recogniser",
    "noise: typo": "typing errors",
    "noise: casing": "careless capitals",
}


@dataclass(frozen=True)
class Maker:
    """What made wordings, how many of these there are, which part of all that is, and how many passed."""

    name: str
    made: int
    share: float
    passed: int


@dataclass(frozen=True)
class Step:
    """One step of the funnel: of `total` things `kept` came through, the others for `reasons`.

    `text` says it in words; `share` is what came through, from 0 to 1.
    """

    name: str
    kept: int
    total: int
    text: str
    reasons: tuple[tuple[str, int], ...] = ()

    @property
    def share(self) -> float:
        return self.kept / self.total if self.total else 0.0


def funnel(found: DataFigures) -> tuple[Step, ...]:
    """The steps of the stages that were run."""
    return tuple(_steps(found))


def makers(found: Rephrased | None) -> tuple[Maker, ...]:
    """What made the wordings, where that was not the rephraser alone."""
    if found is None or found.passing_by_origin is None or found.failing_by_origin is None:
        return ()
    passing, failing = found.passing_by_origin, found.failing_by_origin
    total = sum((*passing.values(), *failing.values()))
    counts = {name: (passing.get(name, 0), failing.get(name, 0)) for name in sorted({*passing, *failing}, key=_order)}
    return tuple(
        Maker(_MAKERS.get(name, name), passed + failed, (passed + failed) / total, passed)
        for name, (passed, failed) in counts.items()
    )


def _order(name: str) -> tuple[int, str]:
    known = list(_MAKERS)
    return (known.index(name) if name in known else len(known), name)


def _steps(found: DataFigures) -> Iterator[Step]:
    if found.annotated:
        yield from _of_tests(found.annotated)
    if found.rephrased:
        yield _of_rephrasings(found.rephrased)
    if found.made:
        yield _of_examples(found.made)
    if found.divided:
        yield _of_sides(found.divided)


def _of_tests(found: Annotated) -> Iterator[Step]:
    failed = {"failed": found.tests - found.passed}
    yield _step("E2E tests", found.passed, found.tests, "passed", failed)
    yield _step("User messages", found.annotated, found.user_messages, "have commands to learn", found.not_annotated)


def _of_rephrasings(found: Rephrased) -> Step:
    return _step("Rephrasings", found.passing, found.rephrasings, "give the same commands", found.reasons)


def _of_examples(found: Made) -> Step:
    """The examples that were made: those of the tests as they are and of new conversations, each of them once."""
    lost = {
        "the same as another example": found.duplicates,
        "the prompt cannot be rendered": found.left_out,
        "the label cannot be read back": len(found.unreadable),
    }
    total = found.examples + sum(lost.values())
    return _step(
        "Examples", found.examples, total, f"are kept, with {count(found.recombinations)} new conversations", lost
    )


def _of_sides(found: Divided) -> Step:
    total = found.train_examples + found.val_examples
    held_back = {f"to validate with, of {_tests(found.val_tests)}": found.val_examples}
    return _step("Training", found.train_examples, total, f"to train on, of {_tests(found.train_tests)}", held_back)


def _tests(number: int) -> str:
    return "1 test" if number == 1 else f"{count(number)} tests"


def _step(name: str, kept: int, total: int, what: str, lost: Mapping[str, int]) -> Step:
    share = f" ({percent(kept / total)})" if total else ""
    reasons = sorted(((reason, number) for reason, number in lost.items() if number), key=lambda at: (-at[1], at[0]))
    return Step(name, kept, total, f"{count(kept)} of {count(total)}{share} {what}", tuple(reasons))
