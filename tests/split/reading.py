"""Suites on disk: how they come to be annotated, and what Rasa's own reader makes of them. All of it needs Rasa."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasa_ft_ext.conversation import AnnotatedFile, TestFile
from rasa_ft_ext.split.suite import SuiteWriter
from tests.split.builders import annotated, conversation


@dataclass
class Original:
    """A suite on disk, and what the annotations say of it."""

    root: Path
    files: list[AnnotatedFile]

    @property
    def ids(self) -> set[str]:
        return {case.id for file in self.files for case in file.conversations}


def original(root: Path, texts: dict[str, str], actions: dict[str, list[str]] | None = None) -> Original:
    """Write a suite, and annotate it: file by file, the fixtures of the conftest files above included.

    `actions` are the actions that each file's tests ran.
    """
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(text), encoding="utf-8")
    sources, conversations = [], []
    for name in texts:
        if name.endswith("conftest.yml"):
            continue
        raw = _raw(root / name)
        shared = [_raw(folder / "conftest.yml") for folder in reversed((root / name).parents)]
        fixtures = {next(iter(entry)): entry for file in [*shared, raw] for entry in file.get("fixtures") or ()}
        sources.append(
            TestFile(
                file=name,
                fixtures=tuple(fixtures.values()),
                metadata=tuple(raw.get("metadata") or ()),
                stub_custom_actions=raw.get("stub_custom_actions") or {},
            )
        )
        for case in raw["test_cases"]:
            ran = ["action_session_start", "action_listen", *((actions or {}).get(name) or [])]
            conversations.append(conversation(f"{name}::{case['test_case']}", case=case, actions=ran))
    return Original(root, annotated(conversations, sources))


def _raw(path: Path) -> dict[str, Any]:
    from rasa.shared.utils.yaml import parse_raw_yaml

    text = path.read_text(encoding="utf-8") if path.is_file() else "{}"
    raw: dict[str, Any] = json.loads(json.dumps(parse_raw_yaml(text)))
    return raw


def seen(path: Path, actions: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """What Rasa makes of every test under a path: steps, fixtures, metadata and stubs, whatever they are called."""
    from rasa.e2e_test.constants import KEY_STUB_CUSTOM_ACTIONS, TEST_CASE_NAME, TEST_FILE_NAME
    from rasa.e2e_test.e2e_test_case import Metadata
    from rasa.e2e_test.stub_custom_action import get_stub_custom_action
    from rasa.e2e_test.utils.fixture_utils import get_fixtures_for_test_case
    from rasa.e2e_test.utils.io import read_test_cases
    from rasa.utils.endpoints import EndpointConfig

    suite = read_test_cases(str(path))
    metadata: dict[str, Metadata] = {entry.name: entry for entry in suite.metadata}

    def resolved(entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "metadata": dict(metadata[entry["metadata"]].metadata)} if "metadata" in entry else entry

    root = path if path.is_dir() else path.parent
    found: dict[str, dict[str, Any]] = {}
    for case in suite.test_cases:
        assert case.file is not None
        endpoint = EndpointConfig()
        endpoint.kwargs |= {
            KEY_STUB_CUSTOM_ACTIONS: suite.stub_custom_actions,
            TEST_FILE_NAME: Path(case.file).name,
            TEST_CASE_NAME: case.name.replace(" ", "_"),
        }
        stubs = {action: get_stub_custom_action(endpoint, action) for action in actions}
        view = {
            "steps": [resolved(dict(step.as_dict_yaml_format())) for step in case.steps],
            "metadata": resolved({"metadata": case.metadata_name}) if case.metadata_name else None,
            "fixtures": [entry.as_dict() for entry in get_fixtures_for_test_case(case, suite.fixtures_per_test)],
            "stubs": {action: stub.as_dict() for action, stub in stubs.items() if stub is not None},
        }
        found[f"{Path(case.file).relative_to(root).as_posix()}::{case.name}"] = json.loads(json.dumps(view))
    return found


def assert_same(source: Original, writer: SuiteWriter, folders: Iterable[Path], actions: Iterable[str] = ()) -> None:
    """Every original test, read in its own file, is what is read back from the folders."""
    written = {name: view for folder in folders for name, view in seen(folder, actions).items()}
    for file in source.files:
        for name, view in seen(source.root / file.source.file, actions).items():
            test = f"{file.source.file}::{name.split('::', 1)[1]}"
            back = written.pop(writer.renamed.get(test, test))
            assert {**back, "stubs": {action: back["stubs"].get(action) for action in view["stubs"]}} == view
    assert not written


def write_all(source: Original, out: Path) -> tuple[SuiteWriter, list[Path]]:
    writer = SuiteWriter(source.files)
    return writer, [out / name for name in writer.write(out, "train", source.ids)]
