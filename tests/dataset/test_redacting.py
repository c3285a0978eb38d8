"""With --redact, no e-mail address, phone, card or IBAN number leaves for training, and labels stay true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rasa_ft_ext.commands import Command, read
from rasa_ft_ext.conversation import Conversation, Example
from rasa_ft_ext.dataset.redacting import redact
from rasa_ft_ext.dataset.stage import dataset
from rasa_ft_ext.report.browse import Placed, browsable
from rasa_ft_ext.split.stage import split
from rasa_ft_ext.workspace import DATASET, EXAMPLES, SPLIT, Workspace
from tests.builders import (
    FakeAssistant,
    annotated_file,
    commands,
    contents,
    conversation,
    rephrased,
    rephrased_workspace,
    rephrasing,
    said,
)

PHONE = "0170 1234567"
OTHER = "+49 171 7654321"
MAIL = "Anna.Maria@example.com"
CARD = "4111 1111 1111 1111"


def example(message: str, says: str, *, before: str = "", variant: int = 0, turn: int = 0) -> Example:
    label = commands(says) if says else ()
    return Example(
        test="a.yml::a",
        turn=turn,
        step=turn,
        variant=variant,
        message=message,
        original_message=message,
        prompt=f"Call 030 123456-78 for help. EMAIL_1\n{before}\nUSER: {message}\nAnswer:",
        completion="\n".join(map(str, label)),
        commands=label,
        syntax="v1",
        made_by="rendered",
    )


def masked(*examples: Example, public: tuple[str, ...] = ()) -> list[Example]:
    return redact(examples, public=public, read=lambda text: read(text, "v1")).examples


def test_prompt_label_and_messages_have_the_same_placeholder_in_every_variant() -> None:
    found = masked(
        example(f"my number is {PHONE}", f"SetSlot(phone, {PHONE})"),
        example(f"call me: {PHONE}, thanks", "SetSlot(phone, 01701234567)", variant=1),
        example(f"{OTHER} or {MAIL}", f"SetSlot(phone, {OTHER})\nSetSlot(email, {MAIL})", variant=2),
        example("book it", "StartFlow(book)", before=f"AI: You are +491701234567, paying with {CARD}?", turn=1),
        public=("Call 030 123456-78 for help.",),
    )

    assert [entry.completion for entry in found] == [
        "SetSlot(phone, PHONE_1)",
        "SetSlot(phone, PHONE_1)",
        "SetSlot(phone, PHONE_2)\nSetSlot(email, EMAIL_2)",  # EMAIL_1 stands in the prompt as it is
        "StartFlow(book)",
    ]
    assert [entry.message for entry in found[:2]] == ["my number is PHONE_1", "call me: PHONE_1, thanks"]
    assert "AI: You are PHONE_1, paying with CARD_1?" in found[3].prompt
    for entry in found:
        assert read(entry.completion, "v1") == entry.commands
        assert f"USER: {entry.message}\n" in entry.prompt
        assert "Call 030 123456-78 for help. EMAIL_1" in entry.prompt


@pytest.mark.parametrize(
    ("written", "at_home"), [("+41 78 123 45 67", "078 123 45 67"), ("+86 131 2345 6789", "13123456789")]
)
def test_a_number_with_its_country_and_without_is_one_number(written: str, at_home: str) -> None:
    """Without one, that of the first region is taken in which it could be dialled."""
    found = masked(
        example(f"my number is {written}", f"SetSlot(phone, {at_home})"),
        example(f"or {at_home}, not 0151 12345678 or 0152 12345678", f"SetSlot(phone, {written})", turn=1),
    )
    assert [entry.completion for entry in found] == ["SetSlot(phone, PHONE_1)"] * 2
    assert found[1].message == "or PHONE_1, not PHONE_2 or PHONE_3"


def test_a_value_that_is_known_only_beside_others_is_masked_everywhere() -> None:
    """By itself, a number with dots is none; its digits are those of one that was found."""
    found = masked(example("on my card 4111-1111-1111-1111", "SetSlot(card, 4111.1111.1111.1111)"))
    assert found[0].completion == "SetSlot(card, CARD_1)"


def test_a_label_with_a_part_of_what_is_masked_is_left_out() -> None:
    result = redact(
        [example(f"card {CARD}", "SetSlot(last_digits, 1111)"), example("Basel", "SetSlot(city, Basel)", variant=1)],
        read=lambda text: read(text, "v1"),
    )
    assert [entry.message for entry in result.examples] == ["Basel"]
    assert result.lost == ["a.yml::a: SetSlot(last_digits, 1111), which is a part of what was masked"]
    assert result.masked == {"PHONE": 1, "CARD": 1}


@pytest.mark.parametrize("syntax", ["v1", "v2", "v3"])
def test_a_masked_label_can_be_read_back(syntax: str) -> None:
    from rasa_ft_ext.commands import write

    label = (Command(type="SetSlot", args=("mail", "EMAIL_12")),)
    assert read(write(label, syntax), syntax) == label  # type: ignore[arg-type]


# The stage, and those behind it


def talk(name: str, number: str) -> Conversation:
    return conversation(
        said("book a car", "StartFlow(book_car)"),
        said(f"my number is {number}", f"SetSlot(phone, {number})"),
        name=name,
    )


def workspace_of(root: Path) -> Workspace:
    one, two = talk("one", PHONE), talk("two", OTHER)
    wordings = {
        1: [
            rephrasing(f"it is {PHONE}", f"SetSlot(phone, {PHONE})"),
            rephrasing("it's 0171 1112223", "SetSlot(phone, 0171 1112223)", differs=True),
        ]
    }
    return rephrased_workspace(root, [annotated_file(one, two)], rephrased(one, wordings), rephrased(two, {}))


async def test_nothing_personal_is_in_the_data_and_the_report_still_finds_the_rows(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path)

    summary = await dataset(workspace, FakeAssistant(), redact=True)
    split(workspace, train_frac=0.5)

    text = (workspace.folder(DATASET) / EXAMPLES).read_text(encoding="utf-8")
    rows = "".join(path.read_text(encoding="utf-8") for path in (workspace.folder(SPLIT) / "ft_splits").glob("*.jsonl"))
    for digits in ("1234567", "7654321", "1112223"):
        assert digits not in text
        assert digits not in rows
    assert "SetSlot(phone, PHONE_2)" in rows
    assert summary.masked == {"PHONE": 3}
    placed = [Placed(entry, "train", "train.jsonl line 1") for entry in workspace.examples()]
    shown = browsable(list(workspace.annotations()), list(workspace.rephrasings()), placed)
    turn = shown["tests"][0]["turns"][1]
    assert turn["rows"] == 1
    assert [entry["rows"] for entry in turn["re"]] == [1, 1]


async def test_masked_data_are_other_data_and_without_the_option_nothing_changes(tmp_path: Path) -> None:
    plain, redacted = workspace_of(tmp_path / "plain"), workspace_of(tmp_path / "redacted")
    await dataset(plain, FakeAssistant())
    await dataset(redacted, FakeAssistant(), redact=True)

    assert PHONE in (plain.folder(DATASET) / EXAMPLES).read_text(encoding="utf-8")
    keys = [json.loads(contents(each.folder(DATASET))["manifest.json"])["key"] for each in (plain, redacted)]
    assert keys[1].pop("redact") is True
    assert keys[0] == keys[1]
