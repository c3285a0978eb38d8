"""Read E2E tests with Rasa's own reader, one file at a time, so that a file's metadata and stubs stay its own.

Rasa reads a folder as one suite: of two files with metadata of one name the first wins, and stubs of files with the
same name meet. Here every test keeps what its own file says; what that does not define is taken from the others, as
Rasa would. Besides, each file is kept as it was written, to be written again by a later stage.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasa.e2e_test.constants import KEY_STUB_CUSTOM_ACTIONS
from rasa.e2e_test.e2e_test_case import Fixture, Metadata, TestCase, TestCaseFixtures, TestSuite
from rasa.e2e_test.stub_custom_action import StubCustomAction, get_stub_custom_action_key
from rasa.e2e_test.utils.io import extract_test_case_from_path, is_test_case_file, read_test_cases
from rasa.shared.data import get_data_files
from rasa.shared.utils.yaml import parse_raw_yaml

from rasa_ft_ext.conversation import Conversation, TestFile
from rasa_ft_ext.errors import TestSuiteError, chain_of
from rasa_ft_ext.rasa_pro.suite_limits import check_limits

_STUBS_FLAG = "RASA_PRO_BETA_STUB_CUSTOM_ACTION"


@dataclass(frozen=True)
class SuiteTest:
    """One test case, ready to run: Rasa's object, and what belongs to it."""

    id: str
    file: str
    raw: dict[str, Any]
    case: TestCase
    fixtures: tuple[Fixture, ...]
    metadata: tuple[Metadata, ...]
    stubs: dict[str, StubCustomAction]

    @property
    def fixtures_per_test(self) -> list[TestCaseFixtures]:
        return [TestCaseFixtures(test_case_name=self.case.name, file=self.case.file, fixtures=list(self.fixtures))]


@dataclass(frozen=True)
class Suite:
    """All tests under a path, and their files, both in the order in which Rasa reads them."""

    files: tuple[TestFile, ...]
    tests: tuple[SuiteTest, ...]


def read_suite(path: str | Path) -> Suite:
    """Read all tests under a file, a folder, or `file::name of a test`.

    Raises:
        TestSuiteError: there is none, one does not fit Rasa's schema, or a file is beyond a limit.
    """
    place, name = extract_test_case_from_path(str(path))
    if not Path(place).exists():
        raise TestSuiteError(f"There are no E2E tests at {place}: no such file or folder. Give the path of yours.")
    check_limits(Path(place))
    whole = _read(str(path))
    if not whole.test_cases:
        raise TestSuiteError(
            f"There are no E2E tests in {place}: no file in it has a 'test_cases' key. Write some, or give the path "
            "of those that you have."
        )
    root = os.path.abspath(place if Path(place).is_dir() else Path(place).parent)
    files: list[TestFile] = []
    tests: list[SuiteTest] = []
    for file in dict.fromkeys(case.file for case in whole.test_cases):
        raw = _raw(file)
        files.append(_test_file(Path(file).relative_to(root).as_posix(), raw, whole, file))
        tests.extend(_tests(files[-1], raw, [case for case in whole.test_cases if case.file == file], whole, name))
    return Suite(tuple(files), tuple(_unique(tests)))


def read_folders(folders: Iterable[Path]) -> Suite:
    """Read the tests of several folders, each on its own, as one suite; folders without YAML files are passed over.

    Raises:
        TestSuiteError: a test does not fit Rasa's schema.
    """
    suites = [read_suite(folder) for folder in folders if any(folder.rglob("*.y*ml"))]
    return Suite(
        tuple(file for suite in suites for file in suite.files),
        tuple(_unique(test for suite in suites for test in suite.tests)),
    )


