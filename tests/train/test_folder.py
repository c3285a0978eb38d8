"""The folder of a model is whole or not there, and never somebody else's."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.errors import ForeignResultsError, ParityError, WorkspaceError
from rasa_ft_ext.train import folder as module
from rasa_ft_ext.train.folder import KEY, ModelFolder, mark_whole
from rasa_ft_ext.workspace import MANIFEST

SETTINGS = {"epochs": 3, "base": {"name": "b"}, "files": ["a"]}


def folder(root: Path, *, force: bool = False, **changes: Any) -> ModelFolder:
    return ModelFolder(root, {**SETTINGS, **changes}, force=force)


def finish(made: ModelFolder, *names: str) -> None:
    """Write results."""
    with made.writing() as draft:
        for name in (*names, "merged/weights", MANIFEST):
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_text("new")
        (draft / KEY).write_text(json.dumps(made.key))


def checkpoint(made: ModelFolder, step: int, *, whole: bool = True) -> Path:
    path = made.checkpoints / f"checkpoint-{step}"
    (path / "more").mkdir(parents=True)
    (path / "weights").write_text("w")
    (path / "more" / "optimizer").write_text("o")
    if whole:
        mark_whole(path)
    return path


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


# ---- what is there


@pytest.mark.parametrize("there", [False, True], ids=["no folder", "an empty folder"])
def test_a_new_folder_has_nothing_to_go_on_from(there: bool, tmp_path: Path) -> None:
    root = tmp_path / "deep" / "model"
    if there:
        root.mkdir(parents=True)
    made = folder(root)

    assert not made.is_done()
    assert made.begin() is None
    assert not folder(root).is_done()


def test_a_death_before_anything_was_noted_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()

    assert not folder(tmp_path).is_done()


def test_a_finished_training_is_known_again(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.begin()
    finish(made)

    assert folder(tmp_path).is_done()
    assert not folder(tmp_path, force=True).is_done()


@pytest.mark.parametrize("finished", [False, True])
def test_another_training_is_refused_and_what_differs_is_named(finished: bool, tmp_path: Path) -> None:
    made = folder(tmp_path, seed=1)
    made.begin()
    if finished:
        finish(made)
    before = names(tmp_path)

    what = "a model of another training" if finished else "the checkpoints of another training"
    with pytest.raises(ForeignResultsError, match=rf"holds {what} \(it differs in: base, extra, seed\).*--force"):
        folder(tmp_path, base={"name": "c"}, extra=1).is_done()
    assert names(tmp_path) == before
    assert not folder(tmp_path, force=True, epochs=9).is_done()


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_other_files_is_left_alone_even_by_force(force: bool, tmp_path: Path) -> None:
    """`--out-model .` must not cost a project."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "domain.yml").write_text("mine")
    (tmp_path / MANIFEST).write_text("{}")

    with pytest.raises(ForeignResultsError, match=r"files that rasa-ft did not write.*--out-model"):
        folder(tmp_path, force=force).is_done()
    assert names(tmp_path) == ["data/domain.yml", MANIFEST]


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("mine")

    with pytest.raises(ForeignResultsError, match="is a file"):
        folder(tmp_path / "model", force=True).is_done()


