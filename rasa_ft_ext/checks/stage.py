"""All checks of a dataset: of the rows in an output folder, or of those that `split` is about to write.

The checks need no Rasa and no LLM, and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rasa_ft_ext._version import __version__
from rasa_ft_ext.checks.balance import balance_of, check_balance, check_sides
from rasa_ft_ext.checks.contradictions import check_contradictions
from rasa_ft_ext.checks.diversity import check_diversity, diversity_of
from rasa_ft_ext.checks.duplicates import check_duplicates, varied_wordings
from rasa_ft_ext.checks.entries import Entry, read_entries
from rasa_ft_ext.checks.findings import CheckReport, Finding, KeptReport
from rasa_ft_ext.checks.grounding import check_values
from rasa_ft_ext.checks.known import Known, known_of
from rasa_ft_ext.checks.lengths import Context, check_lengths, lengths_of
from rasa_ft_ext.checks.names import check_names
from rasa_ft_ext.errors import DataError, WorkspaceError
from rasa_ft_ext.files import write_json_file
from rasa_ft_ext.review.place import reviewed_rephrasings
from rasa_ft_ext.rows import shortened
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    DATASET,
    MANIFEST,
    SPLIT,
    Workspace,
    read_flow_map,
    read_record,
    write_record,
)

CHECKS = "checks.json"
"""Where `split` leaves the report, in its folder; and `check-data`, in the output folder."""


def check_data(workspace: Workspace, *, context: Context | None = None) -> CheckReport:
    """Check the rows of a finished split, or the examples of a dataset that is not split yet.

    Args:
        workspace: Holds annotations and examples, and the split if there is one.
        context: The base model's context; None to count no tokens.

    Raises:
        WorkspaceError: there is no dataset, or its stages do not belong together.
        ConfigError: a file of rows, or that of the decisions of a review, cannot be read.
    """
    return check(workspace, read_entries(workspace), context=context)


def check(
    workspace: Workspace, entries: Sequence[Entry], *, context: Context | None = None, review: Path | None = None
) -> CheckReport:
    """Put every question to these rows; the workspace says what the assistant has, and how it was rephrased.

    `review` is the file with the decisions of a review, where it is not the one that the examples were made with.
    """
    known = _known(workspace)
    rephrased = reviewed_rephrasings(workspace, review)
    turns = tuple(diversity_of(rephrased))
    balance = balance_of(entries)
    lengths = lengths_of(entries, context) if context else []

    def findings() -> Iterator[Finding]:
        yield from check_contradictions(entries)
        yield from check_names(entries, known)
        yield from check_values(entries, known)
        yield from check_duplicates(entries, varied_wordings(rephrased))
        yield from check_diversity(turns)
        if context is not None:
            yield from check_lengths(entries, lengths, context)
        yield from check_sides(entries)
        yield from check_balance(balance, divided=any(entry.side == "validation" for entry in entries))

    return CheckReport(
        version=__version__,
        rows=len(entries),
        findings=tuple(findings()),
        diversity=turns,
        balance=balance,
        longest=max(lengths, default=None),
    )


def _known(workspace: Workspace) -> Known:
    folder = workspace.folder(ANNOTATIONS)
    return known_of(workspace.card(), workspace.annotations(), read_flow_map(folder))


def refuse_faults(report: CheckReport) -> None:
    """Let no fault through: neither a problem nor a warning.

    Raises:
        DataError: there are some; names the first of them.
    """
    if report.faults:
        told = shortened([f"{finding.kind}: {finding.place}: {finding.text}" for finding in report.faults])
        lines = "".join(f"\n  - {line}" for line in told)
        raise DataError(
            f"The data has {len(report.faults)} faults, and --strict lets none through:{lines}\nLook at all of them "
            "with `rasa-ft check-data`, mend them, or go on without --strict."
        )


def write_report(path: Path, report: CheckReport) -> None:
    """Write all findings and figures as JSON.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    try:
        write_record(path, report)
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be written: {error.strerror or error}.") from error


def keep(workspace: Workspace, report: CheckReport) -> None:
    """Leave the report of rows that are there already in the output folder, for whoever shows it.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    made_of = workspace.fingerprint(_last(workspace))
    write_json_file(workspace.root / CHECKS, KeptReport(made_of=made_of, report=report))


def latest(workspace: Workspace) -> CheckReport | None:
    """The report that was kept, if it is about the rows that are there; else that of `split`; None if there is none.

    Raises:
        WorkspaceError: a report cannot be read.
    """
    if (workspace.root / CHECKS).is_file():
        kept = read_record(workspace.root / CHECKS, KeptReport)
        try:
            if kept.made_of == workspace.fingerprint(_last(workspace)):
                return kept.report
        except WorkspaceError:
            pass  # the rows do not fit their inputs any more; what `split` said of them does
    path = workspace.folder(SPLIT) / CHECKS
    return read_record(path, CheckReport) if path.is_file() else None


def _last(workspace: Workspace) -> str:
    return SPLIT if (workspace.folder(SPLIT) / MANIFEST).is_file() else DATASET
