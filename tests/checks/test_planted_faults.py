"""Twenty faults of each kind, planted into clean data, are all found; and nothing else is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rasa_ft_ext.checks.entries import entries_of, read_entries
from rasa_ft_ext.checks.findings import FILES, CheckReport, Kind, Severity, Side
from rasa_ft_ext.checks.stage import check, check_data
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.workspace import SPLIT, Workspace, write_jsonl
from tests.checks import planting
from tests.checks.planting import COUNT, INVENTED, Planted, Planter, plant

pytestmark = pytest.mark.once

KINDS: list[tuple[Planter, Kind, Severity]] = [
    (planting.contradictions, "contradiction", "problem"),
    (planting.rewordings, "contradiction", "warning"),
    (planting.unknown_flows, "unknown name", "problem"),
    (planting.unknown_values, "unknown name", "problem"),
    (planting.unknown_slots, "unknown name", "problem"),
    (planting.ungrounded_values, "ungrounded value", "warning"),
    (planting.leaks, "leak", "problem"),
    (planting.near_leaks, "near-duplicate", "problem"),
    (planting.near_duplicates, "near-duplicate", "warning"),
]
IDS = [planter.__name__ for planter, _, _ in KINDS]


@pytest.fixture(scope="module")
def sides(clean: Workspace) -> dict[Side, list[Example]]:
    found: dict[Side, list[Example]] = {"train": [], "validation": []}
    for entry in read_entries(clean):
        assert entry.example is not None
        assert entry.side is not None
        found[entry.side].append(entry.example)
    return found


def assert_found(report: CheckReport, planted: Planted, kind: Kind, severity: Severity) -> None:
    found = {finding.place.row for finding in report.findings if (finding.kind, finding.severity) == (kind, severity)}
    assert planted.rows == found
    assert len(planted.rows) == COUNT
    assert not [finding for finding in report.faults if finding.place.row not in planted.rows]


def test_clean_data_has_no_fault(clean: Workspace) -> None:
    report = check_data(clean)

    assert not report.faults
    assert report.rows > 900
    assert {finding.kind for finding in report.findings} == {"unknown name", "repetition", "balance"}


@pytest.mark.parametrize(("planter", "kind", "severity"), KINDS, ids=IDS)
def test_faults_in_examples_are_found(
    clean: Workspace, sides: dict[Side, list[Example]], planter: Planter, kind: Kind, severity: Severity
) -> None:
    planted = plant(sides, planter, seed=1)

    report = check(clean, entries_of(planted.sides))

    assert_found(report, planted, kind, severity)
    tests = {finding.place.test for finding in report.faults}
    assert None not in tests


@pytest.mark.parametrize(("planter", "kind", "severity"), KINDS[::2], ids=IDS[::2])
def test_faults_in_the_files_of_rows_are_found(
    clean: Workspace,
    sides: dict[Side, list[Example]],
    tmp_path: Path,
    planter: Planter,
    kind: Kind,
    severity: Severity,
) -> None:
    workspace = Workspace(shutil.copytree(clean.root, tmp_path / "output"))
    planted = plant(sides, planter, seed=3)
    for side, examples in planted.sides.items():
        rows = [{"prompt": example.prompt, "completion": example.completion} for example in examples]
        write_jsonl(workspace.folder(SPLIT) / FILES[side], rows)

    assert_found(check_data(workspace), planted, kind, severity)


def test_every_invented_value_is_different() -> None:
    assert len(set(INVENTED)) == COUNT


def test_a_report_says_where_and_what_to_do(clean: Workspace, sides: dict[Side, list[Example]]) -> None:
    planted = plant(sides, planting.unknown_flows, 1)
    report = check(clean, entries_of(planted.sides))

    for finding in report.faults:
        assert finding.place.row in str(finding.place)
        assert ".yml::" in str(finding.place)
        assert finding.advice.endswith(".")
    assert json.loads(report.model_dump_json())["rows"] == report.rows
