"""`connect`: look whether the model is proven, change the assistant's files, and take the change back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from rasa_ft_ext.connect import guard, plan
from rasa_ft_ext.connect.journal import Connected, Journal
from rasa_ft_ext.connect.plan import FileChange
from rasa_ft_ext.connect.settings import ConnectSettings
from rasa_ft_ext.connect.target import Past, Target, choose, recorded_clock
from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import ConfigError, ConnectError, RasaFtError
from rasa_ft_ext.evaluation import Evaluation, Thresholds, read_evaluation
from rasa_ft_ext.project import CONFIG, ENDPOINTS, Project, read_project
from rasa_ft_ext.prompts import template_id
from rasa_ft_ext.workspace import SPLIT, Workspace

Found = TypeVar("Found")


@dataclass(frozen=True)
class Place:
    """Where the assistant is: its folder, and the names of its files in it."""

    root: Path
    config: str = CONFIG
    endpoints: str = ENDPOINTS


@dataclass(frozen=True)
class Proposal:
    """What is about to be written, for a person to look at."""

    root: Path
    files: tuple[FileChange, ...]
    notes: tuple[str, ...]

    @property
    def diff(self) -> list[str]:
        """The lines of a unified diff of all files."""
        return [line for change in self.files for line in plan.unified(change, self.root)]


Confirm = Callable[[Proposal], bool]


class ConnectSummary(Record):
    """What `connect` did.

    `changed` are the files that were written, by their paths in the project; none where all was as it should be, or
    the user said no (`declined`). `notes` are sentences that a person should know; `next_steps` are commands to run in
    the project's folder.
    """

    changed: tuple[str, ...] = ()
    declined: bool = False
    notes: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()


class RollbackSummary(Record):
    """What was restored, and what was removed since it was not there before; by paths in the project."""

    restored: tuple[str, ...]
    removed: tuple[str, ...]


def connect(
    workspace: Workspace,
    settings: ConnectSettings,
    place: Place,
    *,
    model_folder: Path | None = None,
    force: bool = False,
    confirm: Confirm | None = None,
) -> ConnectSummary:
    """Let the assistant use the model. Not within an event loop.

    Args:
        workspace: Holds the evaluation and the data.
        settings: How the model is reached.
        place: Where the assistant is.
        model_folder: The folder of the training, to compare with what was evaluated.
        force: Go on where the model is not proven, and say so in config.yml.
        confirm: Is shown what is about to be written; with False nothing is. None goes on.

    Raises:
        ConfigError: the settings cannot work.
        ConnectError: the model is not proven, or a file cannot be changed safely; all is as it was.
    """
    settings.check()
    evaluation = _attempt([], lambda: read_evaluation(workspace.root))
    if settings.max_tokens is None and evaluation is not None:
        settings = replace(settings, max_tokens=evaluation.subject.max_tokens)
    journal = Journal(place.root)
    past = journal.past()
    problems: list[str] = []
    project = _attempt(problems, lambda: _project(workspace, place))
    objections = asyncio.run(guard.objections(workspace, settings, project, model_folder))
    draft = _draft(workspace, project, settings, past, objections if force else (), problems) if project else None
    _refuse(place.root, problems, () if force else objections)
    assert draft is not None, "without a draft there is a problem"
    target, files = draft
    forced = (f"Connected all the same: {text}" for text in objections)
    notes = (*forced, *_notes(workspace, settings, evaluation))
    proposal = Proposal(place.root, files, notes)
    if not files:
        return ConnectSummary(notes=notes, next_steps=_next_steps(workspace, place))
    if confirm is not None and not confirm(proposal):
        return ConnectSummary(declined=True, notes=notes)
    journal.write(files, _connected(settings, target, past))
    changed = tuple(_shown(change.path, place.root) for change in files)
    return ConnectSummary(changed=changed, notes=notes, next_steps=_next_steps(workspace, place))


def rollback(root: Path, *, force: bool = False) -> RollbackSummary:
    """Restore the assistant's files as they were before the latest `connect`, byte for byte.

    Args:
        root: The assistant's folder.
        force: Restore them also where one was changed since.

    Raises:
        ConnectError: there is nothing to restore, a file was changed since, or cannot be written.
    """
    change = Journal(root).undo(force=force)
    return RollbackSummary(
        restored=tuple(file.path for file in change.files if file.before is not None),
        removed=tuple(file.path for file in change.files if file.before is None),
    )


def _project(workspace: Workspace, place: Place) -> Project:
    """The assistant's files; a generator of its own is found by the name that was recorded."""
    card = _attempt([], workspace.card)
    return read_project(place.root, place.config, place.endpoints, generator=card.generator if card else None)


