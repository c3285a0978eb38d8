"""How many calls the stages to come make at most, how many tokens they take, and what that costs.

Used by `rasa_ft_ext.api` before the first paid call. Nothing is called and nothing is written. What is known is counted
(tests, messages, prompts that can be rendered), what is not is guessed on the high side: all wordings that are asked
for come and are checked, every test passes, every flow stands in every prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rasa_ft_ext import prompts
from rasa_ft_ext.conversation import AssistantCard, Conversation
from rasa_ft_ext.errors import PromptError
from rasa_ft_ext.flow_map import FlowMap, MappedFlow, MappedSlot
from rasa_ft_ext.llm.estimate import Expected, expected
from rasa_ft_ext.llm.prices import Prices
from rasa_ft_ext.llm.request import tokens_in
from rasa_ft_ext.llm.usage import model_name
from rasa_ft_ext.rephrase.config import RephraseConfig
from rasa_ft_ext.rephrase.request import request_for, turns_to_rephrase
from rasa_ft_ext.rephrase.stage import key_of
from rasa_ft_ext.rephrase.variety import Variety
from rasa_ft_ext.rephrase.verdict import SlotValues
from rasa_ft_ext.workspace import Workspace

_COMMANDS = 25  # tokens that a command generator's answer is taken to have, where none is known
_AROUND_A_WORDING = 8  # tokens of a list's signs and numbers around each wording
_REPLY = 30  # tokens of an assistant's reply whose text does not stand in the test


@dataclass(frozen=True)
class Step:
    """One user message: what asking the assistant's LLM about it takes. `typed` messages are rephrased."""

    message: str
    prompt_tokens: int
    completion_tokens: int
    typed: bool


@dataclass(frozen=True)
class Talk:
    """One conversation as far as its calls go: the messages that the LLM is asked about, and the rephraser's prompt.

    `is_rephrased` says that the rephraser's answer is kept.
    """

    steps: tuple[Step, ...]
    rephraser_tokens: int
    is_rephrased: bool = False

    @property
    def typed(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.typed)


def of_annotating(talks: Iterable[Talk], card: AssistantCard, prices: Prices) -> tuple[Expected, ...]:
    """The calls that the tests themselves make."""
    steps = [step for talk in talks for step in talk.steps]
    return expected(
        "annotate",
        model_name(card.llm),
        len(steps),
        sum(step.prompt_tokens for step in steps),
        sum(step.completion_tokens for step in steps),
        prices,
    )


@dataclass(frozen=True)
class Rephrasing:
    """What is asked besides the tests, of whom, and what tokens cost; `batch`: in batches."""

    card: AssistantCard
    config: RephraseConfig
    num_rephrases: int
    slot_values: SlotValues
    variety: Variety
    prices: Prices
    batch: bool = False

    def key(self, workspace: Workspace) -> dict[str, Any]:
        """What the rephrasings are made from.

        Raises:
            WorkspaceError: there are no annotations.
        """
        llm = self.config.llm.public
        return key_of(workspace, llm, self.num_rephrases, self.config.template, self.slot_values, self.variety)

    def expected(self, talks: Sequence[Talk]) -> tuple[Expected, ...]:
        """The calls of the rephraser, one for each conversation, and those that check the wordings."""
        asked = [talk for talk in talks if talk.typed and self.num_rephrases and not talk.is_rephrased]
        of_rephraser = expected(
            "rephrase",
            model_name(self.config.llm.public),
            len(asked),
            sum(talk.rephraser_tokens for talk in asked),
            sum(self._wordings_tokens(talk) for talk in asked),
            self.prices,
            batch=self.batch,
        )
        return (*of_rephraser, *self._validating(talks))

    def _wordings_tokens(self, talk: Talk) -> int:
        """The tokens of all wordings of a conversation."""
        return sum(self.num_rephrases * (tokens_in(step.message) + _AROUND_A_WORDING) for step in talk.typed)

    def _validating(self, talks: Iterable[Talk]) -> tuple[Expected, ...]:
        calls, prompt_tokens, completion_tokens = 0.0, 0.0, 0.0
        for talk in talks:
            for step in talk.steps:
                times = self._checks(step)
                calls += times
                prompt_tokens += times * step.prompt_tokens
                completion_tokens += times * step.completion_tokens
        return expected(
            "validate",
            model_name(self.card.llm),
            calls,
            prompt_tokens,
            completion_tokens,
            self.prices,
            batch=self.batch,
        )

    def _checks(self, step: Step) -> float:
        """How often the assistant's LLM is asked about a message and its other wordings."""
        variety = self.variety
        wordings = float(self.num_rephrases + variety.substitute_slots) if step.typed else 0.0
        if step.typed and variety.noise is not None:
            wordings += variety.noise.share * (1 + wordings)
        recall = 1 if variety.self_consistency > 1 else 0
        return (wordings + recall) * variety.self_consistency


