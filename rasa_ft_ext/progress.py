"""How a stage tells how far it is, without knowing who looks."""

from __future__ import annotations


class Progress:
    """Says nothing. The command line has one that draws a bar."""

    def start(self, what: str, total: int) -> None:
        """A stage begins `what`, which has `total` parts."""

    def step(self, parts: int = 1) -> None:
        """So many more parts are done."""

    def note(self, text: str) -> None:
        """Something that a person should know, now."""
