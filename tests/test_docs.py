"""The documentation says what is true: its examples load, parse and run, its links lead somewhere, nothing is missing.

The first line of a block says what it is: `# answers.yml`, `# rephrase.yml`, `# endpoints.yml`, `# tests.yml` or
`# train.yml` in YAML, and `# runs` in Python.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ruamel.yaml import YAML

from rasa_ft_ext import errors
from rasa_ft_ext.cli.main import STAGES, TOOLS, build_parser
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.llm.scripted.script import Script
from rasa_ft_ext.llm.settings import read_model_groups
from rasa_ft_ext.rephrase import verdict
from rasa_ft_ext.rephrase.config import VARIABLES, read_config
from rasa_ft_ext.rephrase.noise import KINDS
from rasa_ft_ext.scores import Rates, Scores
from rasa_ft_ext.teacher_agreement import TeacherAgreement
from rasa_ft_ext.train.settings import TrainSettings, load_settings, recipes
from scripts.write_help import help_pages

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
LOOP = ROOT / "scripts" / "loop.sh"
CHECKED = [*READMES, ROOT / "CHANGELOG.md", ROOT / "assistant_example" / "README.md", *PAGES]
HELP = DOCS / "help.md"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z\d-]*")
# Of `rasa train`, of `rasa test e2e`, of scripts, of TensorBoard, and the beginnings of two of `accelerate launch`.
_FLAGS_OF_OTHERS = {"--address", "--config", "--coverage-report", "--head", "--json", "--logdir", "--num"}


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str

    @property
    def kind(self) -> str:
        """What the first line says that the block is."""
        first = self.text.partition("\n")[0]
        return first.removeprefix("# ") if first.startswith("# ") else ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        yield Block(page, text[: match.start()].count("\n") + 1, match[1], match[2])


BLOCKS = [block for page in CHECKED for block in blocks_of(page)]


def each(language: str, kind: str | None = None) -> Any:
    """A test for every block of a language, or of a kind."""
    chosen = [block for block in BLOCKS if block.language == language and kind in (None, block.kind)]
    assert chosen or kind is None
    return pytest.mark.parametrize("block", chosen, ids=str)


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each sub-command."""
    action = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(action.choices)


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")} - {"--help"}


LOGGING_FLAGS = {"--verbose", "--debug", "--quiet", "--logging-config-file"}
LONG_FLAGS = [(name, flag) for name, parser in parsers().items() for flag in sorted(flags_of(parser) - LOGGING_FLAGS)]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse sets its pages otherwise in other versions")
def test_the_help_pages_are_those_of_the_commands() -> None:
    assert HELP.read_text(encoding="utf-8") == help_pages(), "run: python scripts/write_help.py"


@each("yaml")
def test_yaml_can_be_read(block: Block) -> None:
    assert YAML(typ="safe").load(block.text) is not None


@each("yaml", "answers.yml")
def test_answers_load(block: Block, tmp_path: Path) -> None:
    Script.load(written(block, tmp_path))


@each("yaml", "rephrase.yml")
def test_rephrase_configurations_load(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"\$\{(\w+)\}", block.text):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / "my_prompt.jinja2").write_text("{{ number_of_rephrasings }} of {{ user_messages }}")
    groups = {}
    for other in blocks_of(block.page):
        if other.kind == "endpoints.yml":
            groups.update(read_model_groups(written(other, tmp_path)))

    config = read_config(written(block, tmp_path), project=tmp_path, model_groups=groups)

    assert not config.notes


@each("yaml", "endpoints.yml")
def test_endpoints_have_model_groups(block: Block, tmp_path: Path) -> None:
    assert read_model_groups(written(block, tmp_path))


@each("yaml", "tests.yml")
def test_e2e_tests_can_be_read(block: Block, tmp_path: Path) -> None:
    if find_spec("rasa") is None:
        assert all(case["steps"] for case in YAML(typ="safe").load(block.text)["test_cases"])
        return
    from rasa_ft_ext.rasa_pro.suite import read_suite

    assert read_suite(written(block, tmp_path)).tests


@each("yaml", "train.yml")
def test_settings_of_a_training_load(block: Block, tmp_path: Path) -> None:
    load_settings(written(block, tmp_path), None, {}, project=tmp_path)


def test_the_recipes_are_those_that_ship() -> None:
    page = (DOCS / "train.md").read_text(encoding="utf-8")
    for name in recipes():
        settings = load_settings(None, name, {})
        assert f"| `{name}` | {settings.base_model} | `{settings.method}` |" in page


def test_the_defaults_of_a_training_are_those_of_its_settings() -> None:
    page = (DOCS / "train.md").read_text(encoding="utf-8")
    for name, field in TrainSettings.model_fields.items():
        default = field.default[0] if isinstance(field.default, tuple) else field.default
        if isinstance(default, int | float | str) and not isinstance(default, bool):
            shown = f"`{default}`" if isinstance(default, str) else f"{default:g}"
            assert f"| `--{name.replace('_', '-')}` | {shown} |" in page


