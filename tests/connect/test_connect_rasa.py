"""What connect writes is what Rasa takes: its own validation, its own clients, a training, and a teacher behind."""

from __future__ import annotations

import asyncio
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext.connect import stage
from rasa_ft_ext.project import read_project
from rasa_ft_ext.workspace import Workspace
from tests.connect.connect_builders import (
    CONFIG,
    ENDPOINTS,
    MODEL,
    NOBODY,
    TEMPLATE,
    Server,
    evaluated,
    project,
    rasas_templates,
    serving,
    settings,
)
from tests.connect.odd_projects import ODD
from tests.rasa_pro.projects import REPOSITORY, Project, train

PROJECTS = [
    *((odd.name, odd.config, odd.endpoints) for odd in ODD),
    *(
        (folder.name, (folder / "config.yml").read_bytes(), (folder / "endpoints.yml").read_bytes())
        for folder in rasas_templates()
    ),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


def connect(root: Path, workspace: Workspace, base_url: str, *, force: bool = False, **changes: Any) -> None:
    assert stage.connect(workspace, settings(base_url, **changes), stage.Place(root), force=force).changed


def client_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str]:
    """The client and the prompt that Rasa makes of the files, after its own validation of them."""
    from rasa.core.config.configuration import Configuration
    from rasa.dialogue_understanding.generator import (
        CompactLLMCommandGenerator,
        SearchReadyLLMCommandGenerator,
        SingleStepLLMCommandGenerator,
    )
    from rasa.engine import validation
    from rasa.shared.utils.llm import llm_factory, resolve_model_client_config
    from rasa.shared.utils.yaml import read_model_configuration

    monkeypatch.chdir(root)
    monkeypatch.setenv("LOG_LEVEL", "CRITICAL")
    config = read_model_configuration(root / "config.yml")
    Configuration.initialise_endpoints(endpoints_path=root / "endpoints.yml")
    Configuration.initialise_sub_agents(None)
    validation.validate_model_group_configuration_setup()
    validation.validate_model_client_configuration_setup_during_training_time(config)
    kinds = (CompactLLMCommandGenerator, SearchReadyLLMCommandGenerator, SingleStepLLMCommandGenerator)
    by_name = {kind.__name__: kind for kind in kinds}
    component = next(entry for entry in config["pipeline"] if entry["name"] in by_name)
    kind = by_name[component["name"]]
    client = llm_factory(resolve_model_client_config(component["llm"]), kind.get_default_llm_config())
    return client, kind._resolve_component_prompt_template(component)


def ask(client: Any, times: int = 1) -> list[str]:
    async def work() -> list[str]:
        return [(await client.acompletion("one")).choices[0] for _ in range(times)]

    return asyncio.run(work())


@pytest.mark.parametrize(("config", "endpoints"), [case[1:] for case in PROJECTS], ids=[case[0] for case in PROJECTS])
def test_rasa_takes_the_files_and_asks_the_model_with_the_prompt_of_the_data(
    config: bytes, endpoints: bytes | None, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path / "assistant", config, endpoints if endpoints is not None else b"")
    workspace = evaluated(tmp_path / "output", generator=read_project(root).generator.kind)
    connect(root, workspace, server.base_url)

    client, prompt = client_of(root, monkeypatch)

    assert prompt == TEMPLATE
    assert ask(client) == ["start flow book_car"]
    sent = server.bodies[-1]
    assert {name: sent[name] for name in ("model", "temperature", "max_tokens")} == {
        "model": MODEL,
        "temperature": 0.0,
        "max_tokens": 256,
    }


def test_a_variable_in_the_address_and_the_key_are_filled_in_by_rasa(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDENT_URL", server.base_url.removesuffix("/v1"))
    monkeypatch.setenv("STUDENT_KEY", "a-very-secret-key")
    for name, endpoints in (
        ("block", ENDPOINTS),
        ("flow", "model_groups: [{id: other, models: [{provider: openai}]}]"),
    ):
        root = project(tmp_path / name, CONFIG, endpoints)
        connect(root, evaluated(tmp_path / f"{name}_output"), "${STUDENT_URL}/v1", api_key_env="STUDENT_KEY")
        assert "a-very-secret-key" not in (root / "endpoints.yml").read_text()
        server.keys.clear()

        client, _ = client_of(root, monkeypatch)

        assert ask(client) == ["start flow book_car"], name
        assert server.keys == ["Bearer a-very-secret-key"], name


def test_the_teacher_answers_only_where_the_model_does_not(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving({}, otherwise="of the teacher") as teacher:
        teachers = ENDPOINTS.replace("provider: openai", f"provider: self-hosted\n        api_base: {teacher.base_url}")
        root = project(tmp_path / "assistant", CONFIG, teachers)
        workspace = evaluated(tmp_path / "output")
        connect(root, workspace, server.base_url, fallback=True)
        client, _ = client_of(root, monkeypatch)
        assert ask(client, 8) == ["start flow book_car"] * 8
        assert not teacher.bodies
        assert "order" not in server.bodies[-1]

        connect(root, workspace, NOBODY, fallback=True, force=True)
        client, _ = client_of(root, monkeypatch)
        assert ask(client, 8) == ["of the teacher"] * 8
        assert "order" not in teacher.bodies[-1]


@pytest.mark.parametrize(
    "folder", [path for path in rasas_templates() if path.name != "tutorial"], ids=lambda folder: folder.name
)
def test_rasa_takes_its_own_templates_with_the_teacher_behind_the_model(
    folder: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ((folder / name).read_bytes() for name in ("config.yml", "endpoints.yml"))
    root = project(tmp_path / "assistant", *files)
    workspace = evaluated(tmp_path / "output", generator=read_project(root).generator.kind)
    connect(root, workspace, server.base_url, fallback=True)

    client, _ = client_of(root, monkeypatch)

    assert ask(client) == ["start flow book_car"]


def test_a_training_keeps_the_prompt_of_the_data(tmp_path: Path, server: Server) -> None:
    root = Path(shutil.copytree(REPOSITORY / "assistant_example", tmp_path / "assistant"))
    workspace = evaluated(tmp_path / "output", generator=read_project(root).generator.kind)
    connect(root, workspace, server.base_url)

    model = train(Project(root, root, root, server, {"SCRIPTED_LLM_URL": NOBODY}))  # type: ignore[arg-type]

    with tarfile.open(model) as archive:
        prompts = [name for name in archive.getnames() if name.endswith("command_prompt.jinja2")]
        kept = [file.read().decode() for name in prompts if (file := archive.extractfile(name))]
    assert kept == [TEMPLATE]
    stage.rollback(root)
    files = ("config.yml", "endpoints.yml")
    assert all((root / name).read_bytes() == (REPOSITORY / "assistant_example" / name).read_bytes() for name in files)
