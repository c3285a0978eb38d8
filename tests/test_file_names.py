"""Names of files that come from test suites and recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from rasa_ft_ext import file_names
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.file_names import check_file_names, inside


@pytest.mark.parametrize("name", ["../a.yml", "/etc/a.yml", "a/../../b.yml", "..", ".", "", "x/..", "a\0b.yml"])
def test_a_name_cannot_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"leads out of|No file can have the name"):
        inside(tmp_path / "output", name)
    with pytest.raises(WorkspaceError, match=r"leads out of|No file can have the name"):
        check_file_names([name], tmp_path / "output")


def test_links_are_looked_through(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "away").symlink_to(tmp_path)
    (tmp_path / "output" / "round").symlink_to("round")
    with pytest.raises(WorkspaceError):
        inside(tmp_path / "output", "away/a.yml")
    check_file_names(["cars/a.yml", "..a/b...yml", "Zürich/東京.yaml"], tmp_path / "output")


@pytest.mark.parametrize("name", ["cars/../a.yml", "./a.yml", "cars//a.yml"])
def test_a_name_that_is_another_way_to_write_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="may be another's"):
        check_file_names(["a.yml", "cars/a.yml", name], tmp_path)


def test_a_name_that_is_too_long_is_told_before_there_are_results(tmp_path: Path) -> None:
    check_file_names([f"{'a' * 226}.yml"], tmp_path)
    with pytest.raises(WorkspaceError, match="too long"):
        check_file_names([f"{'ü' * 120}.yml"], tmp_path)


def test_names_that_meet_on_a_disk_without_capital_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.yml", "A.yml", "b.yml", "zu\u0308.yml", "z\u00fc.yml"]
    check_file_names(names, tmp_path / "output")
    monkeypatch.setattr(file_names, "_is_one_file_to_the_disk", lambda root: True)
    with pytest.raises(WorkspaceError) as caught:
        check_file_names(names, tmp_path / "output")
    assert "a.yml and A.yml are one file" in str(caught.value)
    assert str(caught.value).count("are one file") == 2
    assert "b.yml" not in str(caught.value)
