"""YAML files that somebody has spoilt, and what must hold of what is read from them; see `fuzz_inputs.py`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from ruamel.yaml import YAML

from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.llm.scripted.script import Script
from rasa_ft_ext.llm.settings import read_model_groups, resolve
from rasa_ft_ext.project import read_yaml_file
from rasa_ft_ext.rephrase.config import read_config
from rasa_ft_ext.rephrase.values import read_values
from rasa_ft_ext.review import decisions
from rasa_ft_ext.train.settings import dump, load_settings
from rasa_ft_ext.yaml_reading import LimitError, check_yaml, compose_yaml

SECRET = "sk-MARKED-0123456789"

ENDPOINTS = f"""\
action_endpoint:
  actions_module: actions  # in this process
model_groups:
  - id: rephraser
    models:
      - provider: openai
        model: gpt-4o
        api_key: {SECRET}
        temperature: 0.0
  - id: student
    models: [{{provider: self-hosted, model: m, api_base: "http://localhost:1/v1?code={SECRET}", timeout: 7}}]
"""
REPHRASE = f"""\
prompt_template: prompt.jinja2
llm:
  provider: openai
  model: gpt-4.1-mini
  api_key: "{SECRET}"
  extra_headers: {{Authorization: Bearer {SECRET}}}
"""
VALUES = """\
city: [Basel, Zürich, "New York"]
size:
  - small
  - 7
  - 1.5
"""
TRAIN = """\
base_model: my/model
epochs: 3
learning_rate: 2.0e-4
lora_rank: 16
target_modules: [q_proj, v_proj]
seed: 1
"""
ANSWERS = """\
lenient: true
answers:
  - user: I'd like to book a car
    commands: [StartFlow(book_car)]
    paraphrases:
      - I need a car
      - user: A car in Zürich, please
        commands: [StartFlow(book_car), SetSlot(city, Zürich)]
  - user: "Yes"
    asked: Shall I book
    commands: [SetSlot(confirm, True)]
  - user: Tell me a joke
    text: no
"""
REVIEW = """\
# by hand
decisions:
  - test: cars/booking.yml::books a car
    turn: 2
    message: to Basel
    rephrasing: to Zurich
    decision: edit
    commands: set slot city Zurich
  - test: cars/booking.yml::books a car
    turn: 1
    message: a car
    decision: reject
    note: "why: not"
  - test: a.yml::b
    turn: 1
    message: |
      two
      lines
    decision: accept
"""
TESTS = """\
fixtures:
  - premium:
      - tier: gold
metadata:
  - phone:
      line: home
test_cases:
  - test_case: books a car
    fixtures: [premium]
    metadata: phone
    steps:
      - user: I'd like a car
      - bot: in which city?
      - user: to Basel
        assertions:
          - slot_was_set:
              - name: city
                value: Basel
  - test_case: says yes
    steps:
      - user: "yes"
      - utter: utter_yes
"""
KINDS = {
    "endpoints": ENDPOINTS,
    "rephrase config": REPHRASE,
    "values": VALUES,
    "train settings": TRAIN,
    "answers": ANSWERS,
    "review": REVIEW,
    "tests": TESTS,
}

_TOKENS = (
    *(
        "&a ",
        "*a",
        "<<: *a",
        "!!python/object/apply:os.system [x]",
        "!!int ",
        "!x ",
        "? ",
        "- ",
        ": ",
        "#",
        "---\n",
        "...",
    ),
    *(
        "\t",
        "'",
        '"',
        '"\\ud800"',
        '"\\0"',
        "|\n",
        ">-\n",
        "[",
        "]",
        "{",
        "}",
        "%",
        "@",
        "`",
        "\x00",
        "\x1b",
        "\u2028",
        "\ufeff",
    ),
    *(
        "null",
        "~",
        "yes",
        "no",
        "1",
        "-1",
        "1.5",
        ".nan",
        ".inf",
        "1e999",
        "2024-99-99",
        "2024-01-02",
        "0x1F",
        "9" * 5_000,
    ),
    *("${HOME}", "${NO_SUCH}", "${", "../../etc/passwd", "a\\nb", "日本", "💥", "[" * 200, "- " * 200, "x" * 5_000, ""),
)
_GENTLE = (
    "7",
    "'yes'",
    "a b",
    '"\\u00e4\\n"',
    "日本 💥",
    "|-\n",
    "a: b",
    "x" * 5_000,
    "${NO_SUCH}",
    "null",
    "2024-01-02",
)


@st.composite
def spoilt(draw: st.DrawFn, text: str) -> str:
    """A file after some accidents; every other time after such as leave most files readable."""
    gentle = draw(st.booleans())
    for _ in range(draw(st.integers(1, 2 if gentle else 3))):
        lines = text.splitlines(keepends=True) or [""]
        at = draw(st.integers(0, len(lines) - 1))
        place = draw(st.integers(0, len(text)))
        how = draw(st.sampled_from((0, 4, 9)) if gentle else st.integers(0, 9))
        token = draw(st.sampled_from(_GENTLE) if gentle else st.sampled_from(_TOKENS) | st.text(max_size=5))
        if how == 0:
            del lines[at]
        elif how == 1:
            lines.insert(draw(st.integers(0, len(lines))), lines[at])
        elif how == 2:
            lines[at] = draw(st.sampled_from(("  ", " ", "\t", "    "))) + lines[at]
        elif how == 3:
            lines[at] = lines[at].lstrip(" ")
        elif how == 4:
            lines[at] = re.sub(r"(: ?).*", lambda match, token=token: match[1] + token, lines[at], count=1)
        elif how == 5:
            lines[at] = re.sub(r"[\w]+(?=:)", lambda match, token=token: token, lines[at], count=1)
        elif how == 6:
            lines[at] = token + lines[at]
        text = "".join(lines)
        if how == 7:
            text = text[:place] + token + text[place:]
        elif how == 8:
            text = text[:place]
        elif how == 9:
            text = text.replace("\n", draw(st.sampled_from(("\r\n", "\r", "\n\n"))))
    return text


class Files:
    """Reads spoilt files of one kind; says whether they were refused."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.inputs = spoilt(KINDS[kind])
        self._read = _READERS[kind]
        self._folder = folder / kind.replace(" ", "_")
        self._folder.mkdir()
        (self._folder / "prompt.jinja2").write_text("{{ number_of_rephrasings }} {{ user_messages }}")

    def __call__(self, text: str) -> str:
        path = self._folder / "file.yml"
        path.write_bytes(text.encode(errors="surrogatepass"))
        as_read = text.replace("\r\n", "\n").replace("\r", "\n")
        try:
            compose_yaml(as_read)
        except LimitError:  # then a quick look must see that there is something
            try:
                check_yaml(as_read)
            except LimitError:
                pass
            else:
                raise AssertionError("a limit was overlooked") from None
        except Exception:  # no YAML: told below
            pass
        try:
            self._read(path)
        except RasaFtError as error:
            _check_error(error)
            return "refused"
        return "read"


