"""Write several files whole or not at all, and restore what was there, byte for byte.

    journal = Journal(project)
    journal.write(changes, connected)
    journal.undo()                        # the latest change

    .rasa-ft/connect/0001/
        change.json                       what was changed, and whether all of it was written
        0.before 1.before                 the files' bytes as they were

Before the first file of a project changes, all of the folder is on the disk. Files change by rename. Whoever is cut off
in between leaves a change that is not done: it is noticed, and undone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rasa_ft_ext._version import __version__
from rasa_ft_ext.connect.plan import FileChange
from rasa_ft_ext.connect.target import Past
from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import ConnectError
from rasa_ft_ext.workspace import read_record, write_record

FOLDER = ".rasa-ft"
_PART, _CHANGE, _IGNORE = "connect", "change.json", ".gitignore"


class ChangedFile(Record):
    """A file that was changed: its path from the project's folder, the SHA-256 of its bytes before and after.

    `before` is None where there was no such file.
    """

    path: str
    before: str | None
    after: str


class Connected(Record):
    """What the assistant was connected to: the model, and what was written for it; `teacher` are those of before."""

    model: str
    api_base: str
    llm: dict[str, Any]
    group: str | None = None
    template: str | None = None
    teacher: tuple[dict[str, Any], ...] = ()


class Change(Record):
    """One run of `connect`. `folders` came into being for its files; `done` says that all of them were written."""

    version: str
    connected: Connected
    files: tuple[ChangedFile, ...]
    folders: tuple[str, ...] = ()
    done: bool = False


class Journal:
    """The changes that were made to one project.

    Args:
        root: The project's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / FOLDER / _PART

    def latest(self) -> tuple[Path, Change] | None:
        """The latest change that was not undone, with its folder."""
        return next(self._changes(), None)

    def _changes(self) -> Iterator[tuple[Path, Change]]:
        """All changes that were not undone, the latest first."""
        for path in sorted(self.folder.glob("[0-9]*"), reverse=True):
            if (path / _CHANGE).is_file():
                yield path, read_record(path / _CHANGE, Change)

    def past(self) -> Past:
        """What the latest change left in the files.

        Raises:
            ConnectError: it was cut off.
        """
        latest = self.latest()
        if latest is None:
            return Past()
        _, change = latest
        if not change.done:
            raise ConnectError(
                f"An earlier change of {', '.join(file.path for file in change.files)} was cut off half-way. Give "
                "--rollback first: it restores what was there before."
            )
        said = change.connected
        written = (file for _, earlier in self._changes() for file in earlier.files)
        template = next((file for file in written if file.path == said.template), None)
        own = template is not None and _sha256(self.root / template.path) == template.after
        return Past(llm=said.llm, group=said.group, template=said.template if own else None, teacher=said.teacher)

    def write(self, changes: Sequence[FileChange], connected: Connected) -> None:
        """Write all files, or none.

        Raises:
            ConnectError: one of them cannot be written, or was changed in the meantime; all is as it was.
        """
        try:
            entry = self._begin(changes, connected)
        except OSError as error:
            raise ConnectError(f"{self.folder} cannot be written: {error.strerror or error}.") from error
        try:
            for change in changes:
                if _bytes(change.path) != change.before:
                    raise ConnectError(f"{change.path} was changed by someone else just now. Run the command again.")
                _replace(change.path, change.after)
            record = read_record(entry / _CHANGE, Change)
            _replace(entry / _CHANGE, record.model_copy(update={"done": True}).model_dump_json(indent=1).encode())
        except BaseException as error:
            self._restore(entry, read_record(entry / _CHANGE, Change), all_of_it=False)
            if isinstance(error, OSError):
                raise ConnectError(f"{error.filename or self.root} cannot be written: {error.strerror}.") from error
            raise

    def undo(self, *, force: bool = False) -> Change:
        """Restore what was there before the latest change; that is forgotten then.

        Args:
            force: Restore it also where a file was changed by hand since.

        Raises:
            ConnectError: there is nothing to undo, a file was changed since, or cannot be written.
        """
        latest = self.latest()
        if latest is None:
            raise ConnectError(f"There is nothing to roll back: rasa-ft connect has changed nothing in {self.root}.")
        entry, change = latest
        changed = [
            file.path for file in change.files if _sha256(self.root / file.path) not in (file.before, file.after)
        ]
        if changed and not force:
            raise ConnectError(
                f"These files were changed since rasa-ft connect wrote them: {', '.join(changed)}. Take those changes "
                "back, or give --force to restore the files as they were before, without them."
            )
        try:
            self._restore(entry, change, all_of_it=True)
        except OSError as error:
            raise ConnectError(
                f"{error.filename or self.root} cannot be written: {error.strerror}. Give --rollback once more when "
                "that is mended."
            ) from error
        return change

    def _begin(self, changes: Sequence[FileChange], connected: Connected) -> Path:
        """Put all that is needed to undo the change on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder.parent / _IGNORE).write_text("*\n", encoding="utf-8")
        number = max((int(path.name) for path in self.folder.glob("[0-9]*")), default=0) + 1
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self.folder))
        try:
            for index, change in enumerate(changes):
                if change.before is not None:
                    _replace(draft / f"{index}.before", change.before)
            record = Change(
                version=__version__,
                connected=connected,
                files=tuple(self._described(change) for change in changes),
                folders=tuple(self._missing_folders(changes)),
            )
            write_record(draft / _CHANGE, record)
            entry = self.folder / f"{number:04}"
            os.replace(draft, entry)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return entry

    def _described(self, change: FileChange) -> ChangedFile:
        path = os.path.relpath(change.path, self.root)
        before = None if change.before is None else _digest(change.before)
        return ChangedFile(path=Path(path).as_posix(), before=before, after=_digest(change.after))

    def _missing_folders(self, changes: Sequence[FileChange]) -> Iterator[str]:
        """The folders that the files need and that are not there, the innermost first."""
        for change in changes:
            for folder in change.path.parents:
                if folder.exists():
                    break
                yield Path(os.path.relpath(folder, self.root)).as_posix()

    def _restore(self, entry: Path, change: Change, *, all_of_it: bool) -> None:
        """Put back what was there; without `all_of_it` only in the place of what this change wrote."""
        for index, file in enumerate(change.files):
            path = self.root / file.path
            _draft_of(path).unlink(missing_ok=True)
            if not all_of_it and _sha256(path) != file.after:
                continue
            if file.before is None:
                path.unlink(missing_ok=True)
            elif _sha256(path) != file.before:
                _replace(path, (entry / f"{index}.before").read_bytes())
        for folder in change.folders:
            if (self.root / folder).is_dir() and not any((self.root / folder).iterdir()):
                (self.root / folder).rmdir()
        shutil.rmtree(entry)
        self._tidy()

    def _tidy(self) -> None:
        """Leave no folder behind in which nothing is recorded."""
        for draft in self.folder.glob(".draft-*"):
            shutil.rmtree(draft)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()
            if [path.name for path in self.folder.parent.iterdir()] == [_IGNORE]:
                shutil.rmtree(self.folder.parent)


def _replace(path: Path, content: bytes) -> None:
    """Put a file in place by rename, with the permissions of the one that was there; a link stays a link."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft_of(path)
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    if path.exists():
        shutil.copymode(path, draft)
    os.replace(draft, path)


def _draft_of(path: Path) -> Path:
    path = path.resolve()
    return path.with_name(f".{path.name}.rasa-ft")


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _sha256(path: Path) -> str | None:
    content = _bytes(path)
    return None if content is None else _digest(content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
