"""The folder of a fine-tuned model: whole or not there, with the checkpoints of a training that is under way.

    finetuned_model/
        merged/  adapter/  ...  manifest.json     the results, moved into place when all of them are written
        checkpoints/                              of an unfinished training; gone when it has ended
        tensorboard/                              curves, while it goes on

A manifest says that the results are complete and what they were made from (`key`). A checkpoint counts once the
Trainer has written all of it; what a death left half-written is thrown away.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rasa_ft_ext.errors import ForeignResultsError, ParityError, WorkspaceError
from rasa_ft_ext.workspace import MANIFEST, write_json

CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
KEY = "training.json"  # what a training depends on
_WHOLE = "complete"  # names the files of a checkpoint: one that is being removed may still have this one
_DRAFT = ".results-"


class ModelFolder:
    """One such folder.

    Args:
        root: The folder; it need not exist yet.
        key: What the training depends on: settings, data, base model.
        force: Start anew and replace the model that is there.
    """

    def __init__(self, root: Path, key: Mapping[str, Any], *, force: bool) -> None:
        self.root = root
        self._key = json.loads(json.dumps(dict(key), default=str))
        self._force = force

    @property
    def checkpoints(self) -> Path:
        return self.root / CHECKPOINTS

    def is_done(self) -> bool:
        """Whether the results of just this training are there.

        Raises:
            ForeignResultsError: the folder holds another model, and `force` is off; or it holds anything else.
        """
        if not self.root.exists():
            return False
        if not self.root.is_dir():
            raise ForeignResultsError(f"{self.root} is a file. Give another folder with --out-model.")
        started, finished = self.checkpoints / KEY, self.root / KEY
        if not started.is_file() and not finished.is_file() and any(path.is_file() for path in self.root.rglob("*")):
            raise ForeignResultsError(
                f"{self.root} holds files that rasa-ft did not write, and no model of its own. Give another folder "
                "with --out-model, or empty this one."
            )
        if self._force:
            return False
        if (self.root / MANIFEST).is_file():
            self._refuse_others(_read(finished), "a model of another training")
            shutil.rmtree(self.checkpoints, ignore_errors=True)  # a death may have left them
            return True
        if started.is_file():
            self._refuse_others(_read(started), "the checkpoints of another training")
        return False

    def _refuse_others(self, found: Any, what: str) -> None:
        found = found if isinstance(found, dict) else {}
        differing = sorted(name for name in {*found, *self._key} if found.get(name) != self._key.get(name))
        if differing:
            raise ForeignResultsError(
                f"{self.root} holds {what} (it differs in: {', '.join(differing)}). Give another folder with "
                "--out-model, or --force to replace it."
            )

    def begin(self) -> str | None:
        """Make room for a training; return the last whole checkpoint of the same one, if there is any.

        Raises:
            WorkspaceError: the folder cannot be written.
        """
        try:
            if self._force:
                _remove(self.checkpoints)
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            _write_whole(self.checkpoints / KEY, self._key)
            _remove(self.root / MANIFEST)  # first, so that what is left after a death does not look whole
            for entry in self.root.iterdir():
                if entry.name.startswith(_DRAFT) or (self._force and entry != self.checkpoints):
                    _remove(entry)
            return self._last_checkpoint()
        except OSError as error:
            raise _disk_error(self.root, error) from error

    def _last_checkpoint(self) -> str | None:
        found: list[tuple[int, Path]] = []
        for folder in self.checkpoints.glob("checkpoint-*"):
            if _is_whole(folder):
                found.append((int(folder.name.rpartition("-")[2]), folder))
            else:
                _remove(folder)
        return str(max(found)[1]) if found else None

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Yield a folder for the results; they are moved into place, the manifest last, when the block ends well.

        Raises:
            WorkspaceError: the disk is full, or the folder cannot be written.
        """
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self.root))
        try:
            yield draft
            entries = sorted(draft.iterdir(), key=lambda path: path.name == MANIFEST)
            for entry in entries:
                _remove(self.root / entry.name)
                os.replace(entry, self.root / entry.name)
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        except ParityError:
            for entry in draft.iterdir():  # what was trained and measured is good, and a second run would not differ
                if not entry.name.startswith("merged"):
                    _remove(self.root / entry.name)
                    os.replace(entry, self.root / entry.name)
            raise
        except OSError as error:
            raise _disk_error(self.root, error) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @property
    def key(self) -> dict[str, Any]:
        return dict(self._key)


def mark_whole(checkpoint: Path) -> None:
    """Note that all of a checkpoint is written."""
    files = [path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if path.is_file()]
    _write_whole(checkpoint / _WHOLE, sorted(files))


def _is_whole(checkpoint: Path) -> bool:
    marker = checkpoint / _WHOLE
    return marker.is_file() and all((checkpoint / name).is_file() for name in json.loads(marker.read_bytes()))


def _write_whole(path: Path, value: Any) -> None:
    draft = path.with_suffix(".part")
    write_json(draft, value)
    draft.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"{path} cannot be read: {error}. Give --force to start anew.") from error
    return value if isinstance(value, dict) else {}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _disk_error(path: Path, error: OSError) -> WorkspaceError:
    return WorkspaceError(
        f"{path} cannot be written: {error.strerror or error}. Checkpoints that were there are kept. Make room or give "
        "another folder with --out-model, then run the command again."
    )
