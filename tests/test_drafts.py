"""Drafts of stages: what is kept of a run that ends early, at whichever step it does."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rasa_ft_ext import locking
from rasa_ft_ext.conversation import Record
from rasa_ft_ext.drafts import Draft, unfinished
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.records import record_path
from rasa_ft_ext.workspace import MANIFEST, REPHRASINGS, Workspace, write_json
from tests.builders import contents

KEY = {"seed": 1}
FILES = ("a.yml", "cars/b.yml")


class Note(Record):
    count: int


def make(root: Path, *, key: dict[str, int] = KEY, force: bool = False, made: list[str] | None = None) -> None:
    """A stage of two parts."""
    with Workspace(root, force=force).resuming(REPHRASINGS, key) as draft:
        draft.expect(len(FILES))
        for name in FILES:
            if name not in draft.done:
                draft.add(
                    name, {record_path(draft.folder, name): name, draft.kept / name: "kept"}, Note(count=len(name))
                )
                (made if made is not None else []).append(name)
        with draft.writing() as folder:
            write_json(folder / "summary.json", sum(draft.note(name, Note).count for name in FILES))


def begin(root: Path, *, key: dict[str, int] = KEY, force: bool = False) -> Path:
    """A run that ends after its first part; gives the draft's folder."""
    place = Path()

    def half() -> None:
        nonlocal place
        with Workspace(root, force=force).resuming(REPHRASINGS, key) as draft:
            place = draft.place
            draft.add(
                "a.yml", {record_path(draft.folder, "a.yml"): "a.yml", draft.kept / "a.yml": "kept"}, Note(count=5)
            )
            raise ConnectionError("not a disk's error")

    with pytest.raises(ConnectionError, match="not a disk's error"):
        half()
    return place


def in_a_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own; gives its exit code, 1 for an exception."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(step: int, work: Callable[[], None]) -> None:
    """Do something, and end the process before that step on the disk as `kill -9` does: nothing is tidied."""
    steps = 0

    def counted(module: object, name: str) -> None:
        real = getattr(module, name)

        def call(*args: object, **more: object) -> object:
            nonlocal steps
            steps += 1
            if steps == step:
                os._exit(9)
            return real(*args, **more)

        setattr(module, name, call)

    for module, name in [(os, "replace"), (os, "fsync"), (shutil, "rmtree"), (Path, "mkdir"), (Path, "write_text")]:
        counted(module, name)
    work()


@pytest.mark.parametrize("replaces", [False, True], ids=["new", "in the place of old results"])
def test_a_run_may_be_killed_between_any_two_steps(
    tmp_path: Path, replaces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda number: None)  # a step as any other, but slow
    make(tmp_path / "whole")
    expected, step, code = contents(tmp_path / "whole"), 0, 9
    while code == 9:
        step += 1
        root = tmp_path / str(step)
        if replaces:
            make(root, key={"seed": 2})
        old = contents(root) if replaces else {}
        code = in_a_child(lambda root=root, step=step: killed_at(step, lambda: make(root, force=replaces)))  # type: ignore[misc]
        if code == 9 and replaces:
            Workspace(root).fingerprint(REPHRASINGS)  # puts back what was moved aside
            found = {name: text for name, text in contents(root / REPHRASINGS).items()}
            assert found in ({name.split("/", 1)[1]: text for name, text in of.items()} for of in (old, expected))
        make(root, force=replaces)
        assert contents(root) == expected
    assert code == 0
    assert step > 20


