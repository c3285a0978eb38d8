"""The output folder: whole or not at all, whose results it holds, and what is read from it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rasa_ft_ext.annotate.stage import AnnotateSummary
from rasa_ft_ext.conversation import AnnotatedFile, Example, TestFile
from rasa_ft_ext.errors import ForeignResultsError, WorkspaceError
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    ASSISTANT_CARD,
    DATASET,
    EXAMPLES,
    MANIFEST,
    REPHRASINGS,
    SPLIT,
    STAGES,
    SUMMARY,
    TIMINGS,
    Workspace,
    read_record,
    read_summary,
    record_path,
    sha256,
    write_json,
    write_jsonl,
    write_record,
)
from rasa_ft_ext.yaml import to_yaml, write_yaml
from tests.builders import (
    annotated_file,
    annotated_workspace,
    assistant_card,
    commands,
    contents,
    conversation,
    failed,
    rephrased,
    rephrased_workspace,
    rephrasing,
    said,
)

KEY = {"tests": "abc", "llm": {"model": "teacher"}}


def finished(root: Path, text: str = "old", key: dict[str, Any] = KEY, *, force: bool = False) -> Workspace:
    """A folder in which `annotate` left one file."""
    workspace = Workspace(root, force=force)
    with workspace.writing(ANNOTATIONS, key) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text(text)
    return workspace


def written(workspace: Workspace) -> str:
    return (workspace.folder(ANNOTATIONS) / "sub" / "a.txt").read_text()


def write_half(workspace: Workspace, error: BaseException) -> None:
    with workspace.writing(ANNOTATIONS, KEY) as folder:
        (folder / "b.txt").write_text("half")
        raise error


def read_back(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


# Whole or not at all


def test_results_appear_only_when_the_block_has_ended(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "deep" / "output")

    with workspace.writing(ANNOTATIONS, KEY) as folder:
        (folder / "a.txt").write_text("new")
        assert not workspace.folder(ANNOTATIONS).exists()
        assert not (folder / MANIFEST).exists()

    assert sorted(contents(workspace.root)) == [f"{ANNOTATIONS}/a.txt", f"{ANNOTATIONS}/{MANIFEST}"]


def test_an_exception_in_the_block_leaves_nothing_behind(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "output")

    with pytest.raises(ZeroDivisionError):
        write_half(workspace, ZeroDivisionError())

    assert list(workspace.root.iterdir()) == []


def test_an_exception_in_the_block_keeps_the_old_results(tmp_path: Path) -> None:
    workspace = finished(tmp_path)
    before = contents(tmp_path)

    with pytest.raises(KeyboardInterrupt):
        write_half(workspace, KeyboardInterrupt())

    assert contents(tmp_path) == before


def test_new_results_take_the_place_of_the_old_ones_altogether(tmp_path: Path) -> None:
    workspace = finished(tmp_path)

    with workspace.writing(ANNOTATIONS, {"tests": "new"}) as folder:
        (folder / "b.txt").write_text("new")

    assert sorted(contents(tmp_path)) == [f"{ANNOTATIONS}/b.txt", f"{ANNOTATIONS}/{MANIFEST}"]
    assert [entry.name for entry in tmp_path.iterdir()] == [ANNOTATIONS]


def test_the_results_can_be_read_by_others_than_their_owner(tmp_path: Path) -> None:
    assert finished(tmp_path).folder(ANNOTATIONS).stat().st_mode & 0o777 == 0o755


def test_a_full_disk_is_told_and_leaves_the_old_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = finished(tmp_path)
    before = contents(tmp_path)

    def full(path: Path, text: str, **_: Any) -> int:
        path.write_bytes(text.encode()[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)

    with (
        pytest.raises(WorkspaceError, match=r"1_command_annotations cannot be written: No space left.*another output"),
        workspace.writing(ANNOTATIONS, KEY) as folder,
    ):
        write_json(folder / "a.json", {"a": 1})
    assert contents(tmp_path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == [ANNOTATIONS]


def test_a_disk_that_is_full_when_the_manifest_comes_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    write_text = Path.write_text

    def full_for_the_manifest(path: Path, text: str, **more: Any) -> int:
        if path.name == MANIFEST:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_text(path, text, **more)

    monkeypatch.setattr(Path, "write_text", full_for_the_manifest)

    with pytest.raises(WorkspaceError, match="No space left"), workspace.writing(ANNOTATIONS, KEY) as folder:
        write_json(folder / "a.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []


def test_the_old_results_stay_when_the_new_ones_cannot_be_renamed_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = finished(tmp_path)
    before = contents(tmp_path)
    replace = os.replace

    def refuse_the_new_ones(source: Path, target: Path) -> None:
        if Path(target) == workspace.folder(ANNOTATIONS) and (Path(source) / "b.txt").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_the_new_ones)

    with (
        pytest.raises(WorkspaceError, match="What was there before is untouched"),
        workspace.writing(ANNOTATIONS, KEY) as folder,
    ):
        (folder / "b.txt").write_text("new")
    assert contents(tmp_path) == before


def test_the_old_results_stay_when_a_person_stops_the_run_between_the_two_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = finished(tmp_path)
    before = contents(tmp_path)
    replace = os.replace

    def stopped_at_the_new_ones(source: Path, target: Path) -> None:
        if Path(target) == workspace.folder(ANNOTATIONS) and (Path(source) / "b.txt").exists():
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopped_at_the_new_ones)

    with pytest.raises(KeyboardInterrupt), workspace.writing(ANNOTATIONS, KEY) as folder:
        (folder / "b.txt").write_text("new")
    assert contents(tmp_path) == before


def test_the_old_results_are_never_deleted_before_the_new_ones_are_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = finished(tmp_path)
    replace = os.replace

    def refuse_whatever_comes_into_place(source: Path, target: Path) -> None:
        if Path(target) == workspace.folder(ANNOTATIONS):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_whatever_comes_into_place)

    with pytest.raises(WorkspaceError), workspace.writing(ANNOTATIONS, KEY) as folder:
        (folder / "b.txt").write_text("new")
    assert b"old" in contents(tmp_path).values()


def test_an_output_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("")

    with (
        pytest.raises(WorkspaceError, match=r"output cannot be written: .*another output folder"),
        Workspace(tmp_path / "output").writing(ANNOTATIONS, KEY),
    ):
        raise AssertionError


# The manifest


def test_the_manifest_names_the_key_and_the_hash_of_every_file_but_the_timings(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    with workspace.writing(ANNOTATIONS, {"seed": 1, "path": Path("a/b")}) as folder:
        write_json(folder / "sub" / "a.json", {"a": 1})
        write_yaml(folder / "b.yml", [1])
        write_json(folder / TIMINGS, {"a": 0.1})

    manifest = json.loads((workspace.folder(ANNOTATIONS) / MANIFEST).read_text())
    assert manifest["key"] == {"seed": 1, "path": "a/b"}
    assert manifest["files"] == {
        "b.yml": sha256(workspace.folder(ANNOTATIONS) / "b.yml"),
        "sub/a.json": sha256(workspace.folder(ANNOTATIONS) / "sub" / "a.json"),
    }


def test_a_stage_that_has_not_run_is_not_done(tmp_path: Path) -> None:
    assert not Workspace(tmp_path / "output").is_done(ANNOTATIONS, KEY)


def test_a_stage_is_done_for_the_very_key_it_ran_with(tmp_path: Path) -> None:
    workspace = finished(tmp_path, key={"paths": (Path("a"), Path("b")), "seed": 1})

    assert workspace.is_done(ANNOTATIONS, {"seed": 1, "paths": (Path("a"), Path("b"))})


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("tampered"), lambda path: path.unlink()])
def test_a_stage_with_a_changed_or_missing_file_is_left_alone(tmp_path: Path, spoil: Any) -> None:
    workspace = finished(tmp_path)

    spoil(workspace.folder(ANNOTATIONS) / "sub" / "a.txt")

    with pytest.raises(ForeignResultsError, match=r"was changed since it was made \(sub/a\.txt\).*--force"):
        workspace.is_done(ANNOTATIONS, KEY)
    assert not Workspace(tmp_path, force=True).is_done(ANNOTATIONS, KEY)


def test_other_timings_make_no_other_results(tmp_path: Path) -> None:
    prints = set()
    for seconds in (0.1, 0.2):
        workspace = Workspace(tmp_path / str(seconds))
        with workspace.writing(ANNOTATIONS, KEY) as folder:
            write_json(folder / TIMINGS, {"a": seconds})
        prints.add(workspace.fingerprint(ANNOTATIONS))

    assert len(prints) == 1


def test_other_files_make_another_fingerprint(tmp_path: Path) -> None:
    one, other = finished(tmp_path / "one", "one"), finished(tmp_path / "other", "other")

    assert one.fingerprint(ANNOTATIONS) != other.fingerprint(ANNOTATIONS)
    assert one.fingerprint(ANNOTATIONS) == finished(tmp_path / "same", "one").fingerprint(ANNOTATIONS)


@pytest.mark.parametrize(
    ("stage", "command"),
    [(ANNOTATIONS, "annotate"), (REPHRASINGS, "rephrase"), (DATASET, "dataset"), (SPLIT, "split")],
)
def test_a_stage_that_is_needed_but_not_done_names_the_command_to_run(tmp_path: Path, stage: str, command: str) -> None:
    (tmp_path / stage).mkdir()

    with pytest.raises(WorkspaceError, match=rf"{stage} holds no finished results. Run `rasa-ft {command}` first"):
        Workspace(tmp_path).fingerprint(stage)


def test_every_stage_has_a_command() -> None:
    assert set(STAGES) == {ANNOTATIONS, REPHRASINGS, DATASET, SPLIT}


# Results of others


@pytest.mark.parametrize(
    ("other", "differing"),
    [
        ({"tests": "xyz", "llm": {"model": "teacher"}}, "tests"),
        ({"tests": "xyz", "llm": {"model": "other"}}, "llm, tests"),
        ({"tests": "abc", "llm": {"model": "teacher"}, "seed": 1}, "seed"),
        ({"tests": "abc"}, "llm"),
    ],
)
def test_results_of_another_run_are_refused_and_what_differs_is_named(
    tmp_path: Path, other: dict[str, Any], differing: str
) -> None:
    workspace = finished(tmp_path)

    with pytest.raises(ForeignResultsError, match=rf"another run \(it differs in: {differing}\).*--out.*--force"):
        workspace.is_done(ANNOTATIONS, other)


def test_results_of_another_version_of_the_package_are_refused(tmp_path: Path) -> None:
    workspace = finished(tmp_path)
    path = workspace.folder(ANNOTATIONS) / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": "0.0.0"}))

    with pytest.raises(ForeignResultsError, match="differs in: version of rasa-ft-ext"):
        workspace.is_done(ANNOTATIONS, KEY)


def test_force_replaces_the_results_of_another_run(tmp_path: Path) -> None:
    finished(tmp_path, "old", {"tests": "other"})
    workspace = Workspace(tmp_path, force=True)

    assert not workspace.is_done(ANNOTATIONS, KEY)
    assert written(finished(tmp_path, "new", force=True)) == "new"
    assert Workspace(tmp_path).is_done(ANNOTATIONS, KEY)


def test_force_runs_a_finished_stage_anew(tmp_path: Path) -> None:
    finished(tmp_path)

    assert not Workspace(tmp_path, force=True).is_done(ANNOTATIONS, KEY)


def test_files_that_no_run_made_are_refused_and_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / ANNOTATIONS / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("mine")

    with pytest.raises(ForeignResultsError, match=r"1_command_annotations holds files that rasa-ft did not write"):
        Workspace(tmp_path).is_done(ANNOTATIONS, KEY)
    with pytest.raises(ForeignResultsError, match="Move them away, or replace them with --force"):
        Workspace(tmp_path).check()
    assert mine.read_text() == "mine"


def test_force_replaces_files_that_no_run_made(tmp_path: Path) -> None:
    (tmp_path / ANNOTATIONS).mkdir()
    (tmp_path / ANNOTATIONS / "thesis.txt").write_text("mine")
    workspace = Workspace(tmp_path, force=True)

    workspace.check()
    finished(tmp_path, "new", force=True)

    assert sorted(contents(tmp_path)) == [f"{ANNOTATIONS}/{MANIFEST}", f"{ANNOTATIONS}/sub/a.txt"]


def test_a_file_in_the_place_of_a_stages_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / ANNOTATIONS).write_text("mine")

    with pytest.raises(ForeignResultsError, match=ANNOTATIONS):
        Workspace(tmp_path).is_done(ANNOTATIONS, KEY)


def test_an_empty_folder_and_folders_of_finished_stages_are_fine(tmp_path: Path) -> None:
    (tmp_path / SPLIT).mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.tar.gz").write_text("")
    finished(tmp_path)

    Workspace(tmp_path).check()


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[]", b'{"key": null}'])
def test_a_broken_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    workspace = finished(tmp_path)
    (workspace.folder(ANNOTATIONS) / MANIFEST).write_bytes(content)

    with pytest.raises(WorkspaceError, match=ANNOTATIONS):
        workspace.is_done(ANNOTATIONS, KEY)


# Records


def test_what_a_stage_wrote_is_read_back_equal(tmp_path: Path) -> None:
    booking = conversation(
        said("to Zürich, 東京 or \x1b\u2028", "SetSlot(city, Zürich)"), said("/SetSlots(a=b)"), file="cars/ü.yml"
    )
    files = [
        annotated_file(booking, failed=[failed("expected a\ngot b", name="other")]),
        annotated_file(file="empty.yml"),
    ]
    found = rephrased(booking, {0: [rephrasing("nach Zürich", "SetSlot(city, Zürich)")]})
    workspace = rephrased_workspace(tmp_path, files, found)

    assert workspace.card() == assistant_card()
    assert list(workspace.annotations()) == files
    assert [file.file for file in workspace.rephrasings()] == ["cars/ü.yml", "empty.yml"]
    assert next(iter(workspace.rephrasings())).conversations == (found,)


def test_annotations_that_are_not_there_name_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"holds no annotations .*Run `rasa-ft annotate` first"):
        Workspace(tmp_path).annotations()


@pytest.mark.parametrize("content", ["{", "{}", '{"source": {"file": "a.yml"}, "conversations": [], "extra": 1}', "\0"])
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    workspace = annotated_workspace(tmp_path, annotated_file(conversation(file="cars/a.yml")))
    (workspace.folder(ANNOTATIONS) / "cars" / "a.yml.json").write_text(content)

    with pytest.raises(WorkspaceError, match=r"cars/a\.yml\.json is not a AnnotatedFile of this version"):
        list(workspace.annotations())


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"gone\.json cannot be read: No such file"):
        read_record(tmp_path / "gone.json", AnnotatedFile)


def test_a_broken_assistant_card_is_named(tmp_path: Path) -> None:
    workspace = annotated_workspace(tmp_path, annotated_file(conversation()))
    (workspace.folder(ANNOTATIONS) / ASSISTANT_CARD).write_text("{}")

    with pytest.raises(WorkspaceError, match=r"assistant\.json is not a AssistantCard"):
        workspace.card()


@pytest.mark.parametrize("name", ["../x.yml", "a/../../x.yml", "/etc/x.yml", "../1_command_annotations2/x.yml"])
def test_a_test_files_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(WorkspaceError, match="leads out of"):
        record_path(tmp_path / ANNOTATIONS, name)


@pytest.mark.parametrize("name", ["x.yml", "cars/x.yml", "cars/..x.yml", "Zürich/東京.yaml"])
def test_a_test_file_has_its_record_beside_its_yaml(tmp_path: Path, name: str) -> None:
    assert record_path(tmp_path, name) == tmp_path / f"{name}.json"


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path)

    with pytest.raises(WorkspaceError, match="leads out of"):
        record_path(tmp_path / "folder", "link/x.yml")


# Examples and summaries


def example(message: str) -> Example:
    return Example(
        test="cars.yml::books a car",
        turn=0,
        step=1,
        variant=0,
        message=message,
        original_message=message,
        prompt=f"USER: {message}",
        completion="SetSlot(city, Basel)",
        commands=commands("SetSlot(city, Basel)"),
        syntax="v1",
        made_by="recorded",
    )


def with_examples(root: Path, *examples: Example) -> Workspace:
    workspace = Workspace(root)
    with workspace.writing(DATASET, KEY) as folder:
        write_jsonl(folder / EXAMPLES, [entry.model_dump(mode="json") for entry in examples])
    return workspace


@pytest.mark.parametrize(
    "message", ["to Zürich", "東京", 'say "a"\n\tb', "a\u2028b", "a\u2029b", "a\x85b", "a\x0cb\x1e"]
)
def test_examples_are_read_back_equal_one_a_line(tmp_path: Path, message: str) -> None:
    examples = [example(message), example("to Basel")]
    workspace = with_examples(tmp_path, *examples)

    assert (workspace.folder(DATASET) / EXAMPLES).read_bytes().count(b"\n") == 2
    assert list(workspace.examples()) == examples


@pytest.mark.parametrize("content", [b"{}\n", b"{\n", b"\xff\n"])
def test_examples_that_cannot_be_read_name_the_file_and_the_command(tmp_path: Path, content: bytes) -> None:
    workspace = with_examples(tmp_path, example("to Basel"))
    (workspace.folder(DATASET) / EXAMPLES).write_bytes(content)

    with pytest.raises(WorkspaceError, match=r"llm_ft_data\.jsonl cannot be read: [\s\S]*Run `rasa-ft dataset` again"):
        list(workspace.examples())


def test_examples_that_are_not_there_name_the_file_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"llm_ft_data\.jsonl cannot be read: .*Run `rasa-ft dataset` again"):
        list(Workspace(tmp_path).examples())


@pytest.mark.parametrize("content", [b"", b"{", b"[3]", b'{"tests": "many"}', b"\xff"])
def test_a_summary_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SUMMARY).write_bytes(content)

    with pytest.raises(WorkspaceError, match=r"summary\.json"):
        read_summary(tmp_path, AnnotateSummary)


# YAML


WORDS = """
Zürich|東京 🚗|Łódź|yes|no|on|1|1.5|0x1F|1e3|null|~|true|2024-05-14|12:30|| |-|- a|a: b|# a|a # b|'|"|'a'|{a}|[a]|*a|&a
!a|%a|@a|`a`|---|...|>|?|\\n|	|a | a|SetSlot(city, Basel)|/SetSlots(city=Basel)
"""[1:-1].replace("\n", "|").split("|")  # fmt: skip


@pytest.mark.parametrize("text", [*WORDS, "|"])
def test_a_string_stays_the_string_it_is(text: str) -> None:
    value = {"user": text, "steps": [text, {"bot": text}]}

    assert read_back(to_yaml(value)) == value


@pytest.mark.parametrize(
    "text", ["a\nb", "a\nb\n", "a\n\n\nb\n\n", "\na", "  a\n b", "a \nb", "a\n\tb", "\n", "ü\n東", "- a\n# b: c"]
)
def test_a_string_of_several_lines_stays_the_string_it_is(text: str) -> None:
    value = {"reason": text, "steps": [text, {"bot": text}]}

    assert read_back(to_yaml(value)) == value


@pytest.mark.parametrize(
    "text", ["a\r\nb", "a\nb\r", "\x1b[31mred\x1b[0m\nb", "a\n\x07", "a\n\x85b", "a\n\u2028b", "a\x85b"]
)
def test_a_string_with_control_characters_stays_the_string_it_is(text: str) -> None:
    value = {"reason": text, "steps": [text, {"bot": text}]}

    assert read_back(to_yaml(value)) == value


def test_a_string_of_several_lines_is_a_literal_block_and_a_long_line_stays_whole() -> None:
    text = to_yaml({"conversations": [{"prompt": "first\nsecond", "user": "word " * 200 + "end", "city": "Zürich"}]})

    assert text == (
        "conversations:\n  - prompt: |-\n      first\n      second\n"
        f"    user: {'word ' * 200}end\n    city: Zürich\n"
    )  # fmt: skip


def test_values_that_are_no_strings_keep_their_kind() -> None:
    value: dict[str, Any] = {"a": 1, "b": 1.5, "c": True, "d": None, "e": [], "f": {}, "g": [[1], [2]]}

    assert read_back(to_yaml(value)) == value


def test_a_value_that_occurs_twice_is_written_twice() -> None:
    step = {"user": "to Basel"}

    assert to_yaml([step, step]) == "  - user: to Basel\n  - user: to Basel\n"


def test_a_record_is_written_with_its_letters_as_they_are(tmp_path: Path) -> None:
    write_record(tmp_path / "sub" / "a.json", TestFile(file="Zürich/東京.yml"))

    assert "Zürich/東京.yml" in (tmp_path / "sub" / "a.json").read_text(encoding="utf-8")
    assert read_record(tmp_path / "sub" / "a.json", TestFile) == TestFile(file="Zürich/東京.yml")
