"""The seam to the assistant: `Assistant`, and the `RecordedAssistant` that needs no Rasa."""

from rasa_ft_ext.assistant.base import Answer, Assistant, Simulation

__all__ = ["Answer", "Assistant", "Simulation"]
