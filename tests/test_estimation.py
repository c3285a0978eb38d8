"""What is expected of a run is what it then does, or more; what was used is told by stage and model."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rasa_ft_ext import api
from rasa_ft_ext.conversation import Conversation, Usage
from rasa_ft_ext.errors import BudgetError, LLMUnavailableError
from rasa_ft_ext.estimation import talks_of_conversations, talks_of_tests
from rasa_ft_ext.llm.estimate import Estimate
from rasa_ft_ext.llm.options import CallOptions
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm
from rasa_ft_ext.rephrase.config import default_template
from rasa_ft_ext.workspace import read_annotations, read_card, read_flow_map

RECORDED = Path(__file__).parents[1] / "assistant_example" / "annotations"
REPHRASER = """
llm: {{provider: openai, model: gpt-4.1-mini-2025-04-14, api_base: '{base}', api_key: none}}
"""


class Enough(Exception):
    """What was to be seen is seen."""


@dataclasses.dataclass
class Looker:
    """Keeps the estimates that it is shown, and ends the run if it is to."""

    ends: bool = False
    seen: list[Estimate] = dataclasses.field(default_factory=list)

    def __call__(self, estimate: Estimate) -> None:
        self.seen.append(estimate)
        if self.ends:
            raise Enough


@pytest.fixture(scope="module")
def llm() -> Iterator[Running]:
    with scripted_llm(RECORDED.parent / "answers.yml") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, llm: Running) -> Path:
    (tmp_path / "annotations" / "cars").mkdir(parents=True)
    for name in ("assistant.json", "cars/corrections.yml.json", "cars/cancellation.yml.json"):
        shutil.copy(RECORDED / name, tmp_path / "annotations" / name)
    (tmp_path / "rephrase.yml").write_text(REPHRASER.format(base=llm.base_url))
    return tmp_path


def prepare(project: Path, base: str, look: Looker, *, force: bool = False, **options: Any) -> None:
    api.prepare_data(
        project=project,
        annotations="annotations",
        llm_api_base=base,
        rephrase_config="rephrase.yml",
        num_rephrases=2,
        calls=CallOptions(**options),
        force=force,
        confirm=look,
    )


def test_what_is_expected_is_what_is_used(project: Path, llm: Running) -> None:
    look = Looker()
    prepare(project, llm.base_url, look, price_per_1k=(0.1, 0.2))

    expected = {line.stage: line for line in look.seen[0].lines}
    used = {entry["stage"]: entry for entry in _summary(project)["llm_usage"]}
    assert expected.keys() == used.keys() == {"rephrase", "validate"}
    for stage, entry in used.items():
        assert expected[stage].calls == entry["calls"], stage
        assert expected[stage].model == entry["model"]
        assert expected[stage].prompt_tokens == pytest.approx(entry["prompt_tokens"], rel=0.5)
    assert used["rephrase"]["price"] == pytest.approx(
        used["rephrase"]["prompt_tokens"] * 4e-7 + used["rephrase"]["completion_tokens"] * 16e-7, abs=1e-6
    )
    assert used["validate"]["model"] == "self-hosted/scripted"
    assert used["validate"]["price"] == pytest.approx(
        used["validate"]["prompt_tokens"] * 1e-4 + used["validate"]["completion_tokens"] * 2e-4
    )


def test_what_is_kept_or_done_is_not_expected(project: Path, llm: Running) -> None:
    look = Looker()
    prepare(project, llm.base_url, look)
    prepare(project, llm.base_url, look)
    prepare(project, llm.base_url, look, force=True)
    prepare(project, llm.base_url, look, force=True, use_cache=False)

    whole, done, kept, anew = look.seen
    assert done == Estimate()
    assert [line.stage for line in kept.lines] == ["validate"]
    assert kept.lines[0] == whole.lines[1]
    assert anew == whole
    assert whole.unknown == ("self-hosted/scripted",)
    assert whole.price == whole.lines[0].price


def test_a_test_file_that_is_done_is_not_expected_again(project: Path, llm: Running) -> None:
    look = Looker()
    prepare(project, llm.base_url, look)
    anew: dict[str, Any] = {"force": True, "use_cache": False, "price_per_1k": (1e-9, 1e3)}
    with pytest.raises(BudgetError):  # at the last few calls: by then the first file is through
        prepare(project, llm.base_url, look, concurrency=1, max_cost=95, **anew)
    prepare(project, llm.base_url, look, **anew)

    whole, _, again = look.seen
    assert 0 < again.calls < whole.calls


def test_who_does_not_confirm_finds_nothing_written(project: Path, llm: Running) -> None:
    before = llm.stats()["calls"]

    with pytest.raises(Enough):
        prepare(project, llm.base_url, Looker(ends=True))

    assert llm.stats()["calls"] == before
    assert not (project / "output").exists()


def test_several_answers_are_expected_several_times(project: Path, llm: Running) -> None:
    def validated(**more: Any) -> int:
        look = Looker(ends=True)
        with pytest.raises(Enough):
            api.prepare_data(
                project=project,
                annotations="annotations",
                llm_api_base=llm.base_url,
                num_rephrases=2,
                confirm=look,
                **more,
            )
        return look.seen[0].lines[-1].calls

    once = validated()
    messages = once // 2
    assert validated(self_consistency=3) == 3 * (once + messages)
    assert validated(substitute_slots=1) == once + messages
    assert validated(noise="typo:0.5") == round(once + 0.5 * (once + messages))


def test_an_interrupted_run_tells_the_same_use(project: Path, llm: Running) -> None:
    prepare(project, llm.base_url, Looker())
    whole = _summary(project)["llm_usage"]
    shutil.rmtree(project / "output")

    with pytest.raises(LLMUnavailableError):
        prepare(project, llm.base_url, Looker(), price_per_1k=(0.1, 0.2), max_cost=1)
    prepare(project, llm.base_url, Looker())

    assert _summary(project)["llm_usage"] == whole


def test_the_guess_before_the_tests_have_run_is_near_the_truth_and_above_it() -> None:
    card, flows = read_card(RECORDED), read_flow_map(RECORDED)
    assert flows is not None
    conversations = [entry for file in read_annotations(RECORDED) for entry in file.conversations]
    uncounted = [_without_usage(conversation) for conversation in conversations]
    template = default_template()
    known = list(talks_of_conversations(uncounted, 10, template, lambda _: False))
    guessed = list(talks_of_tests([entry.test_case for entry in conversations], card, flows, template))

    assert len(guessed) == len(known)
    for ours in ("steps", "typed"):
        counted = [sum(len(getattr(talk, ours)) for talk in talks) for talks in (known, guessed)]
        assert counted[0] <= counted[1] < 1.1 * counted[0]
    tokens = [sum(step.prompt_tokens for talk in talks for step in talk.steps) for talks in (known, guessed)]
    assert tokens[0] <= 1.1 * tokens[1] <= 1.3 * tokens[0]


def _without_usage(conversation: Conversation) -> Conversation:
    """As recorded from a provider that counts no tokens."""
    turns = []
    for turn in conversation.turns:
        annotation = turn.annotation.model_copy(update={"usage": Usage()}) if turn.annotation else None
        turns.append(turn.model_copy(update={"annotation": annotation}))
    return conversation.model_copy(update={"turns": tuple(turns)})


def _summary(project: Path) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(project / "output" / "result_summary.yaml")
    return content
