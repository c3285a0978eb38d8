"""The command language that a CALM assistant's LLM answers in: read, write, compare.

Rasa has three syntaxes of it, named v1 (`StartFlow(f)`), v2 and v3 (`start flow f`). This module reads an answer as
Rasa's own parser does, writes commands back, and says in which way two answers differ. It needs no Rasa.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Syntax = Literal["v1", "v2", "v3"]


class Command(BaseModel):
    """One command. `type` is the v1 name, such as `SetSlot`; `args` are its arguments in order.

    `SetSlot` has the slot's name and value (None: the slot is emptied), `StartFlow` the flow, `Clarify` the options
    in alphabetical order, `RestartAgent` the agent; the others have none. A command that only the assistant knows has
    the type `Custom` and its line as `text`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    args: tuple[str | None, ...] = ()
    text: str | None = None
