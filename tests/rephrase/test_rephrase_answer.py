"""What is read from the rephraser's answer, in all the forms that LLMs give it."""

from __future__ import annotations

import pytest

from rasa_ft_ext.rephrase.answer import read_answer

CAR, BASEL = "I'd like to book a car", "to Basel"
A, B, C, D = "I need a car.", "Could I rent a car?", "Basel, please.", "The city is Basel."
BOTH = ((A, B), (C, D))

GOOD_FORM = f"USER: {CAR}\n1. {A}\n2. {B}\n\nUSER: {BASEL}\n1. {C}\n2. {D}\n"

FORMS = {
    "as asked": GOOD_FORM,
    "windows line ends": GOOD_FORM.replace("\n", "\r\n"),
    "no blank line between": GOOD_FORM.replace("\n\n", "\n"),
    "blank lines everywhere": GOOD_FORM.replace("\n", "\n\n"),
    "indented": GOOD_FORM.replace("\n", "\n    "),
    "preamble": "Sure! Here are 2 rephrasings for each message:\n\n" + GOOD_FORM,
    "preamble with a list": "I will:\n1. read\n2. write\n\n" + GOOD_FORM,
    "closing prose": GOOD_FORM + "\nLet me know if you need more!",
    "closing notes with numbers": GOOD_FORM + "\nNotes:\n1. I kept the details.\n2. I varied the tone.",
    "code fence": f"```\n{GOOD_FORM}```",
    "code fence with a language": f"```text\n{GOOD_FORM}```",
    "triple quotes": f'"""\n{GOOD_FORM}"""',
    "triple quotes on the line": f'"""{GOOD_FORM.strip()}"""',
    "lines between": GOOD_FORM.replace("\n\n", "\n\n---\n\n"),
    "parenthesis": GOOD_FORM.replace("1. ", "1) ").replace("2. ", "2) "),
    "parentheses": GOOD_FORM.replace("1. ", "(1) ").replace("2. ", "(2) "),
    "colon": GOOD_FORM.replace("1. ", "1: ").replace("2. ", "2: "),
    "no blank after the mark": GOOD_FORM.replace("1. ", "1.").replace("2. ", "2."),
    "escaped dot": GOOD_FORM.replace("1. ", "1\\. ").replace("2. ", "2\\. "),
    "bold numbers": GOOD_FORM.replace("1. ", "**1.** ").replace("2. ", "**2.** "),
    "hash numbers": GOOD_FORM.replace("1. ", "#1. ").replace("2. ", "#2. "),
    "numbers without a mark": GOOD_FORM.replace("1. ", "1 ").replace("2. ", "2 "),
    "numbers with a word": GOOD_FORM.replace("1. ", "Rephrasing 1: ").replace("2. ", "Rephrasing 2: "),
    "hyphens": GOOD_FORM.replace("1. ", "- ").replace("2. ", "- "),
    "asterisks": GOOD_FORM.replace("1. ", "* ").replace("2. ", "* "),
    "bullets": GOOD_FORM.replace("1. ", "• ").replace("2. ", "• "),
    "hyphens and closing prose": GOOD_FORM.replace("1. ", "- ").replace("2. ", "- ") + "Notes:\n- none",
    "hyphens and numbers": GOOD_FORM.replace("1. ", "- 1. ").replace("2. ", "- 2. "),
    "every number a one": GOOD_FORM.replace("2. ", "1. "),
    "counting from zero": GOOD_FORM.replace("1. ", "0. ").replace("2. ", "1. "),
    "counting on": f"USER: {CAR}\n1. {A}\n2. {B}\n\nUSER: {BASEL}\n3. {C}\n4. {D}\n",
    "no list at all": GOOD_FORM.replace("1. ", "").replace("2. ", ""),
    "quoted wordings": f"USER: {CAR}\n1. \"{A}\"\n2. “{B}”\n\nUSER: {BASEL}\n1. '{C}'\n2. «{D}»",
    "bold wordings": f"USER: {CAR}\n1. **{A}**\n2. *{B}*\n\nUSER: {BASEL}\n- **{C}**\n- **{D}**",
    "wordings with USER": GOOD_FORM.replace("1. ", "1. USER: ").replace("2. ", "2. User: "),
    "lower case": GOOD_FORM.replace("USER: ", "user:").replace(BASEL, "TO  basel"),
    "bold prefix": GOOD_FORM.replace("USER:", "**USER:**"),
    "bold header": f"**USER: {CAR}**\n1. {A}\n2. {B}\n\n**USER: {BASEL}**\n1. {C}\n2. {D}\n",
    "heading": GOOD_FORM.replace("USER:", "### USER:"),
    "block quote": GOOD_FORM.replace("USER:", "> USER:"),
    "numbered prefix": f"USER 1: {CAR}\n1. {A}\n2. {B}\n\nUSER 2: {BASEL}\n1. {C}\n2. {D}\n",
    "numbered headers": f"1. USER: {CAR}\n   - {A}\n   - {B}\n2. USER: {BASEL}\n   - {C}\n   - {D}\n",
    "user message": GOOD_FORM.replace("USER:", "User message:"),
    "quoted message": f'USER: "{CAR}"\n1. {A}\n2. {B}\n\nUSER: “{BASEL}”\n1. {C}\n2. {D}\n',
    "curly apostrophe": GOOD_FORM.replace("I'd", "I\u2019d"),
    "punctuation at the end": GOOD_FORM.replace(CAR, CAR + "!").replace(f"{BASEL}\n", f"{BASEL}:\n"),
    "message on the next line": GOOD_FORM.replace("USER: ", "USER:\n"),
    "a heading above each list": GOOD_FORM.replace("\n1.", "\nRephrasings:\n1."),
    "no prefix": GOOD_FORM.replace("USER: ", ""),
    "no prefix, bold": f"**{CAR}**\n1. {A}\n2. {B}\n\n**{BASEL}**\n1. {C}\n2. {D}\n",
    "no prefix, as listed in the prompt": f"- {CAR}\n  1. {A}\n  2. {B}\n- {BASEL}\n  1. {C}\n  2. {D}\n",
    "corrected spelling": GOOD_FORM.replace(BASEL, "to the Basel"),
    "out of order": f"USER: {BASEL}\n1. {C}\n2. {D}\n\nUSER: {CAR}\n1. {A}\n2. {B}\n",
    "more than asked": f"USER: {CAR}\n1. {A}\n2. {B}\n3. Car.\n\nUSER: {BASEL}\n1. {C}\n2. {D}\n3. Basel",
    "a foreign block": "USER: Show invoices\n1. Bills\n2. My bills\n\n" + GOOD_FORM,
    "a broken line": GOOD_FORM.replace("I need a", "I need\n   a"),
    "a remark below a wording": GOOD_FORM.replace(f"{A}\n", f"{A}\n   - this one is shorter\n"),
    "repeated before every wording": f"USER: {CAR}\n1. {A}\nUSER: {CAR}\n2. {B}\nUSER: {BASEL}\n1. {C}\n2. {D}",
    "the message itself and repetitions": (
        f"USER: {CAR}\n1. {CAR.upper()}\n2. {A}\n3. i  need a CAR.\n4. {B}\n\nUSER: {BASEL}\n1. {C}\n2. {C}\n3. {D}"
    ),
    "empty and placeholder wordings": f"USER: {CAR}\n1. {A}\n2. ...\n3. {B}\n\nUSER: {BASEL}\n1.\n2. {C}\n3. {D}",
}


