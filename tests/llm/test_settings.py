"""How users of Rasa write an LLM, what becomes of it, and that no secret gets out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.llm.secrets import scrub
from rasa_ft_ext.llm.settings import KEY_VARIABLES, has_key, read_model_groups, resolve

OPENAI = {"provider": "openai", "model": "gpt-4.1-mini-2025-04-14"}
SELF_HOSTED = {"provider": "self-hosted", "model": "llama", "api_base": "http://localhost:8000/v1"}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sum(KEY_VARIABLES.values(), ()), "HOSTED_VLLM_API_KEY", "AZURE_API_BASE", "AZURE_API_VERSION"]:
        monkeypatch.delenv(name, raising=False)


def problems(config: Any, groups: Any = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        resolve(config, groups or {}, "rephrase.yml: llm")
    assert caught.value.where == "rephrase.yml: llm"
    return caught.value.problems


@pytest.mark.parametrize(
    ("config", "model"),
    [
        (OPENAI, "openai/gpt-4.1-mini-2025-04-14"),
        ({"model": "gpt-4o"}, "openai/gpt-4o"),
        ({"model": "openai/gpt-4o"}, "openai/gpt-4o"),
        ({"model": "openai/gpt-4o", "provider": "openai"}, "openai/gpt-4o"),
        ({"model": "anthropic/claude-3-7-sonnet"}, "anthropic/claude-3-7-sonnet"),
        ({"model": "claude-3-7-sonnet"}, "anthropic/claude-3-7-sonnet"),
        ({"model": "anthropic.claude-v2", "provider": "bedrock"}, "bedrock/anthropic.claude-v2"),
        ({"model": "openai/gpt-4o", "provider": "openrouter"}, "openrouter/openai/gpt-4o"),
        ({"model_name": "gpt-4o", "type": "openai"}, "openai/gpt-4o"),
        ({"model": "gpt-4o", "api_type": "openai"}, "openai/gpt-4o"),
        (SELF_HOSTED, "hosted_vllm/llama"),
        ({**SELF_HOSTED, "provider": "hosted_vllm"}, "hosted_vllm/llama"),
        ({**SELF_HOSTED, "model": "meta-llama/Llama-3.1-8B"}, "hosted_vllm/meta-llama/Llama-3.1-8B"),
        ({"deployment": "ours", "api_base": "https://a", "api_version": "1"}, "azure/ours"),
        ({"provider": "azure", "engine": "ours", "api_base": "https://a", "api_version": "1"}, "azure/ours"),
    ],
)
def test_model_gets_the_prefix_of_its_provider(config: dict[str, Any], model: str) -> None:
    assert resolve(config, {}, "x").arguments["model"] == model


def test_other_keys_reach_litellm_under_their_present_names() -> None:
    config = {**OPENAI, "request_timeout": 7, "temperature": 0, "max_completion_tokens": 256, "logit_bias": {"5": 1}}
    arguments = dict(resolve(config, {}, "x").arguments)
    assert arguments.pop("model") == "openai/gpt-4.1-mini-2025-04-14"
    assert arguments == {"timeout": 7.0, "temperature": 0.0, "max_completion_tokens": 256, "logit_bias": {"5": 1}}


def test_self_hosted_model_gets_a_key_even_where_none_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(SELF_HOSTED, {}, "x").arguments["api_key"]
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", "from-the-environment")
    assert resolve(SELF_HOSTED, {}, "x").arguments["api_key"] == "from-the-environment"
    assert resolve({**SELF_HOSTED, "api_key": "own-key"}, {}, "x").arguments["api_key"] == "own-key"


def test_variables_come_from_the_environment_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "gpu-box")
    monkeypatch.setenv("SECONDS", "30")
    monkeypatch.setenv("WHO", "tester")
    config = {
        **SELF_HOSTED,
        "api_base": "http://${HOST}:8000/v1",
        "timeout": "${SECONDS}",
        "extra_body": {"u": "${WHO}"},
    }
    settings = resolve(config, {}, "x")
    assert settings.arguments["api_base"] == "http://gpu-box:8000/v1"
    assert settings.arguments["timeout"] == 30.0
    assert settings.arguments["extra_body"] == {"u": "tester"}
    assert settings.public["extra_body"] == {"u": "${WHO}"}
    assert settings.address == "http://gpu-box:8000/v1"


def test_missing_variable_is_named_and_causes_no_further_problem() -> None:
    config = {**SELF_HOSTED, "api_base": "${NO_SUCH_BASE}", "timeout": "${NO_SUCH_TIME}"}
    assert problems(config) == (
        "the environment variable NO_SUCH_BASE is not set",
        "the environment variable NO_SUCH_TIME is not set",
    )


def test_all_problems_are_reported_at_once() -> None:
    config = {
        "provider": "azure",
        "temperature": "hot-secret-value",
        "timeout": -1,
        "request_timeout": 3,
        "stream": True,
        "api_key": "${NO_SUCH_KEY}",
        "api_base": "localhost",
    }
    found = problems(config)
    assert len(found) == 8
    text = "\n".join(found)
    for part in ("temperature", "timeout", "stream", "NO_SUCH_KEY", "deployment", "api_version", "http://"):
        assert part in text
    assert "hot-secret-value" not in text


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"model": "my-model"}, "`provider` is missing"),
        ({"provider": "openai"}, "`model` is missing"),
        ({"provider": "self-hosted", "model": "m"}, "`api_base` is missing"),
        ({"provider": "rasa", "model": "m"}, "Rasa alone"),
        ({**OPENAI, "oauth": {}}, "oauth"),
        ({**OPENAI, "n": 2}, "`n` cannot"),
        ({"provider": "openai", "model": 4}, "`model`"),
        ("gpt-4o", "mapping"),
    ],
)
def test_what_cannot_work_is_named(config: Any, part: str) -> None:
    assert any(part in problem for problem in problems(config))


def test_azure_takes_address_and_version_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_API_BASE", "https://ours.example")
    monkeypatch.setenv("AZURE_API_VERSION", "2024-02-01")
    assert resolve({"provider": "azure", "deployment": "d"}, {}, "x").model == "d"


def test_model_group_is_looked_up(tmp_path: Path) -> None:
    endpoints = tmp_path / "endpoints.yml"
    endpoints.write_text(
        "action_endpoint: {url: http://localhost}\n"
        "model_groups:\n"
        "  - id: one\n"
        "    models: [{provider: azure, deployment: d, api_base: 'https://a', api_version: 2024-02-01}]\n"
        "  - id: two\n"
        "    router: {routing_strategy: simple-shuffle}\n"
        "    models:\n"
        "      - {provider: openai, model: gpt-4o}\n"
        "      - {provider: openai, model: gpt-5}\n"
    )
    groups = read_model_groups(endpoints)
    assert resolve({"model_group": "one"}, groups, "x").arguments["api_version"] == "2024-02-01"
    two = resolve({"model_group": "two"}, groups, "x")
    assert two.model == "gpt-4o"
    assert two.notes == ("model group two has 2 models; only the first is used",)
    assert problems({"model_group": "three", "temperature": 0}, groups) == (
        "`model_group` stands alone; put temperature into the group's model",
        "there is no model group 'three'; those known are: one, two",
    )


def test_endpoints_without_groups_have_none(tmp_path: Path) -> None:
    assert read_model_groups(tmp_path / "none.yml") == {}
    (tmp_path / "endpoints.yml").write_text("nlg: {type: rephrase}\n")
    assert read_model_groups(tmp_path / "endpoints.yml") == {}


@pytest.mark.parametrize("text", ["model_groups: [{id: a}, {models: [{}]}, x]", "a: [", "a: 1\na: 2"])
def test_endpoints_that_cannot_be_read_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "endpoints.yml").write_text(text)
    with pytest.raises(ConfigError, match=r"endpoints\.yml"):
        read_model_groups(tmp_path / "endpoints.yml")


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_KEY", "top-secret-1")
    config = {
        **SELF_HOSTED,
        "api_base": "https://host/v1?code=top-secret-3",
        "api_key": "${OUR_KEY}",
        "azure_ad_token": "top-secret-4",
        "aws_access_key_id": "top-secret-5",
        "aws_secret_access_key": "top-secret-6",
        "extra_headers": {"Authorization": "Bearer top-secret-7", "X-Other": "top-secret-8"},
        "extra_body": {"nested": [{"password": "top-secret-9"}], "back": "https://user:top-secret-2@host/x"},
        "max_tokens": 5,
    }
    settings = resolve(config, {}, "x")
    shown = json.dumps(dict(settings.public)) + repr(settings) + str(settings)
    assert "top-secret" not in shown
    assert settings.public["max_tokens"] == 5
    assert settings.public["api_base"] == "https://host/v1"
    assert settings.public["extra_body"]["back"] == "https://host/x"
    echoed = settings.scrub(f"rejected: {json.dumps(dict(settings.arguments))} Bearer top-secret-7")
    assert "top-secret" not in echoed
    assert settings.arguments["api_key"] == "top-secret-1"


@pytest.mark.parametrize("provider", ["self-hosted", "openai"])
def test_an_address_with_a_password_is_refused_without_telling_it(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_SERVER", "https://user:top-secret@host/v1")
    for base in ("https://user:top-secret@host/v1", "http://top-secret@host", "${OUR_SERVER}"):
        (problem,) = problems({"provider": provider, "model": "m", "api_base": base})
        assert "must not hold a user or a password" in problem
        assert "top-secret" not in problem
    assert resolve({**SELF_HOSTED, "api_base": "https://host/v1/@me?mail=a@b"}, {}, "x").model


def test_the_address_of_the_environment_is_part_of_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = resolve(OPENAI, {}, "x")
    asked = dict(settings.known_as)
    monkeypatch.setenv("OPENAI_API_BASE", "https://there/v1?code=top-secret")
    assert settings.known_as == {**asked, "api_base": "https://there/v1"}
    assert (settings.address, settings.public) == ("https://there/v1", asked)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://here/v1")
    assert settings.address == "https://here/v1"  # which is litellm's choice, too
    assert resolve({**OPENAI, "api_base": "https://own/v1"}, {}, "x").address == "https://own/v1"


def test_keys_of_the_environment_are_scrubbed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "quite-unusual")
    assert resolve(OPENAI, {}, "x").scrub("Incorrect key: quite-unusual.") == "Incorrect key: ***."
    assert scrub("key sk-proj-abcdefgh12345678 is wrong", ()) == "key *** is wrong"


@pytest.mark.parametrize(
    ("config", "variable"),
    [
        (OPENAI, "OPENAI_API_KEY"),
        ({"provider": "azure", "deployment": "d", "api_base": "https://a", "api_version": "1"}, "AZURE_API_KEY"),
        ({"model": "claude-3"}, "ANTHROPIC_API_KEY"),
        ({"provider": "gemini", "model": "g"}, "GOOGLE_API_KEY"),
        ({"provider": "bedrock", "model": "b"}, "AWS_PROFILE"),
    ],
)
def test_has_key_looks_into_the_environment(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], variable: str
) -> None:
    assert not has_key(resolve(config, {}, "x"))
    assert has_key(resolve({**config, "api_key": "given"}, {}, "x"))
    monkeypatch.setenv(variable, "set")
    assert has_key(resolve(config, {}, "x"))


def test_self_hosted_and_unknown_providers_count_as_having_a_key() -> None:
    assert has_key(resolve(SELF_HOSTED, {}, "x"))
    assert has_key(resolve({"provider": "something_new", "model": "m"}, {}, "x"))
