"""What is known of how well E2E tests cover an assistant: the figures, what is missing and where, and the verdict.

`rasa_ft_ext.coverage` counts and judges; whoever shows it reads `coverage.json` into a `Coverage`. A step is a step of
one of the assistant's own flows, whatever its kind; a branch is one of several ways on from a step. Shares are from 0
to 1 and thresholds in percent, as on the command line.
"""

from __future__ import annotations

from typing import Literal

from rasa_ft_ext.conversation import Record

COVERAGE = "coverage"  # the folder in the output
COVERAGE_FILE = "coverage.json"


class Thresholds(Record):
    """What coverage must reach; None is not looked at.

    `total`, `flow` and `slots` are percentages: of all steps, of the steps of every flow, of the slots that flows
    collect. `command` is how often every command that the prompt offers must occur.
    """

    total: float | None = None
    flow: float | None = None
    command: int | None = None
    slots: float | None = None

    @property
    def given(self) -> bool:
        """Whether there is anything to judge by."""
        return any(value is not None for value in (self.total, self.flow, self.command, self.slots))


GATE = Thresholds(total=90, flow=80, command=1)
"""What the recipe asks for."""


class Gap(Record):
    """A step that no passing test came to, or a branch that none took.

    A branch leads from `step` to the step `to`, or to its end. `what` is said to a person, such as `collect city` or
    `else, on to the end`. `file` is relative to the project; `line` is that of the step.
    `suggestion` is the test case drafted for it, such as `output/coverage/suggested/cars.yml::suggested_cars_1`, the
    results' folder as the command was given it.
    """

    kind: Literal["step", "branch"]
    flow: str
    step: str
    to: str | None = None
    condition: str | None = None
    what: str
    file: str | None = None
    line: int | None = None
    suggestion: str | None = None

    @property
    def place(self) -> str:
        """File and line, as far as they are known, such as `data/flows/cars.yml:24`."""
        return ":".join(str(part) for part in (self.file or self.flow, self.line) if part is not None)

    @property
    def sentence(self) -> str:
        """What is missing, and the test case that is suggested for it."""
        return f"{self.what}; suggested test: {self.suggestion}" if self.suggestion else self.what


class FlowCoverage(Record):
    """One flow: how many of its steps and branches passing tests came through, and which tests those are.

    `missing` are its gaps, in the order of the file. A branch that leaves a step which nobody came to is not listed:
    the step is.
    """

    id: str
    description: str = ""
    file: str | None = None
    line: int | None = None
    startable: bool = True
    steps: int
    visited: int
    branches: int
    taken: int
    tests: tuple[str, ...] = ()
    missing: tuple[Gap, ...] = ()

    @property
    def share(self) -> float:
        return self.visited / self.steps if self.steps else 0.0


class SlotCoverage(Record):
    """One slot that flows collect: how often it got a value after the first message, and how often by a command.

    `unseen` are values of a categorical or boolean slot that it never had.
    """

    name: str
    filled: int
    by_command: int
    unseen: tuple[str, ...] = ()


class CommandCoverage(Record):
    """One command, by the name that Rasa gives it; `offered` says that the assistant's prompt names it.

    `suggestion` is the first test case drafted for one that occurs too seldom, as that of a `Gap`.
    """

    name: str
    count: int
    offered: bool
    suggestion: str | None = None


class Difference(Record):
    """A flow of which Rasa's report gives another share than ours, and why."""

    flow: str
    ours: float
    rasas: float
    why: tuple[str, ...]

    @property
    def sentence(self) -> str:
        reasons = "; ".join(self.why) or "of unknown reason"
        return f"{100 * self.ours:.1f} % here, {100 * self.rasas:.1f} % there: {reasons}"


class Check(Record):
    """One threshold, looked at: `found` and `wanted` are percentages, or numbers of commands."""

    kind: Literal["total", "flow", "command", "slots"]
    name: str
    found: float
    wanted: float
    passed: bool
    sentence: str


class Coverage(Record):
    """All of it. `tests` passed and count; `failed` did not and don't.

    `checks` is empty where no threshold was given: then there is no verdict. `differences` is known only where Rasa
    left a report of its own.
    """

    version: str
    tests: int
    failed: int
    flows: tuple[FlowCoverage, ...]
    slots: tuple[SlotCoverage, ...] = ()
    commands: tuple[CommandCoverage, ...] = ()
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def steps(self) -> int:
        return sum(flow.steps for flow in self.flows)

    @property
    def visited(self) -> int:
        return sum(flow.visited for flow in self.flows)

    @property
    def share(self) -> float:
        """The share of all steps; 0 where there are none."""
        return self.visited / self.steps if self.steps else 0.0

    @property
    def slot_share(self) -> float:
        """The share of the collected slots that got a value; 1 where no flow collects any."""
        return sum(slot.filled > 0 for slot in self.slots) / len(self.slots) if self.slots else 1.0

    @property
    def gaps(self) -> tuple[Gap, ...]:
        return tuple(gap for flow in self.flows for gap in flow.missing)

    @property
    def suggestions(self) -> tuple[str, ...]:
        """The test case of each gap that has one, and of each command."""
        found = [*(gap.suggestion for gap in self.gaps), *(command.suggestion for command in self.commands)]
        return tuple(test for test in found if test)

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def counted(self) -> str:
        """Which tests count, in a sentence."""
        failed = f"; the {self.failed} that failed {'do' if self.failed > 1 else 'does'} not" if self.failed else ""
        return f"{self.tests} passing {'test counts' if self.tests == 1 else 'tests count'}{failed}."

    @property
    def sentence(self) -> str:
        """The verdict, or the figure alone where there was no threshold."""
        figure = f"{100 * self.share:.1f} % of the steps of the flows are covered ({self.visited} of {self.steps})"
        if not self.checks:
            return f"{figure}; no threshold was given."
        if self.passed:
            return f"Covered well enough: {figure}."
        many = "threshold is" if len(self.failures) == 1 else "thresholds are"
        return f"NOT covered well enough: {len(self.failures)} {many} missed; {figure}."