@pytest.mark.parametrize("answer", FORMS.values(), ids=FORMS)
def test_form_is_understood(answer: str) -> None:
    assert read_answer(answer, [CAR, BASEL], 2) == BOTH


@pytest.mark.parametrize(
    ("message", "lines", "wordings"),
    [
        ("two tickets", "1. 2 tickets\n2. 2 tickets, please\n3. a pair of tickets", ("2 tickets", "2 tickets, please")),
        ("two tickets", "- 2 tickets\n- 3 minus 1 tickets", ("2 tickets", "3 minus 1 tickets")),
        ("two tickets", "2 tickets\na pair of tickets", ("2 tickets", "a pair of tickets")),
        ("two tickets", "1) 2 tickets\n2) 2. class tickets", ("2 tickets", "2. class tickets")),
        ("one ticket", "1 ticket\n1 seat", ("1 ticket", "1 seat")),
        ("from may 17th", "1. 17 May\n2. 17. Mai", ("17 May", "17. Mai")),
        ("from may 17th", "- 17. Mai\n- 18. Mai nicht", ("17. Mai", "18. Mai nicht")),
        ("from may 17th", "17. Mai\n18. Mai nicht", ("17. Mai", "18. Mai nicht")),
        ("from may 17th", "17 May\nthe 17th", ("17 May", "the 17th")),
        ("3 people", "1. 3 persons\n2. We are 3\n17. nonsense", ("3 persons", "We are 3")),
        ("at half past one", "1. 1:30 pm\n2. 13:30", ("1:30 pm", "13:30")),
        ("at half past one", "- 1:30 pm\n- 1.5 hours after noon", ("1:30 pm", "1.5 hours after noon")),
        ("1. class", "1. first class\n2. 1st class", ("first class", "1st class")),
        ("yes", "1. \"yes\" or \"sure\"\n2. 'yes' or 'sure'", ('"yes" or "sure"', "'yes' or 'sure'")),
        ("no", "1. *Not* now\n2. snake_case stays", ("*Not* now", "snake_case stays")),
    ],
)
def test_message_that_begins_with_a_number_or_a_quote_keeps_it(
    message: str, lines: str, wordings: tuple[str, ...]
) -> None:
    assert read_answer(f"USER: {message}\n{lines}\n", [message], 2) == (wordings,)


