"""How one model is reached: what users of Rasa write, as keyword arguments of litellm.

    groups = read_model_groups(Path("endpoints.yml"))
    settings = resolve({"model_group": "rephraser"}, groups, "rephrase.yml")
    settings.arguments    # {"model": "hosted_vllm/llama", "api_base": "http://localhost:8000/v1", ...}
    settings.public       # the same for a manifest: without keys, passwords and tokens

A configuration is a mapping as in Rasa's `llm:` blocks: `provider`, `model` and any argument of litellm, or
`model_group` with the id of a group in endpoints.yml. `${VAR}` is taken from the environment. This module calls no
LLM and imports no litellm.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.llm.secrets import HIDDEN, collect_secrets, scrub, without_secrets
from rasa_ft_ext.yaml_reading import read_yaml

ModelGroups = Mapping[str, Sequence[Mapping[str, Any]]]

SELF_HOSTED = "self-hosted"
KEY_VARIABLES = {
    "openai": ("OPENAI_API_KEY",),
    "azure": ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_AD_TOKEN"),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "mistral": ("MISTRAL_API_KEY",),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY"),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    "bedrock": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "AWS_WEB_IDENTITY_TOKEN_FILE"),
}
"""The environment variables in which a provider's credentials can stand; any one of them will do."""

_ADDRESS_VARIABLES = {"openai": ("OPENAI_BASE_URL", "OPENAI_API_BASE"), "azure": ("AZURE_API_BASE",)}  # litellm's order
_OTHER_NAMES = {
    "model_name": "model",
    "deployment_name": "deployment",
    "engine": "deployment",
    "type": "provider",
    "_type": "provider",
    "openai_api_base": "api_base",
    "openai_api_type": "api_type",
    "openai_api_version": "api_version",
    "request_timeout": "timeout",
}
_NOT_PASSED_ON = {
    *("provider", "model", "deployment", "api_type", "id"),
    *("max_retries", "num_retries", "use_chat_completions_endpoint"),
}
_CANNOT_BE_USED = {
    "stream": "answers are read whole",
    "n": "one answer is read for each call",
    "oauth": "give `api_key` or, for azure, `azure_ad_token` instead",
}
_FAMILIES = {"gpt-": "openai", "o1": "openai", "o3": "openai", "o4": "openai", "claude-": "anthropic"}
_CERTAIN = 8  # letters from which on a secret is no ordinary word
_HAS_USER = re.compile(r"https?://[^/?#]*@", re.I)
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True)
class LLMSettings:
    """How one model is reached. Neither its repr nor `public` shows a secret."""

    provider: str
    """The provider's name as users write it, such as `openai` or `self-hosted`."""
    model: str
    """The model's name, for azure that of the deployment."""
    arguments: Mapping[str, Any] = field(repr=False)
    """Keyword arguments for litellm, secrets included; `model` has the provider's prefix."""
    public: Mapping[str, Any]
    """What a manifest or a summary may show."""
    notes: tuple[str, ...] = ()
    """What a person should know of how the configuration was read."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """What must not appear in any text."""

    @property
    def known_as(self) -> Mapping[str, Any]:
        """What names the model in a request: `public`, with the address of the environment where no other is given."""
        base = next(filter(None, map(os.environ.get, _ADDRESS_VARIABLES.get(self.provider, ()))), None)
        if base is None or "api_base" in self.public:
            return self.public
        return {**self.public, **without_secrets({"api_base": base})}

    @property
    def address(self) -> str:
        """The server, for error messages."""
        return str(self.known_as.get("api_base") or f"the server of {self.provider}")

    def scrub(self, text: str) -> str:
        """Take the secrets out of a text that came from elsewhere."""
        variables = {os.environ.get(name, "") for name in KEY_VARIABLES.get(self.provider, ())}
        return scrub(text, self.secrets | variables)


class _Known(BaseModel):
    """The keys whose types are checked here; litellm checks the others."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    provider: str | None = None
    model: str | None = None
    deployment: str | None = None
    api_base: str | None = None
    api_version: str | None = None
    api_key: str | None = None
    api_type: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    timeout: PositiveFloat | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    seed: int | None = None
    extra_headers: dict[str, str] | None = None
    extra_body: dict[str, Any] | None = None


