"""The examples of one conversation: each user message's prompt with its label, in every wording.

A prompt is had in the cheapest way that is exact. Of the original conversation it is the recorded one. Of a
recombination it is rendered from the recorded variables, as long as no earlier message changed what the assistant
did; otherwise the assistant runs the new conversation with forced commands. Where it cannot (there is no assistant,
or it ends up in another state than the labels were given for), the history shows the original in the place of the
message that made the difference, which is exact as well. Where a person has changed the label of an original message,
what follows it is another course, too: the assistant runs it; where it cannot, later prompts show the message with what
the assistant did then.

With a student's prompt the labels stay, and every prompt is rendered with the student's template: from the recorded
variables, those of the original conversations too, or by the assistant as it runs a conversation. Where the variables
could not be recorded, the original conversation is run again as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Literal

from rasa_ft_ext import commands as language
from rasa_ft_ext.assistant.base import Assistant
from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Annotation, Conversation, Example, RephrasedConversation, TestFile
from rasa_ft_ext.dataset.recombine import Variant, variants
from rasa_ft_ext.dataset.redacting import redact
from rasa_ft_ext.prompts import render

MadeBy = Literal["recorded", "rendered", "simulated"]


class Maker:
    """Makes the examples of one conversation, with the student's template if there is one, and counts on the way.

    `recombinations`, `simulated`, `diverged`, `left_out`, `unreadable`, `masked` and `lost` are those of
    `DatasetSummary`.
    """

    def __init__(
        self,
        assistant: Assistant,
        template: str | None,
        source: TestFile,
        conversation: Conversation,
        rephrased: RephrasedConversation | None,
        labels: Mapping[int, tuple[Command, ...]] | None = None,
        *,
        redact: bool = False,
    ) -> None:
        self._assistant = assistant
        self._template = template
        self._source = source
        self._conversation = conversation
        self._rephrased = rephrased
        self._labels = labels
        self._redact = redact
        self._contested = {entry.turn for entry in rephrased.contested} if rephrased else set()
        self.examples: list[Example] = []
        self.unreadable: list[str] = []
        self.recombinations = 0
        self.simulated = 0
        self.diverged = 0
        self.left_out = 0
        self.masked: dict[str, int] = {}
        self.lost: list[str] = []

    async def make(self) -> Maker:
        """Fill in `examples`, the original conversation's first; return itself."""
        for variant in variants(self._conversation, self._rephrased, self._labels):
            self.recombinations += variant.number > 0
            prompts = await self._prompts(variant)
            for index, (prompt, made_by) in sorted(prompts.items()):
                self._add(variant, index, prompt, made_by)
        if self._redact:
            found = redact(self.examples, public=self._own_texts(), read=self._assistant.read)
            self.examples, self.masked, self.lost = found.examples, found.masked, found.lost
        return self

    def _own_texts(self) -> Iterator[str]:
        """What the assistant brings into the prompts, whoever talks to it."""
        card = self._assistant.card
        yield from (self._template or "", *card.flows.values(), *card.templates.values())
        for _, turn in self._conversation.annotated:
            assert turn.annotation is not None
            yield json.dumps(turn.annotation.variables.get("available_flows"), ensure_ascii=False, indent=0)

    async def _prompts(self, variant: Variant) -> dict[int, tuple[str, MadeBy]]:
        found: dict[int, tuple[str, MadeBy]] = {}
        later: list[int] = []
        for index, turn in self._conversation.annotated:
            assert turn.annotation is not None
            moved = any(place < index for place in variant.moved)
            if self._is_as_recorded(variant) and not moved:
                found[index] = (turn.annotation.prompt, "recorded")
            elif turn.annotation.renders and not moved:
                found[index] = (self._rendered(turn.annotation, variant.messages), "rendered")
            else:
                later.append(index)
        simulated = await self._simulated(variant, later) if later and self._assistant.can_simulate else {}
        for index in later:
            annotation = self._conversation.turns[index].annotation
            assert annotation is not None
            if index in simulated:
                found[index] = (simulated[index], "simulated")
            elif self._is_as_recorded(variant):
                found[index] = (annotation.prompt, "recorded")
            elif annotation.renders:
                found[index] = (self._rendered(annotation, self._settled(variant, index)), "rendered")
            else:
                self.left_out += 1
        return found

    def _is_as_recorded(self, variant: Variant) -> bool:
        """Whether the prompts of the recording are those of the variant, as long as no label was changed."""
        return variant.number == 0 and self._template is None

    async def _simulated(self, variant: Variant, wanted: list[int]) -> dict[int, str]:
        self.simulated += 1
        first = min([*variant.moved, *wanted])  # up to here, nothing differs but wordings
        simulation = await self._assistant.simulate(
            self._source, self._conversation, variant.messages, variant.labels, first, self._template
        )
        if simulation.diverged is None:
            return simulation.prompts
        self.diverged += 1
        return {index: prompt for index, prompt in simulation.prompts.items() if index < simulation.diverged}

    def _rendered(self, annotation: Annotation, messages: tuple[str, ...]) -> str:
        template = self._template
        if template is None:
            template = self._assistant.card.templates[annotation.template]
        return render(template, annotation.variables, messages)

    def _settled(self, variant: Variant, index: int) -> tuple[str, ...]:
        """The variant's messages, with the original wherever an earlier one changes the course."""
        return tuple(
            turn.message if place < index and place in variant.moved else variant.messages[place]
            for place, turn in enumerate(self._conversation.turns)
        )

    def _add(self, variant: Variant, index: int, prompt: str, made_by: MadeBy) -> None:
        turn = self._conversation.turns[index]
        label = variant.labels[index]
        if index in self._contested and variant.messages[index] == turn.message:
            return  # asked again, the teacher did not say to this very message what was recorded
        assert turn.annotation is not None
        assert label is not None
        completion = language.write(label, turn.annotation.syntax)
        if self._assistant.read(completion) != label:
            self.unreadable.append(f"{self._conversation.id}: {completion!r}")
            return
        self.examples.append(
            Example(
                test=self._conversation.id,
                turn=index,
                step=turn.step,
                variant=variant.number,
                message=variant.messages[index],
                original_message=turn.message,
                prompt=prompt,
                completion=completion,
                commands=label,
                syntax=turn.annotation.syntax,
                made_by=made_by,
            )
        )
