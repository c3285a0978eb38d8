"""Ask an LLM for other wordings of every user message, and keep those that the assistant understands the same way."""
