"""Records as files: one in a file, or one for each E2E test file in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.file_names import inside

AnyRecord = TypeVar("AnyRecord", bound=BaseModel)
Kept = TypeVar("Kept", covariant=True)


class Stored(Iterable[Kept], Generic[Kept]):
    """Records on disk: read one after the other, anew each time that they are gone through."""

    def __init__(self, read: Callable[[], Iterator[Kept]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[Kept]:
        return self._read()


def stored(folder: Path, kind: type[AnyRecord]) -> Stored[AnyRecord]:
    """The records of the test files in a folder, in the order of their names."""
    return Stored(lambda: (read_record(path, kind) for path in record_files(folder)))


def record_files(folder: Path) -> list[Path]:
    """The records of the test files: `NAME.yml.json`; no file of a stage's own is called like that."""
    return sorted(path for path in folder.rglob("*.json") if path.suffixes[-2:-1] in ([".yml"], [".yaml"]))


def record_path(folder: Path, test_file: str) -> Path:
    """Where the machine-readable record of an E2E test file stands in a stage's folder: beside its YAML.

    Raises:
        WorkspaceError: the name would lead out of the folder.
    """
    return inside(folder, f"{test_file}.json")


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """Read one record; a file that does not hold one is named, with what is wrong in it."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        raise WorkspaceError(f"{path} is not a {kind.__name__} of this version of rasa-ft-ext: {error}") from error


def write_record(path: Path, record: BaseModel) -> None:
    write_json(path, record.model_dump(mode="json"))


def as_json(record: BaseModel) -> str:
    """What `write_record` writes."""
    return _text(record.model_dump(mode="json"))


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(value), encoding="utf-8", newline="\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
