"""Prompts of the student: its template is checked, and the examples are rendered with it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.assistant import Simulation
from rasa_ft_ext.assistant.recorded import RecordedAssistant
from rasa_ft_ext.conversation import Annotation
from rasa_ft_ext.dataset.stage import dataset
from rasa_ft_ext.dataset.student import (
    SHIPPED,
    StudentPrompt,
    check_recordings,
    check_variables,
    read_student_prompt,
    shipped,
)
from rasa_ft_ext.errors import ConfigError, ForeignResultsError, WorkspaceError
from rasa_ft_ext.prompts import one_line, render, to_json
from rasa_ft_ext.workspace import DATASET, PROMPT_TEMPLATE, Workspace, read_annotations
from tests.builders import (
    TEMPLATE,
    FakeAssistant,
    annotated_file,
    assistant_card,
    conversation,
    rephrased,
    rephrased_workspace,
    rephrasing,
    said,
)

RECORDED = Path(__file__).parents[2] / "assistant_example" / "annotations"
CAR, BASEL, ZURICH = "StartFlow(book_car)", "SetSlot(city, Basel)", "SetSlot(city, Zurich)"
STUDENT = StudentPrompt("short", "{{ message }}!")

FLOWS = [
    {
        "name": "book_car",
        "description": "books a car",
        "slots": [
            {"name": "city", "description": "where", "allowed_values": None},
            {"name": "size", "description": None, "allowed_values": "['small', 'big']"},
        ],
    },
    {
        "name": "book_hotel",
        "description": "books a room",
        "slots": [{"name": "city", "description": "where", "allowed_values": None}],
    },
]
IDLE: dict[str, Any] = {
    "available_flows": FLOWS,
    "current_conversation": "USER: hello",
    "flow_slots": [],
    "current_flow": None,
    "current_slot": None,
    "current_slot_description": None,
    "user_message": "hello",
}
BUSY: dict[str, Any] = {
    **IDLE,
    "current_flow": "book_car",
    "current_slot": "size",
    "flow_slots": [
        {"name": "city", "value": "Basel", "type": "text", "allowed_values": None, "description": "where"},
        {"name": "size", "value": "undefined", "type": "categorical", "allowed_values": "['small', 'big']"},
        {"name": "key", "value": "undefined", "type": "text", "allowed_values": "['a']", "description": "which"},
    ],
}


def written(folder: Path, source: str) -> Path:
    path = folder / "student.jinja2"
    path.write_text(source, encoding="utf-8")
    return path


def problems(error: pytest.ExceptionInfo[ConfigError]) -> str:
    return " ".join(error.value.problems)


# Reading a template


@pytest.mark.parametrize("name", SHIPPED)
def test_the_templates_that_ship_have_names(name: str, tmp_path: Path) -> None:
    assert read_student_prompt(name, tmp_path) == shipped(name)


def test_a_file_is_found_from_the_project(tmp_path: Path) -> None:
    written(tmp_path, "{{ user_message }}{{ available_flows }}")

    found = read_student_prompt("student.jinja2", tmp_path)

    assert found == StudentPrompt("student.jinja2", "{{ user_message }}{{ available_flows }}")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("a\n{% if %}", "Line 2 is no jinja2"),
        ("{{ user_message | shout }}", "Line 1 is no jinja2: No filter named 'shout'"),
        ("{{ available_flows }}", "does not show the user's message"),
        ("{{ user_message }}", "does not show the flows"),
        ("nothing", "does not show the user's message"),
    ],
)
def test_a_template_that_cannot_do_is_refused(source: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="prompt template") as error:
        read_student_prompt(written(tmp_path, source))
    assert reason in problems(error)


def test_all_problems_of_a_template_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read_student_prompt(written(tmp_path, "nothing"))
    assert len(error.value.problems) == 2


def test_a_file_that_is_not_there_or_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe{{")
    for name, reason in (("none", "No such file"), ("binary", "not UTF-8"), (".", "Is a directory")):
        with pytest.raises(ConfigError, match="compact, minimal") as error:
            read_student_prompt(name, tmp_path)
        assert reason in problems(error)


def test_variables_that_nobody_fills_in_are_refused() -> None:
    student = StudentPrompt("x", "{{ user_mesage }}{{ available_flows }}{{ colour }}{{ current_datetime }}")

    with pytest.raises(ConfigError) as error:
        check_variables(student, assistant_card())
    assert [problem.split(" is ")[0] for problem in error.value.problems] == ["{{ colour }}", "{{ user_mesage }}"]
    assert "user_message" in problems(error)


def test_variables_of_the_assistants_own_template_are_known() -> None:
    check_variables(StudentPrompt("x", "{{ colour }}"), assistant_card(templates={"t": "{{ colour }}"}))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ message.upper.length.x }}", "cannot be rendered"),
        ("{{ 1 / (message | length - message | length) }}", "ZeroDivisionError"),
        ("{% if false %}{{ message }}{% endif %}", "does not show the user's message"),
    ],
)
def test_a_template_is_rendered_for_every_recording_before_any_work(source: str, reason: str) -> None:
    booking = annotated_file(conversation(said("book a car", CAR), said("to Basel", BASEL)))

    with pytest.raises(ConfigError) as error:
        check_recordings(StudentPrompt("x", source), [booking])
    assert len(error.value.problems) == 1
    assert reason in problems(error)
    assert "First at cars.yml::books a car, user message 1; 2 in all." in problems(error)


# Examples


BOOKING = conversation(said("book a car", CAR), said("to Basel", BASEL))
REPHRASED = rephrased(
    BOOKING,
    {0: [rephrasing("I need a car", CAR)], 1: [rephrasing("to Zurich", ZURICH, differs=True)]},
)


async def test_prompts_are_the_students_and_labels_the_teachers(tmp_path: Path) -> None:
    workspace = rephrased_workspace(tmp_path, [annotated_file(BOOKING)], REPHRASED)

    summary = await dataset(workspace, RecordedAssistant(assistant_card()), student=STUDENT)

    assert [(example.prompt, example.completion, example.made_by) for example in workspace.examples()] == [
        ("book a car!", CAR, "rendered"),
        ("to Basel!", BASEL, "rendered"),
        ("I need a car!", CAR, "rendered"),
        ("to Zurich!", ZURICH, "rendered"),
    ]
    assert summary.student_prompt == "short"
    assert workspace.template() == STUDENT.source


async def test_without_a_student_the_assistants_own_template_stands_beside_the_examples(tmp_path: Path) -> None:
    workspace = rephrased_workspace(tmp_path, [annotated_file(BOOKING)])

    summary = await dataset(workspace, RecordedAssistant(assistant_card()))

    assert workspace.template() == TEMPLATE
    assert summary.student_prompt is None


async def test_of_two_templates_none_stands_beside_the_examples(tmp_path: Path) -> None:
    turn = BOOKING.turns[1]
    assert turn.annotation is not None
    other = turn.model_copy(update={"annotation": turn.annotation.model_copy(update={"template": "other"})})
    mixed = BOOKING.model_copy(update={"turns": (BOOKING.turns[0], other)})
    workspace = rephrased_workspace(tmp_path, [annotated_file(mixed)])
    card = assistant_card()

    await dataset(workspace, RecordedAssistant(card.model_copy(update={"templates": {**card.templates, "other": ""}})))

    assert not (workspace.folder(DATASET) / PROMPT_TEMPLATE).exists()
    with pytest.raises(WorkspaceError, match="it is not known which prompt template"):
        workspace.template()


async def test_conversations_that_are_run_again_are_run_with_the_students_template(tmp_path: Path) -> None:
    three = conversation(said("book a car", CAR), said("to Basel", BASEL), said("yes", CAR))
    found = rephrased(three, {1: [rephrasing("to Zurich", ZURICH, differs=True)]})
    workspace = rephrased_workspace(tmp_path, [annotated_file(three)], found)
    assistant = FakeAssistant(Simulation({2: "simulated!"}))

    await dataset(workspace, assistant, student=STUDENT)

    assert [entry.template for entry in assistant.simulated] == [STUDENT.source]
    assert [example.prompt for example in workspace.examples()][-1] == "simulated!"


CLOCK = conversation(said("book a car", CAR), said("to Basel", BASEL, renders=False))


async def test_an_original_whose_variables_are_not_recorded_is_run_again(tmp_path: Path) -> None:
    workspace = rephrased_workspace(tmp_path, [annotated_file(CLOCK)])
    assistant = FakeAssistant(Simulation({1: "simulated!"}))

    summary = await dataset(workspace, assistant, student=STUDENT)

    assert [(example.prompt, example.made_by) for example in workspace.examples()] == [
        ("book a car!", "rendered"),
        ("simulated!", "simulated"),
    ]
    assert (summary.simulated, summary.left_out) == (1, 0)
    assert assistant.simulated[0].messages == ("book a car", "to Basel")


async def test_without_the_assistant_such_an_original_is_left_out_and_counted(tmp_path: Path) -> None:
    workspace = rephrased_workspace(tmp_path, [annotated_file(CLOCK)])

    summary = await dataset(workspace, RecordedAssistant(assistant_card()), student=STUDENT)

    assert [example.prompt for example in workspace.examples()] == ["book a car!"]
    assert summary.left_out == 1
    assert summary.notes[0].startswith("1 user steps are left out")


async def test_if_no_prompt_can_be_rendered_the_assistant_is_asked_for(tmp_path: Path) -> None:
    workspace = rephrased_workspace(tmp_path, [annotated_file(conversation(said("to Basel", BASEL, renders=False)))])

    with pytest.raises(WorkspaceError, match=r"cannot be rendered from the recording\. Run with the assistant itself"):
        await dataset(workspace, RecordedAssistant(assistant_card()), student=STUDENT)


async def test_a_prompt_with_two_labels_is_reported_with_its_tests_and_kept(tmp_path: Path) -> None:
    other = conversation(said("a hotel", "StartFlow(book_hotel)"), said("to Basel", ZURICH), name="hotel")
    third = conversation(said("a bed", "StartFlow(book_hotel)"), said("to Basel", ZURICH), name="bed")
    workspace = rephrased_workspace(tmp_path, [annotated_file(BOOKING, other, third)])

    summary = await dataset(workspace, RecordedAssistant(assistant_card()), student=STUDENT)

    assert summary.contradictions == (
        "'to Basel': cars.yml::books a car (SetSlot(city, Basel)) or cars.yml::hotel, cars.yml::bed "
        "(SetSlot(city, Zurich))",
    )
    assert "student's prompt may leave out" in summary.notes[0]
    assert (summary.examples, summary.duplicates) == (5, 1)


async def test_commands_in_another_order_do_not_contradict(tmp_path: Path) -> None:
    one = conversation(said("to Basel", f"{BASEL}\n{CAR}"))
    other = conversation(said("to Basel", f"{CAR}\n{BASEL}"), name="other")
    workspace = rephrased_workspace(tmp_path, [annotated_file(one, other)])

    summary = await dataset(workspace, RecordedAssistant(assistant_card()), student=STUDENT)

    assert (summary.examples, summary.contradictions) == (2, ())


async def test_a_contradiction_of_the_tests_themselves_is_reported_too(tmp_path: Path) -> None:
    other = conversation(said("book a car", "StartFlow(book_hotel)"), name="other")
    workspace = rephrased_workspace(tmp_path, [annotated_file(BOOKING, other)])

    summary = await dataset(workspace, RecordedAssistant(assistant_card()))

    assert len(summary.contradictions) == 1
    assert "student" not in summary.notes[0]


async def test_another_template_is_another_run(tmp_path: Path) -> None:
    workspace = rephrased_workspace(tmp_path, [annotated_file(BOOKING)])
    first = await dataset(workspace, RecordedAssistant(assistant_card()), student=STUDENT)

    assert await dataset(workspace, RecordedAssistant(assistant_card()), student=STUDENT) == first
    for other in (StudentPrompt("short", "{{ message }}?"), None):
        with pytest.raises(ForeignResultsError, match="differs in: student_prompt"):
            await dataset(workspace, RecordedAssistant(assistant_card()), student=other)


async def test_a_template_that_does_not_fit_the_recordings_leaves_everything_as_it_was(tmp_path: Path) -> None:
    workspace = rephrased_workspace(tmp_path, [annotated_file(BOOKING)])

    with pytest.raises(ConfigError, match="does not show the user's message"):
        await dataset(workspace, FakeAssistant(), student=StudentPrompt("x", "{{ history[:3] }}"))
    assert not workspace.folder(DATASET).exists()


# The templates that ship


def recordings() -> Iterator[tuple[Annotation, list[str]]]:
    for file in read_annotations(RECORDED):
        for entry in file.conversations:
            for index, turn in entry.annotated:
                assert turn.annotation is not None
                yield turn.annotation, [other.message for other in entry.turns[: index + 1]]


def section(prompt: str, name: str) -> list[str]:
    found = re.search(rf"^# {name}\n(.*?)(?:\n\n# |\Z)", prompt, re.MULTILINE | re.DOTALL)
    assert found, prompt
    return found[1].split("\n")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_template_shows_of_every_recording_what_the_label_can_depend_on(name: str) -> None:
    check_recordings(shipped(name), read_annotations(RECORDED))
    for annotation, messages in recordings():
        variables = annotation.variables
        prompt = render(shipped(name).source, variables, messages)
        last = one_line(messages[-1])
        flows = [line.split(":")[0] for line in section(prompt, "Flows") if not line.startswith("- ")]
        assert flows == [flow["name"] for flow in variables["available_flows"]]
        assert section(prompt, "Last message") == [last]
        assert section(prompt, "Conversation")[-1] == f"USER: {last}"
        state = section(prompt, "State")
        assert state[0] == (f"flow: {variables['current_flow']}" if variables["current_flow"] else "no flow")
        assert (f"asked for: {variables['current_slot']}" in state) == bool(variables["current_slot"])
        values = {slot["name"]: slot["value"] for slot in variables["flow_slots"]}
        assert {line for line in state if " = " in line} == {
            f"{slot} = {value}" for slot, value in values.items() if value != "undefined"
        }
        assert not re.search(r"[ \t]+$|\n\n\n", prompt, re.MULTILINE)


def test_compact_has_every_slot_of_every_flow_and_tells_what_it_is_once() -> None:
    prompt = render(shipped("compact").source, IDLE, [])

    assert section(prompt, "Flows") == [
        "book_car: books a car",
        "- city: where",
        "- size ['small', 'big']",
        "book_hotel: books a room",
        "- city",
    ]


def test_a_slot_that_means_something_else_in_another_flow_is_told_there() -> None:
    flows = [FLOWS[0], {**FLOWS[1], "slots": [{"name": "city", "description": "of the hotel", "allowed_values": None}]}]

    assert section(render(shipped("compact").source, {**IDLE, "available_flows": flows}, []), "Flows")[-1] == (
        "- city: of the hotel"
    )


def test_compact_tells_what_a_slot_is_that_no_startable_flow_has() -> None:
    assert section(render(shipped("compact").source, BUSY, []), "State") == [
        "flow: book_car",
        "city = Basel",
        "- key: which ['a']",
        "asked for: size",
    ]


def test_minimal_has_names_and_values_only() -> None:
    prompt = render(shipped("minimal").source, BUSY, [])

    assert section(prompt, "Flows") == ["book_car", "book_hotel"]
    assert section(prompt, "State") == ["flow: book_car", "city = Basel", "asked for: size"]


@pytest.mark.parametrize("name", SHIPPED)
def test_without_a_flow_there_is_no_state(name: str) -> None:
    assert section(render(shipped(name).source, IDLE, []), "State") == ["no flow"]


@pytest.mark.parametrize("name", SHIPPED)
def test_agents_stand_in_the_state_where_the_assistant_has_some(name: str) -> None:
    agents = {
        "active_agent": {"name": "researcher", "description": "reads"},
        "completed_agents": [{"name": "buyer", "description": None}],
    }
    without = {"active_agent": None, "completed_agents": []}
    told = ": reads" if name == "compact" else ""

    state = section(render(shipped(name).source, {**BUSY, **agents}, []), "State")

    assert state[-2:] == [f"agent: researcher{told}", "agent that is done: buyer"]
    assert render(shipped(name).source, {**BUSY, **without}, []) == render(shipped(name).source, BUSY, [])


@pytest.mark.parametrize("name", SHIPPED)
def test_date_and_time_come_last_and_only_where_the_assistant_has_them(name: str) -> None:
    now = to_json(datetime(2026, 1, 5, 9, 30, 7, tzinfo=UTC))
    without = render(shipped(name).source, IDLE, [])

    assert render(shipped(name).source, {**IDLE, "current_datetime": now}, []) == (
        f"{without}\n\n# Now\nMonday, 05 January 2026, 09:30:07 UTC"
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_template_uses_what_rasa_gives_and_nothing_else(name: str) -> None:
    check_variables(shipped(name), assistant_card(templates={}))


async def test_training_knows_the_students_template(tmp_path: Path) -> None:
    from rasa_ft_ext.split.stage import split
    from rasa_ft_ext.train.data import find_data

    tests = [conversation(said(f"car {name}", CAR), name=name) for name in ("a", "b")]
    workspace = rephrased_workspace(tmp_path, [annotated_file(*tests)])
    for student in (STUDENT, None):
        again = Workspace(tmp_path, force=True)
        await dataset(again, RecordedAssistant(assistant_card()), student=student)
        split(again, train_frac=1)

        source = student.source if student else TEMPLATE
        sha = hashlib.sha256(source.encode()).hexdigest()
        assert find_data(workspace.root).origin.templates == {sha[:12]: sha}


async def test_rows_of_examples_that_were_made_again_are_not_trained_on(tmp_path: Path) -> None:
    from rasa_ft_ext.split.stage import split
    from rasa_ft_ext.train.data import find_data

    workspace = rephrased_workspace(tmp_path, [annotated_file(BOOKING)])
    await dataset(workspace, RecordedAssistant(assistant_card()))
    split(workspace, train_frac=1)
    await dataset(Workspace(tmp_path, force=True), RecordedAssistant(assistant_card()), student=STUDENT)

    with pytest.raises(WorkspaceError, match="made from other dataset"):
        find_data(tmp_path)
