"""connect changes what must change and nothing else, in whatever way the files are written; rollback undoes all."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rasa_ft_ext.connect import stage
from rasa_ft_ext.project import read_project
from tests.builders import contents
from tests.connect.connect_builders import (
    MODEL,
    TEMPLATE,
    Server,
    evaluated,
    project,
    rasas_templates,
    serving,
    settings,
)
from tests.connect.odd_projects import ODD, Odd

NEW_TEMPLATE = "prompts/rasa_ft_command.jinja2"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def cases() -> list[Odd]:
    """The odd projects, and Rasa's own templates where Rasa is installed."""
    return [
        *ODD,
        *(
            Odd(
                f"Rasa's {folder.name}",
                (folder / "config.yml").read_bytes(),
                (folder / "endpoints.yml").read_bytes(),
                ("model_group: openai-gpt-5-1", "model_group: rasa_command_generation_model"),
            )
            for folder in rasas_templates()
        ),
    ]


@pytest.mark.parametrize("odd", cases(), ids=lambda odd: odd.name)
def test_what_need_not_change_stays_byte_for_byte(odd: Odd, tmp_path: Path, server: Server) -> None:
    root = project(tmp_path / "assistant", odd.config, odd.endpoints)
    before = contents(root)
    workspace = evaluated(tmp_path / "output", generator=read_project(root).generator.kind)

    def connect() -> stage.ConnectSummary:
        return stage.connect(workspace, settings(server.base_url), stage.Place(root))

    summary = connect()

    found = read_project(root)
    assert [dict(model) for model in found.models] == [settings(server.base_url).llm()]
    assert found.generator.prompt_template == NEW_TEMPLATE
    assert (root / NEW_TEMPLATE).read_text() == TEMPLATE
    assert found.generator.include_date_time is False
    for name in ("config.yml", "endpoints.yml"):
        assert_only_these_lines_went(before.get(name, b""), contents(root).get(name, b""), odd.gone)
    assert set(summary.changed) >= {"config.yml", NEW_TEMPLATE}
    assert connect().changed == ()

    undone = stage.rollback(root)

    assert contents(root) == before
    assert NEW_TEMPLATE in undone.removed
    assert set(tmp_path.joinpath("assistant").iterdir()) == {root / name for name in before}


def assert_only_these_lines_went(before: bytes, after: bytes, gone: tuple[str, ...]) -> None:
    """Of every other line not a byte differs; and of those that went, the comment is still there."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    removed = [line[2:] for line in difflib.ndiff([repr(x) for x in old], [repr(x) for x in new]) if line[:1] == "-"]
    lines = [ast.literal_eval(line).decode() for line in removed]
    last = old[-1].decode() if old and not before.endswith(b"\n") else None
    assert [line for line in lines if not any(part in line for part in gone) and line != last] == []
    for line in lines:
        comment = re.search(r"\s#.*", line)
        assert comment is None or comment[0].rstrip().encode() in after
    newlines = {line[len(line.rstrip(b"\r\n")) :] for line in old} - {b""}
    assert {line[len(line.rstrip(b"\r\n")) :] for line in new} <= newlines | {b""} | (
        {b"\n"} if not newlines else set()
    )
    assert after.count(b"\xef\xbb\xbf") == before.count(b"\xef\xbb\xbf")


def test_rasas_four_templates_are_among_the_cases() -> None:
    pytest.importorskip("rasa")
    assert {folder.name for folder in rasas_templates()} >= {"default", "tutorial", "finance", "telco"}


def test_the_name_of_the_model_is_written_so_that_it_stays_a_text(tmp_path: Path, server: Server) -> None:
    root = project(tmp_path)
    for number, name in enumerate(("1e3", "yes", "a: b", "# x", 'it\'s "one"', "名")):
        workspace = evaluated(tmp_path / f"output{number}")
        given = settings(server.base_url, model=name)
        stage.connect(workspace, given, stage.Place(root), force=True)
        assert read_project(root).models[0]["model"] == name
    assert MODEL not in (root / "endpoints.yml").read_text()
