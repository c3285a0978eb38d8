"""How the assistant is to reach its model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.llm.secrets import collect_secrets

Style = Literal["llm", "model_group"]
STYLES = ("llm", "model_group")
KEY_VARIABLE = "HOSTED_VLLM_API_KEY"  # where litellm looks for the key of a self-hosted model

_MAX_TOKENS = 256
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class ConnectSettings:
    """One model behind one address, and how it is written into the assistant's files."""

    model: str
    """The name that the model is served under."""
    api_base: str
    """The server's base URL, with its /v1; a `${VAR}` in it is written as it is."""
    api_key_env: str | None = None
    """The environment variable with the server's key; the key itself is never written."""
    timeout: float = 30
    """Seconds that an answer may take."""
    max_tokens: int | None = None
    """Most tokens of an answer; None for as many as in the evaluation."""
    style: Style | None = None
    """An `llm` block in config.yml, or a model group in endpoints.yml; None for what the assistant has."""
    fallback: bool = False
    """Whether the LLM of before answers where the model does not."""

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: names every problem.
        """
        problems = []
        if not self.model.strip():
            problems.append("The model has no name. Give the one that it is served under with --model.")
        if not re.match(r"https?://|\$\{\w+\}", self.api_base):
            problems.append(f"The address {self.api_base!r} does not begin with http:// or https://.")
        if collect_secrets(self.api_base):
            problems.append("The address holds a password or a key, which would be written into a file. Leave it out.")
        if self.api_key_env is not None and not _NAME.fullmatch(self.api_key_env):
            problems.append("--api-key-env takes the name of an environment variable, never a key itself.")
        if not self.timeout > 0:
            problems.append(f"The timeout is {self.timeout:g}; it must be above 0.")
        if self.max_tokens is not None and self.max_tokens < 1:
            problems.append(f"max_tokens is {self.max_tokens}; it must be 1 or more.")
        if self.style is not None and self.style not in STYLES:
            problems.append(f"The style is {self.style!r}; it must be one of {', '.join(STYLES)}.")
        if problems:
            raise ConfigError("connect", problems)

    def llm(self) -> dict[str, Any]:
        """The model as Rasa's configuration has it.

        Temperature, length and timeout are always given: Rasa takes none of its defaults for a self-hosted model.
        """
        key = {"api_key": f"${{{self.api_key_env}}}"} if self.api_key_env else {}
        timeout = int(self.timeout) if float(self.timeout).is_integer() else self.timeout
        return {
            "provider": "self-hosted",
            "model": self.model,
            "api_base": self.api_base,
            **key,
            "temperature": 0.0,
            "max_tokens": self.max_tokens or _MAX_TOKENS,
            "timeout": timeout,
        }
