"""What an evaluation comes to: pass rates of the E2E tests, the thresholds, and a verdict in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rasa_ft_ext.evaluate.commands import percentile
from rasa_ft_ext.evaluate.intervals import Tally, share
from rasa_ft_ext.evaluate.paired import noise, pass_shares
from rasa_ft_ext.evaluation import Evaluation, Figure, Part, PassRate, Side, TestOutcome, Verdict
from rasa_ft_ext.report.words import shown

PARTS: tuple[Part, ...] = ("commands", "conversations", "parity")
SIDES: tuple[Side, ...] = ("validation", "train")
LEFT_OUT = "left out on purpose"


def pass_rate(outcomes: Sequence[TestOutcome], groups: Mapping[str, str]) -> PassRate:
    """The pass rate of one side with one model; tests of one group depend on each other."""
    shares = pass_shares(outcomes)
    by_group: dict[str, list[float]] = {}
    for test, passed in shares.items():
        by_group.setdefault(groups.get(test, test), []).append(passed)
    seconds = [second for outcome in outcomes for second in outcome.seconds]
    return PassRate(
        tests=len(shares),
        repeats=len({outcome.repeat for outcome in outcomes}),
        rate=share(Tally(sum(passed), len(passed)) for passed in by_group.values()),
        noise=noise(outcomes),
        seconds_p50=percentile(seconds, 50) if seconds else None,
        seconds_p95=percentile(seconds, 95) if seconds else None,
    )


def judge(evaluation: Evaluation) -> Verdict:
    """Whether the model may replace the teacher, by what was measured and the thresholds it was given."""
    left_out = tuple(_not_measured(part, why) for part, why in evaluation.not_measured.items() if why == LEFT_OUT)
    problems = (
        *_parity(evaluation),
        *_other_data(evaluation),
        *(problem for _, problem in thresholds_missed(evaluation)),
        *(_not_measured(part, why) for part, why in evaluation.not_measured.items()),
    )
    verdict = Verdict(passed=not problems, problems=problems, left_out=left_out)
    return verdict.model_copy(update={"sentence": _sentence(evaluation, verdict)})


def _parity(evaluation: Evaluation) -> Iterable[str]:
    """The first difference; the others stand with the figures of the parity."""
    problems = evaluation.parity.problems if evaluation.parity is not None else ()
    if problems:
        yield f"The served model is not the one in the model folder: {problems[0][0].lower()}{problems[0][1:]}"


def _other_data(evaluation: Evaluation) -> Iterable[str]:
    if evaluation.subject.trained_on not in (None, evaluation.subject.data_hash):
        yield (
            "The model was trained on other data than these, so it may have been trained on what counts as validation "
            "here."
        )


def thresholds_missed(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """What each missed threshold is called, and a sentence on it."""
    for name, asked, figure in checked_thresholds(evaluation):
        if figure.value is None:
            yield name, f"{name} cannot be told: there are no tests or examples of it."
        elif figure.value < asked:
            yield name, f"{name} is {shown(figure)}; at least {100 * asked:g} % is asked for."
    for side, compared in evaluation.comparison.items():
        if compared.result == "worse":
            yield comparison_name(side), compared.sentence


def checked_thresholds(evaluation: Evaluation) -> Iterator[tuple[str, float, Figure]]:
    """Each threshold that applies to what was measured: its name, what is asked for, and what was found."""
    asked = evaluation.thresholds
    of_sides: dict[Side, float] = {"validation": asked.min_validation, "train": asked.min_train}
    for side in SIDES if "conversations" not in evaluation.not_measured else ():
        rate = evaluation.conversations.get(side)
        yield f"The pass rate of the {side} tests", of_sides[side], rate.rate if rate else Figure()
    if asked.min_accuracy is not None and "commands" not in evaluation.not_measured:
        found = evaluation.commands.get("validation")
        yield (
            "The command accuracy on the validation examples",
            asked.min_accuracy,
            found.exact_match if found else Figure(),
        )


def comparison_name(side: Side) -> str:
    return f"The comparison with the teacher on the {side} tests"


def _not_measured(part: Part, why: str) -> str:
    were = {"commands": "Commands were", "conversations": "Conversations were", "parity": "Parity was"}[part]
    return f"{were} not measured: {why}."


def _sentence(evaluation: Evaluation, verdict: Verdict) -> str:
    model = evaluation.subject.model
    if verdict.passed:
        return f"PASSED: {model} holds all thresholds and may replace the teacher."
    if not verdict.red:
        left_out = [part for part, why in evaluation.not_measured.items() if why == LEFT_OUT]
        were = f"{' and '.join(left_out)} {'was' if left_out == ['parity'] else 'were'}"
        return f"NOT PASSED AS A WHOLE: what was measured of {model} holds, but {were} left out."
    others = len(verdict.problems) - 1
    more = f" There {'is' if others == 1 else 'are'} {others} more problem{'s' * (others > 1)}." if others else ""
    return f"NOT PASSED: {verdict.problems[0]}{more}"
