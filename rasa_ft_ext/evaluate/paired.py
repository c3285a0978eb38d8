"""Model and teacher on the same tests: is the model better, not worse, worse, or are there too few tests to tell?

    compared = compare(model, teacher, groups, margin=0.05, side="validation")
    compared.result          # "not worse"
    noise(model)             # how often two repeats of the same test end differently

What is compared are pass rates, paired: for each test the share of repeats that passed with the model and with the
teacher. The interval of the difference is Tango's score interval for paired shares (Tango 1998, "Equivalence test and
confidence interval for the difference in proportions for the paired-sample design", Statistics in Medicine 17), which
holds for few tests as well, and does not shrink to nothing when no test ends differently. Tests that share a prompt
fail together; so the number of tests is divided by the design effect of their groups (Rao and Scott 1992, Biometrics
48), which is at least 1. Repeats make the shares less noisy; they never count as more tests.

The model is `better` where the whole interval is above 0, `not worse` where it is above minus the margin, `worse`
where it is below 0, and otherwise there are not enough tests to tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

from rasa_ft_ext import scores
from rasa_ft_ext.evaluation import Comparison, DifferingTurn, Figure, OutcomeTurn, Result, Side, TestOutcome

_Z = 1.96
_STEPS = 60  # halvings of [-1, 1]: more than a float has digits


def pass_shares(outcomes: Sequence[TestOutcome]) -> dict[str, float]:
    """The share of repeats that passed, by test."""
    by_test: dict[str, list[bool]] = {}
    for outcome in outcomes:
        by_test.setdefault(outcome.id, []).append(outcome.passed)
    return {test: sum(passed) / len(passed) for test, passed in by_test.items()}


def noise(outcomes: Sequence[TestOutcome]) -> float | None:
    """How often two repeats of the same test end differently, on average over the tests; None without repeats."""
    by_test: dict[str, list[bool]] = {}
    for outcome in outcomes:
        by_test.setdefault(outcome.id, []).append(outcome.passed)
    repeated = [passed for passed in by_test.values() if len(passed) > 1]
    if not repeated:
        return None
    unequal = (2 * sum(passed) * (len(passed) - sum(passed)) / (len(passed) * (len(passed) - 1)) for passed in repeated)
    return sum(unequal) / len(repeated)


def compare(
    model: Sequence[TestOutcome],
    teacher: Sequence[TestOutcome],
    groups: Mapping[str, str],
    *,
    margin: float,
    side: Side,
) -> Comparison:
    """Compare the outcomes of one side.

    Args:
        model: Outcomes of the model, any number of repeats.
        teacher: Those of the teacher, of the same tests.
        groups: The group of a test, where tests depend on each other; a test that is missing is on its own.
        margin: How much lower the pass rate may be for the model to count as not worse.
        side: Is named in the sentence.

    Raises:
        ValueError: they have no test in common.
    """
    ours, theirs = pass_shares(model), pass_shares(teacher)
    tests = [test for test in ours if test in theirs]
    if not tests:
        raise ValueError("there is no test that both ran")
    pairs = [(ours[test], theirs[test]) for test in tests]
    only_model = sum(first * (1 - second) for first, second in pairs) / len(pairs)
    only_teacher = sum(second * (1 - first) for first, second in pairs) / len(pairs)
    difference = sum(first - second for first, second in pairs) / len(pairs)
    effect = _design_effect(pairs, [groups.get(test, test) for test in tests], only_model + only_teacher, difference)
    low, high = tango(only_model, only_teacher, len(pairs) / effect)
    figure = Figure(value=difference, low=min(low, difference), high=max(high, difference))
    result = _result(figure, margin)
    return Comparison(
        tests=len(tests),
        groups=len({groups.get(test, test) for test in tests}),
        margin=margin,
        difference=figure,
        only_model=only_model,
        only_teacher=only_teacher,
        result=result,
        sentence=_sentence(result, figure, margin, len(tests), side),
    )


def _design_effect(
    pairs: Sequence[tuple[float, float]], groups: Sequence[str], unequal: float, difference: float
) -> float:
    """By how much groups of tests make the difference less sure than as many tests on their own would; at least 1."""
    apart: dict[str, float] = {}
    for (first, second), group in zip(pairs, groups, strict=True):
        apart[group] = apart.get(group, 0.0) + (first - second - difference)
    independent = (unequal - difference**2) * len(pairs)
    if len(apart) < 2 or independent <= 0:
        return 1.0
    clustered = len(apart) / (len(apart) - 1) * sum(value**2 for value in apart.values())
    return max(1.0, clustered / independent)


def tango(first: float, second: float, pairs: float) -> tuple[float, float]:
    """The 95 % score interval for the difference of paired shares.

    Args:
        first: The share of pairs in which only the first passes.
        second: The share in which only the second does.
        pairs: How many pairs there are; need not be a whole number.
    """
    middle = first - second
    return _edge(first, second, pairs, middle, -1.0), _edge(first, second, pairs, middle, 1.0)


def _edge(first: float, second: float, pairs: float, inside: float, outside: float) -> float:
    """The point between a difference that fits and one that does not where the score is just the critical one."""
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if abs(_score(first, second, pairs, middle)) <= _Z:
            inside = middle
        else:
            outside = middle
    return inside


def _score(first: float, second: float, pairs: float, difference: float) -> float:
    """Tango's statistic: how many standard errors the observed difference is away from this one."""
    b = -first - second + (2 - first + second) * difference
    c = -second * difference * (1 - difference)
    only_second = (sqrt(max(0.0, b * b - 8 * c)) - b) / 4  # the likeliest share, given this difference
    variance = (2 * only_second + difference * (1 - difference)) / pairs
    apart = first - second - difference
    if variance <= 0:
        return 0.0 if apart == 0 else float("inf")
    return apart / sqrt(variance)


