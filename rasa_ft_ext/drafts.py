"""A stage's results while they are made: part by part, and kept when the run ends early.

    output/.2_rephrasings-0123456789ab/       named by a hash of what the results are made from
        whole/                                what becomes the stage's folder
        kept/                                 what finished parts need besides, and the results do not
        notes/                                for each finished part the SHA-256 of its files, and what it adds up to
        scratch/                              what nobody misses

A part is what one E2E test file gives. Its files appear by rename, its note last: the note is what says that the part
is done. So a run may be killed between any two steps; the next run that makes the same takes up the parts that are done
and makes the others. A part whose files are not those of its note counts as not done.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.files import sha256
from rasa_ft_ext.records import record_path

AnyNote = TypeVar("AnyNote", bound=BaseModel)

_ABOUT = "draft.json"


class About(Record):
    """What a person is told of an unfinished draft: its stage, and how many parts it will have in all."""

    stage: str
    parts: int = 0


class _Part(Record):
    """One finished part: its files, relative to the draft's folder, with their SHA-256, and the stage's own note."""

    files: dict[str, str]
    note: dict[str, Any]


class Draft:
    """See the module; `rasa_ft_ext.workspace.Workspace.resuming` gives one.

    Args:
        place: The draft's folder; what an earlier run left in it is taken up.
        stage: The stage that it belongs to.
        final: What it is to become; named in errors.

    Raises:
        WorkspaceError: it cannot be written.
    """

    def __init__(self, place: Path, stage: str, final: Path) -> None:
        self.place = place
        self.folder = place / "whole"
        self.kept = place / "kept"
        self.scratch = place / "scratch"
        self._notes = place / "notes"
        self._about = About(stage=stage)
        self._final = final
        with disk_errors(final):
            shutil.rmtree(self.scratch, ignore_errors=True)
            for folder in (self.folder, self.kept, self.scratch, self._notes):
                folder.mkdir(parents=True, exist_ok=True)
            self.done = self._taken_up()
            """The names of the parts that are done."""

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Yield the folder, for the files that belong to no part and are written when all parts are there.

        Raises:
            WorkspaceError: the disk is full, or the folder cannot be written.
        """
        with disk_errors(self._final):
            yield self.folder

    def expect(self, parts: int) -> None:
        """Note how many parts there will be, for those who are told of an interrupted run."""
        self._about = self._about.model_copy(update={"parts": parts})
        with self.writing():
            self._write(self.place / _ABOUT, _json(self._about.model_dump()))

    def note(self, part: str, kind: type[AnyNote]) -> AnyNote:
        """What was noted of a part that is done.

        Raises:
            WorkspaceError: somebody has changed it.
        """
        path = self._note_of(part)
        try:
            return kind.model_validate(_Part.model_validate_json(path.read_bytes()).note)
        except (OSError, ValidationError) as error:
            raise WorkspaceError(f"{path} cannot be read: {error}. Remove {self.place}.") from error

    def add(self, part: str, files: Mapping[Path, str], note: BaseModel) -> None:
        """Write the files of a part, each whole or not at all, then its note: from here on it is done."""
        digests = {}
        with self.writing():
            for path, text in files.items():
                content = text.encode()
                self._write(path, content)
                digests[path.relative_to(self.place).as_posix()] = hashlib.sha256(content).hexdigest()
            noted = _Part(files=digests, note=note.model_dump(mode="json"))
            self._write(self._note_of(part), _json(noted.model_dump()))
        self.done.add(part)

    def forget(self, parts: Iterable[str]) -> None:
        """Make parts count as not done."""
        for part in list(parts):
            self._note_of(part).unlink(missing_ok=True)
            self.done.discard(part)

    def _note_of(self, part: str) -> Path:
        return record_path(self._notes, part)

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file that appears whole, on the disk for good."""
        draft = self.scratch / "next"
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)

    def _taken_up(self) -> set[str]:
        """The parts that are done; what belongs to no such part is removed."""
        done, files = set(), set()
        for path in sorted(self._notes.rglob("*.json")):
            found = self._whole(path)
            if found is None:
                path.unlink()
            else:
                done.add(path.relative_to(self._notes).as_posix().removesuffix(".json"))
                files |= {self.place / name for name in found}
        for folder in (self.folder, self.kept):
            for path in [path for path in folder.rglob("*") if not path.is_dir()]:
                if path not in files:
                    path.unlink()
        return done

    def _whole(self, path: Path) -> Iterable[str] | None:
        """The files of a part, if all of them are there as they were written."""
        try:
            files = _Part.model_validate_json(path.read_bytes()).files
            return files if all(sha256(self.place / name) == digest for name, digest in files.items()) else None
        except (OSError, ValidationError):
            return None


def unfinished(root: Path) -> Iterator[tuple[About, int]]:
    """The drafts that an output folder holds, each with the number of parts that are done."""
    for path in sorted(root.glob(f".*/{_ABOUT}")):
        try:
            about = About.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
        notes = (path.parent / "notes").rglob("*.json")
        yield about, sum(not note.name.endswith(".beside.json") for note in notes)


def names_of_notes(place: Path) -> frozenset[str]:
    """The names of the parts that are noted as done in a draft's folder, which need not be there."""
    notes = place / "notes"
    return frozenset(path.relative_to(notes).as_posix().removesuffix(".json") for path in notes.rglob("*.json"))


def flush(folder: Path) -> None:
    """Have all that a folder holds on the disk for good, so that a power cut cannot take it back."""
    for path in (*folder.rglob("*"), folder):
        _flush(path)


def flush_folder(folder: Path) -> None:
    """Have the names in a folder on the disk for good, after a rename in it."""
    _flush(folder)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Tell in our words that something cannot be written.

    Raises:
        WorkspaceError: there was an `OSError`, or SQLite could not write.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WorkspaceError(
            f"{path} cannot be written: {reason}. What was there before is untouched. Make room or give another output "
            "folder, then run the command again."
        ) from error


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot, and need not
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()
