"""More variety, still true: what a run may do besides asking the rephraser. All of it is off unless it is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from rasa_ft_ext.conversation import Conversation
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.rephrase.checking import Check, Checked
from rasa_ft_ext.rephrase.noise import Noise, noisy, read_noise
from rasa_ft_ext.rephrase.request import turns_to_rephrase
from rasa_ft_ext.rephrase.substitution import substitutions
from rasa_ft_ext.rephrase.values import SlotChoices, read_values, set_slots
from rasa_ft_ext.rephrase.verdict import SlotValues


@dataclass(frozen=True)
class Variety:
    """What is done besides asking the rephraser; the default is nothing."""

    substitute_slots: int = 0
    """Wordings with another slot value to try, per user message."""
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values that a person lists for slots."""
    noise: Noise | None = None
    """Which part of the wordings gets a copy with slips, of which kinds."""
    self_consistency: int = 1
    """How often the assistant's LLM is asked about each message."""
    seed: int = 42
    """The same seed chooses the same values and slips."""

    def key(self) -> dict[str, Any]:
        """What of it the results depend on; nothing where all is off."""
        found: dict[str, Any] = {}
        if self.substitute_slots:
            found["substitute_slots"] = {"count": self.substitute_slots, "values": dict(self.values)}
        if self.noise:
            found["noise"] = dataclasses.asdict(self.noise)
        if found:
            found["variety_seed"] = self.seed
        return found | ({"self_consistency": self.self_consistency} if self.self_consistency > 1 else {})


def read_variety(
    project: Path,
    *,
    substitute_slots: int,
    substitute_values: str | Path | None,
    noise: str | None,
    self_consistency: int,
    seed: int,
) -> Variety:
    """Read what was asked for; paths start from the project's folder.

    Raises:
        ConfigError: something cannot work; names all of it.
    """
    problems: list[str] = []

    def attempt(read: Any) -> Any:
        try:
            return read()
        except ConfigError as error:
            problems.extend(f"{error.where}: {problem}" for problem in error.problems)
            return None

    if substitute_slots < 0:
        problems.append(f"substitute_slots is {substitute_slots}; it must be 0 or more.")
    if self_consistency < 1:
        problems.append(f"self_consistency is {self_consistency}; it must be 1 or more.")
    if substitute_values is not None and not substitute_slots:
        problems.append("substitute_values is given, but substitute_slots is off; it says how many values to try.")
    values = attempt(lambda: read_values(project / substitute_values)) if substitute_values is not None else None
    kinds = attempt(lambda: read_noise(noise)) if noise is not None else None
    if problems:
        raise ConfigError("rephrase", problems)
    return Variety(substitute_slots, values or {}, kinds, self_consistency, seed)


def substituted(conversation: Conversation, choices: SlotChoices, variety: Variety) -> Iterator[Check]:
    """The wordings of a conversation with other slot values; each must give just the exchanged commands."""
    taken: set[str] = set()
    for index in turns_to_rephrase(conversation):
        random = Random(f"{variety.seed} {conversation.id} {index}")
        chosen = substitutions(conversation, index, choices, variety.substitute_slots, random, taken)
        taken |= {found.value for found in chosen}
        for found in chosen:
            yield Check(
                conversation, index, found.annotation, found.text, "strict", origin="substitution", differs=True
            )


def slipped(
    conversation: Conversation, checked: Sequence[Checked], variety: Variety, slot_values: SlotValues
) -> Iterator[Check]:
    """Noisy copies of a share of the messages and passing wordings; each must give the commands of what it copies."""
    if variety.noise is None:
        return
    for base, values in (*_originals(conversation), *_passing(checked, slot_values)):
        random = Random(f"{variety.seed} {base.conversation.id} {base.turn} {base.text}")
        if random.random() < variety.noise.share:
            copy = noisy(base.text, values, variety.noise, random)
            if copy is not None:
                kind, text = copy
                yield dataclasses.replace(base, text=text, origin="noise", noise=kind)


_Base = tuple[Check, list[str]]
"""What a noisy copy is made of: the wording with what it must give, and the values that must stay readable."""


def _originals(conversation: Conversation) -> Iterator[_Base]:
    for index in turns_to_rephrase(conversation):
        turn = conversation.turns[index]
        if turn.annotation is not None:
            values = [value for _, value in set_slots(turn)]
            yield Check(conversation, index, turn.annotation, turn.message, "strict"), values


def _passing(checked: Sequence[Checked], slot_values: SlotValues) -> Iterator[_Base]:
    for entry in checked:
        wording = entry.rephrasing
        if wording.passed:
            annotation = entry.check.annotation.model_copy(update={"commands": wording.label})
            mode: SlotValues = "original" if slot_values == "original" else "strict"
            base = dataclasses.replace(entry.check, annotation=annotation, slot_values=mode, differs=wording.differs)
            commands = (*wording.label, *wording.commands)
            yield base, [command.args[1] for command in commands if command.type == "SetSlot" and command.args[1]]
