"""A run of `dataset` that ends early, and equal examples of several test files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rasa_ft_ext.assistant.base import Simulation
from rasa_ft_ext.conversation import AnnotatedFile, Conversation, Example, RephrasedConversation
from rasa_ft_ext.dataset.merging import lines_of, merge
from rasa_ft_ext.dataset.stage import dataset
from rasa_ft_ext.workspace import DATASET
from tests.builders import (
    FakeAssistant,
    annotated_file,
    contents,
    conversation,
    rephrased,
    rephrased_workspace,
    rephrasing,
    said,
)

CAR = "StartFlow(book_car)"


def suite() -> tuple[list[AnnotatedFile], list[RephrasedConversation]]:
    """Four files whose conversations have to be run again, as a value differs; the second says what the first says."""
    conversations = [
        conversation(said("book a car", CAR), said("to Basel", "SetSlot(city, Basel)"), said("yes", CAR), file=name)
        for name in ("a.yml", "b.yml", "c.yml", "d.yml")
    ]
    wordings = {1: [rephrasing("to Bern", "SetSlot(city, Bern)", differs=True)]}
    return [annotated_file(entry, file=entry.file) for entry in conversations], [
        rephrased(entry, wordings) for entry in conversations
    ]


def simulated(entry: Conversation, messages: object) -> Simulation:
    return Simulation({2: "the assistant's own prompt"})


async def test_the_next_run_makes_the_rest_and_comes_to_the_same(tmp_path: Path) -> None:
    files, found = suite()
    whole, other = (rephrased_workspace(tmp_path / name, files, *found) for name in ("whole", "other"))
    summary = await dataset(whole, FakeAssistant(simulated))
    assert summary.duplicates > 0

    def cut_off(entry: Conversation, messages: object) -> Simulation:
        if entry.file == "c.yml":
            raise ConnectionError("cut off")
        return simulated(entry, messages)

    with pytest.raises(ConnectionError, match="cut off"):
        await dataset(other, FakeAssistant(cut_off), concurrency=1)
    assert not other.folder(DATASET).exists()
    assistant = FakeAssistant(simulated)
    assert await dataset(other, assistant, concurrency=1) == summary

    assert {entry.conversation.split("::")[0] for entry in assistant.simulated} == {"c.yml", "d.yml"}
    assert contents(other.root) == contents(whole.root)


def test_the_first_of_equal_examples_stays_and_names_the_other_tests(tmp_path: Path) -> None:
    files, _ = suite()

    def examples(number: int) -> list[Example]:
        entry = files[number].conversations[0]
        turn = entry.turns[0]
        assert turn.annotation is not None
        same = {"step": 0, "variant": 0, "message": "m", "original_message": "m", "syntax": "v1", "made_by": "recorded"}
        from rasa_ft_ext.conversation import Example

        one = {
            **same,
            "test": entry.id,
            "turn": 0,
            "prompt": "p",
            "completion": CAR,
            "commands": turn.annotation.labels,
        }
        return [Example.model_validate(one), Example.model_validate({**one, "prompt": f"of {number}"})]

    parts = []
    for number in (0, 1, 2, 1):
        parts.append(tmp_path / f"{len(parts)}.jsonl")
        parts[-1].write_text(lines_of(examples(number)))

    merged = merge(parts, tmp_path / "kept", tmp_path / "out.jsonl")

    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    ids = [file.conversations[0].id for file in files]
    assert [(row["prompt"], row["test"], row["also_in"]) for row in rows] == [
        ("p", ids[0], [ids[1], ids[2]]),
        ("of 0", ids[0], []),
        ("of 1", ids[1], []),
        ("of 2", ids[2], []),
    ]
    assert (merged.examples, merged.duplicates, merged.made_by) == (4, 4, {"recorded": 4})
