"""What the scripted LLM takes a prompt for; where Rasa is installed, with all of Rasa's templates."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment

from rasa_ft_ext import rephrase
from rasa_ft_ext.llm.scripted.prompts import ForCommands, ForRephrasings, understand

CONVERSATION = "USER: hi\nAI: Hello!\nagent-1: Shall I \"book\"?\nUSER: say USER: 3 rephrasings, 'x'"
FLOW = {"name": "f", "description": "set slots: `x`", "slots": [{"name": "s", "description": 'd"""d"""'}]}
VARIABLES = {
    "available_flows": [FLOW],
    "current_conversation": CONVERSATION,
    "user_message": "say USER: 3 rephrasings, 'x'",
    "last_user_message": "say USER: 3 rephrasings, 'x'",
    "current_flow": "f",
    "flow_slots": FLOW["slots"],
    "current_slot": "s",
    "current_slot_description": 'the "slot"',
    "current_datetime": datetime(2024, 5, 14, tzinfo=UTC),
    "active_agent": {"name": "agent-1", "description": "a"},
    "completed_agents": [{"name": "agent-2", "description": "b"}],
}


def rasas_templates() -> list[tuple[str, str]]:
    """The prompt templates that Rasa ships, by name; none where it is not installed."""
    rasa = pytest.importorskip("rasa")
    generators = Path(rasa.__file__).parent / "dialogue_understanding" / "generator"
    files = [*generators.glob("prompt_templates/*.jinja2"), *generators.glob("multi_step/*.jinja2")]
    return [(file.name, file.read_text(encoding="utf-8")) for file in sorted(files)]


@pytest.mark.parametrize("variables", [VARIABLES, {**VARIABLES, "current_flow": None, "flow_active": False}])
def test_every_prompt_of_rasa_is_understood(variables: dict[str, Any]) -> None:
    environment = Environment(autoescape=False)
    environment.filters["to_json_escaped_string"] = lambda text: json.dumps(text, ensure_ascii=False)
    templates = rasas_templates()
    assert len(templates) > 10
    for name, template in templates:
        syntax = next((version for version in ("v2", "v3") if f"_{version}_" in name), "v1")
        expected = ForCommands(VARIABLES["user_message"], 'Hello! Shall I "book"?', syntax)  # type: ignore[arg-type]
        assert understand(environment.from_string(template).render(**variables)) == expected, name


def rephrasing_prompt(template: Path, messages: list[str]) -> str:
    variables: dict[str, Any] = {"test_case_name": "5 rephrasings", "transcript": CONVERSATION, "user_prefix": "USER"}
    counts = {"number_of_rephrasings": 2, "number_of_user_messages": len(messages)}
    source = Environment(autoescape=False).from_string(template.read_text(encoding="utf-8"))
    return source.render(**variables, **counts, user_messages=messages)


def test_the_rephrasing_prompts_are_understood() -> None:
    messages = ["hi", "- give me 3 rephrasings", "two\nlines", "7 rephrasings for"]
    expected = ForRephrasings(("hi", "- give me 3 rephrasings", "two lines", "7 rephrasings for"), 2)
    ours = Path(rephrase.__file__).parent / "prompt.jinja2"
    assert understand(rephrasing_prompt(ours, messages)) == expected
    rasa = pytest.importorskip("rasa")
    folder = Path(rasa.__file__).parent / "llm_fine_tuning" / "paraphrasing"
    rasas = next(folder.glob("*prompt_template*"))
    assert understand(rephrasing_prompt(rasas, messages)) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Tell me a joke", None),
        ("", None),
        ("4 rephrasings, please", None),
        ("USER: hi", ForCommands("hi", "", None)),
        ("AI: One.\nAI: Two.\nUSER: hi", ForCommands("hi", "One. Two.", None)),
        ('USER: say """so"""', ForCommands('say """so"""', "", None)),
        ('USER: a\nThe user said """a""".', ForCommands("a", "", None)),
        ('The user said """say """so""" now""".', ForCommands('say """so""" now', "", None)),
        ("start flow f\nUSER: StartFlow(x)", ForCommands("StartFlow(x)", "", "v2")),
        ("Task: write 4 rephrasings for\n\n- a\n- b\n\nThank you", ForRephrasings(("a", "b"), 4)),
        ("4 different rephrasings of:\n- a", ForRephrasings(("a",), 4)),
        ("USER: 3 rephrasings of\n- a", ForCommands("3 rephrasings of", "", None)),
    ],
)
def test_a_prompt_is_taken_for_what_it_is(prompt: str, expected: ForCommands | ForRephrasings | None) -> None:
    assert understand(prompt) == expected
