"""Write the worst messages as drafts of E2E tests: the conversation up to the message, for a person to finish.

Rasa reads a draft as it is. What the assistant should do at its end is not known here: that is for a person to add.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.monitor.worst import SLUGS
from rasa_ft_ext.monitoring import Worst
from rasa_ft_ext.yaml import to_yaml

Steps = Sequence[dict[str, str]]


def check_folder(folder: Path) -> None:
    """Refuse a folder with files in it: drafts that someone works on are never replaced.

    Raises:
        ConfigError: it is no folder, or not an empty one.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError("--drafts", [f"{folder} is not empty. Give a folder for these drafts alone."])


def draft_name(number: int, reason: str) -> str:
    return f"{number:03d}_{SLUGS[reason]}"


def write_drafts(folder: Path, drafts: Sequence[tuple[Worst, Steps]]) -> None:
    """Write a file for each; the folder appears when all are written.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            hidden.chmod(0o755)
            for worst, steps in drafts:
                (hidden / str(worst.draft)).write_text(_text(worst, steps), encoding="utf-8", newline="\n")
            os.replace(hidden, folder)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    except OSError as error:
        raise WorkspaceError(f"The drafts cannot be written to {folder}: {error.strerror or error}.") from error


def _text(worst: Worst, steps: Steps) -> str:
    name = str(worst.draft).removesuffix(".yml").replace("_", " ")
    lines = [
        f"Why this is here: {'; '.join(worst.reasons)}.",
        f"Messages like it: {worst.count}, the first on {worst.date}.",
        f"The LLM answered: {worst.answer}",
    ]
    if worst.nearest is not None:
        lines.append(f"Nearest message of the training data ({worst.similarity:.2f} of 1): {worst.nearest}")
    lines.append("To do: add what the assistant should say or set at the end, and look for names and addresses.")
    comment = "".join(f"# {_one_line(line)}\n" for line in lines)
    return comment + to_yaml({"test_cases": [{"test_case": name, "steps": list(steps)}]})


def _one_line(text: str) -> str:
    """A text as one line of a comment: white space collapsed, and nothing that cannot be printed."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
