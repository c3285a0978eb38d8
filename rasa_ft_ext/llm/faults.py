"""What went wrong with one attempt at a call, and what follows from it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from rasa_ft_ext.errors import LLMError

Kind = Literal["throttled", "passing", "unreachable", "answer", "request", "fatal"]
"""What follows from a fault.

`throttled`: the server has too much to do (429), the same call may be made later, and fewer at a time. `passing`: it
may go well the next time (5xx, a timeout, a lost connection). `unreachable`: no connection came about, as when a server
is being restarted, or when there is none. `answer`: an answer came that cannot be used, such as one
without choices or cut off; it may be another one the next time. `request`: this very request is refused (400, context
length), and will be again. `fatal`: every request will be refused (401, 403, no quota).
"""


class Fault(Exception):
    """One attempt that failed, raised by what makes it.

    `error` is what the user is told if it stays so; `retry_after` are the seconds that the server asks to wait.
    """

    def __init__(self, kind: Kind, error: LLMError, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.kind = kind
        self.error = error
        self.retry_after = retry_after or None  # to wait 0 seconds is no hint

    @property
    def passes(self) -> bool:
        """Whether another attempt at the same request may go well."""
        return self.kind not in ("request", "fatal")


@dataclass(frozen=True)
class Policy:
    """How long to go on where calls fail.

    `attempts` at one call for faults that pass, `readings` for an answer that cannot be read; being throttled does not
    count as an attempt. A server is given up after `patience` seconds in which nothing got through, which is less than
    all attempts at one call take. `first_wait` and `longest_wait` are the seconds between two attempts.
    """

    attempts: int = 10
    readings: int = 10
    patience: float = 120.0
    first_wait: float = 1.0
    longest_wait: float = 60.0

    def wait(self, times: int) -> float:
        """Seconds to wait before the next attempt, after so many: twice as long each time, and never quite the same."""
        return min(self.first_wait * 2.0 ** (times - 1), self.longest_wait) * random.uniform(0.75, 1.25)
