"""The rephraser's configuration: what is read, what is refused, and what stands in for what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.llm.scripted.prompts import ForRephrasings, understand
from rasa_ft_ext.prompts import render
from rasa_ft_ext.rephrase.config import VARIABLES, default_template, read_config

OWN = {"provider": "self-hosted", "model": "ours", "api_base": "http://gpu:8000/v1", "max_tokens": 64, "timeout": 7}


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "quite-secret")


def written(folder: Path, text: str) -> Path:
    path = folder / "rephrase.yml"
    path.write_text(text)
    return path


def problems(path: Path, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(path, **more)
    assert caught.value.where == str(path)
    return "\n".join(caught.value.problems)


@pytest.mark.usefixtures("key")
def test_default_is_the_recipes_llm_and_our_template() -> None:
    config = read_config(None, assistant_llm=OWN)
    assert config.llm.public == {"provider": "openai", "model": "gpt-4.1-mini-2025-04-14"}
    assert config.template == default_template()
    assert config.notes == ()


@pytest.mark.usefixtures("key")
def test_empty_file_is_the_default(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, "")) == read_config(None)


def test_without_a_key_the_assistants_own_llm_rephrases_and_a_note_says_so() -> None:
    config = read_config(None, assistant_llm=OWN)
    assert config.llm.model == "ours"
    assert config.llm.public == {"provider": "self-hosted", "model": "ours", "api_base": "http://gpu:8000/v1"}
    assert not {"max_tokens", "timeout"} & config.llm.arguments.keys()
    assert len(config.notes) == 1
    assert "OPENAI_API_KEY is not set" in config.notes[0]
    assert "ours" in config.notes[0]


def test_assistants_own_llm_may_be_a_model_group() -> None:
    config = read_config(None, assistant_llm={"model_group": "g"}, model_groups={"g": [OWN, OWN]})
    assert config.llm.model == "ours"
    assert any("2 models" in note for note in config.notes)


def test_assistants_own_llm_that_cannot_step_in_is_explained() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set, and the assistant's own LLM cannot step in"):
        read_config(None, assistant_llm={"model_group": "g"})


def test_without_a_key_and_without_an_assistant_the_default_stays() -> None:
    assert read_config(None).llm.provider == "openai"


def test_llm_of_the_file_is_taken_even_without_a_key(tmp_path: Path) -> None:
    path = written(tmp_path, "llm: {provider: anthropic, model: claude-x, temperature: 0.7}")
    assert read_config(path, assistant_llm=OWN).llm.model == "claude-x"


def test_llm_of_the_file_may_be_a_model_group(tmp_path: Path) -> None:
    path = written(tmp_path, "llm: {model_group: g}")
    assert read_config(path, model_groups={"g": [OWN]}).llm.model == "ours"


@pytest.mark.usefixtures("key")
def test_template_is_found_beside_the_file_and_in_the_project(tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project / "prompts", elsewhere):
        folder.mkdir(parents=True)
    path = written(elsewhere, "prompt_template: prompts/own.jinja2")
    (project / "prompts/own.jinja2").write_text("project {{ number_of_rephrasings }} {{ user_messages }}")
    assert read_config(path, project=project).template.startswith("project")
    (elsewhere / "prompts").mkdir()
    (elsewhere / "prompts/own.jinja2").write_text("beside {{ number_of_rephrasings }} {{ user_messages }}")
    assert read_config(path, project=project).template.startswith("beside")


@pytest.mark.usefixtures("key")
def test_template_may_use_all_variables_and_what_else_it_uses_is_noted(tmp_path: Path) -> None:
    template = "{% for i in range(2) %}{{ i }}{% endfor %}" + "".join(f"{{{{ {name} }}}}" for name in VARIABLES)
    (tmp_path / "t.jinja2").write_text(template)
    assert read_config(written(tmp_path, "prompt_template: t.jinja2")).notes == ()
    (tmp_path / "t.jinja2").write_text("{{ user_messages }} {{ persona }}")
    notes = "\n".join(read_config(written(tmp_path, "prompt_template: t.jinja2")).notes)
    assert "uses persona" in notes
    assert "does not use number_of_rephrasings" in notes


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "t.jinja2").write_text("line one\n{{ user_messages")
    path = written(tmp_path, "prompt_template: t.jinja2\nllm: {model: x, timeout: soon}\nprompt: y\nextra: 1")
    text = problems(path)
    for part in ("`prompt`", "`extra`", "line 2", "no jinja2", "llm: `timeout`", "llm: `provider`"):
        assert part in text


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("prompt_template: none.jinja2", "there is no"),
        ("prompt_template: 5", "path of a file"),
        ("prompt_template: ''", "path of a file"),
        ("llm: gpt-4o", "mapping"),
        ("- a", "mapping"),
        ("a: [", "not YAML"),
        ("prompt_template: empty.jinja2", "user_messages"),
    ],
)
def test_what_cannot_work_is_named(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "empty.jinja2").write_text("Rephrase {{ number_of_rephrasings }} times.")
    assert part in problems(written(tmp_path, text))


def test_file_that_is_missing_is_named(tmp_path: Path) -> None:
    assert "cannot be read" in problems(tmp_path / "none.yml")


def test_default_template_asks_in_the_form_that_is_agreed_on() -> None:
    prompt = render(
        default_template(),
        {
            "test_case_name": "car and hotel",
            "transcript": "USER: a car\nAI: where?\nUSER: - Basel",
            "number_of_rephrasings": 4,
            "user_prefix": "USER",
            "number_of_user_messages": 2,
            "user_messages": ["a car", "to <Basel> & back"],
        },
        (),
    )
    assert "car and hotel" in prompt
    assert "AI: where?" in prompt
    assert prompt.rstrip().endswith("4 rephrasings for the following 2 user messages\n- a car\n- to <Basel> & back")
    assert understand(prompt) == ForRephrasings(("a car", "to <Basel> & back"), 4)
