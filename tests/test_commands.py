"""Reading, writing and comparing commands; where Rasa is installed, against Rasa's own parser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

from rasa_ft_ext.commands import Command, Syntax, difference, read, value_difference, write, write_one

SYNTAXES: tuple[Syntax, ...] = get_args(Syntax)
FLOWS = ("book_car", "book_hotel", "cancel_trip", "transfer-money", "F1")

VALUES = """
Basel|to Zürich|東京|Łódź|münchen|100%|C++|C#|Acme (UK)|(Acme)|a, b and c|1,000.50|-5|3.|№5|$20|20 €|#7|@jane|a_b_|_
"Basel"|'Basel'|`Basel`|“Basel”|"New York"|'it's'|it's|"|'|`|""|''|"a" or "b"|"a|a"|'a"|a`b`|[x]|{x}|<x>|x!|x?|?|...|!
None|none|NULL|null|undefined|[missing]|[missing information]|"None"|'null'|`undefined`|missing|True|False|true|"True"|0
2024-05-14T10:00|https://example.org/a?b=(c)|a=b|a:b|a;b|a/b|a\\b|x\ty|CancelFlow()|start flow book_car|SetSlot(a, b)|)
((|x ((
""".strip().replace("\n", "|").split("|")  # fmt: skip
BEFORE = [
    "",
    "- ",
    "* ",
    "1. ",
    "12) ",
    "`",
    "  ",
    "\t",
    "> ",
    "**",
    "• ",
    "① ",
    "action: ",
    "I would ",
    "ü ",
    "_",
    '"',
    "'",
]
AFTER = ["", " ", "`", '"', "'", "``", ".", "!", ",", ";", " now", "\t", "**", "()"]
CLARIFY = """
book_car book_hotel|book_hotel book_car|book_car, book_hotel|book_car,book_hotel|"book_car", "book_hotel"|book_car
'book_car', 'book_hotel'|`book_car` `book_hotel`|book_car unknown|unknown other|book_car book_car|book_car book_car F1
book_car  book_hotel|book_car; book_hotel|book_car\tbook_hotel|book_car book_hotel.|[book_car, book_hotel]|"'book_car'"
book_car and book_hotel|- book_car - F1|F1 f1|cancel_trip transfer-money book_hotel F1 book_car|''|,
Füge book_car|'"F1"'
""".strip().replace("\n", "|").split("|")  # fmt: skip
BARE = {
    "v1": ["CancelFlow()", "ChitChat()", "SearchAndReply()", "SkipQuestion()", "RepeatLastBotMessages()",
           "ContinueAgent()", "HumanHandoff()", "CannotHandle()", "ChangeFlow()", "CancelFlow", "cancelflow()"],
    "v2": ["cancel flow", "offtopic reply", "provide info", "skip question", "repeat message", "continue agent",
           "hand over", "cannot handle", "change", "search and reply", "Cancel flow", "cancel  flow", "cancelflow"],
}  # fmt: skip
BARE["v3"] = [*BARE["v2"], "ChangeFlow()"]
PROSE = [
    "",
    "\n",
    "I am not sure.",
    "The user wants to start flow book_car",
    "StartFlow",
    "start flow",
    "set slot",
    "日本",
]


def call(kind: str, arguments: str, syntax: Syntax) -> str:
    """The line of a command with arguments, however odd these are."""
    words = {"SetSlot": "set slot", "StartFlow": "start flow", "RestartAgent": "restart agent"}
    if syntax == "v1":
        return f"{kind}({arguments.replace(' ', ', ', 1) if kind == 'SetSlot' else arguments})"
    return f"{words.get(kind, 'disambiguate flows')} {arguments}"


def answers(syntax: Syntax) -> list[str]:
    """Everything that an LLM may answer: tidy, decorated, broken."""
    lines = [call("SetSlot", f"city {value}", syntax) for value in VALUES]
    lines += [call("Clarify", options, syntax) for options in CLARIFY]
    names = ["book_car", "unknown", "F1", "f1", "'book_car'", '"book_car"', "`book_car`", "transfer-money", "größe", ""]
    lines += [call(kind, name, syntax) for kind in ("StartFlow", "RestartAgent") for name in names]
    slots = ["'city' x", "city  x", "a-b x", "9a x", "größe x", "flow_name book_car", "flow_name nix", "flow_name None"]
    lines += [call("SetSlot", slot, syntax) for slot in slots]
    tidy = [call("SetSlot", "city Basel", syntax), call("StartFlow", "book_car", syntax), BARE[syntax][0]]
    lines += [before + line for before in BEFORE for line in tidy] + [line + after for after in AFTER for line in tidy]
    lines += BARE[syntax] + PROSE
    joined = ["\n".join(lines[start : start + 7]) for start in range(0, len(lines), 7)]
    return lines + joined + [separator.join(tidy) for separator in ("\r\n", "\r", "\u2028", ", ", " ", "; ", "\n\n")]


def from_rasa(command: Any) -> Command:
    """Rasa's command as one of ours."""
    kinds: dict[str, tuple[str, Callable[[Any], tuple[str | None, ...]]]] = {
        "SetSlotCommand": ("SetSlot", lambda found: (found.name, found.value)),
        "StartFlowCommand": ("StartFlow", lambda found: (found.flow,)),
        "ClarifyCommand": ("Clarify", lambda found: tuple(found.options)),
        "RestartAgentCommand": ("RestartAgent", lambda found: (found.agent_id,)),
        "CancelFlowCommand": ("CancelFlow", lambda _: ()),
        "ChitChatAnswerCommand": ("ChitChat", lambda _: ()),
        "KnowledgeAnswerCommand": ("SearchAndReply", lambda _: ()),
        "SkipQuestionCommand": ("SkipQuestion", lambda _: ()),
        "RepeatBotMessagesCommand": ("RepeatLastBotMessages", lambda _: ()),
        "ContinueAgentCommand": ("ContinueAgent", lambda _: ()),
        "CannotHandleCommand": ("CannotHandle", lambda _: ()),
        "ChangeFlowCommand": ("ChangeFlow", lambda _: ()),
    }
    kind, arguments = kinds[type(command).__name__]
    return Command(type=kind, args=arguments(command))


@pytest.fixture(scope="module")
def rasa_flows() -> Any:
    pytest.importorskip("rasa")
    from rasa.shared.core.flows.yaml_flows_io import YAMLFlowsReader

    flow = "  {}:\n    description: something\n    steps:\n      - action: action_listen\n"
    return YAMLFlowsReader.read_from_string("flows:\n" + "".join(flow.format(name) for name in FLOWS))


@pytest.fixture(params=SYNTAXES)
def syntax(request: pytest.FixtureRequest) -> Syntax:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def in_rasa(syntax: Syntax) -> Iterator[Syntax]:
    """Rasa set to the syntax, which is a global of its process."""
    pytest.importorskip("rasa")
    from rasa.dialogue_understanding.commands.command_syntax_manager import CommandSyntaxManager, CommandSyntaxVersion

    before = CommandSyntaxManager.get_syntax_version()
    CommandSyntaxManager.set_syntax_version(CommandSyntaxVersion[syntax])
    yield syntax
    CommandSyntaxManager.reset_syntax_version()
    if before:
        CommandSyntaxManager.set_syntax_version(before)


def test_every_answer_is_read_as_rasa_reads_it(in_rasa: Syntax, rasa_flows: Any) -> None:
    from rasa.dialogue_understanding.generator.command_parser import parse_commands

    texts = answers(in_rasa)
    assert len(set(texts)) > 200
    rasas = {text: tuple(from_rasa(command) for command in parse_commands(text, rasa_flows)) for text in texts}
    assert {text: read(text, in_rasa, FLOWS) for text in texts} == rasas
    assert sum(bool(commands) for commands in rasas.values()) > 120


def test_every_command_is_written_as_rasa_writes_it(in_rasa: Syntax, rasa_flows: Any) -> None:
    from rasa.dialogue_understanding import commands as rasas
    from rasa.dialogue_understanding.commands.change_flow_command import ChangeFlowCommand
    from rasa.dialogue_understanding.generator.command_parser import parse_commands

    parsed = [command for text in answers(in_rasa) for command in parse_commands(text, rasa_flows)]
    parsed += [rasas.CannotHandleCommand(), ChangeFlowCommand(), rasas.ClarifyCommand(["book_car"])]
    parsed += [rasas.SetSlotCommand("city", value) for value in (None, "", "two\nlines", "ü", "Acme (UK)")]
    ours = [from_rasa(command) for command in parsed]
    assert [write_one(command, in_rasa) for command in ours] == [command.to_dsl() for command in parsed]
    assert write(ours, in_rasa) == "\n".join(command.to_dsl() for command in parsed)


PLAIN = [
    Command(type="StartFlow", args=("book_car",)),
    Command(type="SetSlot", args=("city", "Zürich HB")),
    Command(type="SetSlot", args=("date", None)),
    Command(type="Clarify", args=("book_car", "book_hotel")),
    Command(type="RestartAgent", args=("agent-1",)),
    *(Command(type=kind) for kind in ("CancelFlow", "ChitChat", "SearchAndReply", "SkipQuestion", "Clarify")),
    *(Command(type=kind) for kind in ("RepeatLastBotMessages", "ContinueAgent")),
]


def test_what_was_written_is_read_again(syntax: Syntax) -> None:
    assert read(write(PLAIN, syntax), syntax, FLOWS) == tuple(PLAIN)


@pytest.mark.parametrize(
    ("syntax", "text"),
    [
        ("v1", "StartFlow(a)\nSetSlot(b, c d)\nSearchAndReply()\nHumanHandoff()\nChangeFlow()\nClarify()"),
        ("v2", "start flow a\nset slot b c d\nprovide info\nhand over\nchange\ndisambiguate flows "),
        ("v3", "start flow a\nset slot b c d\nsearch and reply\nhand over\nChangeFlow()\ndisambiguate flows "),
    ],
)
def test_each_syntax_has_its_own_lines(syntax: Syntax, text: str) -> None:
    slot = Command(type="SetSlot", args=("b", "c d"))
    kinds = ("SearchAndReply", "HumanHandoff", "ChangeFlow", "Clarify")
    commands = [Command(type="StartFlow", args=("a",)), slot, *(Command(type=kind) for kind in kinds)]
    assert write(commands, syntax) == text


@pytest.mark.parametrize(
    ("syntax", "text", "commands"),
    [
        ("v1", "SetSlot(share, 100%)", "SetSlot(share, 100%)"),
        ("v2", "set slot share 100%", "SetSlot(share, 100)"),
        ("v2", "set slot firm Acme (UK)", "SetSlot(firm, Acme (UK)"),
        ("v3", "set slot language C++", "SetSlot(language, C)"),
        ("v2", "set slot city [missing]", "SetSlot(city, [missing)"),
        ("v1", "SetSlot(city, [missing])", "SetSlot(city, None)"),
        ("v1", "StartFlow(F1) SetSlot(city, Basel)", "SetSlot(city, Basel) StartFlow(F1)"),
        ("v2", "start flow F1, set slot city Basel", "StartFlow(F1)"),
        ("v2", "disambiguate flows F1 unknown", "StartFlow(F1)"),
        ("v2", "disambiguate flows unknown", "Clarify()"),
        ("v2", "disambiguate flows F1 F1 book_car", "Clarify(F1, F1, book_car)"),
        ("v3", "provide info", ""),
        ("v2", "search and reply", ""),
        ("v2", "1. `start flow book_car` since the user asks for it", "StartFlow(book_car)"),
        ("v2", "start flow unknown", ""),
        ("v2", "set slot flow_name F1", "StartFlow(F1)"),
    ],
)
def test_the_parsers_own_ways_are_kept(syntax: Syntax, text: str, commands: str) -> None:
    assert " ".join(str(command) for command in read(text, syntax, FLOWS)) == commands


def test_without_flows_none_is_dropped(syntax: Syntax) -> None:
    flow, options = Command(type="StartFlow", args=("any",)), Command(type="Clarify", args=("some", "thing"))
    assert read(write([flow, options], syntax), syntax) == (flow, options)
    assert read(write([flow, options], syntax), syntax, []) == (Command(type="Clarify"),)


def test_a_custom_command_is_its_text(syntax: Syntax) -> None:
    custom = Command(type="Custom", text="ring the bell")
    assert write([custom], syntax) == str(custom) == "ring the bell"


def test_a_command_without_a_line_cannot_be_written(syntax: Syntax) -> None:
    with pytest.raises(ValueError, match="no line for Noop"):
        write_one(Command(type="Noop"), syntax)


START_A, START_B, CANCEL = "StartFlow(a)", "StartFlow(b)", "CancelFlow()"


@pytest.mark.parametrize(
    ("expected", "actual", "reason"),
    [
        ("", "", None),
        (START_A, START_A, None),
        (START_A, START_B, "expected StartFlow(a), got StartFlow(b)"),
        (START_A, "", "no command could be read"),
        ("", START_A, "expected no other command, got StartFlow(a)"),
        (f"{START_A}\n{CANCEL}", f"{CANCEL}\n{START_A}", f"expected {START_A}, {CANCEL}, got {CANCEL}, {START_A}"),
        ("SetSlot(x, 1)", "SetSlot(x, 2)", None),
        (f"SetSlot(x, 1)\n{START_A}", f"{START_A}\nSetSlot(x, None)", None),
        ("SetSlot(x, 1)\nSetSlot(y, 1)", "SetSlot(y, 1)\nSetSlot(x, 1)\nSetSlot(x, 2)", None),
        (START_A, f"{START_A}\nSetSlot(x, 1)", "sets slot x as well"),
        (f"{START_A}\nSetSlot(y, 1)", START_A, "does not set slot y"),
        ("SetSlot(y, 1)", "SetSlot(x, 1)", "does not set slot y; sets slot x as well"),
        ("Clarify(a, b)", "Clarify(a, c)", "expected Clarify(a, b), got Clarify(a, c)"),
        ("SetSlot(y, 1)", CANCEL, "expected no other command, got CancelFlow(); does not set slot y"),
    ],
)
def test_a_difference_has_a_reason(expected: str, actual: str, reason: str | None) -> None:
    assert difference(read(expected, "v1"), read(actual, "v1")) == reason


@pytest.mark.parametrize(
    ("expected", "actual", "reason"),
    [
        (START_A, START_B, None),
        ("SetSlot(x, 1)", "SetSlot(x, '1')", None),
        ("SetSlot(x, Basel)", "SetSlot(x, Zurich)", "SetSlot x: 'Zurich' instead of 'Basel'"),
        ("SetSlot(x, Basel)", "SetSlot(x, None)", "SetSlot x: None instead of 'Basel'"),
        ("SetSlot(x, None)", "SetSlot(x, null)", None),
        ("SetSlot(x, a)", "SetSlot(y, b)", None),
        ("SetSlot(x, a)\nSetSlot(x, b)", "SetSlot(x, b)", "SetSlot x: 'b' instead of 'a', 'b'"),
        ("SetSlot(x, a)\nSetSlot(y, b)", "SetSlot(y, c)\nSetSlot(x, d)",
         "SetSlot x: 'd' instead of 'a'; SetSlot y: 'c' instead of 'b'"),
    ],
)  # fmt: skip
def test_a_value_difference_names_both_values(expected: str, actual: str, reason: str | None) -> None:
    assert value_difference(read(expected, "v1"), read(actual, "v1")) == reason


def test_an_empty_value_is_not_the_text_none() -> None:
    emptied, text = Command(type="SetSlot", args=("x", None)), Command(type="SetSlot", args=("x", "None"))
    assert value_difference([emptied], [text]) == "SetSlot x: 'None' instead of None"
