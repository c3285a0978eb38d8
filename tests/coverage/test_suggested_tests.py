"""`rasa-ft check-coverage --suggest`: the drafted files, who words them, and where they are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ruamel.yaml import YAML

from rasa_ft_ext.cli.main import main
from rasa_ft_ext.commands import read
from rasa_ft_ext.coverage.count import count
from rasa_ft_ext.coverage.drafts import Draft, drafts
from rasa_ft_ext.coverage.paths import find_paths
from rasa_ft_ext.coverage.suggested import HEAD, to_text
from rasa_ft_ext.coverage.values import values_of
from rasa_ft_ext.coverage_results import COVERAGE, COVERAGE_FILE, Coverage
from rasa_ft_ext.flow_map import END, FlowMap, MappedFlow, MappedSlot, MappedStep, Way
from rasa_ft_ext.llm.scripted.script import Script
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.workspace import read_flow_map, read_record
from tests.coverage.test_check_coverage_command import EXAMPLE, output_of, without_flow

FLOW = "change_flight"
FILE = f"suggested/{FLOW}.yml"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The example's annotations, without those of one flow."""
    recording = Path(shutil.copytree(EXAMPLE / "annotations", tmp_path / "recording"))
    without_flow(recording, FLOW)
    return output_of(recording)


def check(*words: object) -> int:
    return main(["check-coverage", *map(str, words)])


def found(folder: Path) -> Coverage:
    return read_record(folder / COVERAGE / COVERAGE_FILE, Coverage)


