"""Rasa renders a student's template as we do: pinned in a trained model, and while a conversation is run again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext.conversation import AnnotatedFile, Conversation
from rasa_ft_ext.dataset.student import SHIPPED, shipped
from rasa_ft_ext.prompts import render
from rasa_ft_ext.workspace import read_annotations
from tests.rasa_pro.projects import REPOSITORY, Live, Project, train

RECORDED = REPOSITORY / "assistant_example" / "annotations"
PIN = "    prompt_template: student.jinja2"
TIME = {"@@datetime@@": "2024-04-27T18:13:47+00:00"}
FILES = ("cars/booking.yml", "cars/corrections.yml", "hotels/booking.yml", "repair/clarification.yml")


def conversations(*, clock: bool) -> Iterator[tuple[AnnotatedFile, Conversation]]:
    """Some of the example's recorded conversations; with a `clock`, as if date and time had been recorded."""
    for file in read_annotations(RECORDED):
        if file.source.file in FILES:
            for entry in file.conversations[:2]:
                yield file, at(TIME, entry) if clock else entry


def at(time: dict[str, str], entry: Conversation) -> Conversation:
    turns = []
    for turn in entry.turns:
        if turn.annotation is not None:
            variables = {**turn.annotation.variables, "current_datetime": time}
            turn = turn.model_copy(update={"annotation": turn.annotation.model_copy(update={"variables": variables})})
        turns.append(turn)
    return entry.model_copy(update={"turns": tuple(turns)})


def rendered(name: str, entry: Conversation) -> dict[int, str]:
    """What we make of the recorded variables."""
    messages = [turn.message for turn in entry.turns]
    return {
        index: render(shipped(name).source, turn.annotation.variables, messages)
        for index, turn in entry.annotated
        if turn.annotation is not None
    }


def run_again(live: Live, file: AnnotatedFile, entry: Conversation, template: str | None) -> dict[int, str]:
    messages = [turn.message for turn in entry.turns]
    labels = [turn.annotation.labels if turn.annotation else None for turn in entry.turns]
    found = live.run(live.assistant.simulate(file.source, entry, messages, labels, 0, template))
    assert found.diverged is None
    return found.prompts


def pinned(project: Project, config: str, name: str, *, clock: bool) -> Path:
    """A model of the example whose command generator has the template in its configuration."""
    (project.path / "student.jinja2").write_text(shipped(name).source, encoding="utf-8")
    lines = (project.path / config).read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "prompt_template" not in line and not (clock and "include_date_time" in line)]
    place = next(index for index, line in enumerate(kept) if "model_group: teacher" in line) + 1
    (project.path / "pinned.yml").write_text("\n".join([*kept[:place], PIN, *kept[place:]]) + "\n", encoding="utf-8")
    model = train(project, "pinned.yml", name="pinned")
    return model.rename(project.path / "pinned.tar.gz")  # out of the folder whose latest model others take


@pytest.mark.parametrize(
    ("config", "name", "clock"),
    [
        ("config.yml", "compact", True),
        ("config_single_step.yml", "minimal", False),
        ("config_search_ready.yml", "compact", False),
    ],
)
def test_a_pinned_template_gives_the_prompts_that_were_trained_on(
    example: Project, config: str, name: str, clock: bool
) -> None:
    model = pinned(example, config, name, clock=clock)
    compared = 0

    with example.open(model=str(model), stubbed=True) as live:
        for file, entry in conversations(clock=clock):
            prompts = run_again(live, file, entry, None)
            assert prompts == rendered(name, entry)
            compared += len(prompts)

    assert compared > 10


def test_an_assistant_with_another_prompt_gives_them_as_well(example: Project) -> None:
    with example.open(stubbed=True) as live:
        own = live.assistant.card.templates
        for number, (file, entry) in enumerate(conversations(clock=False)):
            name = SHIPPED[number % 2]
            assert run_again(live, file, entry, shipped(name).source) == rendered(name, entry)
        assert live.assistant.card.templates == own


def test_a_generator_that_has_no_use_for_the_template_gives_no_prompts(
    example: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, entry = next(conversations(clock=False))
    with example.open(stubbed=True) as live:
        generator, watch = live.assistant._generator, live.assistant._watch
        render_as_before, own = watch._render, generator.prompt_template

        def stubborn(*args: Any, **kwargs: Any) -> Any:
            with monkeypatch.context() as patch:
                patch.setattr(generator, "prompt_template", own)
                return render_as_before(*args, **kwargs)

        watch._render = stubborn

        assert run_again(live, file, entry, shipped("compact").source) == {}
