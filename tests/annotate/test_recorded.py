"""Recorded annotations in the place of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rasa_ft_ext.annotate.recorded import copy_annotations
from rasa_ft_ext.annotate.stage import FAILED_TESTS, AnnotateSummary
from rasa_ft_ext.conversation import AnnotatedFile
from rasa_ft_ext.errors import ForeignResultsError, WorkspaceError
from rasa_ft_ext.workspace import ANNOTATIONS, ASSISTANT_CARD, MANIFEST, SUMMARY, TIMINGS, Workspace, write_json
from tests.builders import annotated_file, annotated_workspace, contents, conversation, failed, said

CAR = "StartFlow(book_car)"
CARS = annotated_file(
    conversation(said("book a car", CAR), said("/SetSlots(a=b)")),
    conversation(said("a car", CAR), name="again"),
    failed=[failed("expected a, got b", name="other")],
)
HOTELS = annotated_file(conversation(said("ein Zimmer in Zürich", "StartFlow(book_hotel)"), file="sub/hotels.yml"))


def recording(root: Path, *files: AnnotatedFile) -> Path:
    """A folder that `annotate` once wrote."""
    return annotated_workspace(root, *files).folder(ANNOTATIONS)


def test_recorded_annotations_are_taken_over_as_if_the_tests_had_run(tmp_path: Path) -> None:
    folder = recording(tmp_path / "recorded", CARS, HOTELS)
    workspace = Workspace(tmp_path / "output")

    summary = copy_annotations(workspace, folder)

    assert list(workspace.annotations()) == [CARS, HOTELS]
    assert workspace.card() == Workspace(tmp_path / "recorded").card()
    assert summary == AnnotateSummary(
        tests=4,
        passed=3,
        user_messages=4,
        annotated=3,
        to_rephrase=3,
        not_annotated={"answered without the LLM": 1},
        failed=CARS.failed,
    )


def test_what_a_person_looks_at_is_written_anew(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "output")

    copy_annotations(workspace, recording(tmp_path / "recorded", CARS, HOTELS))

    written = contents(workspace.folder(ANNOTATIONS))
    of_tests = {"cars.yml", "cars.yml.json", "sub/hotels.yml", "sub/hotels.yml.json"}
    assert written.keys() == of_tests | {ASSISTANT_CARD, FAILED_TESTS, SUMMARY, MANIFEST}
    assert "user: ein Zimmer in Zürich\n" in written["sub/hotels.yml"].decode()


def test_the_recording_itself_stays_as_it_was(tmp_path: Path) -> None:
    folder = recording(tmp_path / "recorded", CARS)
    before = contents(folder)

    copy_annotations(Workspace(tmp_path / "output"), folder)

    assert contents(folder) == before


def test_a_recording_needs_no_manifest(tmp_path: Path) -> None:
    folder = recording(tmp_path / "recorded", CARS)
    (folder / MANIFEST).unlink()

    assert copy_annotations(Workspace(tmp_path / "output"), folder).passed == 2


def test_taking_over_the_same_recording_again_changes_nothing(tmp_path: Path) -> None:
    folder = recording(tmp_path / "recorded", CARS)
    workspace = Workspace(tmp_path / "output")
    summary = copy_annotations(workspace, folder)
    before = contents(workspace.root)

    assert copy_annotations(workspace, folder) == summary
    assert contents(workspace.root) == before


def test_another_recording_is_refused_and_force_takes_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "output")
    copy_annotations(workspace, recording(tmp_path / "one", CARS))
    other = recording(tmp_path / "other", HOTELS)

    with pytest.raises(ForeignResultsError, match="differs in: recorded"):
        copy_annotations(workspace, other)
    copy_annotations(Workspace(tmp_path / "output", force=True), other)

    assert list(workspace.annotations()) == [HOTELS]


def test_what_a_recording_took_is_no_part_of_what_is_taken_over(tmp_path: Path) -> None:
    written = []
    for seconds in (0.5, 0.25):
        folder = recording(tmp_path / f"recorded {seconds}", CARS)
        write_json(folder / TIMINGS, {"cars.yml::books a car": [seconds]})
        workspace = Workspace(tmp_path / f"output {seconds}")
        copy_annotations(workspace, folder)
        written.append(contents(workspace.folder(ANNOTATIONS)))

    assert written[0] == written[1]


@pytest.mark.parametrize("content", ["{", "[]", '{"source": {"file": "cars.yml"}}'])
def test_a_broken_record_is_named_and_nothing_is_written(tmp_path: Path, content: str) -> None:
    folder = recording(tmp_path / "recorded", CARS, HOTELS)
    (folder / "sub" / "hotels.yml.json").write_text(content)

    with pytest.raises(WorkspaceError, match=r"sub/hotels\.yml\.json is not a AnnotatedFile"):
        copy_annotations(Workspace(tmp_path / "output"), folder)
    assert not (tmp_path / "output").exists()


def test_a_broken_assistant_card_is_named(tmp_path: Path) -> None:
    folder = recording(tmp_path / "recorded", CARS)
    (folder / ASSISTANT_CARD).write_text("{}")

    with pytest.raises(WorkspaceError, match=r"assistant\.json is not a AssistantCard"):
        copy_annotations(Workspace(tmp_path / "output"), folder)


def test_a_record_cannot_write_outside_of_the_workspace(tmp_path: Path) -> None:
    folder = recording(tmp_path / "recorded", CARS)
    record = json.loads((folder / "cars.yml.json").read_text())
    record["source"]["file"] = "../../escaped.yml"
    (folder / "cars.yml.json").write_text(json.dumps(record))

    with pytest.raises(WorkspaceError, match="leads out of"):
        copy_annotations(Workspace(tmp_path / "output"), folder)
    assert not list(tmp_path.rglob("escaped*"))
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir()])
def test_a_folder_without_annotations_says_what_to_do(tmp_path: Path, make: object) -> None:
    folder = tmp_path / "recorded"
    make(folder)  # type: ignore[operator]

    with pytest.raises(WorkspaceError, match=r"recorded holds no annotations.*Run `rasa-ft annotate` first"):
        copy_annotations(Workspace(tmp_path / "output"), folder)


@pytest.mark.parametrize("files", [(), (annotated_file(failed=[failed("no")]),)])
def test_annotations_without_a_conversation_are_refused(tmp_path: Path, files: tuple[AnnotatedFile, ...]) -> None:
    folder = recording(tmp_path / "recorded", *files)

    with pytest.raises(WorkspaceError, match="holds no annotated conversation"):
        copy_annotations(Workspace(tmp_path / "output"), folder)
    assert not (tmp_path / "output").exists()


def test_a_copied_record_is_refused_before_one_of_the_two_is_lost(tmp_path: Path) -> None:
    folder = recording(tmp_path / "recorded", CARS, HOTELS)
    (folder / "copy.yml.json").write_bytes((folder / "cars.yml.json").read_bytes())
    with pytest.raises(WorkspaceError, match=r"two records of the test file 'cars\.yml'"):
        copy_annotations(Workspace(tmp_path / "output"), folder)
    assert not (tmp_path / "output").exists()
