"""Other slot values and slips, with the assistant itself: what passes, and what becomes of the turns behind it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext import prepare_data
from rasa_ft_ext.commands import Command, read
from rasa_ft_ext.conversation import Conversation, Example, Rephrasing
from rasa_ft_ext.places import stands_in
from rasa_ft_ext.rephrase.stage import RephraseSummary
from rasa_ft_ext.split.stage import CHECKS
from rasa_ft_ext.workspace import REPHRASINGS, SPLIT, Workspace, read_annotations, read_summary
from tests.rasa_pro.projects import REPOSITORY, Project

KINDS = ("asr", "typo", "casing")


def test_varied_wordings_are_true_in_message_history_and_label(example: Project, tmp_path: Path) -> None:
    with example.entered(), example.at_home():
        prepare_data(
            example.tests / "cars",
            project=example.path,
            out=tmp_path,
            num_rephrases=0,
            substitute_slots=1,
            noise=f"{','.join(KINDS)}:0.5",
        )
    workspace = Workspace(tmp_path)
    summary = read_summary(workspace.folder(REPHRASINGS), RephraseSummary)
    assert summary.passing_by_origin is not None
    assert summary.passing_by_origin.keys() == {"substitution", *(f"noise: {kind}" for kind in KINDS)}
    report = json.loads((workspace.folder(SPLIT) / CHECKS).read_text())
    assert not [finding for finding in report["findings"] if finding["kind"] in ("contradiction", "ungrounded value")]

    recorded = {entry.id: entry for file in workspace.annotations() for entry in file.conversations}
    exchanged = {
        (entry.id, turn.turn, rephrasing.text): _exchange(recorded[entry.id], turn.turn, rephrasing)
        for file in workspace.rephrasings()
        for entry in file.conversations
        for turn in entry.turns
        for rephrasing in turn.passing
        if rephrasing.origin == "substitution"
    }
    examples = list(workspace.examples())
    varied = [(found, exchanged.get((found.test, found.turn, found.message))) for found in examples]
    rows = [(found, *pair) for found, pair in varied if pair is not None]
    assert len(rows) > 10
    assert all(new in found.commands for found, _, new in rows)

    behind = [(later, old, new) for found, old, new in rows for later in examples if _is_behind(later, found)]
    assert len(behind) > 10
    repeated = 0
    for later, old, new in behind:
        spoken = re.findall(r"(?m)^(USER|AI): (.*)$", later.prompt)
        said, answered = (" / ".join(text for who, text in spoken if who == side) for side in ("USER", "AI"))
        assert stands_in(new.args[1] or "", said)
        assert not stands_in(old.args[1] or "", said)
        repeated += stands_in(new.args[1] or "", answered)
    assert repeated > 0


def _exchange(conversation: Conversation, turn: int, wording: Rephrasing) -> tuple[Command, Command]:
    """The command that was recorded, and the one that has come in its place."""
    annotation = conversation.turns[turn].annotation
    assert annotation is not None
    ((old, new),) = [pair for pair in zip(annotation.labels, wording.label, strict=True) if pair[0] != pair[1]]
    return old, new


def test_a_label_that_takes_up_an_exchanged_value_holds_no_longer(example: Project) -> None:
    """'The same days as the car' is labelled with the days of before, wherever the conversation stands."""
    files = list(read_annotations(REPOSITORY / "assistant_example" / "annotations"))
    source, booking = next(
        (file.source, entry)
        for file in files
        for entry in file.conversations
        if entry.name == "car booking combined with hotel"
    )
    messages = [turn.message for turn in booking.turns]
    labels = [turn.annotation.labels if turn.annotation else None for turn in booking.turns]
    days, again = messages.index("from may 14th to the 17th"), messages.index("the same days as the car")
    messages[days] = "from may 15th to the 18th"
    labels[days] = read("set slot car_rental_start_date may 15th\nset slot car_rental_end_date may 18th", "v2")

    with example.open(stubbed=True) as live:
        found = live.run(live.assistant.simulate(source, booking, messages, labels, days + 1, None))

    assert found.diverged == again


def _is_behind(later: Example, found: Example) -> bool:
    """Whether a row was had by running the conversation with an exchanged value again."""
    same = (later.test, later.variant) == (found.test, found.variant)
    return same and later.turn > found.turn and later.made_by == "simulated"
