"""The names under which files, tests and metadata are written, so that none takes another's place.

Rasa reads a folder of tests as one suite. Metadata of one name is the first file's; stubs for a whole file go by the
file's bare name, whatever its folder; stubs for a test go by the test's name, whatever its file. Here each file keeps
what it said: where two would meet and differ, the later one gets a number. The names hold for the whole run, so a
test is called the same on either side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from rasa_ft_ext.conversation import AnnotatedFile, Conversation, TestFile
from rasa_ft_ext.split.stubs import Stubs, key


@dataclass(frozen=True)
class FileNames:
    """The path that one test file is written to, and what its tests and metadata are called there.

    `tests` has a number for every test that is renamed, by `key` of its name.
    """

    path: str
    tests: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def test(self, name: str) -> str:
        number = self.tests.get(key(name))
        return f"{name} {number}" if number else name


@dataclass(frozen=True)
class Outline:
    """What must be known of a test file to name what is in it: its source, and its tests by id and name.

    `metadata` are the names of the metadata that its tests use.
    """

    source: TestFile
    tests: tuple[tuple[str, str], ...]
    metadata: frozenset[str]


def outline(file: AnnotatedFile) -> Outline:
    used = frozenset[str]().union(*map(used_metadata, file.conversations))
    return Outline(file.source, tuple((case.id, case.name) for case in file.conversations), used)


def plan(files: Sequence[Outline], stubs: dict[str, Stubs]) -> dict[str, FileNames]:
    """Find the names for every file, by the file's name; the files come in the order in which Rasa reads them."""
    basenames = _Names({_basename(file) for file in files})
    tests = _Names({key(name) for file in files for _, name in file.tests})
    metadata = _Names({name for file in files for name in _metadata(file)})
    plans: dict[str, FileNames] = {}
    for file in files:
        of_file = stubs[file.source.file]
        path = PurePosixPath(file.source.file)
        base = basenames.take(
            path.name,
            _Claim(of_file.for_file, of_file.for_file),
            lambda number, path=path: f"{path.stem}__{number}{path.suffix}",  # type: ignore[misc]
        )
        plans[file.source.file] = FileNames(
            path=path.with_name(base[0]).as_posix(),
            tests=_test_numbers(file, of_file, tests),
            metadata={
                name: metadata.take(name, _Claim({"": content}, {"": content}), _numbered(name))[0]
                for name, content in _metadata(file).items()
            },
        )
    return plans


def _test_numbers(file: Outline, stubs: Stubs, names: _Names) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for name in dict.fromkeys(key(name) for _, name in file.tests):
        claim = _Claim(stubs.for_test.get(name, {}), stubs.of(name))
        _, number = names.take(name, claim, _numbered(name))
        if number > 1:
            numbers[name] = number
    return numbers


def metadata_of(source: TestFile) -> dict[str, dict[str, Any]]:
    """The content of each metadata entry of a file, by its name; of two with one name Rasa takes the last."""
    return {
        next(iter(entry)): {name: value for content in entry.values() for name, value in content.items()}
        for entry in source.metadata
        if entry
    }


def used_metadata(conversation: Conversation) -> set[str]:
    """The names of the metadata that a test uses, itself or in one of its steps."""
    case = conversation.test_case
    names = {case.get("metadata"), *(step.get("metadata") for step in case.get("steps") or [])}
    return {name for name in names if isinstance(name, str)}


def _metadata(file: Outline) -> dict[str, dict[str, Any]]:
    return {name: content for name, content in metadata_of(file.source).items() if name in file.metadata}


def _basename(file: Outline) -> str:
    return PurePosixPath(file.source.file).name


def _numbered(name: str) -> Callable[[int], str]:
    return lambda number: f"{name}_{number}"


@dataclass(frozen=True)
class _Claim:
    """What stands under a name for all to find, and what its owner must find; anything else may be found as well."""

    gives: dict[str, Any]
    needs: dict[str, Any]

    def disturbs(self, other: _Claim) -> bool:
        return any(name in other.needs and _json(other.needs[name]) != _json(self.gives[name]) for name in self.gives)


class _Names:
    """Names in use, each with the claims that live with each other under it."""

    def __init__(self, originals: set[str]) -> None:
        self._originals = originals
        self._claims: dict[str, list[_Claim]] = {}

    def take(self, name: str, claim: _Claim, numbered: Callable[[int], str]) -> tuple[str, int]:
        """Enter a claim under the name, or under the first numbered one where it fits; return name and number."""
        if not claim.gives and not claim.needs:
            return name, 1  # it disturbs nobody, whatever stands under the name
        number, candidate = 1, name
        while not self._fits(candidate, claim) or (number > 1 and candidate in self._originals):
            number += 1
            candidate = numbered(number)
        self._claims.setdefault(candidate, []).append(claim)
        return candidate, number

    def _fits(self, name: str, claim: _Claim) -> bool:
        return not any(claim.disturbs(other) or other.disturbs(claim) for other in self._claims.get(name, []))


def _json(value: Any) -> str:
    """For comparing: unlike Python, it tells 1 from true."""
    return json.dumps(value, sort_keys=True, default=str)
