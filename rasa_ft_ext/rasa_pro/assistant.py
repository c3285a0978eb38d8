"""A trained CALM assistant in this process: runs E2E tests, is asked again, runs recombined conversations.

Rasa's own test runner and command generator do the work; see `run`, `isolation` and `generator` for how many
conversations at once are kept apart and watched.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

from rasa.dialogue_understanding.commands.command_syntax_manager import CommandSyntaxManager
from rasa.e2e_test.constants import TEST_CASE_NAME, TEST_FILE_NAME
from rasa.shared.core.events import Event, UserUttered
from rasa.shared.core.trackers import DialogueStateTracker
from rasa.shared.nlu.constants import TEXT
from rasa.shared.nlu.training_data.message import Message
from rasa.version import __version__ as rasa_version

from rasa_ft_ext import commands as language
from rasa_ft_ext.assistant.base import Answer, Assistant, Played, Simulation
from rasa_ft_ext.commands import Command, Syntax
from rasa_ft_ext.conversation import AssistantCard, Conversation, FailedTest, TestFile
from rasa_ft_ext.errors import AssistantError, LLMAnswerError
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.llm.base import LLM, Completion
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.prompts import fill, template_id
from rasa_ft_ext.rasa_pro.divergence import first_difference
from rasa_ft_ext.rasa_pro.flow_map import flow_map
from rasa_ft_ext.rasa_pro.generator import Watch
from rasa_ft_ext.rasa_pro.isolation import isolated
from rasa_ft_ext.rasa_pro.llm_errors import as_llm_error
from rasa_ft_ext.rasa_pro.loading import find_generator, forget_project, load_runner
from rasa_ft_ext.rasa_pro.playing import played, reason_of, run_of, run_with, unavailable
from rasa_ft_ext.rasa_pro.recording import conversation_of, llm_of
from rasa_ft_ext.rasa_pro.run import Call, Run, RunTurn, current, running
from rasa_ft_ext.rasa_pro.speed import remembering
from rasa_ft_ext.rasa_pro.suite import Suite, SuiteTest, of_record, read_suite
from rasa_ft_ext.rasa_pro.teacher import Asking, Prompt, Teacher
from rasa_ft_ext.rasa_pro.translate import parsed
from rasa_ft_ext.workspace import sha256


class RasaAssistant(Assistant):
    """The assistant behind Rasa's E2E test runner. Make one with `load`; `close` it when done.

    Args:
        runner: Rasa's test runner, with the loaded model.
        project: The assistant's folder; what is loaded from it is forgotten when the assistant is closed.
        flows: The assistant's flows.
        model: The name of the model's file.
        fingerprint: What names the trained model: the SHA-256 of its file.
        gateway: Where its LLM is asked.
        timeout: Seconds that one call may take, in place of what the assistant's configuration says.
    """

    can_simulate = True

    def __init__(
        self,
        runner: Any,
        project: Path,
        flows: Any,
        model: str,
        fingerprint: str,
        *,
        gateway: Asking,
        timeout: float | None = None,
    ) -> None:
        self._runner = runner
        self._agent = runner.agent
        self._generator = find_generator(self._agent)
        self._syntax: Syntax = self._generator.get_component_command_syntax_version().value
        CommandSyntaxManager.set_syntax_version(self._generator.get_component_command_syntax_version())
        self._public = llm_of(self._generator)
        self._teacher = Teacher(self._generator, gateway, timeout)
        self._watch = Watch(self._generator, self._teacher, self._readable)
        self._open = ExitStack()
        self._open.callback(forget_project, project)
        self._open.enter_context(isolated(runner, _note_cleaned))
        self._open.enter_context(remembering())
        self._handle_message = self._agent.handle_message
        self._agent.handle_message = self._watched_message
        self._tracker_before = lru_cache(maxsize=64)(self._build_tracker)
        self._model = model
        self._flows = flows
        self._project = project
        self._fingerprint = fingerprint

    @property
    def card(self) -> AssistantCard:
        source = self._generator.prompt_template
        return AssistantCard(
            rasa_version=rasa_version,
            fingerprint=self._fingerprint,
            model=self._model,
            generator=type(self._generator).__name__,
            syntax=self._syntax,
            llm=self._public,
            flows={flow.id: flow.description or "" for flow in self._flows.user_flows},
            slots=tuple(sorted(slot.name for slot in self._agent.domain.slots)),
            templates={template_id(source): source},
        )

    @property
    def asked_as(self) -> Mapping[str, Any]:
        """What names its LLM in a request."""
        return self._teacher.model

    @property
    def flow_map(self) -> FlowMap:
        """The assistant's own flows, for coverage and for drafts of tests."""
        return flow_map(self._flows.user_flows, self._agent.domain, self._project)

    def read_suite(self, path: str) -> Suite:
        """Read the tests under a path; see `rasa_ft_ext.rasa_pro.suite`."""
        return read_suite(path)

    async def run_test(self, test: SuiteTest) -> tuple[Conversation | FailedTest, list[float | None]]:
        """Run one test; return the conversation, or why there is none, and the seconds of each turn's LLM call.

        Raises:
            LLMUnavailableError: the assistant's LLM cannot be reached, from the start or any more.
        """
        run = run_of(test)
        result, events = await self._run_through(test, run)
        seconds = [turn.call.latency if turn.call is not None else None for turn in run.turns]
        reason = reason_of(run, result)
        if reason is not None:
            return FailedTest(id=test.id, reason=reason), seconds
        return conversation_of(test, run, events, self._generator, self._syntax), seconds

    async def play(
        self, test: SuiteTest, *, llm: LLM | None = None, template: str | None = None, again: Played | None = None
    ) -> Played:
        """Run one test to see whether it passes.

        Args:
            test: The test.
            llm: Answers the command generator's prompts; None: the assistant's own LLM.
            template: What the prompts are rendered from, as if the assistant had been trained with it as its
                `prompt_template`; None: its own template.
            again: How the same test failed before. What was said then is said again where the prompt is the same.

        Raises:
            LLMUnavailableError: the LLM cannot be reached, from the start or any more.
        """
        run = run_with(test, llm, template, again)
        result, _ = await self._run_through(test, run)
        return played(run, result)

    async def _run_through(self, test: SuiteTest, run: Run) -> tuple[Any, list[Event]]:
        """Run a test with Rasa's runner; return its result and the tracker's events.

        Raises:
            LLMUnavailableError: nobody answers.
        """
        with running(run):
            results = await self._runner.run_tests(
                [test.case], test.fixtures_per_test, input_metadata=list(test.metadata)
            )
            tracker = await self._agent.tracker_store.retrieve_full_tracker(run.sender_id)
            await self._agent.tracker_store.delete(run.sender_id)
        if run.stopped:
            raise asyncio.CancelledError
        gone = unavailable(run)
        if gone is not None:
            raise gone
        return results[0], list(tracker.events)

    async def ask(self, conversation: Conversation, turn: int, message: str, *, sample: int = 0) -> Answer:
        tracker = self._tracker_before(_Key(conversation), turn)
        turns = [RunTurn(text="")] * turn + [RunTurn(text=message)]
        annotation = conversation.turns[turn].annotation
        times = [None] * turn + [_time_of(annotation.variables) if annotation else None]
        run = Run(sender_id="", turns=turns, blanking=False, times=times, sample=sample)
        asked = Message({TEXT: message})
        with running(run):
            await self._generator.process([asked], self._flows, tracker, self._agent.domain)
        call = run.turns[turn].call
        if call is None:
            raise LLMAnswerError(f"The assistant answers {message!r} without its LLM.")
        if run.failure is not None:
            raise run.failure
        if call.error is not None:
            raise as_llm_error(call.error) from call.error
        return Answer(call.prompt, call.answer, parsed(call.commands), call.usage)

    async def simulate(
        self,
        source: TestFile,
        conversation: Conversation,
        messages: Sequence[str],
        labels: Sequence[tuple[Command, ...] | None],
        start: int = 0,
        template: str | None = None,
    ) -> Simulation:
        test = of_record(source, conversation)
        run = Run(
            sender_id=f"{test.case.name}_{uuid.uuid4().hex}",
            name=test.id,
            stubs=test.stubs,
            settings={TEST_FILE_NAME: Path(test.file).name, TEST_CASE_NAME: test.case.name.replace(" ", "_")},
            turns=[RunTurn(text=message) for message in messages[:start]],
            forced=[
                turn.answer if label is None else language.write(label, self._syntax)
                for turn, label in zip(conversation.turns, labels, strict=True)
            ],
            times=[_time_of(turn.annotation.variables) if turn.annotation else None for turn in conversation.turns],
            template=template,
        )

        def difference() -> int | None:
            return first_difference(conversation, run, messages, labels, start)

        run.is_over = lambda: difference() is not None
        with running(run):
            if start:
                await self._agent.tracker_store.save(self._tracker(conversation, start, run.sender_id, messages))
            await self._send(test, run, conversation, messages, start)
        calls = {index: turn.call for index, turn in enumerate(run.turns) if turn.call is not None}
        wanted = {index for index, _ in conversation.annotated}
        return Simulation(
            {index: call.prompt for index, call in calls.items() if index in wanted and _is_of(call, template)},
            diverged=difference(),
        )

    async def _send(
        self, test: SuiteTest, run: Run, conversation: Conversation, messages: Sequence[str], start: int
    ) -> None:
        """Send the messages with the test's metadata, as the test runner does, without looking at the answers.

        Of the last annotated turn only the prompt is wanted, so the command generator alone gets its message.
        """
        last = max((index for index, _ in conversation.annotated), default=-1)
        steps = []
        for turn, message in list(zip(conversation.turns, messages, strict=True))[start:last]:
            original = test.raw["steps"][turn.step]
            text = original["user"] if message == turn.message else message
            steps.append({"user": text, **({"metadata": original["metadata"]} if "metadata" in original else {})})
        case = type(test.case).from_dict({**test.raw, "steps": steps}, file=test.case.file)
        fixtures = [] if start else list(test.fixtures)
        await self._runner._run_test_case(run.sender_id, fixtures, list(test.metadata), case)
        if last >= start and not run.is_over():
            run.turns.append(RunTurn(text=messages[last]))
            tracker = await self._agent.tracker_store.retrieve(run.sender_id)
            await self._generator.process([Message({TEXT: messages[last]})], self._flows, tracker, self._agent.domain)
        await self._agent.tracker_store.delete(run.sender_id)

    def read(self, completion: str) -> tuple[Command, ...]:
        tracker = DialogueStateTracker.from_events("", [], slots=self._agent.domain.slots)
        return parsed(self._generator.parse_commands(completion, tracker, self._flows))

    def _readable(self, completion: str) -> bool:
        return bool(language.read(completion, self._syntax) or self.read(completion))

    async def complete(self, prompt: Prompt, *, sample: int = 0) -> Completion:
        """What the LLM answers to a prompt that was rendered elsewhere: by this very assistant in another process.

        Args:
            prompt: The prompt.
            sample: Which of several answers to the same prompt is wanted.

        Raises:
            LLMError: the call failed.
        """
        return await self._teacher.ask(prompt, sample, self._readable)

    async def close(self) -> None:
        self._watch.close()
        self._teacher.close()
        self._open.close()
        self._agent.__dict__.pop("handle_message", None)
        stop = getattr(self._agent, "stop_privacy_manager", None)
        if stop is not None:
            stop()

    async def _watched_message(self, message: Any) -> Any:
        run = current()
        if run is not None:
            if run.stopped or run.is_over():
                return None
            run.turns.append(RunTurn(text=message.text or ""))
        try:
            return await self._handle_message(message)
        except asyncio.CancelledError:  # Rasa's test runner takes it for a timeout and goes on with the next message
            task = asyncio.current_task()
            if run is not None and task is not None and task.cancelling():
                run.stopped = True
            raise

    def _build_tracker(self, key: _Key, turn: int) -> DialogueStateTracker:
        conversation = key.conversation
        return self._tracker(conversation, turn, conversation.id, [entry.message for entry in conversation.turns])

    def _tracker(
        self, conversation: Conversation, turn: int, sender_id: str, messages: Sequence[str]
    ) -> DialogueStateTracker:
        """The tracker as it stood before a turn, with other wordings of the messages up to there."""
        said = iter(messages)
        events = []
        for event in conversation.events[: conversation.turns[turn].events_before]:
            loaded = Event.from_parameters(dict(event))
            if isinstance(loaded, UserUttered):
                loaded.text = next(said)
            if loaded is not None:
                events.append(loaded)
        return DialogueStateTracker.from_events(sender_id, events, slots=self._agent.domain.slots)


