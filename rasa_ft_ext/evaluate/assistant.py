"""The assistant that the E2E tests run on, beside the one that the data were made with.

It may be another one by now: trained again, with other flows, or with the model itself as its LLM. What is measured
then holds for the assistant as it is, and a person should know in what it differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rasa_ft_ext.conversation import AssistantCard
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.evaluate.request import Conversations, Request

_LISTED = 8


def refuse_itself(request: Request) -> None:
    """See that the model is not compared with itself.

    Raises:
        ConfigError: the assistant asks it already, and so it would be its own teacher.
    """
    card = _card(request)
    if card is None or not request.against_teacher:
        return
    address = str(card.llm.get("api_base")).rstrip("/")
    if card.llm.get("model") == request.served.model and address == request.served.api_base.rstrip("/"):
        raise ConfigError(
            "evaluate",
            [
                f"The assistant {card.model} asks {request.served.model} at {address} for its commands already, so "
                "there is no teacher to compare with. Leave --against-teacher out, or give a trained assistant with "
                "the teacher (--assistant-model)."
            ],
        )


def changes(request: Request, recorded: AssistantCard) -> tuple[str, ...]:
    """In what the assistant differs from the recorded one, as far as it matters here, a sentence each."""
    card = _card(request)
    if card is None or card.fingerprint == recorded.fingerprint:
        return ()
    notes = []
    names = sorted(name for name in {*card.flows, *recorded.flows} if card.flows.get(name) != recorded.flows.get(name))
    if names:
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        notes.append(
            f"The E2E tests ran on {card.model}, which differs from the assistant of the data in its flows: "
            f"{', '.join(names[:_LISTED])}{more}."
        )
    for what, now, before in (
        ("Rasa", card.rasa_version, recorded.rasa_version),
        ("the command generator", card.generator, recorded.generator),
        ("the command language", card.syntax, recorded.syntax),
    ):
        if now != before:
            notes.append(f"The E2E tests ran on {card.model} with {what} {now}, and the data were made with {before}.")
    if request.against_teacher and _name(card.llm) != _name(recorded.llm):
        notes.append(
            f"The teacher of the comparison is {_name(card.llm)}, and the data were made with {_name(recorded.llm)}."
        )
    return tuple(notes)


def _card(request: Request) -> AssistantCard | None:
    return request.conversations.card if isinstance(request.conversations, Conversations) else None


def _name(llm: Mapping[str, Any]) -> str:
    return f"{llm.get('provider')}/{llm.get('model') or llm.get('deployment')}"
