"""What Rasa's own recipe gets wrong, one test each that shows ours does not.

The recipe is run live on the shipped example, whose tests have every oddity that the format knows, with 3 rephrasings.
Three of the defects need no assistant to be shown and stand elsewhere: a failed call that costs the conversation
(`tests/rephrase/test_rephrase_stage.py`), the reading of the rephraser's answer (`test_rephrase_answer.py`), and the
split's fraction, seed and coverage (`tests/split/test_assignment.py`).
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("rasa")

from ruamel.yaml import YAML

from rasa_ft_ext import commands as language
from rasa_ft_ext import prepare_data
from rasa_ft_ext.conversation import Conversation, Example, RephrasedConversation
from rasa_ft_ext.dataset.recombine import variants
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.workspace import ANNOTATIONS, SPLIT, Workspace
from tests.rasa_pro.projects import Project


@dataclass(frozen=True)
class Prepared:
    """The example after `prepare_data`, and the scripted LLM's address."""

    project: Project
    workspace: Workspace
    conversations: dict[str, Conversation]
    rephrased: dict[str, RephrasedConversation]
    examples: list[Example]

    def of(self, test: str, turn: int) -> list[Example]:
        return [example for example in self.examples if (example.test, example.turn) == (test, turn)]


@pytest.fixture(scope="module")
def prepared(example: Project, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(example, example.tests, tmp_path_factory.mktemp("output"))


def prepare(project: Project, tests: Path, out: Path, **options: Any) -> Prepared:
    with project.entered(), project.at_home():
        prepare_data(tests, project=project.path, out=out, **{"num_rephrases": 3, **options})
    workspace = Workspace(out)
    return Prepared(
        project=project,
        workspace=workspace,
        conversations={entry.id: entry for file in workspace.annotations() for entry in file.conversations},
        rephrased={entry.id: entry for file in workspace.rephrasings() for entry in file.conversations},
        examples=list(workspace.examples()),
    )


def said_by_the_llm(prompt: str, base_url: str) -> str:
    body = json.dumps({"model": "scripted", "messages": [{"role": "user", "content": prompt}]}).encode()
    with urlopen(Request(f"{base_url}/chat/completions", body, {"Content-Type": "application/json"})) as response:
        answer: str = json.load(response)["choices"][0]["message"]["content"]
    return answer


def user_lines(prompt: str) -> list[str]:
    return [line.removeprefix("USER: ") for line in prompt.splitlines() if line.startswith("USER: ")]


def test_1_every_prompt_stands_at_its_own_step(prepared: Prepared) -> None:
    """Steps such as `slot_was_set` between do not shift what a rephrasing is asked in."""
    for example in prepared.examples:
        lines = user_lines(example.prompt)
        assert lines[-1] == example.message.replace("\n", " ")
        conversation = prepared.conversations[example.test]
        original = conversation.turns[example.turn]
        assert original.message == example.original_message
        assert len(lines) == len(user_lines(original.annotation.prompt)) if original.annotation else False


def test_1_no_message_is_lost(prepared: Prepared) -> None:
    for conversation in prepared.conversations.values():
        steps = [step["user"].strip() for step in conversation.test_case["steps"] if "user" in step]
        assert [turn.message for turn in conversation.turns] == [step for step in steps if step]


def test_2_a_label_is_what_the_llm_says_to_the_very_prompt(prepared: Prepared) -> None:
    for example in prepared.examples:
        said = language.read(said_by_the_llm(example.prompt, prepared.project.base_url), example.syntax)
        assert sorted(map(str, said)) == sorted(map(str, example.commands)), example


def test_2_another_value_gets_a_label_of_its_own(prepared: Prepared) -> None:
    labels = {
        rephrasing.text: (rephrasing.label, turn.message)
        for conversation in prepared.rephrased.values()
        for turn in conversation.turns
        for rephrasing in turn.passing
        if rephrasing.differs
    }
    assert len(labels) > 5
    made = {example.message: example.commands for example in prepared.examples}
    assert all(made[text] == label for text, (label, _) in labels.items())


def test_2_a_choice_is_one_of_those_that_the_prompt_offers(prepared: Prepared) -> None:
    """Another city brings other cars and hotels: what was chosen among the old ones is no label there."""
    chosen = [
        (example, command.args[1])
        for example in prepared.examples
        for command in example.commands
        if command.args[:1] in (("car_rental_selection",), ("hotel_name",), ("selected_flight_id",))
    ]
    assert len(chosen) > 20
    for example, value in chosen:
        assert value in example.prompt.split("# State")[1].split("# Your turn")[0], example


def test_recombinations_with_other_values_are_run_from_where_they_differ(prepared: Prepared) -> None:
    """Taking a conversation up at its first difference gives what running it from the beginning gives."""
    seen = cut = 0
    with prepared.project.open() as live:
        for file in prepared.workspace.annotations():
            for entry in file.conversations:
                for variant in variants(entry, prepared.rephrased[entry.id]):
                    if not variant.moved or min(variant.moved) == 0 or len(entry.turns) > 6:
                        continue
                    arguments = (file.source, entry, variant.messages, variant.labels)
                    whole = live.run(live.assistant.simulate(*arguments))
                    first = min(variant.moved)
                    part = live.run(live.assistant.simulate(*arguments, first))
                    until = part.diverged if part.diverged is not None else len(entry.turns)
                    assert part.diverged == whole.diverged
                    assert all(i <= until for i in part.prompts), "a run that stands elsewhere goes no further"
                    cut += part.diverged is not None and part.diverged < len(entry.turns) - 1
                    assert {i: whole.prompts[i] for i in part.prompts if i < until} == {
                        i: part.prompts[i] for i in part.prompts if i < until
                    }
                    seen += 1
    assert seen > 5
    assert cut > 0


@pytest.fixture(scope="module")
def simulated(prepared: Prepared) -> Iterator[dict[str, dict[int, str]]]:
    """The prompts of all conversations, run again with their own messages and forced commands."""
    found = {}
    with prepared.project.open() as live:
        for file in prepared.workspace.annotations():
            for entry in file.conversations:
                labels = [turn.annotation.labels if turn.annotation else None for turn in entry.turns]
                messages = [turn.message for turn in entry.turns]
                outcome = live.run(live.assistant.simulate(file.source, entry, messages, labels))
                assert outcome.diverged is None, (entry.id, outcome.diverged)
                found[entry.id] = outcome.prompts
    return found


@pytest.mark.parametrize(
    "kind",
    ["3 fixtures", "3 metadata", "4 turns without a prompt", "7 stubs", "anything"],
)
def test_conversations_run_again_with_all_that_belongs_to_them(
    prepared: Prepared, simulated: dict[str, dict[int, str]], kind: str
) -> None:
    sources = {file.source.file: file.source for file in prepared.workspace.annotations()}
    chosen = {
        "3 fixtures": lambda entry: "fixtures" in entry.test_case,
        "3 metadata": lambda entry: any("metadata" in part for part in [entry.test_case, *entry.test_case["steps"]]),
        "4 turns without a prompt": lambda entry: any(turn.annotation is None for turn in entry.turns),
        "7 stubs": lambda entry: bool(sources[entry.file].stub_custom_actions),
        "anything": lambda entry: True,
    }[kind]
    conversations = [entry for entry in prepared.conversations.values() if chosen(entry)]
    assert conversations
    for entry in conversations:
        assert simulated[entry.id] == {
            index: turn.annotation.prompt for index, turn in entry.annotated if turn.annotation
        }


def test_conversations_are_taken_up_in_the_middle(prepared: Prepared) -> None:
    """A recombination is run from the first message that makes a difference; before it, the recorded state stands."""
    with prepared.project.open() as live:
        for file in prepared.workspace.annotations():
            for entry in file.conversations:
                start = len(entry.turns) // 2
                labels = [turn.annotation.labels if turn.annotation else None for turn in entry.turns]
                messages = [turn.message for turn in entry.turns]
                outcome = live.run(live.assistant.simulate(file.source, entry, messages, labels, start))
                wanted = {i: turn.annotation.prompt for i, turn in entry.annotated if turn.annotation and i >= start}
                assert outcome.prompts == wanted, entry.id


def test_5_every_conversation_of_a_file_and_every_file_of_a_name_is_written(prepared: Prepared) -> None:
    yaml = YAML(typ="safe")
    shown = Counter(
        entry["original_test_case"]
        for path in prepared.workspace.folder(ANNOTATIONS).rglob("*.yml")
        for entry in yaml.load(path)["conversations"]
    )
    assert shown == Counter(dict.fromkeys(prepared.conversations, 1))
    names = Counter(
        Path(name.split("::")[0]).name for name in {entry.file for entry in prepared.conversations.values()}
    )
    assert max(names.values()) > 1


def test_7_tests_with_stubs_pass(prepared: Prepared) -> None:
    assert {
        "cars/availability.yml::cars of the stubbed company",
        "cars/availability.yml::nothing left in the garage",
        "partners/availability.yml::cars of the stubbed company",
    } <= prepared.conversations.keys()


@pytest.mark.parametrize(
    "test",
    [
        "assertions/bookings.yml::hotel with assertions and other steps among them",
        "cars/booking.yml::slot that is not set before the last user turn",
        "repair/odd_messages.yml::blank message in between",
    ],
)
def test_8_odd_tests_do_not_break_the_run(prepared: Prepared, test: str) -> None:
    conversation = prepared.conversations[test]
    assert all(prepared.of(test, index) or merged(prepared, test, index) for index, _ in conversation.annotated)


def test_9_a_user_step_at_the_end_is_annotated(prepared: Prepared) -> None:
    test = "cars/booking.yml::conversation that ends on a user turn"
    conversation = prepared.conversations[test]
    assert "user" in conversation.test_case["steps"][-1]
    assert conversation.turns[-1].step == len(conversation.test_case["steps"]) - 1
    assert prepared.of(test, len(conversation.turns) - 1)


def test_10_no_row_is_there_twice_or_on_both_sides(prepared: Prepared) -> None:
    folder = prepared.workspace.folder(SPLIT) / "ft_splits"
    sides = [(folder / name).read_text(encoding="utf-8").splitlines() for name in ("train.jsonl", "val.jsonl")]
    rows = Counter(row for side in sides for row in side)
    assert len(rows) == len(prepared.examples)
    assert set(rows.values()) == {1}
    prompts = [{json.loads(row)["prompt"] for row in side} for side in sides]
    assert not prompts[0] & prompts[1]


def test_every_annotated_step_has_its_original_example(prepared: Prepared) -> None:
    for test, conversation in prepared.conversations.items():
        for index, turn in conversation.annotated:
            assert turn.annotation is not None
            own = [example for example in prepared.examples if example.prompt == turn.annotation.prompt]
            assert len(own) == 1
            assert test in (own[0].test, *own[0].also_in)
            assert own[0].commands == turn.annotation.labels, index


def merged(prepared: Prepared, test: str, index: int) -> bool:
    annotation = prepared.conversations[test].turns[index].annotation
    return any(annotation and example.prompt == annotation.prompt for example in prepared.examples)


EXTRA_TEST = """
test_cases:
  - test_case: a wish beyond the assistant's slots
    steps:
      - user: A car with wings, please
      - bot: in which city?
      - user: Basel, with a window seat
      - utter: utter_ask_car_rental_start_date
"""
EXTRA_ANSWERS = """
answers:
  - user: A car with wings, please
    commands: ["StartFlow(search_rental_car)", "SetSlot(wings, True)"]
    paraphrases: ["I want a car that has wings"]
  - user: Basel, with a window seat
    commands: ["SetSlot(trip_destination, Basel)", "SetSlot(window_seat, True)"]
    paraphrases:
      - user: Zürich, with a window seat
        commands: ["SetSlot(trip_destination, Zürich)", "SetSlot(window_seat, True)"]
"""


@pytest.fixture(scope="module")
def thrown_away(example: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """A test whose LLM sets slots that the assistant does not have; the rephraser is named by its model group."""
    folder = tmp_path_factory.mktemp("extra")
    (folder / "answers.yml").write_text(EXTRA_ANSWERS, encoding="utf-8")
    (folder / "tests.yml").write_text(EXTRA_TEST, encoding="utf-8")
    (folder / "rephrase.yml").write_text("llm:\n  model_group: teacher\n", encoding="utf-8")
    with scripted_llm(folder / "answers.yml") as llm:
        environment = {**example.environment, "SCRIPTED_LLM_URL": llm.base_url}
        project = dataclasses.replace(example, llm=llm, environment=environment)
        out = folder / "output"
        yield prepare(project, folder / "tests.yml", out, rephrase_config=folder / "rephrase.yml")


def test_12_the_rephraser_may_be_a_model_group(thrown_away: Prepared) -> None:
    assert thrown_away.project.llm.stats()["paraphrases"] == 1


def test_13_commands_that_the_assistant_throws_away_are_no_labels(thrown_away: Prepared) -> None:
    completions = {example.message: example.completion for example in thrown_away.examples}
    assert completions == {
        "A car with wings, please": "start flow search_rental_car",
        "I want a car that has wings": "start flow search_rental_car",
        "Basel, with a window seat": "set slot trip_destination Basel",
        "Zürich, with a window seat": "set slot trip_destination Zürich",
    }


def test_a_button_without_a_payload_is_no_matter(prepared: Prepared) -> None:
    events = prepared.conversations["cars/availability.yml::cars of the stubbed company"].events
    buttons = [button for event in events for button in (event.get("data") or {}).get("buttons") or []]
    assert any("payload" not in button for button in buttons)
