"""How sure a share is that was counted in conversations: several examples of one conversation are no independent ones.

All intervals are Wilson's score interval (95 %) with the number of examples divided by the design effect: by how much
the share varies more between conversations than independent examples would let it (linearised ratio estimate). That
effect is never taken to be below 1, and to be 1 where all or none is right, since nothing varies then. So it is done
for surveys that ask whole households: Rao and Scott 1992, "A simple method for the analysis of clustered binary data"
(Biometrics 48); Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of positive
counts estimated from survey data" (Survey Methodology 24).

F1 is no share, but 2J / (1 + J) of one: J is the share of right commands among all that were expected or answered
(Hand, Christen and Kirielle 2021, "F*: an interpretable transformation of the F-measure"). Its interval is J's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

from rasa_ft_ext.evaluation import Figure, KindFigures
from rasa_ft_ext.scores import Comparison, Count, Table, counts, interval


class Tally(NamedTuple):
    """What was counted in one conversation: so many hits of so many."""

    hits: float
    of: float


def share(tallies: Iterable[Tally]) -> Figure:
    """The share of hits in all conversations together."""
    tallies = [tally for tally in tallies if tally.of]
    total = sum(tally.of for tally in tallies)
    if not total:
        return Figure()
    value = sum(tally.hits for tally in tallies) / total
    effective = total / design_effect(tallies)
    low, high = interval(value * effective, effective) or (0.0, 1.0)
    return Figure(value=value, low=min(low, value), high=max(high, value))


def design_effect(tallies: Sequence[Tally]) -> float:
    """By how much the variance of a share is larger than that of as many independent ones; at least 1."""
    total = sum(tally.of for tally in tallies)
    value = sum(tally.hits for tally in tallies) / total
    if not 0 < value < 1 or len(tallies) < 2:
        return 1.0
    spread = sum((tally.hits - value * tally.of) ** 2 for tally in tallies)
    variance = len(tallies) / (len(tallies) - 1) * spread / total**2
    return max(1.0, variance / (value * (1 - value) / total))


def share_of(groups: Iterable[Sequence[Comparison]], hits: Callable[[Comparison], Iterable[bool]]) -> Figure:
    """The share of hits among what each comparison gives, in conversations of several comparisons each."""
    counted = [[hit for comparison in group for hit in hits(comparison)] for group in groups]
    return share(Tally(sum(group), len(group)) for group in counted)


def kinds(groups: Sequence[Sequence[Comparison]], table: Table) -> dict[str, KindFigures]:
    """Precision, recall and F1 of each kind of command, in the order of the kinds' names."""
    found = [counts(group, table) for group in groups]
    names = sorted({name for group in found for name in group})
    return {name: _kind([group[name] for group in found if name in group]) for name in names}


def _kind(found: Sequence[Count]) -> KindFigures:
    return KindFigures(
        precision=share(Tally(count.found, count.answered) for count in found),
        recall=share(Tally(count.found, count.expected) for count in found),
        f1=_f1(share(Tally(count.found, count.expected + count.answered - count.found) for count in found)),
        support=sum(count.expected for count in found),
    )


def _f1(jaccard: Figure) -> Figure:
    values = jaccard.model_dump()
    return Figure(**{name: None if value is None else 2 * value / (1 + value) for name, value in values.items()})


def grouped(items: Iterable[tuple[Hashable, Comparison]]) -> list[list[Comparison]]:
    """Comparisons by the group that each is given with, in the order of first appearance."""
    groups: dict[Hashable, list[Comparison]] = {}
    for group, comparison in items:
        groups.setdefault(group, []).append(comparison)
    return list(groups.values())


def groups_of_tests(pairs: Iterable[tuple[str, Sequence[str]]]) -> Mapping[str, str]:
    """The group of each test, by the name of its first: tests that have a very same prompt in common go together.

    Args:
        pairs: A test and the others that share a prompt with it; a test may occur many times.
    """
    parent: dict[str, str] = {}

    def find(test: str) -> str:
        parent.setdefault(test, test)
        while parent[test] != test:
            parent[test] = parent[parent[test]]
            test = parent[test]
        return test

    for test, others in pairs:
        for other in (test, *others):
            first, second = sorted((find(test), find(other)))
            parent[second] = first
    return {test: find(test) for test in parent}
