"""Faults on purpose: which calls of the scripted LLM go wrong, and how.

    faults = Faults(share=0.2, kinds=("429", "timeout"), seed=7)
    faults.draw("a prompt", 0)      # None, "429" or "timeout": the same each time
    faults.draw("a prompt", 1)      # the same prompt, asked for the second time, has a draw of its own

So a run that asks again until it is answered meets the same faults whatever the order of its calls, and each call is
answered in the end. This module knows no HTTP; what a fault looks like there is in `failing`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

from rasa_ft_ext.errors import ConfigError

Fault = Literal[
    "429",
    "429-retry-after",
    "500",
    "503",
    "timeout",
    "reset",
    "truncated",
    "no-choices",
    "wrong-format",
    "straggler",
]
"""What can go wrong.

`429`, `500`, `503`: this status. `429-retry-after`: the same with the header that says how long to wait. `timeout`: no
answer until the client goes away. `reset`: half an answer, then the connection is reset. `truncated`: half an answer
that is declared to be whole. `no-choices`: a valid answer without any choice. `wrong-format`: a text that is not what
was asked for, another one each time. `straggler`: the right answer, but late.
"""
KINDS: tuple[Fault, ...] = get_args(Fault)
OF_ANSWERS: frozenset[Fault] = frozenset({"no-choices", "wrong-format"})
"""What is wrong with the content of a chat answer. All others may happen to any request."""

_OFF_THE_POINT = (
    "I'm sorry, but I can't help with that.",
    "As an AI language model I do not have enough information to answer this.",
    "Certainly! I would be glad to help you with your request. Could you tell me a little more about it?",
    '{"result": null, "explanation": "The request could not be understood."}',
    "<think>\nThe user wants something from me. Let me think about it step by step, and then",
    "Here is what you asked for:",
)


@dataclass(frozen=True)
class Faults:
    """Which requests go wrong, and how."""

    share: float
    """The part of the requests that goes wrong, from 0 to 1."""
    kinds: tuple[Fault, ...] = KINDS
    """What may happen; each is as likely as the others."""
    seed: int = 0
    """Another seed has other requests go wrong."""
    retry_after: float = 1.0
    """Seconds that a 429 with a Retry-After tells the client to wait."""
    straggle: float = 30.0
    """Seconds after which a straggler is answered."""

    def __post_init__(self) -> None:
        unknown = ", ".join(repr(kind) for kind in self.kinds if kind not in KINDS)
        problems = [f"Not known as a fault: {unknown}. Those known are: {', '.join(KINDS)}."] if unknown else []
        if not 0 <= self.share <= 1:
            problems.append(f"The share of requests that go wrong is {self.share}; it must be from 0 to 1.")
        if not self.kinds:
            problems.append("No kind of fault is given.")
        if problems:
            raise ConfigError("faults", problems)

    def draw(self, what: str, times: int) -> Fault | None:
        """What goes wrong with a request that has come so often before; None where nothing does."""
        dice = hashlib.blake2b(f"{self.seed} {times} {what}".encode(), digest_size=16).digest()
        if int.from_bytes(dice[:8]) >= self.share * 2**64:
            return None
        return self.kinds[int.from_bytes(dice[8:]) % len(self.kinds)]


NO_FAULTS = Faults(share=0.0)


def off_the_point(prompt: str, times: int) -> str:
    """A text that holds neither commands nor rephrasings: another one each time that a prompt comes."""
    mark = hashlib.blake2b(f"{times} {prompt}".encode(), digest_size=4).digest()
    return f"{_OFF_THE_POINT[mark[0] % len(_OFF_THE_POINT)]} [{mark.hex()}]"
