"""The stage as a whole: its files, its summary, its errors, and when it does not run again."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.commands import Command
from rasa_ft_ext.errors import ConfigError, ForeignResultsError, WorkspaceError
from rasa_ft_ext.report.page import write_report
from rasa_ft_ext.split.stage import split
from rasa_ft_ext.workspace import DATASET, SPLIT, Workspace
from tests.split.builders import annotated, conversation, example, random_data, set_slot, start, workspace_of

WEIRD = 'Zürich → 東京\n\n"quoted" \\ \u2028 \x85 😀\ttab'


def rows_of(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    text = (workspace.folder(SPLIT) / "ft_splits" / name).read_bytes().decode()
    return [json.loads(line) for line in text.split("\n")[:-1]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Ten tests with one example each; the first two are the only ones of their kind."""
    kinds = {0: Command(type="CancelFlow"), 1: set_slot("city")}
    examples = [example(f"a.yml::{n}", f"p{n}", kinds.get(n, start("f"))) for n in range(10)]
    return workspace_of(tmp_path / "output", annotated(conversation(entry.test) for entry in examples), examples)


def test_rows_are_prompt_and_completion(workspace: Workspace) -> None:
    split(workspace)
    train, val = rows_of(workspace, "train.jsonl"), rows_of(workspace, "val.jsonl")

    assert len(train) == 8
    assert len(val) == 2
    assert all(row.keys() == {"prompt", "completion"} for row in train + val)
    assert {row["prompt"] for row in train + val} == {f"p{number}" for number in range(10)}
    assert {"prompt": "p0", "completion": "CancelFlow"} in train


def test_rows_are_messages(workspace: Workspace) -> None:
    split(workspace, output_format="conversational")
    train, val = rows_of(workspace, "train.jsonl"), rows_of(workspace, "val.jsonl")

    assert all(row.keys() == {"messages"} for row in train + val)
    assert {"messages": [{"role": "user", "content": "p0"}, {"role": "assistant", "content": "CancelFlow"}]} in train


def test_training_rows_are_shuffled_and_validation_rows_are_in_order(tmp_path: Path) -> None:
    examples = [example(f"a.yml::{n:02}", f"p{n:02}") for n in range(50)]
    workspace = workspace_of(tmp_path, annotated(conversation(entry.test) for entry in examples), examples)
    split(workspace, train_frac=0.5)
    train = [row["prompt"] for row in rows_of(workspace, "train.jsonl")]
    val = [row["prompt"] for row in rows_of(workspace, "val.jsonl")]

    assert train != sorted(train)
    assert val == sorted(val)


def test_any_text_survives(tmp_path: Path) -> None:
    workspace = workspace_of(
        tmp_path, annotated([conversation("a.yml::1")]), [example("a.yml::1", "p", completion="c\nd")]
    )
    path = workspace.folder(DATASET) / "llm_ft_data.jsonl"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompt": WEIRD}) + "\n")
    split(workspace)

    assert rows_of(workspace, "train.jsonl") == [{"prompt": WEIRD, "completion": "c\nd"}]


def test_validation_files_exist_even_when_empty(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, annotated([conversation("a.yml::1")]), [example("a.yml::1", "p")])
    summary = split(workspace, train_frac=1.0)

    assert rows_of(workspace, "val.jsonl") == []
    assert (workspace.folder(SPLIT) / "e2e_tests/validation").is_dir()
    assert summary.val_examples == summary.val_tests == 0
    assert summary.test_folders == ("e2e_tests/train",)
    assert not summary.notes