def resolve(config: Mapping[str, Any], model_groups: ModelGroups, where: str) -> LLMSettings:
    """Read an LLM configuration as Rasa's users write it.

    Args:
        config: Provider, model and litellm's arguments, or `model_group`.
        model_groups: The models of each group, from `read_model_groups`.
        where: What the configuration belongs to, for the error.

    Raises:
        ConfigError: it cannot work; names every problem, and no secret.
    """
    problems: list[str] = []
    notes: list[str] = []
    chosen = _one_model(config, model_groups, problems, notes)
    if chosen is None:
        raise ConfigError(where, problems)
    written = _standard_names(chosen, problems)
    known = _checked(_expanded(written, problems), problems)
    provider = _provider(known)
    model = known.get("deployment") if provider == "azure" else known.get("model")
    problems += _missing(provider, known)
    if problems:
        raise ConfigError(where, list(dict.fromkeys(problems)))
    if known.get("use_chat_completions_endpoint") is False:
        notes.append("use_chat_completions_endpoint is ignored: only the chat completions endpoint is used")
    name = str(model).removeprefix(f"{provider}/")
    rest = {key: value for key, value in sorted(known.items()) if key not in _NOT_PASSED_ON}
    return LLMSettings(
        provider=str(provider),
        model=name,
        arguments=_arguments(str(provider), name, rest),
        public=_public(str(provider), name, rest, written),
        notes=tuple(notes),
        secrets=collect_secrets(known),
    )