def of_record(source: TestFile, conversation: Conversation) -> SuiteTest:
    """Make a test case that was recorded ready to run again, from the record alone."""
    raw = conversation.test_case
    case = TestCase.from_dict(raw, file=source.file)
    used = set(raw.get("fixtures") or [])
    fixtures = [Fixture.from_dict(entry) for entry in source.fixtures if used & entry.keys()]
    return SuiteTest(
        id=conversation.id,
        file=source.file,
        raw=raw,
        case=case,
        fixtures=tuple(fixtures),
        metadata=tuple(Metadata.from_dict(entry) for entry in source.metadata),
        stubs=_stubs(source.stub_custom_actions, source.file),
    )


def _read(path: str) -> TestSuite:
    """Read with Rasa; what is wrong is told file by file."""
    try:
        return _rasa_reads(path)
    except _CannotBeRead as error:
        place, name = extract_test_case_from_path(path)
        problems = [] if name else [problem for file in _test_files(place) for problem in _problems(file)]
        lines = "".join(f"\n  - {problem}" for problem in problems or [str(error)])
        raise TestSuiteError(f"The E2E tests at {place} cannot be read:{lines}") from error


class _CannotBeRead(Exception):
    """Rasa's reader refused: its message."""


def _rasa_reads(path: str) -> TestSuite:
    """Read with Rasa, whose reader may print an error and exit, in silence and with stubs allowed."""
    said = io.StringIO()
    flag = os.environ.get(_STUBS_FLAG)
    os.environ[_STUBS_FLAG] = "true"
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return read_test_cases(path)
    except SystemExit as error:
        raise _CannotBeRead(said.getvalue().strip()) from error
    except Exception as error:
        raise _CannotBeRead(_text_of(error)) from error
    finally:
        if flag is None:
            del os.environ[_STUBS_FLAG]
        else:
            os.environ[_STUBS_FLAG] = flag


def _text_of(error: BaseException) -> str:
    """What an error says; where it fails to say anything, as Rasa's do for some faults, what it came of."""
    for each in chain_of(error):
        with contextlib.suppress(Exception):
            return str(each).strip()
    return type(error).__name__


def _test_files(place: str) -> list[str]:
    files: list[str] = get_data_files([place], is_test_case_file)
    return files


def _problems(file: str) -> Iterator[str]:
    """What keeps one file from being read: its undefined names, or else what Rasa says of it."""
    try:
        _rasa_reads(file)
    except _CannotBeRead as error:
        undefined = _undefined(file)
        if undefined:
            yield f"{file}: not defined: {', '.join(undefined)}"
        else:
            yield f"{file}: {_tidy(str(error))}"


def _tidy(message: str) -> str:
    """The part of a message of Rasa's that tells place and problem, in one line, without its excerpt of the file."""
    message = message.split("during validation:")[-1].split("You can use http")[0]
    lines = [line.strip() for line in message.splitlines()]
    return " ".join(line for line in lines if line and not re.match(r"\d+ \||-+$|\^", line))


def _undefined(file: str) -> list[str]:
    """Fixtures and metadata that a file uses and neither it nor a conftest file defines."""
    try:
        raw = _raw(file)
        fixtures = set(_definition_order(file, raw))
        metadata = {next(iter(entry)) for entry in raw.get("metadata") or []}
        cases = raw.get("test_cases") or []
        missing = [f"fixture {name}" for case in cases for name in case.get("fixtures") or [] if name not in fixtures]
        parts = [part for case in cases for part in [case, *case["steps"]]]
        used = [part["metadata"] for part in parts if part.get("metadata")]
    except Exception:  # the file is broken in another way, which Rasa tells better
        return []
    return list(dict.fromkeys(missing + [f"metadata {name}" for name in used if name not in metadata]))


def _raw(file: str) -> dict[str, Any]:
    content = parse_raw_yaml(Path(file).read_text(encoding="utf-8"))
    plain: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return plain