def test_parts_that_are_done_are_not_made_again(tmp_path: Path) -> None:
    place = begin(tmp_path)
    assert place.name.startswith(f".{REPHRASINGS}-")
    assert not (tmp_path / REPHRASINGS).exists()
    made: list[str] = []

    make(tmp_path, made=made)

    assert made == ["cars/b.yml"]
    assert [entry.name for entry in tmp_path.iterdir()] == [REPHRASINGS]
    assert sorted(contents(tmp_path / REPHRASINGS)) == ["a.yml.json", "cars/b.yml.json", MANIFEST, "summary.json"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda place: (place / "whole" / "a.yml.json").write_text("tampered"),
        lambda place: (place / "kept" / "a.yml").unlink(),
        lambda place: (place / "notes" / "a.yml.json").write_text("{"),
    ],
)
def test_a_part_that_is_not_whole_is_made_again(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    make(tmp_path / "whole")
    spoil(begin(tmp_path / "other"))
    made: list[str] = []

    make(tmp_path / "other", made=made)

    assert made == [*FILES]
    assert contents(tmp_path / "other") == contents(tmp_path / "whole")


def test_what_belongs_to_no_part_does_not_get_into_the_results(tmp_path: Path) -> None:
    make(tmp_path / "whole")
    place = begin(tmp_path / "other")
    (place / "whole" / "half.yml.json").write_text("half")

    make(tmp_path / "other")

    assert contents(tmp_path / "other") == contents(tmp_path / "whole")


@pytest.mark.parametrize("other", [{"key": {"seed": 2}}, {"force": True}])
def test_another_runs_draft_is_left_alone_until_the_stage_is_there(tmp_path: Path, other: dict[str, object]) -> None:
    mine, others = begin(tmp_path), begin(tmp_path, **other)  # type: ignore[arg-type]
    assert mine.is_dir()
    assert others.is_dir()
    assert mine != others

    make(tmp_path)

    assert [entry.name for entry in tmp_path.iterdir()] == [REPHRASINGS]


def test_a_run_that_has_finished_no_part_leaves_nothing(tmp_path: Path) -> None:
    def nothing() -> None:
        with Workspace(tmp_path).resuming(REPHRASINGS, KEY):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        nothing()
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_draft_says_how_far_it_is(tmp_path: Path) -> None:
    draft = Draft(tmp_path / ".2_rephrasings-0", REPHRASINGS, tmp_path / REPHRASINGS)
    draft.expect(3)
    draft.add("a.yml", {}, Note(count=1))
    draft.add("b.yml.beside", {}, Note(count=1))  # not done for good

    assert [(about.stage, about.parts, done) for about, done in unfinished(tmp_path)] == [(REPHRASINGS, 3, 1)]


def test_a_part_cannot_be_written_outside(tmp_path: Path) -> None:
    draft = Draft(tmp_path / "draft", REPHRASINGS, tmp_path / REPHRASINGS)

    with pytest.raises(WorkspaceError, match="leads out of"):
        draft.add("../../x.yml", {}, Note(count=1))


def test_a_full_disk_is_told_and_the_next_run_goes_on(tmp_path: Path) -> None:
    make(tmp_path / "whole")
    said = tmp_path / "said"

    def on_a_full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
        try:
            with Workspace(tmp_path / "other").resuming(REPHRASINGS, KEY) as draft:
                draft.add(
                    "a.yml", {record_path(draft.folder, "a.yml"): "a.yml", draft.kept / "a.yml": "kept"}, Note(count=5)
                )
                draft.add("cars/b.yml", {record_path(draft.folder, "cars/b.yml"): "x" * 5_000}, Note(count=1))
        except WorkspaceError as error:
            said.write_text(str(error))

    assert in_a_child(on_a_full_disk) == 0
    assert "2_rephrasings cannot be written: File too large" in said.read_text()
    made: list[str] = []
    make(tmp_path / "other", made=made)
    assert made == ["cars/b.yml"]
    assert contents(tmp_path / "other") == contents(tmp_path / "whole")


# One run at a time


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "_PATIENCE", 0.05)
    with Workspace(tmp_path).locked():
        assert in_a_child(lambda: make(tmp_path)) == 1
        with pytest.raises(WorkspaceError, match=rf"Another run.*\(process {os.getpid()} on .* since .*\).*--out"):
            make(tmp_path)
    make(tmp_path)


def test_the_lock_of_a_run_that_was_killed_holds_nobody(tmp_path: Path) -> None:
    def killed() -> None:
        with Workspace(tmp_path).resuming(REPHRASINGS, KEY):
            os._exit(9)

    assert in_a_child(killed) == 9
    make(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [REPHRASINGS]


def test_who_holds_the_lock_may_ask_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.locked(), workspace.writing(REPHRASINGS, KEY) as folder:
        write_json(folder / "a.json", 1)
    assert [entry.name for entry in tmp_path.iterdir()] == [REPHRASINGS]
