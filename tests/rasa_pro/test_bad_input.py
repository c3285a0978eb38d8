"""What a user may give that cannot work, on a real assistant: each a clear message with the next step, nothing written.

The rest is shown without Rasa: a wrong rephrase config (`tests/rephrase/test_rephrase_config.py`), a rephraser that
answers nonsense (`test_rephrase_stage.py`), results of another run and a full disk (`tests/test_workspace.py`), and
that the command line makes one message and exit code 1 of each (`tests/cli/test_main.py`).
"""

from __future__ import annotations

import dataclasses
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext import prepare_data
from rasa_ft_ext.errors import AssistantError, LLMUnavailableError, RasaFtError, TestSuiteError
from rasa_ft_ext.llm.cache import FILE as ANSWERS
from rasa_ft_ext.llm.opening import COSTS
from rasa_ft_ext.llm.scripted.server import scripted_llm
from tests.rasa_pro.projects import Project, train

ONE_TEST = """
test_cases:
  - test_case: a car
    steps:
      - user: I'd like to book a car
      - bot: in which city?
"""


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    folder = tmp_path / "e2e_tests"
    folder.mkdir()
    (folder / "car.yml").write_text(ONE_TEST, encoding="utf-8")
    return folder


def refused(project: Project, tests: Path, tmp_path: Path, kind: type[RasaFtError], model: str = "models") -> str:
    """Run the recipe, see it refused without a trace but answers and what they cost, and return the message."""
    out = tmp_path / "output"
    with project.entered(), project.at_home(), pytest.raises(kind) as error:
        prepare_data(tests, project=project.path, model=model, out=out, num_rephrases=1)
    found = [path.name for path in out.iterdir()] if out.exists() else []
    assert [name for name in found if not name.startswith((ANSWERS, COSTS))] == []
    return str(error.value)


def test_a_folder_without_tests(example: Project, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert "There are no E2E tests" in refused(example, tmp_path / "empty", tmp_path, TestSuiteError)


def test_tests_that_are_not_there(example: Project, tmp_path: Path) -> None:
    assert "no such file or folder" in refused(example, tmp_path / "nowhere", tmp_path, TestSuiteError)


def test_a_step_that_the_schema_does_not_know_is_named_with_file_and_line(
    example: Project, tests: Path, tmp_path: Path
) -> None:
    (tests / "wrong.yml").write_text(ONE_TEST.replace("bot:", "robot:"), encoding="utf-8")

    message = refused(example, tests, tmp_path, TestSuiteError)

    assert "wrong.yml" in message
    assert "in Line 6" in message
    assert "robot" in message


def test_yaml_that_is_none_is_named_with_file_and_line(example: Project, tests: Path, tmp_path: Path) -> None:
    (tests / "broken.yml").write_text("test_cases:\n  - test_case: [", encoding="utf-8")

    message = refused(example, tests, tmp_path, TestSuiteError)

    assert "broken.yml" in message
    assert "line 2" in message


def test_a_fixture_that_is_not_defined(example: Project, tests: Path, tmp_path: Path) -> None:
    wrong = ONE_TEST.replace("    steps:", "    fixtures: [nowhere]\n    steps:")
    (tests / "fixture.yml").write_text(wrong, encoding="utf-8")

    message = refused(example, tests, tmp_path, TestSuiteError)

    assert "fixture.yml: not defined: fixture nowhere" in message


def test_a_file_that_is_no_model(example: Project, tests: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(b"this is no archive")

    message = refused(example, tests, tmp_path, AssistantError, model=str(broken))

    assert "broken.tar.gz" in message
    assert "rasa train" in message


CONFIGS = {
    "no generator": "  - {name: NLUCommandAdapter}\n",
    "several steps": "  - name: MultiStepLLMCommandGenerator\n    llm: {model_group: teacher}\n",
}


@pytest.fixture(scope="module", params=CONFIGS)
def other(example: Project, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The example with a command generator that there is no data to be had from: which, and the model's path."""
    kind: str = request.param
    config = f"recipe: default.v1\nlanguage: en\npipeline:\n{CONFIGS[kind]}policies:\n  - name: FlowPolicy\n"
    (example.path / "other.yml").write_text(config, encoding="utf-8")
    model = train(example, "other.yml", name="other")
    place = example.path / "other" / model.name
    place.parent.mkdir(exist_ok=True)
    return kind, str(shutil.move(model, place))


def test_a_generator_that_cannot_be_learned_from(
    example: Project, other: tuple[str, str], tests: Path, tmp_path: Path
) -> None:
    kind, model = other

    message = refused(example, tests, tmp_path, AssistantError, model=model)

    assert {"no generator": "no LLM command generator", "several steps": "several times"}[kind] in message
    assert "CompactLLMCommandGenerator" in message
    assert "train again" in message


def test_a_mantle_project(example: Project, tests: Path, tmp_path: Path) -> None:
    mantle = tmp_path / "mantle"
    shutil.copytree(example.path / "models", mantle / "models")
    for name in ("agent.yml", "integrations.yml"):
        (mantle / name).write_text("{}\n", encoding="utf-8")

    message = refused(dataclasses.replace(example, path=mantle), tests, tmp_path, AssistantError)

    assert "Mantle" in message
    assert "CALM" in message


def test_an_llm_that_cannot_be_reached(example: Project, tests: Path, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    project = dataclasses.replace(example, environment={**example.environment, "SCRIPTED_LLM_URL": address})

    message = refused(project, tests, tmp_path, LLMUnavailableError)

    assert "Nobody answers" in message
    assert "endpoints.yml" in message


def test_an_llm_that_answers_nonsense(example: Project, tests: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.yml"
    answers.write_text("answers:\n  - user: I'd like to book a car\n    text: I like trains.\n", encoding="utf-8")
    with scripted_llm(answers, syntax="v2") as llm:
        environment = {**example.environment, "SCRIPTED_LLM_URL": llm.base_url}
        message = refused(dataclasses.replace(example, environment=environment), tests, tmp_path, AssistantError)

    assert "None of the 1 E2E tests passes" in message
    assert "car.yml::a car: expected" in message