@each("json")
def test_json_can_be_read(block: Block) -> None:
    json.loads(block.text)


@each("python")
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.kind == "runs"}), ids=lambda p: p.name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other, in a folder with a few of the example's annotations."""
    example = tmp_path / "assistant_example"
    recorded = example / "annotations"
    recorded.mkdir(parents=True)
    for name in ("assistant.json", "cars/corrections.yml.json", "cars/cancellation.yml.json"):
        (recorded / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "assistant_example" / "annotations" / name, recorded / name)
    shutil.copy(ROOT / "assistant_example" / "answers.yml", example)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}

    for block in blocks_of(page):
        if block.kind == "runs":
            exec(compile(block.text, str(block), "exec"), names)  # noqa: S102

    assert_files_are_described(tmp_path / "output")


def assert_files_are_described(out: Path) -> None:
    """Every file of an output folder, and every figure of the summary, stands on the page of `prepare-data`."""
    page = (DOCS / "prepare-data.md").read_text(encoding="utf-8")
    names = {path.name for path in out.rglob("*") if path.is_file()}
    of_tests = {path.name for path in ROOT.joinpath("e2e_tests").rglob("*.yml")}
    for name in sorted(names - of_tests - {f"{name}.json" for name in of_tests}):
        assert name in page
    for key in YAML(typ="safe").load(out / "result_summary.yaml"):
        assert f"`{key}`" in page


def commands_in_bash() -> Iterator[tuple[str, list[str]]]:
    script = LOOP.read_text(encoding="utf-8").replace('"$port" > serve.log 2>&1', "8000").replace("$recipe", "qwen3-4b")
    for block in (*BLOCKS, Block(LOOP, 1, "bash", script)):
        if block.language not in ("bash", "sh", "console", ""):
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.strip().removeprefix("$ ").removesuffix("&"), comments=True)
            if words[:1] == ["rasa-ft"]:
                yield f"{block} {line.strip()}", words[1:]
            elif words[:3] == ["rasa", "llm", "finetune"]:
                yield f"{block} {line.strip()}", words[3:]


@pytest.mark.parametrize(("where", "words"), list(commands_in_bash()))
def test_commands_can_be_parsed(where: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        args = build_parser().parse_args(words)
    except SystemExit as end:
        if end.code:
            pytest.fail(f"{where}: {capsys.readouterr().err}")
    else:
        assert hasattr(args, "run"), where


@pytest.mark.parametrize(("command", "flag"), LONG_FLAGS)
def test_every_flag_stands_on_the_page_of_its_command(command: str, flag: str) -> None:
    assert re.search(rf"`(-\w, )?{flag}[` ]|`{flag}`", (DOCS / f"{command}.md").read_text(encoding="utf-8"))


def test_the_logging_flags_stand_on_the_page_of_prepare_data() -> None:
    page = (DOCS / "prepare-data.md").read_text(encoding="utf-8")
    assert all(f"`{flag}`" in page for flag in LOGGING_FLAGS)


@pytest.mark.parametrize("page", [page for page in CHECKED if page != HELP], ids=lambda page: page.name)
def test_no_page_names_a_flag_that_does_not_exist(page: Path) -> None:
    known = {flag for parser in (build_parser(), *parsers().values()) for flag in flags_of(parser)}
    named = set(_FLAG.findall(page.read_text(encoding="utf-8"))) - {"--help"}
    assert not named - known - _FLAGS_OF_OTHERS


def test_every_command_has_a_page_and_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert {f"{name}.md" for name in (*STAGES, *TOOLS)} <= {page.name for page in PAGES}
    assert all(f"({page.name})" in index for page in PAGES if page.name != "index.md")


@pytest.mark.parametrize("page", CHECKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """The anchors that headings get."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", CHECKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_are_named_exist(page: Path) -> None:
    for path, name in _NAMED_TEST.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).is_file(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"


def test_every_line_on_a_difference_names_a_test() -> None:
    text = (DOCS / "differences-from-rasa.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.endswith("| shown by |")]
    assert len(lines) > 20
    assert all(_NAMED_TEST.search(line.rsplit(" | ", 1)[1]) for line in lines)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("dataset.md", list(Example.model_fields)),
        ("train.md", [*Scores.model_fields, *Rates.model_fields]),
        ("rephrase.md", list(VARIABLES)),
        ("rephrase.md", [verdict.OTHER_COMMANDS, verdict.OTHER_VALUES, verdict.NOT_READABLE, verdict.CALL_FAILED]),
        ("rephrase.md", [verdict.NO_MAJORITY, *TeacherAgreement.model_fields, *KINDS]),
        (
            "python-api.md",
            [
                name
                for name, kind in vars(errors).items()
                if isinstance(kind, type) and issubclass(kind, errors.RasaFtError)
            ],
        ),
    ],
)
def test_every_name_is_explained(page: str, names: list[str]) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in text] == []


def written(block: Block, folder: Path) -> Path:
    path = folder / block.kind
    path.write_text(block.text, encoding="utf-8")
    return path
