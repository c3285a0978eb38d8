"""The stage `serve`: a model behind an address that speaks OpenAI's API."""
