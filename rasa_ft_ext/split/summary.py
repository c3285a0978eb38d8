"""What `split` reports: how the examples and tests were divided, and what a person should know of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import Field

from rasa_ft_ext.checks.findings import Side
from rasa_ft_ext.conversation import Record
from rasa_ft_ext.split.assignment import KINDS, Assignment, Feature, Group


class SplitSummary(Record):
    """The outcome of `split`.

    `groups` counts the sets of test cases that share an example. `train_commands` and `val_commands` count commands
    by type. `missing_in_train` and `only_in_train` name what can be learned, by kind (commands, flows, slots).
    `test_folders` are the folders, seen from the stage's own, to give to `rasa test e2e` one by one. `renamed` maps
    the id of a test to its new `file::name` where that is not the original. `dropped` counts the examples of
    each side that are left out as nearly the same as another. `findings` counts what the checks found, by kind, without
    notes.
    """

    train_examples: int
    val_examples: int
    train_tests: int
    val_tests: int
    groups: int
    train_frac: float
    train_frac_reached: float
    train_commands: dict[str, int]
    val_commands: dict[str, int]
    missing_in_train: dict[str, tuple[str, ...]]
    only_in_train: dict[str, tuple[str, ...]]
    test_folders: tuple[str, ...]
    renamed: dict[str, str]
    dropped: dict[str, int] = Field(default_factory=dict)
    findings: dict[str, int] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


def summarize(
    assignment: Assignment,
    train_frac: float,
    *,
    commands: Mapping[Side, Mapping[str, int]],
    test_folders: Iterable[str],
    renamed: Mapping[str, str],
    dropped: Mapping[Side, int] | None = None,
    findings: Mapping[str, int] | None = None,
) -> SplitSummary:
    """Count what went where, and put into words what is not as one would expect.

    `commands` counts those of the rows of each side by their types.
    """
    train, val = (sum(group.size for group in groups) for groups in (assignment.train, assignment.validation))
    reached = train / (train + val)
    learned, measured = _features(assignment.train), _features(assignment.validation)
    summary = SplitSummary(
        train_examples=train,
        val_examples=val,
        train_tests=sum(len(group.tests) for group in assignment.train) + len(assignment.idle),
        val_tests=sum(len(group.tests) for group in assignment.validation),
        groups=len(assignment.train) + len(assignment.validation),
        train_frac=train_frac,
        train_frac_reached=round(reached, 4),
        train_commands=dict(sorted(commands["train"].items())),
        val_commands=dict(sorted(commands["validation"].items())),
        missing_in_train=_by_kind(measured - learned),
        only_in_train=_by_kind(learned - measured) if val else {},
        test_folders=tuple(test_folders),
        renamed=dict(renamed),
        dropped={str(side): number for side, number in (dropped or {}).items()},
        findings=dict(findings or {}),
    )
    return summary.model_copy(update={"notes": tuple(_notes(summary, assignment))})


def _features(groups: Iterable[Group]) -> frozenset[Feature]:
    return frozenset[Feature]().union(*(group.features for group in groups))


def _by_kind(found: frozenset[Feature]) -> dict[str, tuple[str, ...]]:
    names = {kind: tuple(sorted(name for other, name in found if other == kind)) for kind in KINDS}
    return {kind: entries for kind, entries in names.items() if entries}


def _notes(summary: SplitSummary, assignment: Assignment) -> Iterable[str]:
    total = summary.train_examples + summary.val_examples
    wanted = summary.train_frac * total
    largest = max(group.size for group in (*assignment.train, *assignment.validation))
    if summary.train_frac < 1 and not any(group.tests for group in assignment.validation):
        yield (
            "Validation is empty: training needs every group of tests for some command, flow or slot that no other "
            "group has. Write more tests, or split by hand with --train-frac 1.0."
        )
    elif summary.train_examples > wanted + 1e-9:
        yield (
            f"Training holds {summary.train_examples} of {total} examples, more than {summary.train_frac:.0%}: with "
            "fewer, some command, flow or slot would not occur in it, or the largest group of tests that share "
            f"examples ({largest} examples) would be missing."
        )
    elif wanted - summary.train_examples > max(1.0, 0.05 * total):
        yield (
            f"Training holds {summary.train_examples} of {total} examples, less than {summary.train_frac:.0%}: tests "
            f"that share an example stay together, and the largest such group has {largest} examples."
        )
    if any(summary.dropped.values()):
        told = ", ".join(f"{count} of {side}" for side, count in summary.dropped.items() if count)
        yield f"Left out are {told}, which are nearly the same as other examples."
    if summary.findings:
        told = ", ".join(f"{kind} {count}" for kind, count in summary.findings.items())
        yield f"The checks found faults in the data ({told}): see `rasa-ft check-data` or checks.json."
    if assignment.idle:
        yield (
            f"{len(assignment.idle)} tests give no example and stand with the training tests: "
            f"{', '.join(assignment.idle)}."
        )
    stubbed = [folder for folder in summary.test_folders if folder.endswith("_with_stubs")]
    if stubbed:
        yield (
            "`rasa test e2e` cannot run tests with stubs beside tests that need the action server, so they have a "
            f"folder of their own in 4_train_test_split: {' and '.join(stubbed)}."
        )
    if summary.renamed:
        yield (
            "Stubs of equal names would meet, so these tests are written under another file or name: "
            + ", ".join(f"{old} -> {new}" for old, new in summary.renamed.items())
            + "."
        )