def _test_file(name: str, raw: dict[str, Any], whole: TestSuite, path: str) -> TestFile:
    fixtures: dict[str, Any] = {}
    for entry in whole.fixtures_per_test:
        if entry.file == path:
            fixtures |= {fixture.name: fixture.as_dict() for fixture in entry.fixtures}
    order = {name: place for place, name in enumerate(_definition_order(path, raw))}
    fixtures = dict(sorted(fixtures.items(), key=lambda item: order.get(item[0], -1)))
    own = {next(iter(entry)): entry for entry in raw.get("metadata") or []}
    for entry in whole.metadata:
        if entry.name not in own and _uses_metadata(raw, entry.name):
            own[entry.name] = entry.as_dict()
    return TestFile(
        file=name,
        fixtures=tuple(fixtures.values()),
        metadata=tuple(own.values()),
        stub_custom_actions=_foreign_stubs(raw, whole) | (raw.get(KEY_STUB_CUSTOM_ACTIONS) or {}),
    )


def _foreign_stubs(raw: dict[str, Any], whole: TestSuite) -> dict[str, Any]:
    """Stubs that other files have for tests of the names that this file's have."""
    names = [case.get("test_case") or "" for case in raw.get("test_cases") or []]
    found = [(key, stub) for name in names for key, stub in _others(whole, name).items()]
    return {key: stub.as_dict() for key, stub in found}


def _definition_order(path: str, raw: dict[str, Any]) -> list[str]:
    """The names of the fixtures in the order in which Rasa applies them: outer conftest files first, the file last.

    A fixture that is defined again keeps its place.
    """
    folders = [folder for folder in reversed(Path(path).resolve().parents)]
    files = [folder / name for folder in folders for name in ("conftest.yml", "conftest.yaml")]
    contents = [_raw(str(file)) for file in files if file.is_file()]
    names = [next(iter(entry)) for content in [*contents, raw] for entry in content.get("fixtures") or []]
    return list(dict.fromkeys(names))


def _uses_metadata(raw: dict[str, Any], name: str) -> bool:
    cases = raw.get("test_cases") or []
    return any(
        case.get("metadata") == name or any(step.get("metadata") == name for step in case.get("steps") or [])
        for case in cases
    )


def _tests(
    source: TestFile, raw: dict[str, Any], cases: list[TestCase], whole: TestSuite, only: str | None
) -> Iterator[SuiteTest]:
    entries = [entry for entry in raw.get("test_cases") or [] if not only or entry.get("test_case") == only]
    metadata = tuple(Metadata.from_dict(entry) for entry in source.metadata)
    for case, entry in zip(cases, entries, strict=True):
        fixtures: list[Fixture] = next(
            (
                found.fixtures
                for found in whole.fixtures_per_test
                if found.file == case.file and found.test_case_name == case.name
            ),
            [],
        )
        used = set(case.fixture_names or [])
        yield SuiteTest(
            id=f"{source.file}::{case.name}",
            file=source.file,
            raw=entry,
            case=case,
            fixtures=tuple(fixture for fixture in fixtures if fixture.name in used),
            metadata=metadata,
            stubs=_stubs(source.stub_custom_actions, source.file),
        )


def _stubs(raw: dict[str, Any], file: str) -> dict[str, StubCustomAction]:
    base = Path(file).name
    return {
        name if "::" in name else get_stub_custom_action_key(base, name): StubCustomAction.from_dict(name, data)
        for name, data in raw.items()
    }


def _others(whole: TestSuite, test: str) -> dict[str, StubCustomAction]:
    """Stubs that any file of the suite has for a test of this name."""
    prefix = get_stub_custom_action_key(test.replace(" ", "_"), "")
    return {key: stub for key, stub in whole.stub_custom_actions.items() if key.startswith(prefix)}


def _unique(tests: Iterable[SuiteTest]) -> Iterator[SuiteTest]:
    """Number the tests of one name in one file, so that an id names one test."""
    seen: dict[str, int] = {}
    for test in tests:
        seen[test.id] = seen.get(test.id, 0) + 1
        if seen[test.id] == 1:
            yield test
        else:
            yield SuiteTest(**{**vars(test), "id": f"{test.id} ({seen[test.id]})"})