def test_tests_stand_on_the_side_of_their_examples(tmp_path: Path) -> None:
    conversations, examples = random_data(3)
    workspace = workspace_of(tmp_path, annotated([*conversations, conversation("f9.yml::silent")]), examples)
    summary = split(workspace, train_frac=0.6)
    folder = workspace.folder(SPLIT) / "e2e_tests"
    found = {
        side: {
            f"{path.relative_to(folder / side)}::{line.split(': ', 1)[1]}"
            for path in (folder / side).rglob("*.yml")
            for line in path.read_text().splitlines()
            if "- test_case:" in line
        }
        for side in ("train", "validation")
    }

    assert found["train"] | found["validation"] == {entry.id for entry in conversations} | {"f9.yml::silent"}
    assert (len(found["train"]), len(found["validation"])) == (summary.train_tests, summary.val_tests)
    assert "f9.yml::silent" in found["train"]
    prompts = {row["prompt"] for row in rows_of(workspace, "train.jsonl")}
    for entry in examples:
        assert (entry.test in found["train"]) == (entry.prompt in prompts)


def test_summary_counts(workspace: Workspace) -> None:
    summary = split(workspace, train_frac=0.75)

    assert (summary.train_examples, summary.val_examples, summary.groups) == (7, 3, 10)
    assert (summary.train_tests, summary.val_tests) == (7, 3)
    assert (summary.train_frac, summary.train_frac_reached) == (0.75, 0.7)
    assert summary.train_commands == {"CancelFlow": 1, "SetSlot": 1, "StartFlow": 5}
    assert summary.val_commands == {"StartFlow": 3}
    assert summary.only_in_train == {"commands": ("CancelFlow", "SetSlot"), "slots": ("city",)}
    assert summary.missing_in_train == {}
    assert summary.test_folders == ("e2e_tests/train", "e2e_tests/validation")


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    conversations, examples = random_data(5)
    for place, entries in (("one", examples), ("two", examples[::-1])):
        split(workspace_of(tmp_path / place, annotated(conversations), entries), train_frac=0.6, seed=7)
    one, two = (
        {
            path.relative_to(tmp_path / place): path.read_bytes()
            for path in (tmp_path / place / SPLIT).rglob("*")
            if path.is_file() and path.name != "manifest.json"
        }
        for place in ("one", "two")
    )

    assert list(one.values()) == list(two.values())


def test_a_finished_split_is_read_back_and_not_made_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = split(workspace, seed=1)
    monkeypatch.setattr(Workspace, "examples", lambda self: pytest.fail("ran again"))

    assert split(workspace, seed=1) == summary


def test_other_options_need_force(workspace: Workspace) -> None:
    split(workspace, seed=1)
    with pytest.raises(ForeignResultsError, match="seed"):
        split(workspace, seed=2)
    forced = Workspace(workspace.root, force=True)

    assert split(forced, seed=2, train_frac=0.5).train_examples == 5
    assert len(rows_of(workspace, "train.jsonl")) == 5


def test_wrong_options_are_reported_at_once(workspace: Workspace) -> None:
    with pytest.raises(ConfigError) as caught:
        split(workspace, train_frac=1.5, output_format="chat")  # type: ignore[arg-type]

    assert len(caught.value.problems) == 2
    assert not workspace.folder(SPLIT).exists()


@pytest.mark.parametrize("train_frac", [0.0, -0.1, 1.01, float("nan")])
def test_wrong_fractions_are_refused(workspace: Workspace, train_frac: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        split(workspace, train_frac=train_frac)


def test_an_empty_dataset_names_the_next_step(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, annotated([conversation("a.yml::1")]), [])
    with pytest.raises(WorkspaceError, match=r"holds no examples.*`rasa-ft annotate`"):
        split(workspace)


def test_a_missing_stage_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="rasa-ft annotate"):
        split(Workspace(tmp_path))


def test_splitting_and_showing_hold_few_of_the_prompts(tmp_path: Path) -> None:
    examples = [
        example(f"a.yml::{n:03}", f"{'long ' * 10_000}USER: what is {n * 'x'}", message=f"what is {n * 'x'}")
        for n in range(150)
    ]
    workspace = workspace_of(tmp_path, annotated(conversation(entry.test) for entry in examples), examples)
    size = sum(len(entry.prompt) for entry in examples)
    del examples
    split(workspace)  # imports
    tracemalloc.start()
    try:
        split(Workspace(tmp_path, force=True), near_duplicates="drop")
        write_report(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size > 7_000_000
    assert peak < size / 3
