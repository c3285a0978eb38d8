"""The stage from annotations to rephrasings: what is asked, what is kept, and what a failure costs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rasa_ft_ext.assistant.recorded import RecordedAssistant
from rasa_ft_ext.conversation import RephrasedConversation
from rasa_ft_ext.errors import ConfigError, ForeignResultsError, LLMAnswerError, LLMError, LLMUnavailableError
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.llm.settings import resolve
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.rephrase.config import default_template
from rasa_ft_ext.rephrase.request import transcript
from rasa_ft_ext.rephrase.stage import RephraseSummary, rephrase
from rasa_ft_ext.workspace import ANNOTATIONS, REPHRASINGS, TIMINGS, Workspace
from tests.rephrase.rephrase_builders import (
    CAR_DIALOG,
    CARD,
    FakeAssistant,
    FakeRephraser,
    annotated,
    conversation,
    listed,
    numbered_copies,
)

FILE = "e2e_tests/car.yml"


async def run(workspace: Workspace, assistant: Any = None, llm: Any = None, **options: Any) -> RephraseSummary:
    given = {"num_rephrases": 2, "template": default_template(), **options}
    return await rephrase(workspace, assistant or FakeAssistant(), llm or FakeRephraser(), **given)


def only(workspace: Workspace) -> RephrasedConversation:
    (file,) = workspace.rephrasings()
    (entry,) = file.conversations
    return entry


def shown(workspace: Workspace, file: str = FILE) -> dict[str, Any]:
    path = workspace.folder(REPHRASINGS) / file
    content: dict[str, Any] = YAML(typ="safe").load(path.read_text())
    return content


def failing_for(part: str, error: LLMError) -> Callable[[str], str]:
    def reply(prompt: str) -> str:
        if part in prompt:
            raise error
        return numbered_copies(prompt)

    return reply


async def test_every_wording_is_asked_in_its_place_and_kept_in_order(tmp_path: Path) -> None:
    workspace, assistant, llm = (
        annotated(tmp_path, conversation(FILE, "car", CAR_DIALOG)),
        FakeAssistant(),
        FakeRephraser(),
    )
    summary = await run(workspace, assistant, llm)
    assert len(llm.prompts) == 1
    assert assistant.asked == [
        (f"{FILE}::car", 0, "I'd like to book a car A"),
        (f"{FILE}::car", 0, "I'd like to book a car B"),
        (f"{FILE}::car", 1, "to Basel A"),
        (f"{FILE}::car", 1, "to Basel B"),
    ]
    assert [[entry.text for entry in turn.passing] for turn in only(workspace).turns] == [
        ["I'd like to book a car A", "I'd like to book a car B"],
        ["to Basel A", "to Basel B"],
    ]
    assert summary.model_copy(update={"llm_usage": ()}) == RephraseSummary(
        conversations=1, messages_to_rephrase=2, rephrasings=4, passing=4, failing=0, failed_calls=0, reasons={}
    )
    assert [(usage.stage, usage.calls) for usage in summary.llm_usage] == [("rephrase", 1), ("validate", 4)]


async def test_prompt_shows_the_conversation_and_the_messages(tmp_path: Path) -> None:
    llm = FakeRephraser()
    await run(annotated(tmp_path, conversation(FILE, "car", CAR_DIALOG)), llm=llm)
    assert "USER: I'd like to book a car\nAI: in which city?\nUSER: to Basel\nAI: booked\n" in llm.prompts[0]
    assert "2 rephrasings for the following 2 user messages\n- I'd like to book a car\n- to Basel\n" in llm.prompts[0]


def test_transcript_without_events_is_the_messages() -> None:
    entry = conversation(FILE, "car", CAR_DIALOG).model_copy(update={"events": ()})
    assert transcript(entry) == "USER: I'd like to book a car\nUSER: to Basel"


async def test_only_typed_annotated_messages_are_rephrased(tmp_path: Path) -> None:
    dialog = [("hello", None, "hi"), ("  ", "start flow car", "?"), ("to Basel\nby car", "set slot city Basel", "ok")]
    clicked = conversation(FILE, "clicked", CAR_DIALOG, typed=False)
    workspace, llm = annotated(tmp_path, conversation(FILE, "typed", dialog), clicked), FakeRephraser()
    summary = await run(workspace, llm=llm)
    (file,) = workspace.rephrasings()
    assert [[turn.turn for turn in entry.turns] for entry in file.conversations] == [[2], []]
    assert len(llm.prompts) == 1
    assert llm.prompts[0].rstrip().endswith("- to Basel by car")
    assert (summary.conversations, summary.messages_to_rephrase, summary.passing) == (2, 1, 2)


async def test_yaml_shows_passing_and_failed_rephrasings_and_the_other_steps(tmp_path: Path) -> None:
    replies = {"to Basel A": "set slot city Zurich", "to Basel B": "start flow hotel", "I'd like to book a car B": ""}
    workspace = annotated(tmp_path, conversation(FILE, "car", CAR_DIALOG))
    summary = await run(workspace, FakeAssistant(replies.get))
    (entry,) = shown(workspace)["conversations"]
    assert entry["original_test_case"] == f"{FILE}::car"
    assert entry["steps"] == [
        {
            "user": "I'd like to book a car",
            "llm_commands": ["start flow car"],
            "passing_rephrasings": ["I'd like to book a car A"],
            "failed_rephrasings": [
                {"text": "I'd like to book a car B", "reason": "other commands: no command could be read"}
            ],
        },
        {"bot": "in which city?"},
        {
            "user": "to Basel",
            "llm_commands": ["set slot city Basel"],
            "passing_rephrasings": [{"text": "to Basel A", "llm_commands": ["set slot city Zurich"]}],
            "failed_rephrasings": [
                {
                    "text": "to Basel B",
                    "reason": "other commands: expected no other command, got StartFlow(hotel); does not set slot city",
                    "llm_commands": ["start flow hotel"],
                }
            ],
        },
        {"bot": "booked"},
    ]
    assert summary.reasons == {"other commands": 2}
    record = only(workspace).turns[1].rephrasings[1]
    assert (record.answer, record.passed, record.label) == ("start flow hotel", False, ())


@pytest.mark.parametrize(("slot_values", "passing"), [("own", 4), ("original", 4), ("strict", 3)])
async def test_slot_values_decide_about_other_values(tmp_path: Path, slot_values: str, passing: int) -> None:
    workspace = annotated(tmp_path, conversation(FILE, "car", CAR_DIALOG))
    assistant = FakeAssistant({"to Basel A": "set slot city Zurich"}.get)
    assert (await run(workspace, assistant, slot_values=slot_values)).passing == passing
    entry = only(workspace).turns[1].rephrasings[0]
    assert [str(command) for command in entry.label] == {
        "own": ["SetSlot(city, Zurich)"],
        "original": ["SetSlot(city, Basel)"],
        "strict": [],
    }[slot_values]


async def test_zero_rephrasings_ask_nobody_and_write_the_files(tmp_path: Path) -> None:
    workspace, assistant, llm = (
        annotated(tmp_path, conversation(FILE, "car", CAR_DIALOG)),
        FakeAssistant(),
        FakeRephraser(),
    )
    summary = await run(workspace, assistant, llm, num_rephrases=0)
    assert (llm.prompts, assistant.asked) == ([], [])
    assert (summary.conversations, summary.rephrasings) == (1, 0)
    assert only(workspace).turns == ()
    assert shown(workspace)["conversations"][0]["steps"][0] == {
        "user": "I'd like to book a car",
        "llm_commands": ["start flow car"],
    }


async def test_failed_rephraser_call_costs_that_conversations_rephrasings_only(tmp_path: Path) -> None:
    workspace = annotated(tmp_path, *(conversation(FILE, name, CAR_DIALOG) for name in ("good", "bad")))
    summary = await run(workspace, llm=FakeRephraser(failing_for('"bad"', LLMError("too long"))))
    good, bad = next(iter(workspace.rephrasings())).conversations
    assert (good.problem, bad.problem) == (None, "the rephraser's LLM: too long")
    assert [turn.rephrasings for turn in bad.turns] == [(), ()]
    assert (summary.passing, summary.failed_calls) == (4, 1)
    assert shown(workspace)["conversations"][1]["problem"] == "the rephraser's LLM: too long"


async def test_failed_check_costs_that_rephrasing_only(tmp_path: Path) -> None:
    workspace = annotated(tmp_path, conversation(FILE, "car", CAR_DIALOG))
    error = LLMError("HTTP 500")

    def reply(message: str) -> str | None:
        if message == "to Basel A":
            raise error
        return None

    summary = await run(workspace, FakeAssistant(reply))
    assert only(workspace).turns[1].rephrasings[0].reason == "call failed: HTTP 500"
    assert (summary.passing, summary.failing, summary.failed_calls) == (3, 1, 1)
    assert summary.reasons == {"call failed": 1}


async def test_message_without_a_rephrasing_says_so(tmp_path: Path) -> None:
    workspace = annotated(tmp_path, conversation(FILE, "car", CAR_DIALOG))
    await run(workspace, llm=FakeRephraser(lambda prompt: listed({"to Basel": ["Basel"]})))
    first, second = only(workspace).turns
    assert first.problem == "the rephraser's answer holds no rephrasing of this message"
    assert (second.problem, [entry.text for entry in second.passing]) == (None, ["Basel"])


@pytest.mark.parametrize("concurrency", [1, 32])
async def test_llm_that_nobody_reaches_ends_the_run_and_leaves_no_files(tmp_path: Path, concurrency: int) -> None:
    workspace = annotated(tmp_path, *(conversation(FILE, str(number), CAR_DIALOG) for number in range(3)))
    down = LLMUnavailableError("nobody answers")
    with pytest.raises(LLMUnavailableError):
        await run(workspace, llm=FakeRephraser(failing_for("", down)), concurrency=concurrency)

    def refuse(message: str) -> str:
        raise down

    with pytest.raises(LLMUnavailableError):
        await run(workspace, FakeAssistant(refuse), concurrency=concurrency)
    assert not workspace.folder(REPHRASINGS).exists()


async def test_a_rephraser_of_which_nothing_can_be_read_is_given_up_early(tmp_path: Path) -> None:
    workspace = annotated(tmp_path, *(conversation(f"{n}.yml", str(n), CAR_DIALOG) for n in range(200)))
    llm = FakeRephraser(lambda prompt: "I cannot help.")
    with pytest.raises(LLMAnswerError, match="No rephrasing could be read"):
        await run(workspace, llm=llm)
    assert len(llm.prompts) < 100
    assert os.listdir(tmp_path) == [ANNOTATIONS]  # nothing of it is worth keeping


async def test_answers_without_any_rephrasing_end_the_run_with_the_next_step(tmp_path: Path) -> None:
    workspace = annotated(tmp_path, conversation(FILE, "car", CAR_DIALOG))
    with pytest.raises(LLMAnswerError, match=r"(?s)--rephrase-config.*--num-rephrases 0.*I cannot help"):
        await run(workspace, llm=FakeRephraser(lambda prompt: "I cannot help.\n" * 100))
    with pytest.raises(LLMError, match=r"All 1 calls to the rephraser failed.*HTTP 400"):
        await run(workspace, llm=FakeRephraser(failing_for("", LLMError("HTTP 400"))))


async def test_template_that_fails_is_named_before_the_first_call(tmp_path: Path) -> None:
    workspace, llm = annotated(tmp_path, conversation(FILE, "car", CAR_DIALOG)), FakeRephraser()
    for template in ("{{ user_messages.x.y }}", "{{ ''.__class__.__mro__ }}", "{{ 1 / 0 }}"):
        with pytest.raises(ConfigError, match="cannot be rendered"):
            await run(workspace, llm=llm, template=template)
    assert llm.prompts == []


async def test_same_run_is_not_made_again_and_another_one_is_refused(tmp_path: Path) -> None:
    workspace = annotated(tmp_path, conversation(FILE, "car", CAR_DIALOG))
    first = await run(workspace, notes=["a note"])
    llm, assistant = FakeRephraser(), FakeAssistant()
    assert await run(workspace, assistant, llm, notes=["another note"]) == first
    assert (llm.prompts, assistant.asked, first.notes) == ([], [], ("a note",))
    changes: list[dict[str, Any]] = [
        {"num_rephrases": 3},
        {"slot_values": "strict"},
        {"template": default_template() + "!"},
        {"llm": FakeRephraser(name="other")},
    ]
    for change in changes:
        with pytest.raises(ForeignResultsError):
            await run(workspace, **change)
    assert (await run(Workspace(tmp_path, force=True), num_rephrases=3)).rephrasings == 6


async def test_same_bytes_whatever_comes_first(tmp_path: Path) -> None:
    def digests(folder: Path) -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file() and path.name != TIMINGS
        }

    found = []
    for concurrency in (1, 32):
        conversations = [conversation(f"e2e_tests/{n % 3}.yml", f"car {n}", CAR_DIALOG) for n in range(20)]
        workspace = annotated(tmp_path / str(concurrency), *conversations)
        assistant = FakeAssistant(lambda message: "set slot city Zurich" if message.endswith("A") else None)
        await run(workspace, assistant, concurrency=concurrency)
        assert assistant.most_at_once == concurrency
        found.append(digests(workspace.folder(REPHRASINGS)))
    assert found[0] == found[1]
    assert {"e2e_tests/0.yml", "e2e_tests/0.yml.json", "summary.json", "manifest.json"} <= found[0].keys()


async def test_progress_is_told_of_every_conversation(tmp_path: Path) -> None:
    class Seen(Progress):
        def __init__(self) -> None:
            self.totals: list[int] = []
            self.steps = 0

        def start(self, what: str, total: int) -> None:
            self.totals.append(total)

        def step(self, parts: int = 1) -> None:
            self.steps += parts

    seen = Seen()
    workspace = annotated(tmp_path, *(conversation(FILE, name, CAR_DIALOG) for name in ("good", "bad")))
    await run(workspace, llm=FakeRephraser(failing_for('"bad"', LLMError("too long"))), progress=seen)
    assert (seen.totals, seen.steps) == ([2], 2)


ANSWERS = """
answers:
  - user: I'd like to book a car
    commands: [StartFlow(car)]
    paraphrases:
      - I need to reserve a car.
      - {user: Any hotels?, commands: [StartFlow(hotel)]}
  - user: to Basel
    commands: ["SetSlot(city, Basel)"]
    paraphrases:
      - {user: to Zurich, commands: ["SetSlot(city, Zurich)"]}
      - {user: The destination is Basel., error: 400}
"""


async def test_over_http_from_the_annotations_to_the_files(tmp_path: Path) -> None:
    (tmp_path / "answers.yml").write_text(ANSWERS)
    workspace = annotated(tmp_path / "out", conversation(FILE, "car", CAR_DIALOG))
    with scripted_llm(tmp_path / "answers.yml") as server:
        config = {"provider": "self-hosted", "model": "scripted", "api_base": server.base_url}
        llm = LiteLLM(resolve(config, {}, "test"))
        summary = await run(workspace, RecordedAssistant(CARD, llm), llm)
    assert (summary.rephrasings, summary.passing, summary.failing) == (4, 2, 2)
    assert summary.reasons == {"call failed": 1, "other commands": 1}
    first, second = only(workspace).turns
    assert [(entry.text, entry.passed) for entry in first.rephrasings] == [
        ("I need to reserve a car.", True),
        ("Any hotels?", False),
    ]
    assert [str(command) for command in second.passing[0].label] == ["SetSlot(city, Zurich)"]
    assert second.passing[0].differs
