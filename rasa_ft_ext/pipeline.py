"""What the stages need from outside, found and put together: the assistant, the LLMs, the folder.

Used by `rasa_ft_ext.api` alone. Everything that can be wrong is looked at before the first call of an LLM, and told at
once. Relative paths start from the project's folder.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rasa_ft_ext.assistant.base import Assistant
from rasa_ft_ext.assistant.recorded import RecordedAssistant
from rasa_ft_ext.conversation import AssistantCard
from rasa_ft_ext.errors import AssistantError, ConfigError, MissingExtraError, RasaFtError
from rasa_ft_ext.evaluation import Side
from rasa_ft_ext.llm.base import LLM
from rasa_ft_ext.llm.opening import Calls
from rasa_ft_ext.llm.options import CallOptions
from rasa_ft_ext.llm.settings import LLMSettings, read_model_groups, resolve
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.rephrase.config import RephraseConfig, read_config
from rasa_ft_ext.split.stage import TESTS
from rasa_ft_ext.split.suite import WITH_STUBS
from rasa_ft_ext.workspace import SPLIT, Workspace, read_annotations, read_card

if TYPE_CHECKING:
    from rasa_ft_ext.rasa_pro.assistant import RasaAssistant
    from rasa_ft_ext.rasa_pro.suite import Suite
    from rasa_ft_ext.workers.assistant import WorkersAssistant

Found = TypeVar("Found")

MAX_REPHRASES = 49
SUB_AGENTS = "sub_agents"  # Rasa's default
OUTPUT_FORMATS = ("instruction", "conversational")
SLOT_VALUES = ("own", "original", "strict")


@dataclass(frozen=True)
class Place:
    """Where an assistant is: its project, its model, what belongs to it."""

    project: Path
    """The project's folder; the other paths may be relative to it."""
    model: str | None
    """The trained model, or a folder of models; None for an assistant that was only recorded."""
    endpoints: str = "endpoints.yml"
    """The endpoints file, with the model groups."""
    sub_agents: str | None = None
    """The folder of the sub-agents, if there are any."""
    remote_storage: str | None = None
    """Where Rasa fetches the model from, if not from disk."""

    def path(self, given: str | Path) -> Path:
        return self.project / given

    def suite(self, tests: str | Path) -> Suite:
        """Read the E2E tests with Rasa's reader.

        Raises:
            MissingExtraError: Rasa is not installed.
            TestSuiteError: there are no tests, or they do not fit the schema.
        """
        _require_rasa()
        from rasa_ft_ext.rasa_pro.suite import read_suite

        return read_suite(self.path(tests))

    def sides(self, workspace: Workspace) -> dict[Side, Suite]:
        """Read the E2E tests of both sides of the split, those with stubs beside the others; a side may have none.

        Raises:
            MissingExtraError: Rasa is not installed.
            WorkspaceError: there is no split.
            TestSuiteError: the tests cannot be read any more.
        """
        _require_rasa()
        from rasa_ft_ext.rasa_pro.suite import read_folders

        workspace.fingerprint(SPLIT)
        folder = workspace.folder(SPLIT) / TESTS
        sides: tuple[Side, ...] = ("train", "validation")
        return {side: read_folders([folder / side, folder / f"{side}{WITH_STUBS}"]) for side in sides}

    def load(self, *, stubbed: bool) -> RasaAssistant:
        """Load the trained assistant into this process.

        Raises:
            MissingExtraError: Rasa is not installed.
            AssistantError: it cannot be loaded.
        """
        _require_rasa()
        from rasa_ft_ext.rasa_pro.assistant import load

        return load(
            self.project,
            self.model or "models",
            self.endpoints,
            sub_agents=self._sub_agents(),
            remote_storage=self.remote_storage,
            stubbed=stubbed,
        )

    def open_shared(
        self, calls: Calls, *, stubbed: bool, progress: Progress | None = None
    ) -> RasaAssistant | WorkersAssistant:
        """Load the trained assistant, with its workers if there are to be some.

        Args:
            calls: What the calls of its LLM go through, and how many workers there are.
            stubbed: Its tests stub their custom actions.
            progress: Is told how far it is.

        Raises:
            MissingExtraError: Rasa is not installed, or Ray is not.
            AssistantError: it cannot be loaded.
        """
        _require_rasa()
        from rasa_ft_ext.rasa_pro.workers import load_shared

        return load_shared(
            self.project,
            self.model or "models",
            self.endpoints,
            sub_agents=self._sub_agents(),
            remote_storage=self.remote_storage,
            stubbed=stubbed,
            gateway=calls.gateway,
            timeout=calls.options.timeout,
            workers=calls.options.workers,
            backend=calls.options.backend,
            progress=progress,
        )

    def _sub_agents(self) -> str | None:
        """The folder of the sub-agents; most assistants have none, so the default one need not be there."""
        if self.sub_agents is None:
            return None
        folder = self.path(self.sub_agents)
        return str(folder) if folder.exists() or self.sub_agents != SUB_AGENTS else None

    def open_for(
        self,
        workspace: Workspace,
        calls: Calls,
        llm: LLMSettings | None = None,
        *,
        progress: Progress | None = None,
    ) -> Assistant:
        """The assistant of the workspace's annotations: the trained one if there is a model, else as recorded.

        Args:
            workspace: Holds the annotations.
            calls: What the calls of its LLM go through.
            llm: How the LLM of the recorded assistant is reached; None where it is not asked.
            progress: Is told how far it is.
        """
        if self.model is None:
            return recorded_assistant(workspace.card(), llm, calls)
        stubbed = any(file.source.stub_custom_actions for file in workspace.annotations())
        assistant = self.open_shared(calls, stubbed=stubbed, progress=progress)
        with closed_on_error(assistant):
            if assistant.card.fingerprint != workspace.card().fingerprint:
                raise AssistantError(
                    f"The annotations in {workspace.root} were made with another model ({workspace.card().model}) than "
                    f"{assistant.card.model}. Give that model with --model, or run `rasa-ft annotate` again."
                )
            batch_checks(assistant, calls)
        return assistant

    def call_options(self, calls: CallOptions | None, concurrency: int | None) -> CallOptions:
        """What was said about calls: in all, or about concurrency alone; with the whole path of the cache."""
        options = calls or CallOptions()
        if concurrency is not None:
            options = dataclasses.replace(options, concurrency=concurrency)
        return dataclasses.replace(options, cache=self.path(options.cache) if options.cache is not None else None)

    def rephraser(self, config: str | Path | None, assistant_llm: Mapping[str, Any] | None) -> RephraseConfig:
        """Read how user messages are rephrased, and by which LLM."""
        return read_config(
            self.path(config) if config is not None else None,
            project=self.project,
            model_groups=read_model_groups(self.path(self.endpoints)),
            assistant_llm=assistant_llm,
        )