def test_fewer_wordings_than_asked_are_taken() -> None:
    assert read_answer(f"USER: {CAR}\n1. {A}", [CAR, BASEL], 3) == ((A,), ())


def test_block_that_is_cut_off_at_the_end_costs_only_itself() -> None:
    assert read_answer(f"USER: {CAR}\n1. {A}\n2. {B}\n\nUSER: to Ba", [CAR, BASEL, "ok"], 2) == ((A, B), (), ())


def test_equal_messages_take_their_blocks_in_order() -> None:
    answer = "USER: yes\n1. yep\n2. sure\n\nUSER: to Basel\n1. Basel\n\nUSER: Yes.\n1. right\n2. correct"
    assert read_answer(answer, ["yes", "to Basel", "yes"], 2) == (("yep", "sure"), ("Basel",), ("right", "correct"))


def test_equal_messages_share_a_single_block() -> None:
    answer = "USER: yes\n1. yep\n2. sure"
    assert read_answer(answer, ["yes", "yes", "Yes"], 2) == (("yep", "sure"),) * 3


def test_list_without_any_message_is_read_if_only_one_was_asked_about() -> None:
    answer = f"Here you are:\n\n1. {A}\n2. {B}"
    assert read_answer(answer, [CAR], 2) == ((A, B),)
    assert read_answer(answer, [CAR, BASEL], 2) == ((), ())


def test_message_of_several_lines_is_found_on_one() -> None:
    assert read_answer("USER: a car to Basel\n1. Basel by car", ["a car\nto Basel"], 1) == (("Basel by car",),)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\n\n",
        "I'm sorry, but I can't help with that.",
        "The user wants a car.\nThen he goes to Basel.\nThe assistant helps.",
        f"{CAR}\n{BASEL}",
        f"- {CAR}\n- {BASEL}",
        '{"rephrasings": ["I need a car."]}',
        "USER:\nUSER:\nUSER:",
        f"USER: {CAR}\nI'm sorry.\nI can't.\nReally not.",
        "1. one\n2. two\n1. one\n2. two",
        "USER: Show invoices\n1. Bills\n2. My bills",
        "*** ___ ``` 1. 2) (3) - * USER",
    ],
)
def test_nonsense_gives_nothing(answer: str) -> None:
    assert read_answer(answer, [CAR, BASEL], 2) == ((), ())
