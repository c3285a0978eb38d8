"""Small conversations, examples and workspaces to split."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import (
    AnnotatedFile,
    Annotation,
    AssistantCard,
    Conversation,
    Example,
    TestFile,
    Turn,
)
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    ASSISTANT_CARD,
    DATASET,
    EXAMPLES,
    Workspace,
    record_path,
    write_jsonl,
    write_record,
)


def start(flow: str) -> Command:
    return Command(type="StartFlow", args=(flow,))


def set_slot(name: str, value: str | None = "x") -> Command:
    return Command(type="SetSlot", args=(name, value))


def example(test: str, prompt: str, *commands: Command, turn: int = 0, **fields: Any) -> Example:
    commands = commands or (start("f"),)
    defaults = {
        "step": 2 * turn,
        "variant": 0,
        "message": "m",
        "original_message": "m",
        "completion": "\n".join(" ".join([command.type, *map(str, command.args)]) for command in commands),
        "syntax": "v2",
        "made_by": "recorded",
    }
    return Example(test=test, turn=turn, prompt=prompt, commands=commands, **{**defaults, **fields})


def turn(message: str, prompt: str | None, step: int = 0) -> Turn:
    annotation = prompt and Annotation(
        generator="g",
        syntax="v2",
        prompt=prompt,
        template="t",
        variables={},
        renders=True,
        answer="a",
        commands=(start("f"),),
    )
    return Turn(step=step, message=message, events_before=0, annotation=annotation or None)


def conversation(
    test: str, *prompts: str, case: dict[str, Any] | None = None, actions: Sequence[str] = ("action_listen",)
) -> Conversation:
    """A conversation with the id `test`, one turn for each prompt, in which these actions ran."""
    file, name = test.rsplit("::", 1)
    return Conversation(
        id=test,
        file=file,
        name=name,
        test_case=case or {"test_case": name, "steps": [{"user": "hi"}]},
        turns=tuple(turn("m", prompt, step) for step, prompt in enumerate(prompts)),
        events=tuple({"event": "action", "name": action} for action in actions),
    )


def annotated(conversations: Iterable[Conversation], sources: Iterable[TestFile] = ()) -> list[AnnotatedFile]:
    """The conversations by file; a file that is not among the sources has no fixtures, metadata and stubs."""
    by_name = {source.file: source for source in sources}
    files: dict[str, list[Conversation]] = {name: [] for name in by_name}
    for entry in conversations:
        files.setdefault(entry.file, []).append(entry)
    return [
        AnnotatedFile(source=by_name.get(name, TestFile(file=name)), conversations=tuple(entries))
        for name, entries in files.items()
    ]


def workspace_of(
    root: Path, files: Iterable[AnnotatedFile], examples: Iterable[Example], *, force: bool = False
) -> Workspace:
    workspace = Workspace(root, force=force)
    card = AssistantCard(rasa_version="3.21.0", model="m", generator="g", syntax="v2", llm={}, flows={})
    with workspace.writing(ANNOTATIONS, {}) as folder:
        write_record(folder / ASSISTANT_CARD, card)
        for file in files:
            write_record(record_path(folder, file.source.file), file)
    with workspace.writing(DATASET, {}) as folder:
        write_jsonl(folder / EXAMPLES, [entry.model_dump(mode="json") for entry in examples])
    return workspace


def random_data(seed: int) -> tuple[list[Conversation], list[Example]]:
    """2 to 14 tests of 1 to 8 examples, some of which share prompts, or gave the same example."""
    dice = random.Random(seed)
    tests = [f"f{number % 3}.yml::test {number}" for number in range(dice.randint(2, 14))]
    flows = [f"flow{number}" for number in range(dice.randint(1, 6))]
    slots = [f"slot{number}" for number in range(dice.randint(1, 6))]
    pool = [
        lambda: start(dice.choice(flows)),
        lambda: set_slot(dice.choice(slots)),
        lambda: Command(type=dice.choice(["CancelFlow", "HumanHandoff", "ChitChat", "Clarify"])),
    ]
    examples: list[Example] = []
    for test in tests:
        for number in range(dice.randint(1, 8)):
            shared = dice.random() < 0.05
            prompt = f"shared {dice.randint(0, 2)}" if shared else f"{test} {number}"
            also_in = (dice.choice(tests),) if dice.random() < 0.03 else ()
            commands = [dice.choice(pool)() for _ in range(dice.randint(1, 3))]
            examples.append(example(test, prompt, *commands, turn=number, also_in=also_in))
    unique = {(entry.prompt, entry.completion): entry for entry in examples}
    return [conversation(test) for test in tests], list(unique.values())
