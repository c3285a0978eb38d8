"""What counts as covered, from the events of conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.commands import Command, mentioned
from rasa_ft_ext.coverage.count import Tested, as_tested, count
from rasa_ft_ext.coverage.stack import Move, moves
from rasa_ft_ext.coverage_results import Coverage
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.workspace import read_annotations, read_card, read_flow_map
from tests.coverage.coverage_builders import FLOWS, Stack, all_steps, patch, slot, user, walk

RECORDED = Path(__file__).parents[2] / "assistant_example" / "annotations"


def counted(*tests: list[dict[str, Any]], offered: tuple[str, ...] = ()) -> Coverage:
    return count(FLOWS, [Tested(f"tests.yml::{number}", test) for number, test in enumerate(tests)], offered, failed=0)


def gaps(coverage: Coverage, flow: str) -> list[tuple[str, str]]:
    return [(gap.place, gap.what) for gap in coverage.gaps if gap.flow == flow]


def test_everything_that_was_gone_through_is_covered() -> None:
    coverage = counted(*all_steps())

    assert (coverage.visited, coverage.steps, coverage.share) == (7, 7, 1)
    assert [(flow.taken, flow.branches) for flow in coverage.flows] == [(2, 2), (0, 0)]
    assert coverage.gaps == ()


def test_what_is_missing_has_its_place() -> None:
    coverage = counted(list(walk("book", "ask", "choose", "small", "END")))

    assert gaps(coverage, "book") == [
        ("data/flows.yml:6", "if slots.city is 'big', on to action utter_big"),
        ("data/flows.yml:9", "action utter_big"),
        ("data/flows.yml:14", "call pay"),
    ]
    assert gaps(coverage, "pay") == [("data/flows.yml:18", "collect method"), ("data/flows.yml:19", "set_slots note")]


def test_no_tests_are_0_percent() -> None:
    coverage = counted()

    assert (coverage.tests, coverage.share, coverage.slot_share) == (0, 0, 0)
    assert [flow.share for flow in coverage.flows] == [0, 0]


def test_an_assistant_without_flows_is_0_percent_too() -> None:
    assert count(FlowMap(flows=()), [], (), failed=0).share == 0


def test_a_flow_that_is_called_counts_for_itself() -> None:
    coverage = counted(all_steps()[0])

    assert [(flow.id, flow.visited) for flow in coverage.flows] == [("book", 4), ("pay", 2)]
    assert [flow.tests for flow in coverage.flows] == [("tests.yml::0",)] * 2


def test_slots_that_a_cancellation_empties_are_no_visit() -> None:
    stack = Stack()
    cancelled = [
        user({"command": "start flow", "flow": "pay"}),
        stack.push("F1", "pay"),
        user({"command": "cancel flow"}),
        stack.go("F1", "NEXT:END"),
        stack.go("F1", "END"),
        slot("method", None),
        {"event": "flow_cancelled", "flow_id": "pay", "step_id": "START"},
    ]

    coverage = counted(cancelled)

    assert coverage.visited == 0
    assert {entry.name: entry.filled for entry in coverage.slots} == {"city": 0, "method": 0}


def test_a_flow_that_is_told_where_to_go_on_takes_no_branch_by_that() -> None:
    stack = Stack()
    corrected = [user(), stack.push("F1", "book"), stack.go("F1", "choose"), stack.go("F1", "NEXT:small")]
    corrected.append(stack.go("F1", "small"))

    coverage = counted(corrected)

    assert [move.after for move in moves(corrected)] == ["START", "choose", "small"]
    assert coverage.flows[0].taken == 0
    assert coverage.flows[0].visited == 2


def test_frames_that_change_their_places_keep_their_flows() -> None:
    stack = Stack()
    one, two = stack.push("F1", "book", "ask"), stack.push("F2", "pay", "how")
    shuffled = patch(
        {"op": "move", "from": "/1", "path": "/0"}, {"op": "replace", "path": "/0/step_id", "value": "note"}
    )

    assert list(moves([one, two, shuffled])) == [
        Move("book", None, "ask"),
        Move("pay", None, "how"),
        Move("pay", "how", "note"),
    ]


def test_another_flow_in_the_same_place_is_no_way_between_them() -> None:
    one = Stack().push("F1", "book", "ask")
    other = patch(
        {"op": "replace", "path": "/0/flow_id", "value": "pay"}, {"op": "replace", "path": "/0/step_id", "value": "how"}
    )

    assert list(moves([one, other])) == [Move("book", None, "ask"), Move("pay", None, "how")]


def test_a_new_session_begins_with_an_empty_stack() -> None:
    stack = Stack()
    again = [stack.push("F1", "book", "ask"), {"event": "session_started"}, stack.go("F1", "choose")]

    with pytest.raises(WorkspaceError):
        list(moves(again))


@pytest.mark.parametrize("update", ["{", '[{"op": "remove", "path": "/3"}]', '[{"op": "test", "path": "/0"}]', "[1]"])
def test_events_that_are_not_whole_are_refused(update: str) -> None:
    with pytest.raises(WorkspaceError, match="rasa-ft annotate --force"):
        list(moves([{"event": "stack", "update": update}]))


def test_slots_count_from_the_first_message_on() -> None:
    coverage = counted([slot("city", "Bern"), user(), slot("method", "Cash"), slot("method", "cash")])

    assert [(entry.name, entry.filled, entry.unseen) for entry in coverage.slots] == [
        ("city", 0, ()),
        ("method", 2, ("card",)),
    ]
    assert coverage.slot_share == 0.5


def test_every_command_is_counted_also_those_that_rasas_histogram_lacks() -> None:
    names = ["repeat", "cannot handle", "correct slot", "error", "noop", "session start", "restart agent"]

    coverage = counted(
        [user(*({"command": name} for name in names)), user({"command": "repeat"})], offered=("ChitChat",)
    )

    found = {entry.name: (entry.count, entry.offered) for entry in coverage.commands}
    assert found == {"chitchat": (0, True), **dict.fromkeys(names, (1, False)), "repeat": (2, False)}


def test_a_command_that_rasa_turns_into_another_counts_as_both() -> None:
    events = [user({"command": "cannot handle"}), user({"command": "start flow"})]
    labels = {0: (Command(type="ChitChat"),), 1: (Command(type="StartFlow", args=("book",)),)}

    coverage = count(FLOWS, [Tested("a", events, labels)], (), failed=0)

    assert {entry.name: entry.count for entry in coverage.commands} == {
        "cannot handle": 1,
        "chitchat": 1,
        "start flow": 1,
    }


def test_the_commands_of_a_prompt_are_found() -> None:
    assert mentioned("Say `cancel flow` or `set slot x y`; provide information.", "v2") == ("SetSlot", "CancelFlow")
    assert mentioned("CancelFlow() or StartFlow(flow)", "v1") == ("StartFlow", "CancelFlow")
    assert mentioned("search and reply", "v3") == ("SearchAndReply",)


def test_the_example_is_covered_whole() -> None:
    flows, card = read_flow_map(RECORDED), read_card(RECORDED)
    assert flows is not None
    offered = {kind for template in card.templates.values() for kind in mentioned(template, card.syntax)}
    tests = [as_tested(entry) for file in read_annotations(RECORDED) for entry in file.conversations]

    coverage = count(flows, tests, offered, failed=0)

    assert (coverage.visited, coverage.steps, coverage.gaps) == (71, 71, ())
    assert all(entry.count for entry in coverage.commands if entry.offered)
    assert coverage.slot_share == 1
    assert json.loads(coverage.model_dump_json())["tests"] == 76