def _draft(
    workspace: Workspace,
    project: Project,
    settings: ConnectSettings,
    past: Past,
    said: Sequence[str],
    problems: list[str],
) -> tuple[Target, tuple[FileChange, ...]] | None:
    """What should be, and the changes that it takes; None where there are problems."""
    template = _attempt(problems, workspace.template)
    clock = _attempt(problems, lambda: recorded_clock(workspace))
    if template is None or clock is None:
        return None
    target = choose(project, settings, past, template, clock, problems)
    if problems:
        return None
    files = _attempt(problems, lambda: plan.changes(project, target, template, said))
    return None if files is None else (target, files)


def _refuse(root: Path, problems: Sequence[str], objections: Sequence[str]) -> None:
    """Say all that stands in the way.

    Raises:
        ConnectError: something does.
    """
    told = list(dict.fromkeys([*problems, *objections]))
    if not told:
        return
    lines = [f"The assistant in {root} is not connected; all is as it was."]
    lines += [f"  - {text}".replace("\n", "\n    ") for text in told]
    if not problems:
        lines.append("Mend that, or give --force to connect it all the same: config.yml then says so.")
    raise ConnectError("\n".join(lines))


def _connected(settings: ConnectSettings, target: Target, past: Past) -> Connected:
    group = str(target.group["id"]) if target.group else past.group
    return Connected(
        model=settings.model,
        api_base=settings.api_base,
        llm=dict(target.llm),
        group=group,
        template=target.template or past.template,
        teacher=tuple(dict(model) for model in target.teacher),
    )


def _notes(workspace: Workspace, settings: ConnectSettings, evaluation: Evaluation | None) -> list[str]:
    notes = []
    asked, usual = evaluation.thresholds if evaluation is not None else Thresholds(), Thresholds()
    if asked.min_validation < usual.min_validation or asked.min_train < usual.min_train:
        notes.append(
            f"The evaluation asked for {100 * asked.min_validation:g} % of the validation tests and "
            f"{100 * asked.min_train:g} % of the training tests, where {100 * usual.min_validation:g} % and "
            f"{100 * usual.min_train:g} % are usual."
        )
    if settings.fallback and template_id(workspace.template()) not in workspace.card().templates:
        notes.append(
            "Where the model does not answer, the LLM of before is asked with the model's own prompt, which was never "
            "made for it."
        )
    return notes


def _next_steps(workspace: Workspace, place: Place) -> tuple[str, ...]:
    given = f" --config {place.config}" if place.config != CONFIG else ""
    endpoints = f" --endpoints {place.endpoints}" if place.endpoints != ENDPOINTS else ""
    output = _shown(workspace.root, place.root)
    tests = f"{output}/{SPLIT}/e2e_tests/validation"
    folder = "" if output == "output" else f" {output}"
    return (
        f"rasa train{given}{endpoints}",
        f"rasa test e2e {tests}{endpoints}",
        f"rasa-ft doctor{folder}{given}{endpoints}",
    )


def _shown(path: Path, root: Path) -> str:
    """A path as it is written in the project's folder."""
    return Path(os.path.relpath(path, root)).as_posix()


def _attempt(problems: list[str], read: Callable[[], Found]) -> Found | None:
    try:
        return read()
    except ConfigError as error:
        problems += error.problems
    except RasaFtError as error:
        problems.append(str(error))
    return None
