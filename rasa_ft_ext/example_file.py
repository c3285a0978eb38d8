"""The examples of a dataset as they stand on disk: read one at a time, in order or at a place, never all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from rasa_ft_ext.conversation import Example
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.workspace import DATASET, EXAMPLES, Workspace


class ExampleFile:
    """The file of a workspace's examples; the place of an example is where its line begins, in bytes.

    Raises, wherever it is read:
        WorkspaceError: it cannot be read.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.path: Path = workspace.folder(DATASET) / EXAMPLES

    def placed(self) -> Iterator[tuple[int, Example]]:
        """Every example in order, with its place."""
        for place, line in self._lines():
            yield place, self._read(line)

    def places(self) -> Iterator[int]:
        """The places of all examples in order; what stands there is not looked at."""
        return (place for place, _ in self._lines())

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        place = 0
        try:
            with self.path.open("rb") as lines:
                for line in lines:
                    if line != b"\n":
                        yield place, line
                    place += len(line)
        except OSError as error:
            raise self._unreadable(error) from error

    def at(self, place: int) -> Example:
        """The example at a place."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(place)
                return self._read(stream.readline())
        except OSError as error:
            raise self._unreadable(error) from error

    def _read(self, line: bytes) -> Example:
        try:
            return Example.model_validate_json(line)
        except ValidationError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> WorkspaceError:
        return WorkspaceError(f"{self.path} cannot be read: {error}. Run `rasa-ft dataset` again.")
