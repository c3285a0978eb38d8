"""Trained assistants, one of a kind for the whole session: training takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rasa_pro.projects import Project, example_project, template_project


@pytest.fixture(scope="session")
def default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Rasa's project template `default`."""
    pytest.importorskip("rasa")
    with template_project("default", tmp_path_factory.mktemp("templates")) as project:
        yield project


@pytest.fixture(scope="session")
def finance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Rasa's project template `finance`."""
    pytest.importorskip("rasa")
    with template_project("finance", tmp_path_factory.mktemp("templates")) as project:
        yield project


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The assistant that this project ships, with its tests."""
    pytest.importorskip("rasa")
    with example_project(tmp_path_factory.mktemp("example")) as project:
        yield project