@pytest.mark.parametrize("content", ["{", ""])
def test_notes_that_cannot_be_read_are_told(content: str, tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.begin()
    (made.checkpoints / KEY).write_text(content)

    with pytest.raises(WorkspaceError, match=r"cannot be read.*--force"):
        folder(tmp_path).is_done()


# ---- checkpoints


def test_the_last_whole_checkpoint_is_gone_on_from_and_half_ones_are_thrown_away(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.begin()
    for step in (2, 10, 9):
        checkpoint(made, step)
    half = checkpoint(made, 11, whole=False)
    half_removed = checkpoint(made, 12)
    (half_removed / "more" / "optimizer").unlink()

    assert folder(tmp_path).begin() == str(made.checkpoints / "checkpoint-10")
    assert not half.exists()
    assert not half_removed.exists()
    assert {path.name for path in made.checkpoints.glob("c*")} == {"checkpoint-2", "checkpoint-9", "checkpoint-10"}


def test_a_checkpoint_is_not_whole_before_its_mark_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder(tmp_path)
    made.begin()
    monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        checkpoint(made, 3)
    monkeypatch.undo()

    assert folder(tmp_path).begin() is None


def test_force_throws_away_checkpoints_and_results(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.begin()
    finish(made, "merged_4bit/weights")
    made.begin()
    checkpoint(made, 5)

    again = folder(tmp_path, force=True, epochs=4)
    assert again.begin() is None
    assert names(tmp_path) == [f"checkpoints/{KEY}"]
    assert not folder(tmp_path, epochs=4).is_done()


@pytest.mark.parametrize("died_at", range(12))
def test_a_death_while_the_old_model_is_removed_leaves_no_half_model(
    died_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folder(tmp_path)
    made.begin()
    finish(made, "adapter/a", "metrics.json")
    removals: list[Path] = []

    def remove(path: Path) -> None:
        if len(removals) == died_at:
            raise KeyboardInterrupt
        removals.append(path)
        original(path)

    original = module._remove
    monkeypatch.setattr(module, "_remove", remove)
    try:
        folder(tmp_path, force=True).begin()
    except KeyboardInterrupt:
        pass
    else:
        assert died_at > 4
    monkeypatch.undo()

    whole = all((tmp_path / name).is_file() for name in ("merged/weights", "adapter/a", "metrics.json", KEY))
    assert folder(tmp_path).is_done() == (whole and (tmp_path / MANIFEST).is_file())
    assert whole or not folder(tmp_path).is_done()


# ---- results


def test_results_appear_when_all_of_them_are_written(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.begin()
    checkpoint(made, 5)
    with made.writing() as draft:
        (draft / "metrics.json").write_text("{}")
        (draft / KEY).write_text(json.dumps(made.key))
        (draft / MANIFEST).write_text("{}")
        assert not (tmp_path / "metrics.json").exists()
        assert not folder(tmp_path).is_done()

    assert names(tmp_path) == [MANIFEST, "metrics.json", KEY]
    assert folder(tmp_path).is_done()


def test_the_manifest_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder(tmp_path)
    made.begin()
    moved: list[str] = []
    replace = os.replace
    monkeypatch.setattr(module.os, "replace", lambda old, new: (moved.append(Path(new).name), replace(old, new)))
    finish(made, "zoo", "a")

    assert moved[-1] == MANIFEST
    assert set(moved) == {"zoo", "a", "merged", KEY, MANIFEST}


def test_checkpoints_that_a_death_left_beside_the_results_are_thrown_away(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.begin()
    finish(made)
    checkpoint(made, 5)

    assert folder(tmp_path).is_done()
    assert not made.checkpoints.exists()


def fail_in(draft: Path) -> None:
    (draft / "metrics.json").write_text("{}")
    raise RuntimeError


def test_what_a_failure_left_behind_is_no_result(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.begin()
    kept = checkpoint(made, 5)
    with pytest.raises(RuntimeError), made.writing() as draft:
        fail_in(draft)

    assert not list(tmp_path.glob(".results-*"))
    assert folder(tmp_path).begin() == str(kept)


def test_what_a_death_left_half_written_is_thrown_away(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.begin()
    (tmp_path / ".results-abc").mkdir()
    (tmp_path / ".results-abc" / "weights").write_text("16 GB")
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events").write_text("e")

    folder(tmp_path).begin()

    assert names(tmp_path) == [f"checkpoints/{KEY}", "tensorboard/events"]


def test_results_of_a_death_in_the_midst_of_moving_are_replaced(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.begin()
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "old").write_text("old")

    again = folder(tmp_path)
    assert not again.is_done()
    again.begin()
    finish(again)

    assert "merged/old" not in names(tmp_path)
    assert (tmp_path / "merged" / "weights").read_text() == "new"


# ---- disks


def full(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_and_checkpoints_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder(tmp_path)
    made.begin()
    kept = checkpoint(made, 5)
    with pytest.raises(WorkspaceError, match=r"cannot be written: No space left.*Checkpoints.*kept"), made.writing():
        full()
    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(WorkspaceError, match="No space left"):
        folder(tmp_path).begin()

    assert kept.is_dir()


def test_a_place_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(WorkspaceError, match=r"cannot be written: Not a directory.*--out-model"):
        folder(tmp_path / "file" / "model").begin()


def test_what_was_trained_is_kept_where_the_merged_model_is_not(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.begin()
    kept = checkpoint(made, 5)

    def save() -> None:
        with made.writing() as draft:
            (draft / "metrics.json").write_text("{}")
            (draft / "merged").mkdir()
            raise ParityError("they differ")

    with pytest.raises(ParityError):
        save()

    assert (made.root / "metrics.json").is_file()
    assert not (made.root / "merged").exists()
    assert kept.is_dir()
    assert not made.is_done()
