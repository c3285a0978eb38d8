"""Change one decision in the file, and leave everything else in it as it is, comments and all.

The file is read anew under a lock, changed and replaced as a whole; so several servers, tabs and a person with an
editor can work on one file. A decision that was changed by another hand since it was looked at is not replaced.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rasa_ft_ext.errors import ConfigError, RasaFtError, WorkspaceError
from rasa_ft_ext.files import write_whole
from rasa_ft_ext.review.decisions import KEY, Decision, Decisions, Subject, decisions_of, read_text
from rasa_ft_ext.yaml import to_yaml

_HEAD = (
    "# What a person decided of labels and rephrasings. `rasa-ft review` changes it and keeps what else stands here;\n"
    "# it may be edited by hand.\n"
)
_EMPTY = re.compile(rf"{KEY}:\s*(\[\]|null|~)?\s*(#.*)?$")


class DecidedMeanwhileError(RasaFtError):
    """Somebody else has decided since; `now` is what."""

    def __init__(self, path: Path, now: Decision | None) -> None:
        self.now = now
        told = f"decided otherwise ({now.decision})" if now else "taken back"
        super().__init__(f"This was {told} in {path} meanwhile. Look at it, then decide again.")


def decide(path: Path, subject: Subject, decision: Decision | None, seen: Decision | None) -> Decisions:
    """Put a decision into the file, or take it out.

    Args:
        path: The file; it need not exist yet.
        subject: What the decision is about.
        decision: What is decided; None: it is open again.
        seen: The decision that was there when the person looked.

    Returns:
        What the file holds now.

    Raises:
        DecidedMeanwhileError: there is another decision than the one that was seen.
        ConfigError: the file cannot be read, for instance in the middle of an edit; nothing is changed.
        WorkspaceError: it cannot be written.
    """
    target = path.resolve()  # a link stays a link
    with _locked(target.parent):
        while True:
            text = read_text(target)
            before = decisions_of(text, str(target))
            now = before.of(subject)
            if now != seen:
                raise DecidedMeanwhileError(path, now)
            if now == decision:
                return before
            kept = [entry for entry in before.entries if entry.subject != subject]
            wanted = sorted([*kept, decision], key=lambda entry: entry.order) if decision else kept
            changed = _changed(text, str(target), subject, decision, wanted)
            if read_text(target) == text:  # who works with an editor knows nothing of the lock
                write_whole(target, changed)
                return decisions_of(changed, str(target))


def _changed(text: str, where: str, subject: Subject, decision: Decision | None, wanted: list[Decision]) -> str:
    """The file's text with the one change; written anew where the text is laid out in a way of its own."""
    changed = _spliced(text, decisions_of(text, where), subject, decision)
    with suppress(ConfigError):
        if set(map(_whole, decisions_of(changed, where).entries)) == set(map(_whole, wanted)):
            return changed
    return _HEAD + to_yaml({KEY: [_plain(entry) for entry in wanted]})


def _spliced(text: str, before: Decisions, subject: Subject, decision: Decision | None) -> str:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    dash = before.dash
    place = next((at for at, entry in enumerate(before.entries) if entry.subject == subject), None)
    block = _block(decision, dash) if decision else []
    if place is not None:
        start = before.lines[place] - 1
        return "".join([*lines[:start], *block, *lines[_end(lines, before, place, dash) :]])
    if not before.entries:
        begin = next((at for at, line in enumerate(lines) if _EMPTY.match(line)), None)
        head, rest = ([_HEAD], []) if begin is None else (lines[:begin], lines[begin + 1 :])
        return "".join([*head, f"{KEY}:\n", *block, *rest])
    assert decision is not None, "there is none to take out"
    after = next((at for at, entry in enumerate(before.entries) if entry.order > decision.order), None)
    last = len(before.entries) if after is None else after
    start = _end(lines, before, last - 1, dash) if last else before.lines[0] - 1
    return "".join([*lines[:start], *block, *lines[start:]])


def _end(lines: list[str], before: Decisions, place: int, dash: int) -> int:
    """The line after an entry; comments and empty lines before the next one are not its own."""
    end = before.lines[place + 1] - 1 if place + 1 < len(before.lines) else len(lines)
    while end > before.lines[place] and _is_between(lines[end - 1], dash):
        end -= 1
    return end


def _is_between(line: str, dash: int) -> bool:
    indent = len(line) - len(line.lstrip())
    return not line.strip() or (line.lstrip().startswith("#") and indent <= dash)


def _block(decision: Decision, dash: int) -> list[str]:
    """The entry's lines, with its dash at a column."""
    written = to_yaml({KEY: [_plain(decision)]}).splitlines(keepends=True)[1:]
    return [" " * dash + line[2:] if line.strip() else line for line in written]


def _plain(decision: Decision) -> dict[str, Any]:
    return decision.model_dump(mode="json")


def _whole(decision: Decision) -> str:
    return decision.model_dump_json()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing decisions in the folder; where there are no such locks, only this one works.

    The folder itself is locked, so that no file of ours is left in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        import fcntl
    except OSError as error:
        raise WorkspaceError(f"{folder} cannot be made: {error.strerror or error}.") from error
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
