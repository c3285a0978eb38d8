"""Single files of the user's, such as a report or what `--json` names: they appear whole, or not at all.

The folders of the stages are the business of `rasa_ft_ext.workspace`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel

from rasa_ft_ext.errors import WorkspaceError


def write_whole(path: Path, text: str) -> None:
    """Write a text file; what was there before stays until the new one is complete.

    Raises:
        WorkspaceError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise WorkspaceError(f"{path} cannot be written: {error.strerror or error}.") from error


def write_json_file(path: Path, record: BaseModel) -> None:
    """Write a record as JSON, whole or not at all.

    Raises:
        WorkspaceError: it cannot be written.
    """
    write_whole(path, json.dumps(record.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, which is read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
