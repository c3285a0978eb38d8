"""More wordings besides the rephraser's, and a teacher that is asked several times, through the whole stage."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rasa_ft_ext import api
from rasa_ft_ext.assistant.recorded import RecordedAssistant
from rasa_ft_ext.cli.main import main
from rasa_ft_ext.conversation import Conversation
from rasa_ft_ext.dataset.stage import dataset
from rasa_ft_ext.errors import ConfigError, ForeignResultsError, LLMError
from rasa_ft_ext.llm.base import LLM, Completion, Readable
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm
from rasa_ft_ext.llm.settings import resolve
from rasa_ft_ext.rephrase.config import default_template
from rasa_ft_ext.rephrase.noise import Noise
from rasa_ft_ext.rephrase.stage import RephraseSummary, rephrase
from rasa_ft_ext.rephrase.variety import Variety
from rasa_ft_ext.workspace import DATASET, REPHRASINGS, TIMINGS, Workspace, read_summary
from tests.builders import contents
from tests.rephrase import rephrase_builders
from tests.rephrase.rephrase_builders import (
    CAR_DIALOG,
    CARD,
    FakeAssistant,
    FakeRephraser,
    annotated,
    conversation,
    listed,
)

FILE = "e2e_tests/car.yml"
CITIES = {"city": ("Basel", "Bern", "Zurich")}
SUBSTITUTION = Variety(substitute_slots=2, values=CITIES)
NOISE = Variety(noise=Noise(("casing",), 1.0))


async def run(
    workspace: Workspace, variety: Variety, assistant: Any = None, llm: Any = None, **options: Any
) -> RephraseSummary:
    given = {"num_rephrases": 0, "template": default_template(), **options}
    return await rephrase(workspace, assistant or FakeAssistant(), llm or FakeRephraser(), variety=variety, **given)


def car() -> Conversation:
    return conversation(FILE, "car", CAR_DIALOG)


def wordings(workspace: Workspace, turn: int) -> list[tuple[str, str, bool, bool]]:
    ((entry,),) = [file.conversations for file in workspace.rephrasings()]
    return [
        (found.text, found.origin, found.passed, found.differs)
        for rephrased in entry.turns
        if rephrased.turn == turn
        for found in rephrased.rephrasings
    ]


async def test_without_any_of_it_the_files_are_those_of_before(tmp_path: Path) -> None:
    """The digests were taken before there was any of it."""
    assistant = FakeAssistant({"to Basel A": "set slot city Zurich", "to Basel B": "start flow hotel"}.get)
    workspace = annotated(tmp_path, car())
    template = "{{ number_of_rephrasings }} rephrasings\n{% for m in user_messages %}- {{ m }}\n{% endfor %}"
    await run(workspace, Variety(seed=7), assistant, num_rephrases=2, template=template)
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in workspace.folder(REPHRASINGS).rglob("car.yml*")
    }
    assert digests == {
        "car.yml": "b7ff79097ff044cd",
        "car.yml.json": "b5e1aeafc26a4b23",
    }


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "answers.yml"
    path.write_text(
        """
