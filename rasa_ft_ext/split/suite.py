"""Write the test cases of one side as E2E test files that Rasa runs with the same outcome as the originals.

There is one file per source file, in the same tree, and it needs no other: the fixtures, metadata and stubs that its
tests use stand in it, those of conftest files and of other test files included. What keeps two files from disturbing
each other is planned in `rasa_ft_ext.split.names`.

Tests with stubs and tests that call the action server cannot run in one `rasa test e2e`. Where a side has both, those
with stubs stand in a folder of their own, `train_with_stubs` or `validation_with_stubs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rasa_ft_ext.conversation import AnnotatedFile, Conversation
from rasa_ft_ext.file_names import inside
from rasa_ft_ext.split.names import FileNames, metadata_of, outline, plan, used_metadata
from rasa_ft_ext.split.stubs import Stubs, key, must_part, resolve
from rasa_ft_ext.yaml import write_yaml

WITH_STUBS = "_with_stubs"


class SuiteWriter:
    """Writes the tests of an annotated suite; `renamed` tells where a name is not the original's, by test id.

    The files are gone through several times, and not all of them are held.
    """

    def __init__(self, files: Iterable[AnnotatedFile]) -> None:
        self._files = files
        in_order = sorted(map(outline, files), key=lambda file: file.source.file)
        self._outlines = [file for file in in_order if file.tests]
        self._stubs = resolve([file.source for file in in_order])
        self._names = plan(self._outlines, self._stubs)

    @property
    def renamed(self) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for file in self._outlines:
            names = self._names[file.source.file]
            for test, name in file.tests:
                if (file.source.file, name) != (names.path, names.test(name)):
                    pairs[test] = f"{names.path}::{names.test(name)}"
        return pairs

    def write(self, folder: Path, side: str, tests: set[str]) -> list[str]:
        """Write the tests with these ids below `folder`.

        Returns:
            The names of the folders that are to be run, each on its own.

        Raises:
            WorkspaceError: a file's name leads out of the folder.
        """
        (folder / side).mkdir(parents=True, exist_ok=True)
        parted = must_part(self._files, self._stubs, tests)
        written: set[str] = set()
        for file in self._files:
            stubs = self._stubs[file.source.file]
            cases: dict[str, list[Conversation]] = {}
            for case in file.conversations:
                if case.id in tests:
                    place = side + WITH_STUBS if parted and stubs.serve(case.name) else side
                    cases.setdefault(place, []).append(case)
            for place, chosen in cases.items():
                names = self._names[file.source.file]
                write_yaml(inside(folder / place, names.path), content(file, chosen, stubs, names))
                written.add(place)
        return sorted(written)


def content(file: AnnotatedFile, cases: Sequence[Conversation], stubs: Stubs, names: FileNames) -> dict[str, Any]:
    """The content of a test file that holds these cases, and what they need."""
    fixtures = {next(iter(entry)): entry for entry in file.source.fixtures if entry}
    used_fixtures = {name for case in cases for name in case.test_case.get("fixtures") or []}
    metadata = metadata_of(file.source)
    used = set[str]().union(*(used_metadata(case) for case in cases))
    sections = {
        "fixtures": [entry for name, entry in fixtures.items() if name in used_fixtures],
        "metadata": [{names.metadata[name]: entry} for name, entry in metadata.items() if name in used],
        "stub_custom_actions": _stubs_of(cases, stubs, names),
        "test_cases": [_test_case(case, names) for case in cases],
    }
    return {name: section for name, section in sections.items() if section}


def _stubs_of(cases: Sequence[Conversation], stubs: Stubs, names: FileNames) -> dict[str, Any]:
    found = dict(stubs.for_file)
    for case in cases:
        prefix = key(names.test(case.name))
        found |= {f"{prefix}::{action}": stub for action, stub in stubs.for_test.get(key(case.name), {}).items()}
    return found


def _test_case(conversation: Conversation, names: FileNames) -> dict[str, Any]:
    case = _with_metadata(conversation.test_case, names)
    steps = [_with_metadata(step, names) for step in case.get("steps") or []]
    return {**case, "test_case": names.test(conversation.name), "steps": steps}


def _with_metadata(entry: dict[str, Any], names: FileNames) -> dict[str, Any]:
    name = entry.get("metadata")
    return {**entry, "metadata": names.metadata[name]} if name in names.metadata else entry
