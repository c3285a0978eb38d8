"""Count what E2E tests cover of an assistant, and say whether it is enough to learn from."""