answers:
  - {user: I'd like to book a car, commands: [StartFlow(car)], paraphrases: [a car please]}
  - {user: to Basel, commands: ["SetSlot(city, Basel)"], paraphrases: [Basel it is]}
  - {user: to Bern, commands: ["SetSlot(city, Bern)"]}
  - {user: to Zurich, commands: ["SetSlot(city, Basel)"]}
  - {user: To Basel, commands: ["SetSlot(city, Basel)"]}
  - {user: TO Basel, commands: ["SetSlot(city, Basel)"]}
  - {user: BASEL IT IS, commands: ["SetSlot(city, BASEL)"]}
  - {user: Basel IT IS, commands: ["SetSlot(city, BASEL)"]}
"""
    )
    return path


def reached(server: Running) -> LiteLLM:
    config = {"provider": "self-hosted", "model": "scripted", "api_base": server.base_url}
    return LiteLLM(resolve(config, {}, "test"))


async def test_over_http_each_wording_must_give_just_what_it_should(tmp_path: Path, script: Path) -> None:
    workspace = annotated(tmp_path / "out", car())
    with scripted_llm(script) as server:
        llm = reached(server)
        both = Variety(substitute_slots=2, values=CITIES, noise=Noise(("casing",), 1.0))
        summary = await run(workspace, both, RecordedAssistant(CARD, llm), llm, num_rephrases=1)
    found = {text: (origin, passed, differs) for text, origin, passed, differs in wordings(workspace, 1)}
    assert found["Basel it is"] == ("rephraser", True, False)
    assert found["to Bern"] == ("substitution", True, True)
    assert found["to Zurich"] == ("substitution", False, False)  # the teacher says Basel
    noisy = {text: verdict for text, verdict in found.items() if verdict[0] == "noise"}
    assert noisy
    assert {passed for text, (_, passed, _) in noisy.items() if text in ("To Basel", "TO Basel")} <= {True}
    assert not noisy.get("Basel IT IS", ("", False, False))[1]  # another value than the wording that it copies
    assert summary.passing_by_origin is not None
    assert summary.passing_by_origin["substitution"] == 1
    assert summary.failing_by_origin is not None
    assert {*summary.passing_by_origin, *summary.failing_by_origin} == {"rephraser", "substitution", "noise: casing"}
    tokens = json.loads((workspace.folder(REPHRASINGS) / TIMINGS).read_text())["tokens"]
    assert tokens["rephrasing"]["calls"] == 1
    failed_calls = summary.reasons.get("call failed", 0)
    assert tokens["checking"]["calls"] == summary.rephrasings - failed_calls > 0
    assert all(tokens[what][kind] > 0 for what in tokens for kind in ("prompt_tokens", "completion_tokens"))
    (file,) = workspace.rephrasings()
    reason = next(e.reason for e in file.conversations[0].turns[1].rephrasings if e.text == "to Zurich")
    assert reason == "other slot values: SetSlot city: 'Basel' instead of 'Zurich'"
    shown = YAML(typ="safe").load(workspace.folder(REPHRASINGS) / FILE)["conversations"][0]["steps"][2]
    bern = {"text": "to Bern", "origin": "substitution", "llm_commands": ["set slot city Bern"]}
    assert bern in shown["passing_rephrasings"]


async def test_later_messages_of_a_recombination_follow_the_new_value(tmp_path: Path) -> None:
    """The turn counts as moved, so that the assistant runs the conversation again where it can."""
    workspace = annotated(tmp_path, conversation(FILE, "car", [*CAR_DIALOG, ("thanks", "offtopic reply", "bye")]))
    answers = {"to Bern": "set slot city Bern", "to Zurich": "set slot city Zurich"}
    assistant = FakeAssistant(answers.get)
    await run(workspace, SUBSTITUTION, assistant)
    summary = await dataset(workspace, assistant)
    lines = (workspace.folder(DATASET) / "llm_ft_data.jsonl").read_text()
    assert lines.count('"completion": "set slot city Bern"') == lines.count('"completion": "set slot city Zurich"') == 1
    assert summary.recombinations == 2


async def test_a_correction_does_not_get_the_value_that_was_put_in_before_it(tmp_path: Path) -> None:
    dialog = [("to Basel", "set slot city Basel", "ok"), ("no, to Genf", "set slot city Genf", "ok")]
    for seed in range(5):
        workspace = annotated(tmp_path / str(seed), conversation(FILE, "car", dialog))
        await run(workspace, Variety(substitute_slots=1, values={"city": ("Bern", "Zurich")}, seed=seed))
        given = {wordings(workspace, turn)[0][0].split()[-1] for turn in (0, 1)}
        assert given == {"Bern", "Zurich"}


@pytest.mark.parametrize("slot_values", ["own", "original", "strict"])
async def test_a_substituted_label_is_its_own_whatever_holds_for_rephrasings(tmp_path: Path, slot_values: str) -> None:
    workspace = annotated(tmp_path, car())
    assistant = FakeAssistant({"to Bern": "set slot city Bern", "to Zurich": "set slot city Zurich"}.get)
    await run(workspace, SUBSTITUTION, assistant, slot_values=slot_values)
    assert sorted(wordings(workspace, 1)) == [
        ("to Bern", "substitution", True, True),
        ("to Zurich", "substitution", True, True),
    ]


async def test_passing_wordings_get_noisy_copies_that_keep_their_value(tmp_path: Path) -> None:
    def reply(message: str) -> str | None:
        return "set slot city Bern" if "Bern" in message else "start flow hotel" if message.endswith("B") else None

    workspace = annotated(tmp_path, car())
    both = Variety(substitute_slots=1, values={"city": ("Bern",)}, noise=Noise(("casing",), 1.0))
    await run(workspace, both, FakeAssistant(reply), num_rephrases=2)
    copies = [found for found in wordings(workspace, 1) if found[1] == "noise"]
    assert len(copies) == 3  # of the message, of `to Basel A` and of `to Bern`; `to Basel B` failed
    assert [(passed, differs) for text, _, passed, differs in copies if "Bern" in text] == [(True, True)]
    assert all("Basel" in text or "Bern" in text for text, *_ in copies)


async def test_a_wording_that_is_there_already_is_asked_about_once(tmp_path: Path) -> None:
    workspace = annotated(tmp_path, car())
    assistant = FakeAssistant({"to Bern": "set slot city Bern"}.get)
    rephraser = FakeRephraser(lambda prompt: listed({"to Basel": ["to Bern"]}))
    await run(workspace, Variety(substitute_slots=1, values={"city": ("Bern",)}), assistant, rephraser, num_rephrases=1)
    assert assistant.asked == [(f"{FILE}::car", 1, "to Bern")]
    assert wordings(workspace, 1) == [("to Bern", "rephraser", True, True)]


async def test_only_typed_messages_are_varied(tmp_path: Path) -> None:
    workspace = annotated(tmp_path, conversation(FILE, "clicked", CAR_DIALOG, typed=False))
    both = Variety(substitute_slots=2, values=CITIES, noise=Noise(("casing",), 1.0))
    assert (await run(workspace, both)).rephrasings == 0


@pytest.mark.parametrize("concurrency", [1, 32])
async def test_the_seed_decides_and_not_which_answer_comes_first(tmp_path: Path, concurrency: int) -> None:
    conversations = [conversation(FILE, f"car {n}", CAR_DIALOG) for n in range(10)]
    some = {"noise": Noise(("typo", "casing"), 0.5), "self_consistency": 2}
    runs = []
    for name, seed, limit in (("a", 1, 8), ("b", 1, concurrency), ("c", 2, 8)):
        workspace = annotated(tmp_path / name, *conversations)
        await run(workspace, Variety(seed=seed, **some), num_rephrases=2, concurrency=limit)
        runs.append(contents(workspace.folder(REPHRASINGS), without=[TIMINGS]))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


async def test_another_variety_is_another_run(tmp_path: Path) -> None:
    workspace = annotated(tmp_path, car())
    first = await run(workspace, SUBSTITUTION)
    assert await run(workspace, SUBSTITUTION) == first
    others = [Variety(), NOISE, Variety(self_consistency=3), Variety(substitute_slots=2, values=CITIES, seed=1)]
    for other in others:
        with pytest.raises(ForeignResultsError):
            await run(workspace, other)


async def test_listed_values_that_do_not_fit_are_told_before_anybody_is_asked(tmp_path: Path) -> None:
    workspace, llm = annotated(tmp_path, car()), FakeRephraser()
    with pytest.raises(ConfigError, match="colour"):
        await run(workspace, Variety(substitute_slots=1, values={"colour": ("red",)}), llm=llm, num_rephrases=2)
    assert llm.prompts == []


class InTurn(LLM):
    """Asks one LLM after the other, over and over: a teacher that is not sure."""

    def __init__(self, *llms: LLM) -> None:
        self._llms = itertools.cycle(llms)

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": "in turn"}

    async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
        return await next(self._llms).complete(prompt)


OTHER = """
answers:
  - {user: I'd like to book a car, commands: [StartFlow(car)]}
  - {user: to Basel, commands: ["SetSlot(city, Bern)"]}
  - {user: a car please, commands: [StartFlow(hotel)]}
  - {user: Basel it is, commands: ["SetSlot(city, Bern)"]}
"""


@pytest.fixture
def unsure(tmp_path: Path) -> Path:
    path = tmp_path / "other.yml"
    path.write_text(OTHER)
    return path


async def test_over_http_the_majority_decides(tmp_path: Path, script: Path, unsure: Path) -> None:
    workspace = annotated(tmp_path / "out", car())
    with scripted_llm(script) as sure, scripted_llm(unsure) as other:
        teacher = InTurn(reached(other), reached(sure), reached(sure))
        assistant = RecordedAssistant(CARD, teacher)
        summary = await run(
            workspace, Variety(self_consistency=3), assistant, reached(sure), num_rephrases=1, concurrency=1
        )
    assert summary.teacher is not None
    assert (summary.passing, summary.teacher.messages, summary.teacher.answers) == (2, 4, 12)
    assert (summary.teacher.split_messages, summary.teacher.minority_answers) == (3, 3)
    assert (summary.teacher.disagreement, summary.teacher.no_majority, summary.teacher.contested) == (0.25, 0, ())
    assert "disagrees with itself in 25.0% of 12 answers" in summary.notes[0]
    (entry,) = next(iter(workspace.rephrasings())).conversations
    assert entry.turns[1].rephrasings[0].answers == ("set slot city Bern", "set slot city Basel", "set slot city Basel")
    assert read_summary(workspace.folder(REPHRASINGS), RephraseSummary) == summary


async def test_over_http_what_has_no_majority_is_left_out_with_its_reason(
    tmp_path: Path, script: Path, unsure: Path
) -> None:
    workspace = annotated(tmp_path / "out", car())
    with scripted_llm(script) as sure, scripted_llm(unsure) as other:
        assistant = RecordedAssistant(CARD, InTurn(reached(other), reached(sure)))
        summary = await run(
            workspace, Variety(self_consistency=2), assistant, reached(sure), num_rephrases=1, concurrency=1
        )
        made = await dataset(workspace, assistant)
    assert summary.reasons == {"no majority": 2}
    assert summary.teacher is not None
    why = "no majority: 1x SetSlot(city, Bern), 1x SetSlot(city, Basel)"
    assert summary.teacher.contested == (f"{FILE}::car, message 2: {why}",)
    assert summary.teacher.no_majority == 3
    assert f"left_out: '{why}'" in (workspace.folder(REPHRASINGS) / FILE).read_text()
    assert made.examples == 1  # `to Basel` is not learned from


async def test_wordings_of_a_contested_message_that_the_majority_agrees_on_are_learned_from(tmp_path: Path) -> None:
    workspace = annotated(tmp_path, car())
    assistant = FakeAssistant({"to Basel": "set slot city Bern"}.get)
    summary = await run(workspace, Variety(self_consistency=3), assistant, num_rephrases=1)
    assert summary.teacher is not None
    assert "against the recorded commands: 3x SetSlot(city, Bern)" in summary.teacher.contested[0]
    await dataset(workspace, assistant)
    lines = (workspace.folder(DATASET) / "llm_ft_data.jsonl").read_text().splitlines()
    assert [line.count('"message": "to Basel A"') for line in lines].count(1) == 1
    assert not any('"message": "to Basel"' in line for line in lines)


async def test_calls_that_fail_say_nothing_against_a_message(tmp_path: Path) -> None:
    def reply(message: str) -> str | None:
        if message == "to Basel":
            raise LLMError("HTTP 500")
        return None

    workspace = annotated(tmp_path, car())
    summary = await run(workspace, Variety(self_consistency=2), FakeAssistant(reply))
    assert summary.teacher is not None
    assert (summary.teacher.unasked, summary.teacher.contested, summary.teacher.answers) == (1, (), 2)


def test_the_api_tells_all_that_cannot_work_at_once(tmp_path: Path) -> None:
    given: Any = {"substitute_slots": -1, "substitute_values": "none.yml", "noise": "hiss:2", "self_consistency": 0}
    for call in (api.rephrase, api.prepare_data):
        with pytest.raises(ConfigError) as caught:
            call(project=tmp_path, **given)
        for word in ("substitute_slots", "none.yml", "hiss", "'2'", "self_consistency"):
            assert word in str(caught.value)
    with pytest.raises(ConfigError, match="substitute_slots is off"):
        api.rephrase(project=tmp_path, substitute_values="none.yml")


def with_prompts(source: Conversation) -> Conversation:
    """The conversation with a prompt at every message, as rows need one."""
    turns = []
    for turn in source.turns:
        assert turn.annotation is not None
        annotation = turn.annotation.model_copy(update={"prompt": f"The user says: {turn.message}"})
        turns.append(turn.model_copy(update={"annotation": annotation}))
    return source.model_copy(update={"turns": tuple(turns)})


def test_the_flags_reach_the_stage_and_the_parameters(
    tmp_path: Path, script: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    llm = {"provider": "self-hosted", "model": "scripted", "api_base": "http://127.0.0.1:1/v1"}
    monkeypatch.setattr(rephrase_builders, "CARD", CARD.model_copy(update={"llm": llm}))
    annotated(tmp_path / "recorded", with_prompts(car()))
    (tmp_path / "values.yml").write_text("city: [Bern]\n")
    options = [
        "--substitute-slots",
        "--substitute-values",
        "values.yml",
        "--noise",
        "casing:1",
        "--self-consistency",
        "2",
    ]
    common = ["--project", str(tmp_path), "--num-rephrases", "1", *options]
    with scripted_llm(script) as server:
        base = ["--llm-api-base", server.base_url]
        recorded = ["--annotations", "recorded/1_command_annotations"]
        assert main(["prepare-data", *recorded, *common, *base, "--out", "whole", "--train-frac", "1"]) == 0
        assert main(["rephrase", "recorded", *common, *base, "--seed", "42"]) == 0
    assert "disagrees with itself in 0.0%" in capsys.readouterr().out
    assert contents(tmp_path / "whole" / REPHRASINGS).keys() == contents(tmp_path / "recorded" / REPHRASINGS).keys()
    summary = read_summary(tmp_path / "recorded" / REPHRASINGS, RephraseSummary)
    assert summary.passing_by_origin is not None
    assert summary.passing_by_origin["substitution"] == 1
    parameters = (tmp_path / "whole" / "params.yaml").read_text()
    for line in ("substitute_slots: 1", "substitute_values: values.yml", "noise: casing:1", "self_consistency: 2"):
        assert line in parameters
