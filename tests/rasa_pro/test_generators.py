"""Every kind of command generator that there is data for: SingleStep, SearchReady, and a subclass of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext.annotate.stage import AnnotateSummary, annotate
from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard
from rasa_ft_ext.workspace import ANNOTATIONS, Workspace, read_card
from tests.rasa_pro.projects import Live, Project, train

SUBCLASS = """
from rasa.dialogue_understanding.generator import CompactLLMCommandGenerator
from rasa.engine.recipes.default_recipe import DefaultV1Recipe


@DefaultV1Recipe.register([DefaultV1Recipe.ComponentType.COMMAND_GENERATOR], is_trainable=True)
class OwnCommandGenerator(CompactLLMCommandGenerator):
    def render_template(self, message, *args, **kwargs):
        prompt = super().render_template(message, *args, **kwargs)
        self.last_length = len(prompt)
        return prompt
"""
KINDS: dict[str, tuple[str, Syntax]] = {
    "config_single_step.yml": ("SingleStepLLMCommandGenerator", "v1"),
    "config_search_ready.yml": ("SearchReadyLLMCommandGenerator", "v3"),
    "config_own.yml": ("OwnCommandGenerator", "v2"),
}


@pytest.fixture(scope="module", params=KINDS)
def annotated(
    example: Project, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Live, Workspace, AnnotateSummary]]:
    config: str = request.param
    (example.path / "own_generator.py").write_text(SUBCLASS, encoding="utf-8")
    own = (example.path / "config.yml").read_text(encoding="utf-8")
    own = own.replace("CompactLLMCommandGenerator", "own_generator.OwnCommandGenerator")
    (example.path / "config_own.yml").write_text(own, encoding="utf-8")
    name = config.removesuffix(".yml")
    model = train(example, config, name=name)
    place = Path(model.rename(example.path / f"{name}.tar.gz"))
    workspace = Workspace(tmp_path_factory.mktemp("output"))
    with example.open(model=str(place), stubbed=True) as live:
        suite = live.assistant.read_suite(str(example.tests / "cars"))
        summary = live.run(annotate(workspace, live.assistant, suite.files, suite.tests))
        yield config, live, workspace, summary


def test_all_tests_pass_and_are_annotated_in_its_own_syntax(
    annotated: tuple[str, Live, Workspace, AnnotateSummary],
) -> None:
    config, _, workspace, summary = annotated
    generator, syntax = KINDS[config]
    card: AssistantCard = read_card(workspace.folder(ANNOTATIONS))

    assert not summary.failed
    assert summary.annotated > 40
    assert (card.generator, card.syntax) == (generator, syntax)
    kept = [turn.annotation for _, turn in turns(workspace.annotations())]
    assert {annotation.syntax for annotation in kept if annotation} == {syntax}


def test_its_prompts_are_rendered_asked_and_simulated_alike(
    annotated: tuple[str, Live, Workspace, AnnotateSummary],
) -> None:
    config, live, workspace, _ = annotated
    for file in workspace.annotations():
        for entry in file.conversations[:2]:
            labels = [turn.annotation.labels if turn.annotation else None for turn in entry.turns]
            messages = [turn.message for turn in entry.turns]
            simulation = live.run(live.assistant.simulate(file.source, entry, messages, labels))
            for index, turn in entry.annotated:
                assert turn.annotation is not None
                assert turn.annotation.renders
                asked = live.run(live.assistant.ask(entry, index, turn.message))
                assert asked.commands == turn.annotation.commands
                if "CURRENT" not in turn.annotation.prompt.upper():
                    assert asked.prompt == turn.annotation.prompt
                assert simulation.prompts[index] == turn.annotation.prompt, config
            assert simulation.diverged is None


def turns(files: list[AnnotatedFile]) -> Iterator[tuple[str, object]]:
    for file in files:
        for entry in file.conversations:
            yield from ((entry.id, turn) for _, turn in entry.annotated)
