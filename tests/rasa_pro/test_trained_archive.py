"""What the doctor reads in an archive without Rasa is what Rasa has put there."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from rasa_ft_ext.doctor import trained
from rasa_ft_ext.doctor.archive import read_assistant
from rasa_ft_ext.doctor.case import Case, Places
from rasa_ft_ext.workspace import ASSISTANT_CARD
from tests.rasa_pro.projects import Project

RECORDED = Path(__file__).parents[2] / "assistant_example" / "annotations"


def case_of(project: Project) -> Case:
    home = project.path
    return Case(Places(home, home, Path("config.yml"), Path("endpoints.yml"), home / "models", home))


def test_an_archive_tells_what_the_assistant_was_trained_with(example: Project) -> None:
    found = read_assistant(example.path / "models")

    card = json.loads((RECORDED / ASSISTANT_CARD).read_text())
    assert found.rasa_version == version("rasa-pro")
    assert found.generator == "CompactLLMCommandGenerator"
    assert found.template == (example.path / "prompts" / "command.jinja2").read_text()
    assert found.flows is not None
    assert {name: flow.description for name, flow in found.flows.items()} == card["flows"]


def test_a_trained_assistant_fits_its_own_files(example: Project) -> None:
    case = case_of(example)

    assert [said.status for said in (*trained.check_config(case), *trained.check_flows(case))] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("file", "old", "new", "word"),
    [
        ("config.yml", "include_date_time: false", "include_date_time: true", "include_date_time"),
        ("config.yml", "active: false", "active: true", "flow_retrieval"),
        ("data/flows/cars.yml", "  search_rental_car:", "  rent_car:", "rent_car"),
    ],
)
def test_a_change_after_the_training_is_seen(file: str, old: str, new: str, word: str, example: Project) -> None:
    path = example.path / file
    before = path.read_text()
    path.write_text(before.replace(old, new))
    try:
        case = case_of(example)
        said = [*trained.check_config(case), *trained.check_flows(case)]
    finally:
        path.write_text(before)

    assert [entry.status for entry in said if word in entry.text] in (["problem"], ["warning"])
