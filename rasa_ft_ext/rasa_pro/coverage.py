"""What `rasa test e2e --coverage-report` runs, watched: the events of each test, and the assistant that it ran on.

Rasa's runner hands the events of every test to one method, which makes its own coverage of them. We look over its
shoulder there and change nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rasa.e2e_test.e2e_test_runner import E2ETestRunner

from rasa_ft_ext.commands import Syntax, mentioned
from rasa_ft_ext.errors import AssistantError
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.rasa_pro.flow_map import flow_map
from rasa_ft_ext.rasa_pro.loading import find_generator
from rasa_ft_ext.rasa_pro.recording import llm_of
from rasa_ft_ext.rasa_pro.translate import plain_events

_METHOD = "_get_tested_flow_paths_and_commands"


@dataclass
class Watched:
    """What was seen: the passing tests with their events, the number of the others, and the runner."""

    passed: list[tuple[str, Sequence[Mapping[str, Any]]]] = field(default_factory=list)
    failed: int = 0
    runner: Any = None

    @property
    def ran(self) -> bool:
        return self.runner is not None

    def add(self, runner: Any, events: Any, result: Any) -> None:
        self.runner = runner
        if result.pass_status:
            self.passed.append((f"{result.test_case.file}::{result.test_case.name}", plain_events(events)))
        else:
            self.failed += 1

    def flow_map(self, project: Path) -> FlowMap:
        """The flows of the assistant that ran."""
        flows = asyncio.run(self.runner.agent.processor.get_flows())
        return flow_map(flows.user_flows, self.runner.agent.domain, project)

    def offered(self) -> tuple[str, ...]:
        """The types of the commands that its prompt names; none where it has no prompt of one step."""
        generator = self._generator()
        return mentioned(generator.prompt_template, self.syntax()) if generator else ()

    def syntax(self) -> Syntax:
        """The syntax that its LLM answers in."""
        generator = self._generator()
        syntax: Syntax = generator.get_component_command_syntax_version().value if generator else "v2"
        return syntax

    def llm(self) -> dict[str, Any] | None:
        """The configuration of its LLM, where that is known."""
        generator = self._generator()
        return llm_of(generator) if generator else None

    def _generator(self) -> Any:
        try:
            return find_generator(self.runner.agent)
        except AssistantError:
            return None


@contextmanager
def watching() -> Iterator[Watched]:
    """Watch the tests that are run within; a version of Rasa that counts in another way shows none."""
    watched = Watched()
    original = getattr(E2ETestRunner, _METHOD, None)
    if original is None:
        yield watched
        return

    def looked_at(runner: Any, events: Any, result: Any, *rest: Any, **options: Any) -> Any:
        watched.add(runner, events, result)
        return original(runner, events, result, *rest, **options)

    setattr(E2ETestRunner, _METHOD, looked_at)
    try:
        yield watched
    finally:
        setattr(E2ETestRunner, _METHOD, original)