def read_model_groups(endpoints: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the models of every model group in an endpoints.yml; a file that does not exist has none.

    Raises:
        ConfigError: the file is no YAML, or a group is not built as Rasa's model groups are.
    """
    if not endpoints.exists():
        return {}
    content = read_yaml(endpoints)
    written = content.get("model_groups") if isinstance(content, dict) else None
    groups: dict[str, list[dict[str, Any]]] = {}
    problems = []
    for number, group in enumerate(written if isinstance(written, list) else [], start=1):
        models = group.get("models") if isinstance(group, dict) and isinstance(group.get("id"), str) else None
        if isinstance(models, list) and models and all(isinstance(model, dict) for model in models):
            groups[group["id"]] = models
        else:
            problems.append(f"model group number {number} needs an `id` and a list of `models`")
    if problems:
        raise ConfigError(str(endpoints), problems)
    return groups


def has_key(settings: LLMSettings) -> bool:
    """Whether credentials for the provider are set; True for providers of which nothing is known here."""
    if {"api_key", "azure_ad_token", "aws_access_key_id", "aws_profile_name"} & settings.arguments.keys():
        return True
    variables = KEY_VARIABLES.get(settings.provider, ())
    return not variables or any(os.environ.get(name) for name in variables)


def _one_model(
    config: Any, model_groups: ModelGroups, problems: list[str], notes: list[str]
) -> Mapping[str, Any] | None:
    if not isinstance(config, Mapping):
        problems.append("an LLM is a mapping with `provider` and `model`, or with `model_group`")
        return None
    if "model_group" not in config:
        return config
    group = config["model_group"]
    others = sorted(str(key) for key in config if key != "model_group")
    if others:
        problems.append(f"`model_group` stands alone; put {', '.join(others)} into the group's model")
    models = model_groups.get(group) if isinstance(group, str) else None
    if not models:
        problems.append(f"there is no model group {group!r}; those known are: {', '.join(model_groups) or 'none'}")
        return None
    if len(models) > 1:
        notes.append(f"model group {group} has {len(models)} models; only the first is used")
    return models[0]


def _standard_names(config: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key, value in config.items():
        name = _OTHER_NAMES.get(str(key), str(key))
        if name in named:
            problems.append(f"`{name}` is given twice, under two names; keep one")
        elif name in _CANNOT_BE_USED:
            problems.append(f"`{name}` cannot be used here: {_CANNOT_BE_USED[name]}")
        else:
            named[name] = value
    return named


def _expanded(value: Any, problems: list[str]) -> Any:
    """The value with `${VAR}` replaced if it is set; a date, which YAML makes of an API version, becomes text again."""
    if isinstance(value, str):
        problems += [
            f"the environment variable {name} is not set" for name in _VARIABLE.findall(value) if name not in os.environ
        ]
        return _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), value)
    if isinstance(value, Mapping):
        return {str(key): _expanded(entry, problems) for key, entry in value.items()}
    if isinstance(value, list):
        return [_expanded(entry, problems) for entry in value]
    return value.isoformat() if isinstance(value, date) else value


def _checked(config: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    wrong: dict[str, str] = {}
    try:
        config = _Known(**config).model_dump(exclude_unset=True)
    except ValidationError as error:
        wrong = {str(detail["loc"][0]): detail["msg"] for detail in error.errors()}
        problems += [f"`{key}`: {text}" for key, text in wrong.items() if not _VARIABLE.search(str(config[key]))]
    return {key: value for key, value in config.items() if key not in wrong and value is not None}


def _provider(known: Mapping[str, Any]) -> str | None:
    given = known.get("provider") or known.get("api_type")
    if given:
        return SELF_HOSTED if given == "hosted_vllm" else str(given)
    if "deployment" in known:
        return "azure"
    model = str(known.get("model", ""))
    if "/" in model and model.split("/")[0] in KEY_VARIABLES:
        return model.split("/")[0]
    return next((provider for beginning, provider in _FAMILIES.items() if model.startswith(beginning)), None)


def _missing(provider: str | None, known: Mapping[str, Any]) -> list[str]:
    if provider is None:
        return ["`provider` is missing, such as openai, azure, anthropic or self-hosted"]
    problems: list[str] = []
    needed: dict[str, str | None] = {"model": None}
    if provider == "rasa":
        problems.append("the provider rasa answers to Rasa alone; name another one")
    elif provider == SELF_HOSTED:
        needed["api_base"] = None
    elif provider == "azure":
        needed = {"deployment": None, "api_base": "AZURE_API_BASE", "api_version": "AZURE_API_VERSION"}
    for key, variable in needed.items():
        if not known.get(key) and not (variable and os.environ.get(variable)):
            problems.append(f"`{key}` is missing" + (f"; it may also stand in {variable}" if variable else ""))
    if "api_base" in known and not known["api_base"].startswith(("http://", "https://", "${")):
        problems.append("`api_base` must begin with http:// or https://")
    elif _HAS_USER.match(str(known.get("api_base", ""))):
        problems.append(
            "`api_base` must not hold a user or a password: they cannot be sent beside an API key. Take them out; a "
            "server that wants them is reached with `provider: openai` and, under `extra_headers`, `Authorization`"
        )
    return problems


def _arguments(provider: str, model: str, rest: Mapping[str, Any]) -> dict[str, Any]:
    if provider != SELF_HOSTED:
        return {"model": f"{provider}/{model}", **rest}
    key = os.environ.get("HOSTED_VLLM_API_KEY") or "no-key-needed"
    return {"model": f"hosted_vllm/{model}", "api_key": key, **rest}


def _public(provider: str, model: str, rest: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Provider and model, then the rest by name; apart from the address, `${VAR}` stays as it was written."""
    shown: dict[str, Any] = {"provider": provider, "model": model}
    for key, value in rest.items():
        shown[key] = written[key] if key != "api_base" and _VARIABLE.search(str(written[key])) else value
    public: dict[str, Any] = _hidden(without_secrets(shown), collect_secrets(rest))
    return public


def _hidden(value: Any, secrets: frozenset[str]) -> Any:
    """The value where secrets are hidden that stand under another key as well; short ones may be ordinary words."""
    if isinstance(value, Mapping):
        return {key: _hidden(entry, secrets) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(entry, secrets) for entry in value]
    if isinstance(value, str):
        for secret in sorted((text for text in secrets if len(text) >= _CERTAIN), key=len, reverse=True):
            value = value.replace(secret, HIDDEN)
    return value
