"""What the report shows of the dataset checks: the worst first, by sort, each finding with its place and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rasa_ft_ext.checks.findings import SEVERITIES, CheckReport, Finding, Kind, Severity
from rasa_ft_ext.checks.stage import latest
from rasa_ft_ext.report.sections import QUALITY, Headline, Section, script, section
from rasa_ft_ext.report.words import count, listed, number_of
from rasa_ft_ext.workspace import Workspace

ANCHOR = "findings"
_OPEN = 5  # findings of a group; more are folded
_MOST = 500  # findings of a group that are in the page; checks.json has more
_FILTERED = 20  # from so many findings on there is a search

_MEANING: dict[Kind, str] = {
    "contradiction": "the same message in the same state has other commands elsewhere; a model can learn one only",
    "unknown name": "a label names a flow, slot or value that the assistant does not have",
    "ungrounded value": "a slot gets a value that nobody said",
    "leak": "a prompt of validation is in training, so validation measures memory",
    "near-duplicate": "rows that are nearly the same",
    "repetition": "rephrasings that say nothing new",
    "length": "rows that are longer than the base model's context",
    "balance": "commands, flows or slots that are rare, or on one side only",
}


@dataclass(frozen=True)
class Row:
    """A finding as it is shown; `file` and `name` are those of its test, where it has one."""

    place: str
    text: str
    file: str
    name: str


@dataclass(frozen=True)
class Group:
    """Findings of one kind and severity for which the same is to be done; `total` counts those left out as well."""

    severity: Severity
    kind: Kind
    meaning: str
    advice: str
    rows: tuple[Row, ...]
    total: int


def sections(output: Path) -> Iterator[Section]:
    """What the checks found, if they were made: by `split`, or since then by `check-data`."""
    found = latest(Workspace(output))
    if found is None:
        return
    many = found.total >= _FILTERED
    yield section(
        ANCHOR,
        "What the checks found",
        "findings.findings",
        scripts=(script("findings.js"),) if found.findings else (),
        group=QUALITY,
        sentence=sentence(found),
        passed=not found.faults,
        groups=list(_groups(found)),
        severities=[severity for severity in SEVERITIES if found.count(severity)],
        kinds=list(dict.fromkeys(finding.kind for finding in found.findings)),
        total=found.total,
        figures=list(_figures(found)),
        many=many,
        open=_OPEN,
    )


def headline(output: Path) -> Headline | None:
    """The answer at the top of the page, if the checks were made."""
    found = latest(Workspace(output))
    if found is None:
        return None
    return Headline("Is the data sound?", sentence(found), not found.faults, ANCHOR)


def sentence(found: CheckReport) -> str:
    """How many findings there are, the worst first."""
    rows = number_of(found.rows, "row")
    counts = {severity: found.count(severity) for severity in SEVERITIES}
    told = [number_of(number, severity) for severity, number in counts.items() if number]
    if found.faults:
        return f"The checks of {rows} found {listed(told)}."
    if told:
        return f"The checks found no fault in {rows}; what is worth knowing stands in {listed(told)}."
    return f"The checks found nothing in {rows}."


def _groups(found: CheckReport) -> Iterator[Group]:
    by_sort: dict[tuple[Severity, Kind, str], list[Finding]] = {}
    for severity in SEVERITIES:
        for finding in found.findings:
            if finding.severity == severity:
                by_sort.setdefault((severity, finding.kind, finding.advice), []).append(finding)
    uncounted = {(of.severity, of.kind): of.number for of in found.left_out}
    for (severity, kind, advice), findings in by_sort.items():
        rows = tuple(map(_row, findings[:_MOST]))
        total = len(findings) + uncounted.pop((severity, kind), 0)
        yield Group(severity, kind, _MEANING[kind], advice, rows, total)


def _row(finding: Finding) -> Row:
    file, _, name = (finding.place.test or "").partition("::")
    return Row(str(finding.place), finding.text, file, name)


def _figures(found: CheckReport) -> Iterator[str]:
    """What the checks measured besides, a sentence each."""
    mean = found.average_diversity
    if mean is not None:
        yield (
            f"Diversity of the rephrasings: {mean:.2f} on average, from 0, they only repeat the "
            "message, to 1, they have no wording of it."
        )
    if found.longest is not None:
        yield f"The longest row has {count(found.longest)} tokens."
