"""Files change whole or not at all, whatever happens in between, and come back byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rasa_ft_ext.connect import journal as journals
from rasa_ft_ext.connect.journal import Connected, Journal
from rasa_ft_ext.connect.plan import FileChange
from rasa_ft_ext.errors import ConnectError
from tests.builders import contents

CONNECTED = Connected(model="student", api_base="http://h/v1", llm={"model_group": "student"}, group="student")
BEFORE = {"config.yml": b"a: 1\r\n# \xff no text\n", "endpoints.yml": b"b: 2"}


def assistant(folder: Path) -> Path:
    for name, content in BEFORE.items():
        (folder / name).write_bytes(content)
    return folder


def changes(root: Path) -> list[FileChange]:
    changed = [FileChange(root / name, content, content + b"\nmore") for name, content in BEFORE.items()]
    return [*changed, FileChange(root / "new" / "folder" / "p.jinja2", None, b"{{ x }}")]


def test_what_was_written_is_undone_step_by_step(tmp_path: Path) -> None:
    root = assistant(tmp_path)
    (root / "config.yml").chmod(0o640)
    journal = Journal(root)
    journal.write(changes(root), CONNECTED)
    first = contents(root)
    assert first["config.yml"].endswith(b"more")
    journal.write([FileChange(root / "config.yml", first["config.yml"], b"c: 3\n")], CONNECTED)

    assert journal.undo().files[0].path == "config.yml"
    assert contents(root) == first
    journal.undo()

    assert contents(root) == BEFORE
    assert sorted(path.name for path in root.iterdir()) == sorted(BEFORE)
    assert (root / "config.yml").stat().st_mode & 0o777 == 0o640
    with pytest.raises(ConnectError, match="nothing to roll back"):
        journal.undo()


def test_what_an_interrupted_undo_left_is_in_nobodys_way(tmp_path: Path) -> None:
    root = assistant(tmp_path)
    left = root / ".rasa-ft" / "connect" / "0001" / "0.before"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"a: 1")

    Journal(root).write(changes(root), CONNECTED)
    Journal(root).undo()

    assert {name: (root / name).read_bytes() for name in BEFORE} == BEFORE


@pytest.mark.parametrize("writes", [1, 2, 3])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_an_error_in_between_leaves_all_as_it_was(
    writes: int, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = assistant(tmp_path)
    replace, done = os.replace, []

    def failing(source: Path, target: Path) -> None:
        if Path(target).parent != root and Path(target).name != "p.jinja2":
            return replace(source, target)
        done.append(target)
        if len(done) == writes:
            raise error
        return replace(source, target)

    monkeypatch.setattr(journals.os, "replace", failing)
    with pytest.raises(ConnectError if isinstance(error, OSError) else KeyboardInterrupt):
        Journal(root).write(changes(root), CONNECTED)

    assert len(done) >= writes
    assert contents(root) == BEFORE
    assert sorted(path.name for path in root.iterdir()) == sorted(BEFORE)


def killed_after(renames: int, root: Path) -> bool:
    """Write the changes in a process that dies without a word instead of its next rename."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    replace, done = os.replace, []

    def replaced(source: Path, target: Path) -> None:
        if len(done) == renames:
            os._exit(9)
        done.append(target)
        replace(source, target)

    try:
        os.replace = replaced  # type: ignore[assignment]
        Journal(root).write(changes(root), CONNECTED)
    finally:
        os._exit(0)


# The renames: two backups and the folder of the change, the three files, the mark that it is done.
@pytest.mark.parametrize("renames", [0, 1, 2, 3, 4, 5, 6])
def test_a_kill_in_between_is_noticed_and_undone(renames: int, tmp_path: Path) -> None:
    root = assistant(tmp_path)
    assert killed_after(renames, root)
    journal = Journal(root)

    if renames < 3:
        assert {name: (root / name).read_bytes() for name in BEFORE} == BEFORE
        assert journal.past().group is None
        journal.write(changes(root), CONNECTED)
    else:
        with pytest.raises(ConnectError, match=r"config\.yml.* was cut off half-way.*--rollback"):
            journal.past()
    journal.undo()

    assert contents(root) == BEFORE
    assert sorted(path.name for path in root.iterdir()) == sorted(BEFORE)


def test_what_a_person_changed_since_is_not_thrown_away(tmp_path: Path) -> None:
    root = assistant(tmp_path)
    journal = Journal(root)
    journal.write(changes(root), CONNECTED)
    (root / "endpoints.yml").write_bytes(b"mine")
    (root / "new" / "folder" / "p.jinja2").unlink()

    with pytest.raises(ConnectError, match=r"endpoints\.yml\. Take") as refused:
        journal.undo()
    assert "config.yml" not in str(refused.value)
    assert (root / "endpoints.yml").read_bytes() == b"mine"

    journal.undo(force=True)
    assert contents(root) == BEFORE


def test_a_file_that_someone_else_changes_meanwhile_is_left_alone(tmp_path: Path) -> None:
    root = assistant(tmp_path)
    planned = changes(root)
    (root / "endpoints.yml").write_bytes(b"theirs")

    with pytest.raises(ConnectError, match=r"endpoints\.yml was changed by someone else"):
        Journal(root).write(planned, CONNECTED)

    assert contents(root) == {**BEFORE, "endpoints.yml": b"theirs"}


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    root = assistant(tmp_path)
    (tmp_path / "shared").mkdir()
    (root / "config.yml").rename(tmp_path / "shared" / "config.yml")
    (root / "config.yml").symlink_to(tmp_path / "shared" / "config.yml")
    journal = Journal(root)

    journal.write(changes(root), CONNECTED)
    assert (root / "config.yml").is_symlink()
    assert (tmp_path / "shared" / "config.yml").read_bytes().endswith(b"more")
    journal.undo()
    assert (root / "config.yml").is_symlink()
    assert (tmp_path / "shared" / "config.yml").read_bytes() == BEFORE["config.yml"]


def test_the_past_is_what_was_written_unless_a_person_changed_the_template(tmp_path: Path) -> None:
    root = assistant(tmp_path)
    journal = Journal(root)
    path = "new/folder/p.jinja2"
    journal.write(changes(root), CONNECTED.model_copy(update={"template": path}))
    assert (journal.past().template, journal.past().group) == (path, "student")

    (root / path).write_text("mine")
    assert journal.past().template is None
