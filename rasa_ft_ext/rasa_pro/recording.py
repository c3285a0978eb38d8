"""Turn a finished run into a conversation with annotations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rasa.shared.core.events import Event, UserUttered
from rasa.shared.utils.llm import combine_custom_and_default_config, resolve_model_client_config

from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.conversation import Annotation, Conversation, FailedTest, Turn
from rasa_ft_ext.errors import PromptError
from rasa_ft_ext.llm.secrets import without_secrets
from rasa_ft_ext.prompts import render, template_id, to_json
from rasa_ft_ext.rasa_pro.run import Call, Run
from rasa_ft_ext.rasa_pro.suite import SuiteTest
from rasa_ft_ext.rasa_pro.translate import dropped, echoes, is_payload, parsed, plain_events

_VARIABLE = re.compile(r"\$\{\w+\}")  # names a secret without being one


def conversation_of(
    test: SuiteTest, run: Run, events: Sequence[Event], generator: Any, syntax: Syntax
) -> Conversation | FailedTest:
    """Put together what was sent, what the command generator did, and what the tracker holds.

    The events are the whole tracker's. A run whose messages cannot be told in them gives no data, and says so.
    """
    positions = [index for index, event in enumerate(events) if isinstance(event, UserUttered)]
    steps = [index for index, step in enumerate(test.raw["steps"]) if str(step.get("user") or "").strip()]
    if not len(positions) == len(run.turns) == len(steps):
        return FailedTest(
            id=test.id,
            reason=f"{len(steps)} user steps, but {len(positions)} messages in the tracker: the assistant did not take "
            "in every message (it may have been paused or restarted)",
        )
    messages = [str(events[position].text or "") for position in positions]
    turns = []
    for index, position in enumerate(positions):
        call = run.turns[index].call
        after = events[position + 1 : positions[index + 1] if index + 1 < len(positions) else None]
        annotation, reason = _annotation(call, messages[: index + 1], generator, syntax)
        asked = call is not None and bool(call.prompt)
        turns.append(
            Turn(
                step=steps[index],
                message=messages[index],
                events_before=position,
                annotation=annotation,
                unannotated=reason,
                answer=call.answer if call is not None and asked and annotation is None else None,
                typed=not is_payload(run.turns[index].text, events[:position]),
                echoed=echoes(messages[index], after, annotation.labels if annotation else ()),
            )
        )
    return Conversation(
        id=test.id,
        file=test.file,
        name=test.case.name,
        test_case=test.raw,
        turns=tuple(turns),
        events=plain_events(events),
    )


def _annotation(
    call: Call | None, messages: Sequence[str], generator: Any, syntax: Syntax
) -> tuple[Annotation | None, str | None]:
    if call is None or not call.prompt:
        return None, "answered without the LLM (a payload, an NLU component, or a slot that takes the text as it is)"
    variables, exact = _variables(call, messages)
    annotation = Annotation(
        generator=type(generator).__name__,
        syntax=syntax,
        prompt=call.prompt,
        template=template_id(call.template),
        variables=variables,
        renders=exact,
        answer=call.answer,
        commands=parsed(call.commands),
        dropped=dropped(call.commands, call.kept),
        model=call.model,
        usage=call.usage,
    )
    if not annotation.commands:
        return None, f"no command could be read from the LLM's answer {call.answer[:80]!r}"
    if not annotation.labels:
        return None, "the assistant threw away every command of the LLM's answer"
    return annotation, None


def _variables(call: Call, messages: Sequence[str]) -> tuple[dict[str, Any], bool]:
    """The variables with placeholders, and whether they give the prompt again."""
    blanked = call.blanked or {}
    try:
        recorded = {name: to_json(value) for name, value in call.variables.items()}
        for name, value in blanked.items():
            if "@@USER-" in str(value):
                recorded[name] = to_json(value)
    except TypeError:
        return {}, False
    try:
        return recorded, render(call.template, recorded, messages) == call.prompt
    except PromptError:  # an assistant's own template may do what ours must not
        return {}, False


def failure_reason(result: Any) -> str:
    """Why Rasa's test runner counts a test as failed, in one line."""
    where = f" (line {result.error_line})" if result.error_line else ""
    failure = result.assertion_failure
    if failure is not None:
        line = failure.error_line or result.error_line
        return f"{failure.error_message}" + (f" (line {line})" if line else "")
    said = [line[2:].strip() for line in result.difference if line.startswith("- ")]
    wanted = [line[2:].strip() for line in result.difference if line.startswith("+ ")]
    if not (said or wanted):
        return f"the assistant gave no answer{where}"
    return f"expected {'; '.join(wanted) or 'nothing'}, got {'; '.join(said) or 'nothing'}{where}"


def llm_of(generator: Any) -> dict[str, Any]:
    """The configuration of the command generator's LLM as Rasa resolved it, without anything secret."""
    return models_of(generator)[0]


def models_of(generator: Any) -> list[dict[str, Any]]:
    """The same of every model, where a router chooses among several."""
    resolved = resolve_model_client_config(generator.config.get("llm"), type(generator).__name__)
    combined = combine_custom_and_default_config(resolved, generator.get_default_llm_config())
    models = combined.get("models") or [combined]
    return [_public(model) for model in (models if "router" in combined else models[:1])]


def _public(config: dict[str, Any]) -> dict[str, Any]:
    public: dict[str, Any] = without_secrets(config)
    by_name = {name: value for name, value in config.items() if _VARIABLE.fullmatch(str(value))}
    return dict(sorted({**public, **by_name}.items()))