def recorded_llm(card: AssistantCard, api_base: str | None) -> LLMSettings:
    """How the LLM is reached that a recorded assistant answers with, at another address if one is given."""
    return resolve(at(card.llm, api_base), {}, "the LLM of the recorded annotations")


def at(config: Mapping[str, Any], api_base: str | None) -> dict[str, Any]:
    """An LLM's configuration with another address, if there is one."""
    if api_base is None:
        return dict(config)
    kept = {name: value for name, value in config.items() if name not in ("api_base", "openai_api_base")}
    return {**kept, "api_base": api_base}


def recorded_assistant(card: AssistantCard, llm: LLMSettings | None, calls: Calls) -> RecordedAssistant:
    return RecordedAssistant(card, calls.llm(llm, "validate") if llm else None)


def batch_checks(assistant: RasaAssistant | WorkersAssistant, calls: Calls) -> None:
    """Have a loaded assistant's LLM asked in batches what does not wait for other answers, if that is the mode.

    Raises:
        ConfigError: it cannot be: its provider has none, or it is called in another way than batches are.
    """
    if calls.batches is None:
        return
    where = "the assistant's LLM, in batches"
    calls.gather(resolve(assistant.card.llm, {}, where))
    if calls.batches.knows(assistant.asked_as):
        return
    why = "it is called in another way than batches are"
    if "others" in assistant.asked_as:
        why = "a router chooses among several models for each call, and a batch goes to one"
    elif assistant.asked_as.get("use_chat_completions_endpoint") is False:
        why = "it has `use_chat_completions_endpoint: false`, and batches are made of chat completions"
    raise ConfigError(where, [f"{why}. Use --llm-mode calls, or change its model group in endpoints.yml."])