def cases(text: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = YAML(typ="safe").load(text)["test_cases"]
    return loaded


def messages(text: str) -> list[str]:
    return [step["user"] for case in cases(text) for step in case["steps"] if "user" in step]


def drafted(flows: FlowMap) -> list[Draft]:
    gaps = count(flows, [], (), failed=0).gaps
    return drafts(flows, list(find_paths(flows, gaps, values_of(flows, []))))


def flow_of(*steps: MappedStep, flow: str = "f", **more: Any) -> MappedFlow:
    return MappedFlow(id=flow, name="a flow", steps=steps, file="flows.yml", line=1, **more)


def test_every_gap_names_its_test_wherever_it_is_told(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(out, "--suggest") == 2

    text = (out / COVERAGE / FILE).read_text(encoding="utf-8")
    gaps = found(out).gaps
    file = out / COVERAGE / FILE
    names = {f"{file}::{case['test_case']}" for case in cases(text)}
    assert {gap.suggestion for gap in gaps} < names  # the last one is for a branch of a step that nobody came to yet
    assert all(f"#   {gap.place}: {FLOW}, {gap.what}\n" in text for gap in gaps)
    assert f"{file}, for 16 of what is missing" in capsys.readouterr().out
    assert "| suggested test |" in (out / COVERAGE / "coverage.md").read_text(encoding="utf-8")
    junit = ElementTree.parse(out / COVERAGE / "junit.xml").getroot()
    failure = next(case for case in junit.iter("testcase") if str(case.get("name")).startswith(FLOW))
    assert f"flights.yml:8: action action_find_flight; suggested test: {file}::" in str(failure.findtext("failure"))
    assert main(["report", str(out)]) == 0
    assert f"suggested test: {file}::" in (out / "report.html").read_text(encoding="utf-8")


def test_each_message_says_which_commands_it_should_give(out: Path) -> None:
    check(out, "--suggest")

    text = (out / COVERAGE / FILE).read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines()]
    told = [line.removeprefix("# commands: ") for line in lines if line.startswith("# commands: ")]
    assert len(told) == len(messages(text))
    assert all(len(read(entry, "v2")) == 1 for entry in told)
    behind = [lines[index + 1] for index, line in enumerate(lines) if line.startswith("# commands: ")]
    assert all(line.startswith("- user: ") for line in behind)


def test_the_same_gaps_give_the_same_bytes_and_old_files_go(out: Path) -> None:
    check(out, "--suggest")
    folder = out / COVERAGE / "suggested"
    first = (out / COVERAGE / FILE).read_bytes()
    (folder / "gone.yml").write_text(f"{HEAD}: of an earlier run\n", encoding="utf-8")
    (folder / "mine.yml").write_text("test_cases: []\n", encoding="utf-8")

    check(out)
    assert (folder / "gone.yml").exists()
    check(out, "--suggest", "drafts")

    assert (out / COVERAGE / FILE).read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == [f"{FLOW}.yml", "mine.yml"]


def test_nothing_missing_nothing_suggested(tmp_path: Path) -> None:
    out = output_of(Path(shutil.copytree(EXAMPLE / "annotations", tmp_path / "recording")))

    assert check(out, "--suggest") == 0

    assert not (out / COVERAGE / "suggested").exists()


def test_a_folder_that_says_nothing_of_the_flows_is_refused(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(out)
    results = Path(shutil.copytree(out / COVERAGE, tmp_path / "results"))

    assert check(results, "--suggest") == 1

    assert "Give --suggest to" in capsys.readouterr().err


def test_a_folder_behind_the_flag_is_no_way_of_wording(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        check("--suggest", out)

    assert "A folder goes before --suggest" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / COVERAGE).mkdir()
    (out / COVERAGE / "suggested").write_text("", encoding="utf-8")

    assert check(out, "--suggest") == 1

    assert str(out / COVERAGE / "suggested") in capsys.readouterr().err


class TestWordedByAnLLM:
    """`--suggest llm`, over HTTP."""

    @pytest.fixture(autouse=True)
    def _no_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    @staticmethod
    def suggest(out: Path, *answers: dict[str, Any]) -> tuple[str, Coverage, list[str]]:
        """The file, the results, and the prompts that the LLM got."""
        with scripted_llm(Script.of(*answers)) as llm:
            assert check(out, "--suggest", "llm", "--llm-api-base", llm.base_url) == 2
            prompts = llm.requests
        return (out / COVERAGE / FILE).read_text(encoding="utf-8"), found(out), prompts

    @staticmethod
    def answer_to(out: Path, name: str, change: str = "Well, {}") -> dict[str, Any]:
        """What an LLM could say: the drafted messages in other words."""
        if not (out / COVERAGE / FILE).exists():
            check(out, "--suggest")
        case = next(c for c in cases((out / COVERAGE / FILE).read_text(encoding="utf-8")) if c["test_case"] == name)
        said = [step["user"] for step in case["steps"] if "user" in step]
        return {"user": name, "text": "\n".join(f"{n}. {change.format(text)}" for n, text in enumerate(said, 1))}

    def test_a_usable_answer_takes_the_place_of_the_drafts(self, out: Path) -> None:
        names = [f"suggested_{FLOW}_{number}" for number in range(1, 7)]
        text, coverage, prompts = self.suggest(out, *(self.answer_to(out, name) for name in names))

        assert len(prompts) == 6
        assert "move a flight that is booked already to another flight" in prompts[0]
        assert all(message.startswith("Well, ") for message in messages(text))
        assert not any("drafted messages" in note for note in coverage.notes)

    def test_an_answer_that_is_no_use_is_told_and_the_drafts_stay(self, out: Path) -> None:
        usable = [self.answer_to(out, f"suggested_{FLOW}_{number}") for number in (1, 2, 6)]
        too_short = {"user": f"suggested_{FLOW}_3", "text": "1. Hello there"}
        no_value = self.answer_to(out, f"suggested_{FLOW}_4", "Well")
        payload = self.answer_to(out, f"suggested_{FLOW}_5", "/SetSlots(a={})")
        text, coverage, _ = self.suggest(out, too_short, no_value, payload, *usable)

        by_name = {case["test_case"]: case["steps"][0]["user"] for case in cases(text)}
        assert [message.startswith("Well, ") for message in by_name.values()] == [True, True, False, False, False, True]
        (note,) = (note for note in coverage.notes if "drafted messages" in note)
        assert note.startswith("3 of 6 suggested tests keep the drafted messages: ")
        assert "not one numbered message for each turn (1)" in note
        assert "lacks the value that it should give (1)" in note
        assert "is a payload (1)" in note

    def test_nobody_there_is_told_once_and_the_drafts_stay(self, out: Path) -> None:
        check(out, "--suggest")
        before = (out / COVERAGE / FILE).read_bytes()
        with scripted_llm(Script.of()) as llm:
            address = llm.base_url

        assert check(out, "--suggest", "llm", "--llm-api-base", address) == 2

        assert (out / COVERAGE / FILE).read_bytes() == before
        told = [note for note in found(out).notes if "Nobody answers" in note]
        assert len(told) == 1
        assert told[0].startswith("6 of 6 suggested tests keep the drafted messages: ")
        assert told[0].endswith("(6)")

    def test_a_configuration_that_cannot_work_stops_before_anything_is_written(
        self, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "rephrase.yml").write_text("llm: {model_group: none}\n", encoding="utf-8")

        assert check(out, "--suggest", "llm", "--rephrase-config", tmp_path / "rephrase.yml") == 1

        assert "no model group 'none'" in capsys.readouterr().err
        assert not (out / COVERAGE).exists()


def test_one_round_closes_the_branches_behind_what_is_missing_as_well(out: Path) -> None:
    check(out, "--suggest")

    text = (out / COVERAGE / FILE).read_text(encoding="utf-8")
    assert not any(gap.kind == "branch" for gap in found(out).gaps)
    assert "flights.yml:40: change_flight, else, on to action utter_flight_unchanged" in text
    assert "flights.yml:8: change_flight, if" not in text  # the step that it leads to stands there


def test_the_map_of_the_example_says_what_a_draft_needs() -> None:
    flows = read_flow_map(EXAMPLE / "annotations")

    assert flows is not None
    steps = {(flow.id, step.slot or step.id): step for flow in flows.flows for step in flow.steps}
    slots = {slot.name: slot for slot in (*flows.slots, *flows.others)}
    assert steps["book_excursion", "excursion_name"].asks == "action_ask_excursion_name"
    assert steps["book_excursion", "excursion_party_size"].asks == "utter_ask_excursion_party_size"
    assert len(steps["book_excursion", "excursion_party_size"].refused) == 2
    assert "matches" in steps["change_flight", "flight_search_start_date"].refused[0]  # the slot's own, not the step's
    assert steps["settle_booking", "confirm_booking"].ask_anyway
    assert steps["book_excursion", "quote"].sets == {"booking_kind": "excursion"}
    assert next(flow for flow in flows.flows if flow.id == "search_hotel").persisted == ("trip_destination",)
    assert (slots["flight_change_fee"].type, slots["flight_change_fee"].from_llm) == ("float", False)
    assert slots["trip_destination"].from_llm
    assert {"action_book", "validate_hotel_name"} < set(flows.actions)
    assert not any(name.startswith(("utter_", "flow_")) for name in flows.actions)


def test_what_no_user_can_say_is_set_by_fixtures_and_stubs() -> None:
    steps = (
        MappedStep(
            id="a", kind="action", action="look", ways=(Way(to="b", condition='slots.kind is "x"'), Way(to=END))
        ),
        MappedStep(id="b", kind="collect", slot="card", asks="action_ask_card", ways=(Way(to=END),)),
    )
    slots = (MappedSlot(name="card", type="text"),)
    others = (MappedSlot(name="kind", type="text", from_llm=False), MappedSlot(name="in", type="bool", from_llm=False))
    flows = FlowMap(
        flows=(flow_of(*steps, flow="look-up", guard="slots.in"),),
        slots=slots,
        others=others,
        actions=("action_ask_card", "action_session_start", "look", "validate_card"),
    )

    text = to_text(drafted(flows), "v2")

    loaded = YAML(typ="safe").load(text)
    stubs = loaded["stub_custom_actions"]
    assert stubs.keys() == set(flows.actions)
    assert stubs["look"]["events"] == [{"event": "slot", "name": "kind", "value": "x"}]
    assert stubs["action_session_start"]["events"][0] == {"event": "session_started"}
    assert stubs["action_ask_card"]["responses"]
    assert loaded["fixtures"] == [{"suggested_look_up_1": [{"in": True}]}]
    assert [case["fixtures"] for case in loaded["test_cases"]] == [["suggested_look_up_1"]]
    assert "RASA_PRO_BETA_STUB_CUSTOM_ACTION=true" in text


def test_what_cannot_be_read_or_reached_is_said_above_the_test() -> None:
    agent = MappedStep(id="a", kind="call", flow="some_agent", ways=(Way(to="b", condition="context.x"), Way(to="b")))
    never = MappedStep(id="b", kind="noop", ways=(Way(to="c", condition="slots.in is 7"), Way(to=END)))
    last = MappedStep(id="c", kind="action", action="utter_c", ways=(Way(to=END),))
    slots = (MappedSlot(name="in", type="bool", from_llm=False),)
    flows = FlowMap(flows=(flow_of(agent, never, last, startable=False),), others=slots)

    first, second = drafted(flows)

    assert [gap.step for gap in first.closes] == ["a", "b"]
    assert "the end of some_agent, which is no flow; context.x" in first.notes[-1]
    assert "No flow that a user can start leads to f" in first.notes[0]
    assert "contradict each other" in second.notes[0]
    assert "# The conditions on this way contradict" in to_text([first, second], "v2")


def test_a_value_that_no_draft_can_guess_is_left_to_a_person() -> None:
    ask = MappedStep(id="a", kind="collect", slot="iban", refused=('not (slots.iban matches "^CH[0-9]{19}$")',))
    last = MappedStep(id="b", kind="action", action="utter_b", ways=(Way(to=END),))
    steps = (ask.model_copy(update={"ways": (Way(to="b"),)}), last)

    found = drafted(FlowMap(flows=(flow_of(*steps),), slots=(MappedSlot(name="iban", type="text"),)))

    behind = next(draft for draft in found if draft.closes[0].step == "b")
    assert "refuse every value that was tried" in behind.notes[0]
    assert [turn.command.type for turn in behind.turns] == ["StartFlow", "SetSlot"]


def test_a_test_with_nothing_to_check_asserts_that_the_flow_began() -> None:
    flows = FlowMap(flows=(flow_of(MappedStep(id="a", kind="action", action="quiet")),), actions=("quiet",))

    (case,) = cases(to_text(drafted(flows), "v1"))

    assert case["steps"] == [{"user": "I need help with a flow.", "assertions": [{"flow_started": "f"}]}]


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("Move a flight. Ask for the day.", "I'd like to move a flight."),
        ("find a hotel; not for flats", "I'd like to find a hotel."),
        ("This flow books cars", "I need help with a flow."),
        ("Handles refunds", "I need help with a flow."),
        ("let the user pay", "I need help with a flow."),
        ("", "I need help with a flow."),
    ],
)
def test_the_first_message_is_the_flows_instruction_or_its_name(description: str, message: str) -> None:
    flows = FlowMap(flows=(flow_of(MappedStep(id="a", kind="action", action="utter_a"), description=description),))

    assert drafted(flows)[0].turns[0].message == message


def test_values_are_those_that_pass_and_that_the_branch_needs() -> None:
    day = MappedStep(
        id="a", kind="collect", slot="due", refused=('not (slots.due matches "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")',)
    ).model_copy(update={"ways": (Way(to="b"),)})
    many = MappedStep(id="b", kind="collect", slot="many", refused=("slots.many < 1",))
    many = many.model_copy(update={"ways": (Way(to="c", condition="slots.many > 8"), Way(to=END))})
    last = MappedStep(id="c", kind="action", action="utter_c", ways=(Way(to=END),))
    slots = (MappedSlot(name="due", type="text"), MappedSlot(name="many", type="float"))

    (draft,) = drafted(FlowMap(flows=(flow_of(day, many, last),), slots=slots))

    assert [turn.command.args for turn in draft.turns[1:]] == [("due", "2030-06-03"), ("many", "9")]
    assert draft.turns[2].checks == ({"slot_was_set": [{"many": 9.0}]}, {"utter": "utter_c"})
    assert json.dumps(draft.turns[2].checks)