def talks_of_conversations(
    conversations: Iterable[Conversation], num_rephrases: int, template: str, has: Callable[[str], bool]
) -> Iterator[Talk]:
    """What is known of annotated conversations: their prompts as they were, the rephraser's as it will be.

    `has` says whether the rephraser's answer to a prompt is kept.
    """
    for conversation in conversations:
        typed = set(turns_to_rephrase(conversation))
        steps = tuple(
            Step(
                turn.message,
                turn.annotation.usage.prompt_tokens or tokens_in(turn.annotation.prompt),
                turn.annotation.usage.completion_tokens or tokens_in(turn.annotation.answer),
                index in typed,
            )
            for index, turn in conversation.annotated
            if turn.annotation is not None
        )
        request = request_for(conversation, num_rephrases, template)
        tokens = tokens_in(request.prompt) if request else 0
        yield Talk(steps, tokens, request is not None and has(request.prompt))


def talks_of_tests(
    tests: Iterable[Mapping[str, Any]], card: AssistantCard, flows: FlowMap, template: str
) -> Iterator[Talk]:
    """What can be said of tests that have not been run, from their texts and the prompt of an empty conversation.

    Args:
        tests: The test cases as they stand in their files.
        card: The assistant, with its prompt template.
        flows: Its flows, which a prompt lists.
        template: The rephraser's template.
    """
    empty = max((tokens_in(_empty_prompt(source, card, flows)) for source in card.templates.values()), default=0)
    of_template = tokens_in(template)
    for test in tests:
        steps, history = [], 0
        for entry in test.get("steps") or []:
            message = str(entry.get("user") or "").strip()
            history += tokens_in(message) if message else _reply_tokens(entry)
            if message:
                steps.append(Step(message, empty + history, _COMMANDS, not message.startswith("/")))
        yield Talk(tuple(steps), of_template + history + sum(tokens_in(step.message) for step in steps))


def _reply_tokens(entry: Mapping[str, Any]) -> int:
    said = entry.get("bot")
    return tokens_in(str(said)) if said else _REPLY


def _empty_prompt(source: str, card: AssistantCard, flows: FlowMap) -> str:
    """The prompt that a template gives before anything was said, with all flows that can be started.

    A template that wants more than Rasa's own ones is taken as it stands, with the flows behind it.
    """
    slots = {slot.name: slot for slot in flows.slots}
    listed = [_shown(flow, slots) for flow in flows.flows if flow.startable]
    variables: dict[str, Any] = dict.fromkeys(prompts.RASA_VARIABLES)
    variables |= {"available_flows": listed, "current_conversation": "", "user_message": "", "flow_slots": []}
    try:
        return prompts.render(source, variables, ())
    except PromptError:
        return source + str(listed)


def _shown(flow: MappedFlow, slots: Mapping[str, MappedSlot]) -> dict[str, Any]:
    """A flow as the templates list it."""
    listed = []
    for step in flow.steps:
        if step.kind == "collect" and step.slot:
            values = slots[step.slot].values if step.slot in slots else ()
            allowed = list(values) or None
            listed.append({"name": step.slot, "description": step.description, "allowed_values": allowed})
    return {"name": flow.id, "description": flow.description, "slots": listed}
