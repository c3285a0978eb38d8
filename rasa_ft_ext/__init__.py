"""Turn a Rasa Pro (CALM) assistant and its E2E tests into a small self-hosted LLM for command generation."""
