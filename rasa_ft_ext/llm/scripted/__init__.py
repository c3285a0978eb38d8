"""The LLM that answers from a file: its script, and a real HTTP server that speaks the OpenAI API."""