def _result(difference: Figure, margin: float) -> Result:
    low, high = difference.low or 0.0, difference.high or 0.0
    if low > 0:
        return "better"
    if low > -margin:
        return "not worse"
    return "worse" if high < 0 else "not enough tests to tell"


def _sentence(result: Result, difference: Figure, margin: float, tests: int, side: Side) -> str:
    points = f"{_points(difference.value)} points, and the truth lies between {_points(difference.low)} and "
    points += f"{_points(difference.high)} (95 %)"
    said = {
        "better": "The model is better than the teacher",
        "not worse": "The model is not worse than the teacher",
        "worse": "The model is worse than the teacher",
        "not enough tests to tell": "There are not enough tests to tell whether the model is worse than the teacher",
    }[result]
    return (
        f"{said}: on {tests} {side} tests its pass rate differs by {points}; down to -{100 * margin:g} points count as "
        "not worse."
    )


def _points(value: float | None) -> str:
    return f"{100 * (value or 0.0):+.1f}"


def differing_turns(model: Sequence[TestOutcome], teacher: Sequence[TestOutcome]) -> tuple[DifferingTurn, ...]:
    """Of each test the first user message where the commands differ, in the first repeat in which some do."""
    theirs = {(outcome.id, outcome.repeat): outcome for outcome in teacher}
    found: dict[str, DifferingTurn] = {}
    for outcome in sorted(model, key=lambda outcome: outcome.repeat):
        other = theirs.get((outcome.id, outcome.repeat))
        if other is not None and outcome.id not in found:
            turn = _first_difference(outcome, other)
            if turn is not None:
                found[outcome.id] = turn
    return tuple(found[test] for test in dict.fromkeys(outcome.id for outcome in model) if test in found)


def _first_difference(model: TestOutcome, teacher: TestOutcome) -> DifferingTurn | None:
    for index in range(max(len(model.turns), len(teacher.turns))):
        ours = _turn(model.turns, index)
        theirs = _turn(teacher.turns, index)
        if ours is None or theirs is None or not _same(ours, theirs):
            message = next(turn.message for turn in (ours, theirs) if turn is not None)
            return DifferingTurn(
                test=model.id,
                side=model.side,
                turn=index,
                message=message,
                model=ours,
                teacher=theirs,
                model_passed=model.passed,
                teacher_passed=teacher.passed,
            )
    return None


def _same(ours: OutcomeTurn, theirs: OutcomeTurn) -> bool:
    """Whether both would make the assistant do the same; the order of the slots set does not matter."""
    return scores.Comparison(theirs.commands, ours.commands, unparsable=False).exact


def _turn(turns: Sequence[OutcomeTurn], index: int) -> OutcomeTurn | None:
    return turns[index] if index < len(turns) else None