def _check_error(error: RasaFtError) -> None:
    if SECRET in str(error):
        raise AssertionError(f"the error has the key: {error}")


def plain(path: Path) -> Any:
    """What ruamel.yaml, by itself, has of a file."""
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def _endpoints(path: Path) -> None:
    project = read_yaml_file(path)
    assert project.data == (plain(path) or {})
    refused = None
    for name, models in read_model_groups(path).items():
        found = plain(path)["model_groups"]
        assert models in [group["models"] for group in found if str(group["id"]) == name]
        for model in models:
            try:
                settings = resolve(model, {}, "llm")
            except RasaFtError as error:
                _check_error(error)
                refused = error
                continue
            shown = f"{settings} {settings.public} {settings.notes} {settings.scrub(str(settings.arguments))}"
            if SECRET in settings.secrets:
                assert SECRET not in shown, shown
    if refused is not None:
        raise refused


def _rephrase(path: Path) -> None:
    config = read_config(path)
    if SECRET in config.llm.secrets:
        assert SECRET not in f"{config.llm} {config.notes}", config.llm


def _values(path: Path) -> None:
    found = read_values(path)
    expected = {str(slot): {str(value).strip() for value in values} for slot, values in plain(path).items()}
    assert {slot: set(values) for slot, values in found.items()} == expected


def _train(path: Path) -> None:
    settings = load_settings(path, None, {})
    given = plain(path) or {}
    for name in ("epochs", "lora_rank", "seed"):
        if name in given:
            assert float(getattr(settings, name)) == float(given[name])
    again = path.with_name("again.yml")
    again.write_text(dump(settings), encoding="utf-8")
    assert load_settings(again, None, {}) == settings


def _answers(path: Path) -> None:
    script = Script.load(path)
    entries = plain(path)["answers"]
    for entry in entries:
        found = script.find(entry["user"], entry.get("asked") or "")
        assert found is not None
        same = [other for other in entries if " ".join(other["user"].split()) == " ".join(entry["user"].split())]
        for command in found.commands or ():
            whole = ", ".join(", ".join(other.get("commands") or ()) for other in same)
            assert all(" ".join(arg.split()) in " ".join(whole.split()) for arg in command.args if arg), (found, whole)
        if found.text is not None:
            assert found.text in [other.get("text") for other in same]


def _review(path: Path) -> None:
    """The quick way, which knows entries by their text, reads what the slow one does."""
    decisions._read.clear()
    decisions.decisions_of(REVIEW, "before")
    try:
        quick: Any = decisions.read_decisions(path)
    except RasaFtError as error:
        quick = str(error)
    try:
        slow: Any = decisions._as_a_whole(decisions.read_text(path), str(path))
    except RasaFtError as error:
        slow = str(error)
    if isinstance(quick, str) or isinstance(slow, str):
        assert quick == slow
        raise RasaFtError(str(quick))
    assert quick.entries == slow.entries
    for entry, raw in zip(quick.entries, (plain(path) or {}).get("decisions") or (), strict=True):
        assert (entry.test, entry.turn, entry.message) == (raw["test"], raw["turn"], raw["message"])
        assert (entry.commands, entry.text, entry.decision) == (raw.get("commands"), raw.get("text"), raw["decision"])


def has_rasa() -> bool:
    return importlib.util.find_spec("rasa") is not None


def _tests(path: Path) -> None:
    from rasa_ft_ext.rasa_pro.suite import read_suite

    suite = read_suite(path)
    assert len({test.id for test in suite.tests}) == len(suite.tests)
    given = plain(path)["test_cases"]
    for test, raw in zip(suite.tests, given, strict=True):
        assert test.case.name == raw["test_case"]
        said = [step.text for step in test.case.steps if step.actor == "user"]
        texts = [step["user"] for step in raw["steps"] if "user" in step]
        if "${" not in str(raw) and all(isinstance(text, str) for text in texts):  # Rasa leaves dates as they stand
            assert said == [text.strip() or None for text in texts], (said, raw)


_READERS: dict[str, Callable[[Path], None]] = {
    "endpoints": _endpoints,
    "rephrase config": _rephrase,
    "values": _values,
    "train settings": _train,
    "answers": _answers,
    "review": _review,
    "tests": _tests,
}
