"""Faults planted into clean rows of training data: twenty of a kind, by a seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rasa_ft_ext import commands as language
from rasa_ft_ext.checks.findings import Side
from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Example

COUNT = 20
INVENTED = (
    *(
        "Reykjavik",
        "Ulaanbaatar",
        "Port Moresby",
        "Sapporo",
        "Kyzyl-Orda",
        "Samsung - Submarine",
        "Hotel Xanadu Palace",
    ),
    *("QX9913", "77315", "4711", "2031-11-27", "29 December", "Wednesday 30 October", "zebra@quagga.example"),
    *("a villa with a pool", "Włocławek", "Jupiter Express", "0049 555 917", "Vaduz Ballooning", "Fjordland Ferry"),
)
Planter = Callable[[random.Random, dict[Side, list[Example]]], list[tuple[Side, Example]]]


@dataclass(frozen=True)
class Planted:
    """The rows of both sides, and those that were planted, by file and line."""

    sides: dict[Side, list[Example]]
    rows: frozenset[str]


def plant(clean: dict[Side, list[Example]], planter: Planter, seed: int) -> Planted:
    """Add what a planter makes at the end of each side; where it takes an example away, it has said so by its like."""
    sides = {side: list(examples) for side, examples in clean.items()}
    rows = set()
    for side, example in planter(random.Random(seed), sides):
        sides[side].append(example)
        rows.add(f"ft_splits/{'train' if side == 'train' else 'val'}.jsonl line {len(sides[side])}")
    return Planted(sides, frozenset(rows))


def contradictions(dice: random.Random, sides: dict[Side, list[Example]]) -> list[tuple[Side, Example]]:
    """Other commands for a row's prompt."""
    chosen = distinct(dice, sides["train"], lambda example: len(example.commands) == 1)
    others = [example for example in sides["train"] if len(example.commands) == 2]
    return [("train", labelled(example, dice.choice(others).commands)) for example in chosen]


def rewordings(dice: random.Random, sides: dict[Side, list[Example]]) -> list[tuple[Side, Example]]:
    """Other commands for a row's message in its state, after earlier messages in other words."""
    chosen = distinct(dice, sides["train"], lambda example: spoken(example) > 1 and len(example.commands) == 1)
    others = [example for example in sides["train"] if len(example.commands) == 2]
    return [
        ("train", labelled(first_reworded(example, "Well, let me see then"), dice.choice(others).commands))
        for example in chosen
    ]


def unknown_flows(dice: random.Random, sides: dict[Side, list[Example]]) -> list[tuple[Side, Example]]:
    chosen = distinct(dice, sides["train"], lambda example: example.commands[0].type == "StartFlow")
    return [
        ("train", labelled(example, (Command(type="StartFlow", args=(f"{example.commands[0].args[0]}_{number}",)),)))
        for number, example in enumerate(chosen)
    ]


def unknown_values(dice: random.Random, sides: dict[Side, list[Example]]) -> list[tuple[Side, Example]]:
    chosen = distinct(dice, sides["train"], lambda example: sets(example, "payment_method", "hotel_price_range"))
    return [("train", with_value(example, f"bitcoin {number}")) for number, example in enumerate(chosen)]


def unknown_slots(dice: random.Random, sides: dict[Side, list[Example]]) -> list[tuple[Side, Example]]:
    chosen = distinct(dice, sides["train"], lambda example: sets(example, "trip_destination"))
    renamed = [Command(type="SetSlot", args=("destination", example.commands[0].args[1])) for example in chosen]
    return [("train", labelled(example, (command,))) for example, command in zip(chosen, renamed, strict=True)]


def ungrounded_values(dice: random.Random, sides: dict[Side, list[Example]]) -> list[tuple[Side, Example]]:
    slots = ("trip_destination", "car_rental_selection", "selected_flight_id", "hotel_name", "excursion_name")
    chosen = distinct(dice, sides["train"], lambda example: sets(example, *slots) and not has_relative_day(example))
    return [("train", with_value(example, value)) for example, value in zip(chosen, INVENTED, strict=True)]


def leaks(dice: random.Random, sides: dict[Side, list[Example]]) -> list[tuple[Side, Example]]:
    """Rows of training in validation."""
    return [("validation", example) for example in distinct(dice, sides["train"], lambda example: True)]


def near_leaks(dice: random.Random, sides: dict[Side, list[Example]]) -> list[tuple[Side, Example]]:
    return [("validation", example) for example in nearly(dice, sides["train"])]


def near_duplicates(dice: random.Random, sides: dict[Side, list[Example]]) -> list[tuple[Side, Example]]:
    return [("train", example) for example in nearly(dice, sides["train"])]


def distinct(dice: random.Random, examples: Sequence[Example], fits: Callable[[Example], bool]) -> list[Example]:
    """So many examples with prompts of their own, each the only one with its message at its turn."""
    once: dict[tuple[int, str], Example] = {}
    for example in examples:
        if fits(example):
            once.setdefault((example.turn, example.message.casefold()), example)
    return dice.sample(list(once.values()), COUNT)


def nearly(dice: random.Random, examples: Sequence[Example]) -> list[Example]:
    """Examples whose message differs in case, punctuation or one letter."""
    changes: tuple[Callable[[str], str], ...] = (
        str.upper,
        lambda text: f"{text.rstrip('.!?')}!!",
        lambda text: text.replace(" ", "  "),
        lambda text: text[: len(text) // 2] + "x" + text[len(text) // 2 + 1 :],
    )
    chosen = distinct(dice, examples, lambda example: len(example.message) > 25 and spoken(example) > 0)
    return [
        reworded(example, example.message, changes[number % len(changes)](example.message))
        for number, example in enumerate(chosen)
    ]


def labelled(example: Example, commands: tuple[Command, ...]) -> Example:
    return example.model_copy(update={"commands": commands, "completion": language.write(commands, example.syntax)})


def with_value(example: Example, value: str) -> Example:
    name = example.commands[0].args[0]
    return labelled(example, (Command(type="SetSlot", args=(name, value)), *example.commands[1:]))


def reworded(example: Example, old: str, new: str) -> Example:
    changed = {"prompt": example.prompt.replace(old, new), "message": example.message.replace(old, new)}
    return example.model_copy(update=changed)


def first_reworded(example: Example, new: str) -> Example:
    return example.model_copy(update={"prompt": re.sub(r"(?m)^USER: .*$", f"USER: {new}", example.prompt, count=1)})


def spoken(example: Example) -> int:
    return len(re.findall(r"(?m)^USER: ", example.prompt))


def sets(example: Example, *slots: str) -> bool:
    first = example.commands[0]
    return first.type == "SetSlot" and first.args[0] in slots and len(example.commands) == 1


def has_relative_day(example: Example) -> bool:
    return bool(
        re.search(
            r"(?i)tomorrow|today|soon|day|night|tage|week|30|29|27|[日泊]",
            "\n".join(re.findall(r"(?m)^USER: .*$", example.prompt)),
        )
    )
