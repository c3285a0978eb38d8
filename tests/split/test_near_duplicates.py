"""What `split` does with rows that are nearly the same, and with faults: report, drop, group, refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from rasa_ft_ext import api
from rasa_ft_ext.checks.duplicates import near_duplicates, superfluous
from rasa_ft_ext.checks.entries import Entry, entries_of, read_entries
from rasa_ft_ext.checks.findings import CheckReport
from rasa_ft_ext.checks.lengths import context_length
from rasa_ft_ext.cli.main import main
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.errors import ConfigError, DataError, WorkspaceError
from rasa_ft_ext.split.stage import split
from rasa_ft_ext.workspace import SPLIT, Workspace, read_record
from tests.split.builders import annotated, conversation, example, start, workspace_of

WORDS = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll", "larch"]


def pair(number: int, end: str) -> Example:
    """A row of its own words; rows of one number and two ends are nearly the same."""
    text = f"please show me what {WORDS[number] * 3} costs {end}"
    return example(f"a.yml::{number}{end}", f"USER: {text}", start("f"), message=text)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Ten pairs of tests with rows that are nearly the same."""
    examples = [pair(number, end) for number in range(10) for end in (".", "!")]
    return workspace_of(tmp_path / "output", annotated(conversation(entry.test) for entry in examples), examples)


def across(workspace: Workspace) -> list[tuple[Entry, Entry]]:
    entries = read_entries(workspace)
    found = [(entries[one], entries[other]) for one, other in near_duplicates(entries)]
    return [(one, other) for one, other in found if one.side != other.side]


def test_near_duplicates_are_reported_and_stay(workspace: Workspace) -> None:
    summary = split(workspace, train_frac=0.5)
    report = read_record(workspace.folder(SPLIT) / "checks.json", CheckReport)

    assert len(across(workspace)) > 0
    assert summary.findings == report.counts
    assert api.check_data(workspace.root) == report
    assert sum(finding.severity == "problem" for finding in report.findings) == len(across(workspace))
    assert any("near-duplicate" in note for note in summary.notes)
    assert (summary.train_examples, summary.val_examples, summary.dropped) == (10, 10, {})


def test_one_of_several_near_duplicates_is_kept(workspace: Workspace) -> None:
    split(workspace, train_frac=0.5)
    leaking, within = len(across(workspace)), 10 - len(across(workspace))
    assert leaking > 0
    assert within > 0
    summary = split(Workspace(workspace.root, force=True), train_frac=0.5, near_duplicates="drop", strict=True)

    assert not near_duplicates(read_entries(workspace))
    assert sum(summary.dropped.values()) == 10
    assert summary.dropped["validation"] == leaking + within / 2
    assert (summary.train_examples, summary.val_examples) == (10 - within / 2, 10 - leaking - within / 2)
    assert summary.val_tests == 10
    assert any("nearly the same as other examples" in note for note in summary.notes)


def test_wordings_that_were_varied_on_purpose_are_kept_on_their_side(tmp_path: Path) -> None:
    texts = [f"please show me what {WORDS[0] * 3} costs{end}" for end in (".", "!")]
    rows = [example("a.yml::a", f"USER: {text}", start("f"), message=text) for text in texts]

    together, apart = entries_of({"train": rows}), entries_of({"train": rows[:1], "validation": rows[1:]})
    assert list(superfluous(together, {})) == [1]
    assert list(superfluous(together, {"a.yml::a": frozenset({texts[1]})})) == []
    assert list(superfluous(apart, {"a.yml::a": frozenset({texts[1]})})) == [1]


def test_what_is_like_a_varied_row_and_its_original_is_like_the_original() -> None:
    text = f"please show me what {WORDS[0] * 3} costs"
    texts = [text.upper(), text, f"{text}!"]
    rows = [example("a.yml::a", f"USER: {text}", start("f"), message=text) for text in texts]

    assert list(superfluous(entries_of({"train": rows}), {"a.yml::a": frozenset({texts[0]})})) == [2]


