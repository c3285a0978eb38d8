"""What `rasa-ft review` says when it begins and when it ends: where the decisions are, and how to go on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.results import PARAMETERS
from rasa_ft_ext.review_server.desk import Desk
from rasa_ft_ext.workspace import DATASET, MANIFEST, SPLIT, SUMMARY, Manifest, read_record

_SPLIT = {"train_frac": 0.8, "seed": 42, "output_format": "instruction", "near_duplicates": "report"}
_WORDS = {"accept": "accepted", "reject": "rejected", "edit": "edited"}


def started(desk: Desk, address: str) -> str:
    """Where the page is."""
    return f"Review on {address} (this machine only). Decisions go to {desk.path}; Ctrl-C ends it."


def ended(desk: Desk, output: str, project: str, review: str | None) -> str:
    """How many decisions there are, where, and the commands that make the data with them.

    Args:
        desk: What was worked on.
        output: The output folder, as it was given.
        project: The project's folder, as it was given.
        review: The file of decisions, if it was given.
    """
    try:
        counts = desk.counts()
    except RasaFtError as error:
        return f"The decisions are in {desk.path}, which cannot be read now: {error}"
    total = sum(counts.values())
    if not total:
        return f"Nothing is decided in {desk.path}."
    parts = ", ".join(f"{number} {_WORDS[verdict]}" for verdict, number in counts.items() if number)
    told = f"{total} decision{'' if total == 1 else 's'} in {desk.path}: {parts}."
    root = Path(project, output)
    if (root / PARAMETERS).is_file():
        flag = f", with --review {shlex.quote(review)}" if review else ""
        return (
            f"{told}\nGo on: run `rasa-ft prepare-data` again as before (its options are in {root / PARAMETERS}){flag}."
        )
    return f"{told}\nGo on with:\n" + "\n".join(f"  {line}" for line in _commands(root, output, project, review))


def _commands(root: Path, output: str, project: str, review: str | None) -> Iterator[str]:
    shared = [output, *(["--project", project] if project != "." else []), *(["--review", review] if review else [])]
    made, divided = _key(root, DATASET), _key(root, SPLIT)
    model = ["--model", "models"] if made.get("simulate") else []
    yield shlex.join(["rasa-ft", "dataset", *shared, *model, *_student(root)])
    options = [
        word
        for name, default in _SPLIT.items()
        if divided.get(name, default) != default
        for word in (f"--{name.replace('_', '-')}", str(divided[name]))
    ]
    yield shlex.join(["rasa-ft", "split", *shared, *options])


def _student(root: Path) -> list[str]:
    """The template of the prompts, if the examples were made with one of the student's."""
    path = root / DATASET / SUMMARY
    name = json.loads(path.read_bytes()).get("student_prompt") if path.is_file() else None
    return ["--student-prompt", name] if name else []


def _key(root: Path, stage: str) -> dict[str, object]:
    path = root / stage / MANIFEST
    return dict(read_record(path, Manifest).key) if path.is_file() else {}
