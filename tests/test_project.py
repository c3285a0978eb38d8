"""What an assistant's files say of its command generator, and where in them it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.project import entry_of, items_of, parse_yaml, read_project

GENERATOR = "pipeline:\n  - name: CompactLLMCommandGenerator\n"
GROUPS = """\
model_groups:
  - id: search
    models: [{provider: openai, model: gpt-5}]
  - id: student
    models:
      - {provider: self-hosted, model: a}
      - {provider: openai, model: b}
    router: {routing_strategy: simple-shuffle}
"""


def written(folder: Path, config: str, endpoints: str | None = GROUPS) -> Path:
    (folder / "config.yml").write_text(config, encoding="utf-8")
    if endpoints is not None:
        (folder / "endpoints.yml").write_text(endpoints, encoding="utf-8")
    return folder


def test_a_model_group_is_resolved_to_its_models(tmp_path: Path) -> None:
    found = read_project(written(tmp_path, f"{GENERATOR}    llm: {{model_group: student}}\n"))

    assert found.generator.model_group == "student"
    assert [model["model"] for model in found.models] == ["a", "b"]
    assert set(found.groups) == {"search", "student"}


def test_a_model_in_the_configuration_is_its_own(tmp_path: Path) -> None:
    found = read_project(written(tmp_path, f"{GENERATOR}    llm: {{model: gpt-4}}\n", None))

    assert (found.generator.model_group, found.models) == (None, ({"model": "gpt-4"},))
    assert not found.endpoints.exists


@pytest.mark.parametrize("llm", ["", "    llm:\n", "    llm: {model_group: nowhere}\n"])
def test_what_is_not_said_or_not_there_gives_no_models(llm: str, tmp_path: Path) -> None:
    assert read_project(written(tmp_path, GENERATOR + llm)).models == ()


@pytest.mark.parametrize(
    ("name", "keys", "path"),
    [
        ("CompactLLMCommandGenerator", "prompt_template: a", "a"),
        ("CompactLLMCommandGenerator", "prompt: b", None),
        ("SingleStepLLMCommandGenerator", "prompt: b", "b"),
        ("SingleStepLLMCommandGenerator", "prompt_template: a", "a"),
        ("SingleStepLLMCommandGenerator", "{both}", "b"),
        ("addons.mine.MySearchReadyCommandGenerator", "prompt_template: a", "a"),
        ("CompactLLMCommandGenerator", "timezone: UTC", None),
    ],
)
def test_the_prompt_stands_where_this_kind_of_generator_looks(
    name: str, keys: str, path: str | None, tmp_path: Path
) -> None:
    keys = keys.replace("{both}", "prompt_template: a\n    prompt: b")
    found = read_project(written(tmp_path, f"pipeline:\n  - name: {name}\n    {keys}\n"))

    assert found.generator.prompt_template == path
    assert found.template_path == (tmp_path / path if path else None)
    assert found.generator.kind == name.split(".")[-1]


def test_date_and_time_are_in_the_prompt_unless_it_says_no(tmp_path: Path) -> None:
    for keys, expected in (
        ("", True),
        ("    include_date_time: false\n", False),
        ("    include_date_time: true", True),
    ):
        assert read_project(written(tmp_path, GENERATOR + keys)).generator.include_date_time is expected


def test_a_generator_with_a_name_of_its_own_is_found_by_it(tmp_path: Path) -> None:
    root = written(tmp_path, "pipeline:\n  - name: KeywordIntentClassifier\n  - name: addons.Understanding\n")

    assert read_project(root, generator="Understanding").generator.name == "addons.Understanding"
    with pytest.raises(ConfigError, match="has no LLM command generator"):
        read_project(root)


def test_several_generators_are_named_with_their_lines(tmp_path: Path) -> None:
    root = written(tmp_path, GENERATOR + "  - name: SingleStepLLMCommandGenerator\n")

    with pytest.raises(ConfigError, match=r"CompactLLM\w+ \(line 2\), SingleStepLLM\w+ \(line 3\)"):
        read_project(root)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as wrong:
        read_project(written(tmp_path, "pipeline: []\n", "a: 1\n---\nb: 2\n"))
    assert len(wrong.value.problems) == 2


@pytest.mark.parametrize("text", ["- 1\n", "a: [\n", "a: 1\na: 2\n"])
def test_what_is_not_one_mapping_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yml"):
        parse_yaml(Path("config.yml"), text.encode())


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "--- # nothing\n...\n"])
def test_an_empty_file_says_nothing(text: str) -> None:
    assert parse_yaml(Path("endpoints.yml"), text.encode()).data == {}


def test_the_marks_are_places_in_the_text() -> None:
    file = parse_yaml(Path("c.yml"), "\ufeff# 配置\r\na:\r\n  - b: c  # d\r\n".encode())

    found = entry_of(items_of(file.root, "a")[0], "b")

    assert found is not None
    assert [file.text[node.start_mark.index : node.end_mark.index] for node in found] == ["b", "c"]
    assert file.mark == b"\xef\xbb\xbf"
