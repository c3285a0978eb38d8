"""The only place that calls an LLM, and the scripted LLM that stands in for one."""

from rasa_ft_ext.llm.base import LLM, Completion

__all__ = ["LLM", "Completion"]
