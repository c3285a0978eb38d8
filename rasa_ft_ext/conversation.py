"""The model: what a test file, a conversation, a user turn, an annotation, a rephrasing and an example are.

Every stage reads and writes these records and nothing else. They are frozen, they refuse unknown keys, and
`model_dump(mode="json")` and `model_validate` carry them to disk and back. This module knows neither Rasa nor LLMs
nor folders.

A conversation is one E2E test as it ran on the assistant. Its turns are its user messages in order; a turn that the
command generator answered carries an annotation.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from rasa_ft_ext.commands import Command, Syntax


class Record(BaseModel):
    """Base of all records: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SparseRecord(Record):
    """A record that leaves out of its file what only some runs fill: the files of other runs do not grow by it."""

    optional: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_optional(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        unused = {name for name in self.optional if getattr(self, name) == fields[name].get_default()}
        return {name: value for name, value in handler(self).items() if name not in unused}


class Usage(Record):
    """Tokens of one LLM call, as the provider reported them; 0 where it reported none."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Annotation(Record):
    """What the command generator did with one user message.

    `variables` are the values the prompt template was rendered with. Wherever a user message stands in one of them,
    it is replaced by a placeholder (see `rasa_ft_ext.prompts`), so the prompt of the same state with other wordings
    is a matter of filling in. `renders` says whether template and variables give exactly `prompt`.
    """

    generator: str
    syntax: Syntax
    prompt: str
    template: str
    variables: dict[str, Any]
    renders: bool
    answer: str
    commands: tuple[Command, ...]
    dropped: tuple[Command, ...] = ()
    model: str = ""
    usage: Usage = Usage()

    @property
    def labels(self) -> tuple[Command, ...]:
        """The commands that took effect: those the LLM gave, less those the assistant threw away."""
        return tuple(command for command in self.commands if command not in self.dropped)


class Turn(Record):
    """One user message of a conversation.

    `step` is its position among the test case's steps, `events_before` the number of tracker events before it.
    A turn without an annotation says why in `unannotated`; `answer` is then what the LLM said, if it was asked.
    `typed` is False for what a button or a test sends in the user's stead (`/SetSlots(...)`, intents): such a message
    is never rephrased. `echoed` is True when the assistant's own reaction repeats or stores the wording, so that
    another wording changes what follows.
    """

    step: int
    message: str
    events_before: int
    annotation: Annotation | None = None
    unannotated: str | None = None
    answer: str | None = None
    typed: bool = True
    echoed: bool = False


class Conversation(Record):
    """One passing E2E test as it ran: its steps as in the file, its turns, and the tracker's events.

    `id` is `file::name`, unique in a run. `events` are the tracker's events in order, without what differs from run
    to run (timestamps, random ids).
    """

    id: str
    file: str
    name: str
    test_case: dict[str, Any]
    turns: tuple[Turn, ...]
    events: tuple[dict[str, Any], ...] = ()

    @property
    def annotated(self) -> tuple[tuple[int, Turn], ...]:
        """The turns an example can be made of, each with its index among all turns."""
        return tuple((index, turn) for index, turn in enumerate(self.turns) if turn.annotation is not None)


class FailedTest(Record):
    """A test that gives no data, and why."""

    id: str
    reason: str


class TestFile(Record):
    """What the tests of one file share: fixtures (those of its conftest files included), metadata and stubs."""

    __test__ = False  # keeps pytest from collecting the class

    file: str
    fixtures: tuple[dict[str, Any], ...] = ()
    metadata: tuple[dict[str, Any], ...] = ()
    stub_custom_actions: dict[str, Any] = {}


class AnnotatedFile(Record):
    """All conversations of one E2E test file: the unit in which `annotate` writes."""

    source: TestFile
    conversations: tuple[Conversation, ...]
    failed: tuple[FailedTest, ...] = ()


class AssistantCard(Record):
    """What the later stages must know of the assistant that was annotated.

    `model` is the name of the trained model's file and `fingerprint` its SHA-256. `llm` is the command generator's LLM
    configuration with no secret in it; `flows` maps a flow's id to its
    description; `templates` maps a template's id to its jinja2 source.
    """

    rasa_version: str
    model: str
    fingerprint: str = ""
    generator: str
    syntax: Syntax
    llm: dict[str, Any]
    flows: dict[str, str]
    slots: tuple[str, ...] = ()
    templates: dict[str, str] = {}


Origin = Literal["rephraser", "substitution", "noise"]
"""Who made a wording: the rephraser's LLM, the exchange of a slot's value, or slips of fingers and machines."""


class Rephrasing(SparseRecord):
    """One paraphrase of a user message, with the verdict.

    `commands` are what the LLM said to this very wording; `label` is what an example made of it is labelled with.
    `differs` is True when the label sets a slot to another value than the original message did. `noise` is the kind of
    its slips, where `origin` is `noise`. `answers` are all that the LLM said, in order, where it was asked several
    times; `answer` is then the first of those that won.
    """

    optional = frozenset({"origin", "noise", "answers"})

    text: str
    passed: bool
    commands: tuple[Command, ...] = ()
    label: tuple[Command, ...] = ()
    differs: bool = False
    answer: str = ""
    reason: str | None = None
    origin: Origin = "rephraser"
    noise: str | None = None
    answers: tuple[str, ...] = ()

    @property
    def maker(self) -> str:
        """The origin, with the kind of the slips, such as `noise: typo`."""
        return f"{self.origin}: {self.noise}" if self.noise else self.origin


class ContestedTurn(Record):
    """A turn of which the LLM, asked again, did not say what was recorded: no example is made of its own message.

    `answers` are all that it said, in order.
    """

    turn: int
    reason: str
    answers: tuple[str, ...]


class RephrasedTurn(Record):
    """The rephrasings of the turn with index `turn`, in the order in which the LLM gave them."""

    turn: int
    message: str
    rephrasings: tuple[Rephrasing, ...] = ()
    problem: str | None = None

    @property
    def passing(self) -> tuple[Rephrasing, ...]:
        return tuple(rephrasing for rephrasing in self.rephrasings if rephrasing.passed)


class RephrasedConversation(SparseRecord):
    """What `rephrase` found for one conversation; turns that are not rephrased do not occur."""

    optional = frozenset({"contested"})

    id: str
    turns: tuple[RephrasedTurn, ...] = ()
    problem: str | None = None
    contested: tuple[ContestedTurn, ...] = ()

    def passing(self, turn: int) -> tuple[Rephrasing, ...]:
        """The rephrasings of one turn that may be learned from."""
        return next((entry.passing for entry in self.turns if entry.turn == turn), ())


class RephrasedFile(Record):
    """All rephrased conversations of one E2E test file: the unit in which `rephrase` writes."""

    file: str
    conversations: tuple[RephrasedConversation, ...]


class Example(Record):
    """One data point: a prompt, the commands to answer it with, and where it comes from.

    `variant` is 0 for the original conversation and i for its i-th recombination. `also_in` names the other tests that
    gave the very same prompt and completion, which is kept once. `made_by` says how the prompt came
    about: as the assistant rendered it, from the recorded template variables, or by running the assistant again.
    """

    test: str
    turn: int
    step: int
    variant: int
    message: str
    original_message: str
    prompt: str
    completion: str
    commands: tuple[Command, ...]
    syntax: Syntax
    made_by: Literal["recorded", "rendered", "simulated"]
    also_in: tuple[str, ...] = ()
