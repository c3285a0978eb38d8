"""A file of the user's appears whole, or what was there before stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.files import write_json_file, write_whole


def test_a_record_is_written_into_a_folder_that_need_not_exist(tmp_path: Path) -> None:
    file = tmp_path / "figures/today.json"
    write_json_file(file, Usage(prompt_tokens=3))
    assert json.loads(file.read_bytes()) == {"prompt_tokens": 3, "completion_tokens": 0}
    assert [path.name for path in file.parent.iterdir()] == ["today.json"]


def test_what_was_there_stays_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    write_whole(file, "before")

    def full(path: Path, *_: object, **__: object) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(WorkspaceError, match=r"report\.html cannot be written: No space left on device"):
        write_whole(file, "after")
    assert file.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="cannot be written: Is a directory"):
        write_whole(tmp_path, "text")
