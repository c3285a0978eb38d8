"""Examples that contradict each other: one prompt, other commands. No model can learn both.

They come about where the tests do not agree, or where a student's prompt leaves out what the teacher's label depends
on. They are counted and named, not dropped: which of the two is right only a person can say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rasa_ft_ext.commands import difference, value_difference
from rasa_ft_ext.conversation import Example


def contradictions_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """The prompts with contradicting examples, a sentence each, in the order of the examples.

    Commands contradict when Rasa would do something else for them; the place of a `SetSlot` among the others does not
    matter.
    """
    by_prompt: dict[str, list[Example]] = {}
    for example in examples:
        by_prompt.setdefault(example.prompt, []).append(example)
    return tuple(_told(found) for found in by_prompt.values() if any(_contradict(found[0], other) for other in found))


def _contradict(one: Example, other: Example) -> bool:
    return bool(difference(one.commands, other.commands) or value_difference(one.commands, other.commands))


def _told(examples: Sequence[Example]) -> str:
    """Such as `'the big one': cars.yml::a (set slot size big), cars.yml::b (start flow book_hotel)`."""
    answers: dict[str, list[str]] = {}
    for example in examples:
        answers.setdefault(example.completion, []).extend([example.test, *example.also_in])
    parts = [f"{', '.join(dict.fromkeys(tests))} ({'; '.join(text.splitlines())})" for text, tests in answers.items()]
    return f"{examples[0].message!r}: {' or '.join(parts)}"