class _Key:
    """A conversation as the key of a cache: by its id, since records hold dictionaries and cannot be hashed."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation

    def __hash__(self) -> int:
        return hash(self.conversation.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.conversation is other.conversation


def load(
    project: str | Path = ".",
    model: str = "models",
    endpoints: str = "endpoints.yml",
    *,
    sub_agents: str | None = None,
    remote_storage: str | None = None,
    stubbed: bool = False,
    gateway: Asking | None = None,
    timeout: float | None = None,
) -> RasaAssistant:
    """Load a trained assistant; must be called outside of an event loop.

    Args:
        project: Its folder.
        model: The trained model, or a folder of models.
        endpoints: Its endpoints file.
        sub_agents: The folder of its sub-agents.
        remote_storage: Where Rasa fetches the model from, if not from disk.
        stubbed: Its tests stub their custom actions, so that no action server need run.
        gateway: Where its LLM is asked; None: a gateway of its own, which keeps no answers.
        timeout: Seconds that one call of its own LLM may take, in place of what its configuration says.

    Raises:
        AssistantError: there is no such model, it cannot be loaded, or it is of a kind that cannot be learned from.
        MissingExtraError: Rasa Pro is not installed.
    """
    runner, file = load_runner(Path(project), model, endpoints, sub_agents, remote_storage, stubbed)
    if runner.agent.processor is None:
        raise AssistantError(f"The model {model} was loaded but can process no messages. Train it again: rasa train")
    flows = asyncio.run(runner.agent.processor.get_flows())
    return RasaAssistant(
        runner,
        Path(project),
        flows,
        Path(file or model).name,
        sha256(file) if file else _fetched(runner),
        gateway=gateway or Gateway(),
        timeout=timeout,
    )


def _fetched(runner: Any) -> str:
    """What names a model that Rasa fetched from elsewhere: the id that it was given in training."""
    return str(runner.agent.processor.model_metadata.model_id)


def _is_of(call: Call, template: str | None) -> bool:
    """Whether a prompt was rendered with this template: a generator of one's own may have no use for it."""
    return template is None or call.template == template


def _note_cleaned(kept: list[Any]) -> None:
    run = current()
    if run is not None and run.call is not None and run.call.kept is None:
        run.call.kept = list(kept)


def _time_of(variables: dict[str, Any]) -> Any:
    return fill(variables.get("current_datetime"), [])