def test_near_duplicates_are_kept_on_one_side(workspace: Workspace) -> None:
    summary = split(workspace, train_frac=0.5, near_duplicates="group")

    assert not across(workspace)
    assert (summary.groups, summary.train_examples, summary.val_examples) == (10, 10, 10)


def test_strict_refuses_faults_and_writes_nothing(workspace: Workspace) -> None:
    with pytest.raises(DataError, match=r"near-duplicate: a\.yml::"):
        split(workspace, train_frac=0.5, strict=True)
    assert not workspace.folder(SPLIT).exists()

    split(workspace, train_frac=0.5)
    with pytest.raises(DataError):
        split(workspace, train_frac=0.5, strict=True)


def test_strict_lets_clean_data_through(tmp_path: Path) -> None:
    examples = [pair(number, ".") for number in range(10)]
    workspace = workspace_of(tmp_path / "output", annotated(conversation(entry.test) for entry in examples), examples)

    assert split(workspace, strict=True).findings == {}


def test_an_unknown_way_with_near_duplicates_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="near_duplicates is 'keep'"):
        split(workspace, near_duplicates="keep")  # type: ignore[arg-type]


def test_checking_can_split_again_with_the_options_of_before(workspace: Workspace) -> None:
    before = split(workspace, train_frac=0.5, seed=7, output_format="conversational")

    report = api.check_data(workspace.root, near_duplicates="group")

    assert not across(workspace)
    after = split(workspace, train_frac=0.5, seed=7, output_format="conversational", near_duplicates="group")
    assert (after.train_examples, after.val_examples) == (before.train_examples, before.val_examples)
    assert report.count("problem") == 0


def test_examples_are_checked_before_they_are_split(workspace: Workspace) -> None:
    report = api.check_data(workspace.root)

    assert report.counts == {"near-duplicate": 10}
    assert report.findings[0].place.row == "3_llm_finetune_data/llm_ft_data.jsonl line 2"


def test_the_command_says_what_is_wrong_and_where(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    split(workspace, train_frac=0.5)
    found = tmp_path / "findings.json"

    assert main(["check-data", str(workspace.root), "--json", str(found)]) == 0
    assert main(["check-data", str(workspace.root), "--strict"]) == 2
    told = capsys.readouterr().out
    assert "problem: near-duplicate" in told
    assert "ft_splits/val.jsonl line" in told
    assert "-> Split again with --near-duplicates drop, or group." in told
    assert read_record(found, CheckReport).counts["near-duplicate"] > 0
    assert main(["check-data", str(workspace.root), "--near-duplicates", "group", "--strict"]) == 2  # within a side


def test_rows_are_measured_with_the_context_of_a_base_model(workspace: Workspace, tmp_path: Path) -> None:
    assert api.check_data(workspace.root, max_length=2).counts["length"] == 20
    assert "length" not in api.check_data(workspace.root, max_length=500).counts
    with pytest.raises(ConfigError, match="max_length is 0"):
        api.check_data(workspace.root, max_length=0)
    (tmp_path / "config.json").write_text('{"text_config": {"max_position_embeddings": 3}}')
    assert context_length(tmp_path) == 3
    (tmp_path / "config.json").write_text('{"text_config": {}}')
    with pytest.raises(ConfigError, match="does not say how long a row may be"):
        api.check_data(workspace.root, tokenizer=str(tmp_path))
    with pytest.raises(ConfigError, match=r"There is no .*none/config\.json"):
        api.check_data(workspace.root, tokenizer=str(tmp_path / "none"))


def test_a_file_of_rows_that_cannot_be_read_is_named_with_its_lines(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    split(workspace, train_frac=0.5)
    rows = workspace.folder(SPLIT) / "ft_splits" / "train.jsonl"
    rows.write_text(f'{rows.read_text()}{{"prompt": \n[1]\n')

    assert main(["check-data", str(workspace.root)]) == 1
    told = capsys.readouterr().err
    assert str(rows) in told
    assert "Line 11 is not JSON" in told
    assert "Line 12 is a list" in told


def test_a_folder_without_examples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="rasa-ft dataset"):
        api.check_data(tmp_path)
