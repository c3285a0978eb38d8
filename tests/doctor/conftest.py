"""A healthy patient for every test, made once and copied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rasa_ft_ext import api
from rasa_ft_ext.doctor import drift
from rasa_ft_ext.doctor.chat_template import prompt_tokens
from rasa_ft_ext.llm.scripted.server import scripted_llm
from tests.doctor.patients import ENDPOINTS, KEY, RASA, Patient, finish_training, make_model, serving, train_assistant

EXAMPLE = Path(__file__).parents[2] / "assistant_example"


@pytest.fixture(scope="session")
def healthy_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's files, data of its tests with cars, and a model's folder."""
    project = tmp_path_factory.mktemp("doctor") / "project"
    recorded = project / "annotations"
    shutil.copytree(EXAMPLE / "annotations" / "cars", recorded / "cars")
    shutil.copy(EXAMPLE / "annotations" / "assistant.json", recorded)
    for name in ("data", "domain", "prompts"):
        shutil.copytree(EXAMPLE / name, project / name)
    shutil.copy(EXAMPLE / "config.yml", project)
    with scripted_llm(EXAMPLE / "answers.yml") as llm:
        api.prepare_data(project=project, annotations="annotations", llm_api_base=llm.base_url, num_rephrases=0)
    make_model(project / "finetuned_model" / "merged")
    finish_training(project)
    train_assistant(project)
    return project


@pytest.fixture
def patient(healthy_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    """A set-up in which everything is in order."""
    project = tmp_path / "project"
    shutil.copytree(healthy_project, project)
    monkeypatch.setenv("TRAVEL_KEY", KEY)
    monkeypatch.setattr(drift, "version", lambda name: RASA)
    merged = project / "finetuned_model" / "merged"
    with serving(lambda prompt: labels[prompt], lambda prompt: prompt_tokens(merged, prompt)) as server:
        patient = Patient(project, server)
        labels = {row.prompt: row.completion for row in patient.workspace.examples()}
        (project / "endpoints.yml").write_text(ENDPOINTS.format(base_url=server.base_url))
        patient.evaluate()
        yield patient
