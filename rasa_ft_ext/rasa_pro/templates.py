"""The prompt templates that Rasa has for its command generators, read from the installed package."""

from __future__ import annotations

import os
import sys
from importlib.resources import files


def default_templates() -> dict[str, str]:
    """By the name of the generator, the template that it takes for a self-hosted LLM if none is configured.

    These are the templates of assistants without sub-agents.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from rasa.dialogue_understanding.generator import CompactLLMCommandGenerator, SearchReadyLLMCommandGenerator
    from rasa.dialogue_understanding.generator.single_step.single_step_llm_command_generator import (
        DEFAULT_COMMAND_PROMPT_TEMPLATE,
        SingleStepLLMCommandGenerator,
    )
    from rasa.shared.utils.llm import DEFAULT_PROMPT_PACKAGE_NAME

    found = {}
    for generator in (CompactLLMCommandGenerator, SearchReadyLLMCommandGenerator):
        file = sys.modules[generator.__module__].FALLBACK_COMMAND_PROMPT_TEMPLATE_FILE_NAME
        found[generator.__name__] = files(DEFAULT_PROMPT_PACKAGE_NAME).joinpath(file).read_text(encoding="utf-8")
    found[SingleStepLLMCommandGenerator.__name__] = DEFAULT_COMMAND_PROMPT_TEMPLATE
    return found