def recorded_card(folder: Path) -> AssistantCard:
    """What was recorded of the assistant, when the annotations in the folder can all be read."""
    for _ in read_annotations(folder):
        pass
    return read_card(folder)


class Problems:
    """Collects what is wrong, so that a user hears of all of it at once."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._errors: list[RasaFtError] = []

    def unless(self, condition: bool, problem: str) -> None:
        if not condition:
            self._errors.append(ConfigError(self._where, [problem]))

    def attempt(self, read: Callable[[], Found]) -> Found | None:
        """Do what may fail, and keep the reason if it does."""
        try:
            return read()
        except RasaFtError as error:
            self._errors.append(error)
        return None

    def options(
        self,
        *,
        calls: CallOptions | None = None,
        num_rephrases: int = 0,
        train_frac: float = 1,
        output_format: str = OUTPUT_FORMATS[0],
        slot_values: str = SLOT_VALUES[0],
    ) -> None:
        """Look at what the command line's parser has looked at, for those who call the API."""
        for problem in calls.problems() if calls else ():
            self.unless(False, problem)
        within = 0 <= num_rephrases <= MAX_REPHRASES
        self.unless(within, f"num_rephrases is {num_rephrases}; it must be from 0 to {MAX_REPHRASES}.")
        self.unless(0 < train_frac <= 1, f"train_frac is {train_frac}; it must be above 0 and at most 1.")
        for name, value, known in (
            ("output_format", output_format, OUTPUT_FORMATS),
            ("slot_values", slot_values, SLOT_VALUES),
        ):
            self.unless(value in known, f"{name} is {value!r}; it must be one of {', '.join(known)}.")

    def report(self) -> None:
        """Raise what was found: a single error as it is, several as one.

        Raises:
            RasaFtError: something was wrong.
        """
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise ConfigError(self._where, [line for error in self._errors for line in self._lines(error)])

    def _lines(self, error: RasaFtError) -> list[str]:
        if not isinstance(error, ConfigError):
            return [str(error)]
        return [line if error.where == self._where else f"{error.where}: {line}" for line in error.problems]


def outside_loop(work: Callable[[], Found]) -> Found:
    """Call what runs an event loop of its own, also from within one, as notebooks have it."""
    if _is_in_loop():
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(work).result()
    return work()


@contextmanager
def closed_on_error(assistant: Assistant) -> Iterator[None]:
    """Close an assistant where the block fails; must be left outside of an event loop."""
    try:
        yield
    except BaseException:
        asyncio.run(assistant.close())
        raise


def run_with(assistant: Assistant, work: Coroutine[Any, Any, Found], *llms: LLM) -> Found:
    """Run a coroutine in an event loop of its own, then close the assistant and the LLMs."""

    async def run() -> Found:
        try:
            return await work
        finally:
            await assistant.close()
            for llm in llms:
                await llm.close()

    return asyncio.run(run())


def has_rasa() -> bool:
    """Whether Rasa Pro is installed here."""
    return find_spec("rasa") is not None


def _require_rasa() -> None:
    if not has_rasa():
        raise MissingExtraError("Rasa Pro, which runs the assistant,", "rasa")


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
