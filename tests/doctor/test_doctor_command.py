"""`rasa-ft doctor`: what it prints, what it writes, and its exit code."""

from __future__ import annotations

import json

import pytest

from rasa_ft_ext.cli.main import main
from rasa_ft_ext.doctor.findings import Diagnosis
from tests.doctor.patients import Patient


def test_a_healthy_set_up_ends_well(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--project", str(patient.project)]) == 0

    shown = capsys.readouterr().out
    assert "ok           flows: The 10 flows are those of the data" in shown
    assert shown.endswith(f"0 problem, 0 warning, 0 not checked, {len(shown.splitlines()) - 2} ok\n")


def test_problems_are_told_with_what_to_do(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    patient.edit("data/flows/cars.yml", "  search_rental_car:", "  rent_car:")
    (patient.project / "models" / "model.tar.gz").unlink()

    assert main(["doctor", "output", "--project", str(patient.project), "--json", "found.json"]) == 2

    shown = capsys.readouterr().out
    assert "problem      flows: The flow search_rental_car is called rent_car now" in shown
    assert "             -> Give it its old name back, or make the data again and train with it." in shown
    assert "not checked  Rasa: because there is no trained assistant at " in shown
    assert shown.count("not checked  trained assistant: ") == 1
    found = Diagnosis.model_validate(json.loads((patient.project / "found.json").read_text()))
    assert (found.count("problem"), found.healthy) == (1, False)


def test_findings_that_cannot_be_written_are_an_error(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--project", str(patient.project), "--json", "data"]) == 1
    assert "data cannot be written: Is a directory" in capsys.readouterr().err


def test_other_places_can_be_given(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    moved = {"--config": "config.yml", "--endpoints": "endpoints.yml", "--assistant-model": "models"}
    moved["--model-folder"] = "finetuned_model"
    for place in (*moved.values(), "output"):
        (patient.project / place).rename(patient.project / f"the_{place}")
    flags = [word for flag, place in moved.items() for word in (flag, f"the_{place}")]

    assert main(["doctor", "the_output", "--project", str(patient.project), *flags]) == 0
    assert main(["doctor", "--project", str(patient.project)]) == 2


def test_without_a_project_nothing_can_be_said(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--project", str(patient.project / "nowhere")]) == 1
    assert "There is no project at" in capsys.readouterr().err
