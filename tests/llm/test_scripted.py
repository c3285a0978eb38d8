"""The script of the scripted LLM: its file, and how an answer is found in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.llm.scripted.script import Script

ANSWERS = """\
answers:
  - user: I'd like to book a car
    commands: [StartFlow(book_car)]
    paraphrases:
      - I need to reserve a car.
      - user: A car in Zürich, please
        commands: [StartFlow(book_car), SetSlot(city, Zürich)]
      - I need to reserve a car.
      - {user: Something odd, error: 500}
  - user: "Yes"
    asked: "shall I book"
    commands: [SetSlot(confirm, True)]
    paraphrases: [Sure, "Go ahead"]
  - user: "Yes"
    asked: "Shall I book the hotel"
    commands: ["SetSlot(confirm_hotel, True)"]
    paraphrases: [Sure, Of course]
  - user: "Yes"
    commands: []
  - user: Which firm?
    commands:
      - SetSlot(firm, Acme (UK), Basel)
      - Clarify(b, a)
      - SearchAndReply()
  - user: Tell me a joke
    text: "Ha ha\\n  ha"
"""


@pytest.fixture
def script(tmp_path: Path) -> Script:
    path = tmp_path / "answers.yml"
    path.write_text(ANSWERS, encoding="utf-8")
    return Script.load(path)


def problems(tmp_path: Path, text: str) -> str:
    path = tmp_path / "answers.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        Script.load(path)
    assert caught.value.where == str(path)
    return "\n".join(caught.value.problems)


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "answers:\n"
        "  - user: a\n    commands: [Jump()]\n"
        "  - user: b\n"
        "  - user: 5\n    text: x\n    extra: y\n"
        "  - user: c\n    text: x\n    commands: []\n"
        "  - user: d\n    commands: []\n    paraphrases:\n      - {user: e, error: 200}\n      - {user: f, asked: g}\n",
    )
    lines = found.split("\n")
    assert lines[0].startswith("line 3: answers.0.commands: 'Jump()' is not one command in the notation of v1")
    assert lines[1].startswith("line 4: answers.1: it needs one of 'commands', 'text' and 'error'")
    assert lines[2] == "line 5: answers.2.user: this must be a text; put it in quotes"
    assert lines[3].startswith("line 7: answers.2.extra: ")
    assert lines[4].startswith("line 8: answers.3: it can have only one of")
    assert lines[5].startswith("line 14: answers.4.paraphrases.0.error: ")
    assert lines[6].startswith("line 15: answers.4.paraphrases.1: 'asked' needs")
    assert len(lines) == 7


def test_two_answers_to_the_same_message_in_the_same_situation_are_a_problem(tmp_path: Path) -> None:
    same = "  - {user: a, asked: B, text: x}\n"
    found = problems(tmp_path, f"answers:\n{same}{same}  - {{user: ' a', asked: b, text: y}}\n")
    assert found.startswith("line 4: 'a' has another answer already where the assistant asked 'b'.")
    assert "\n" not in found


def test_a_paraphrase_of_messages_with_different_answers_is_a_problem(tmp_path: Path) -> None:
    entries = "".join(f"  - {{user: {user}, text: {user}, paraphrases: [both]}}\n" for user in "ab")
    assert problems(tmp_path, f"answers:\n{entries}").startswith("'both' paraphrases both 'a' and 'b'")
    own = "  - {user: both, text: c}\n"
    (tmp_path / "answers.yml").write_text(f"answers:\n{entries}{own}")
    answer = Script.load(tmp_path / "answers.yml").find("both")
    assert answer is not None
    assert answer.text == "c"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("answers: [", "This is not YAML: line 1: "),
        ("answers: []\nanswers: []\n", "This is not YAML: line 2: found duplicate key"),
        ("", "line 1: the file: "),
        ("answer: []", "line 1: answer"),
        ("answers: 5", "line 1: answers: "),
    ],
)
def test_a_file_of_another_kind_is_a_problem(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in problems(tmp_path, text)


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Script.load(tmp_path / "missing.yml")


@pytest.mark.parametrize(
    ("message", "asked", "expected"),
    [
        ("I'd like to book a car", "", "StartFlow(book_car)"),
        ("  I'd like  to book\na car", "", "StartFlow(book_car)"),
        ("i'd like to book a car", "", None),
        ("I need to reserve a car.", "", "StartFlow(book_car)"),
        ("A car in Zürich, please", "", "StartFlow(book_car) SetSlot(city, Zürich)"),
        ("Yes", "", ""),
        ("Yes", "Well, SHALL  I book it?", "SetSlot(confirm, True)"),
        ("Yes", "Shall I book the hotel?", "SetSlot(confirm_hotel, True)"),
        ("Go ahead", "Shall I book the hotel?", "SetSlot(confirm_hotel, True)"),
        ("Sure", "Shall I book the hotel?", "SetSlot(confirm_hotel, True)"),
        ("Sure", "Anything else?", ""),
        ("Which firm?", "", "SetSlot(firm, Acme (UK), Basel) Clarify(a, b) SearchAndReply()"),
        ("No", "", None),
    ],
)
def test_the_answer_fits_message_and_situation(script: Script, message: str, asked: str, expected: str | None) -> None:
    answer = script.find(message, asked)
    found = None if answer is None else " ".join(str(command) for command in answer.commands or ())
    assert found == expected


def test_paraphrases_come_in_order_and_once(script: Script) -> None:
    cars = ("I need to reserve a car.", "A car in Zürich, please", "Something odd")
    assert script.paraphrases("I'd like to  book a car") == cars
    assert script.paraphrases("Yes") == ("Sure", "Go ahead", "Of course")
    assert script.paraphrases("No") == script.paraphrases("I need to reserve a car.") == ()
