"""Tokens of prompts, and the share of them that a prefix cache has already."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext import prompt_stats
from rasa_ft_ext.cli.main import main
from rasa_ft_ext.conversation import Conversation
from rasa_ft_ext.dataset.student import shipped
from rasa_ft_ext.errors import ConfigError, MissingExtraError, WorkspaceError
from rasa_ft_ext.prompt_stats import Asked, PrefixCache, Template, in_order_of_arrival, load_tokenizer, measure
from rasa_ft_ext.prompts import to_json
from rasa_ft_ext.workspace import ANNOTATIONS, DATASET, PROMPT_TEMPLATE, Workspace, read_annotations
from tests.builders import TEMPLATE, annotated_file, annotated_workspace, assistant_card, conversation, said

RECORDED = Path(__file__).parents[1] / "assistant_example" / "annotations"
CAR = "StartFlow(book_car)"


def ids(text: str) -> list[int]:
    """One token for each character."""
    return [ord(character) for character in text]


# The cache, with blocks of 4 tokens


@pytest.mark.parametrize(
    ("prompts", "found"),
    [
        (["abcdefgh", "abcdefgh"], [0, 4]),  # of a prompt that is known as a whole, the last token is computed again
        (["abcdefghi", "abcdefghi"], [0, 8]),
        (["abcdefgh", "abcdefghijkl"], [0, 8]),
        (["abcdefgh", "abcdXXXXijkl"], [0, 4]),
        (["abcdefgh", "XXXXefgh."], [0, 0]),  # a block counts only with all that stands before it
        (["abcdefgh", "Xabcdefgh"], [0, 0]),
        (["abc", "abc"], [0, 0]),  # no whole block
        (["abcdefg", "abcdefg"], [0, 4]),
        (["abcd", "efgh", "abcdefgh", "efghabcd."], [0, 0, 4, 4]),
        (["abcdabcd.", "abcdabcd."], [0, 8]),
        (["abcdabcd."], [0]),  # a block in the middle is not the same at the beginning
        (["abcd1111.", "abcd2222.", "abcd1111.", "abcd2222."], [0, 4, 8, 8]),
        ([""], [0]),
    ],
)
def test_whole_blocks_are_found_from_the_beginning(prompts: list[str], found: list[int]) -> None:
    cache = PrefixCache(block=4)
    assert [cache.add(ids(prompt)) for prompt in prompts] == found


def test_blocks_have_sixteen_tokens() -> None:
    cache = PrefixCache()
    assert [cache.add(range(40)) for _ in range(2)] == [0, 32]


# What is measured


def asked(*texts: str, **variables: Any) -> list[Asked]:
    return [Asked({"text": text, **variables}, (text,)) for text in texts]


def test_the_figures_of_a_template() -> None:
    prompts = asked("a" * 16, "a" * 20, "a" * 40, "b" * 24)

    found = measure(Template("t", "{{ text }}"), prompts, ids)

    assert found.model_dump() == {
        "template": "t",
        "clock": False,
        "tokens_mean": 25.0,
        "tokens_p50": 20,
        "tokens_p95": 40,
        "tokens_max": 40,
        "reusable": 0.32,  # 16 of 20, 16 of 40 (the second block was never whole), of 100 tokens
    }


CLOCK = "{% if current_datetime %}{{ current_datetime.strftime('%H:%M:%S') }}{% endif %}"


def test_every_message_has_a_time_of_its_own_where_the_template_shows_it() -> None:
    shown: list[str] = []

    def encode(text: str) -> list[int]:
        shown.append(text)
        return ids(text)

    assert measure(Template("t", CLOCK, clock=True), asked("a", "b", "c"), encode).clock
    assert shown == ["09:00:00", "09:00:07", "09:00:14"]


def test_an_assistant_without_a_clock_has_none_in_its_prompts() -> None:
    recorded = to_json(datetime(2024, 1, 1, tzinfo=UTC))

    assert not measure(Template("t", f"{CLOCK}."), asked("a"), ids).clock
    assert not measure(Template("t", "{{ text }}", clock=True), asked("a"), ids).clock
    assert measure(Template("t", CLOCK), asked("a", current_datetime=recorded), ids).clock


def test_messages_arrive_as_if_all_conversations_went_on_at_once() -> None:
    conversations = [
        conversation(said("1a", CAR), said("/button"), said("1b", CAR), name="one"),
        conversation(said("2a", CAR), name="two"),
        conversation(said("3a", CAR), said("3b", CAR, renders=False), said("3c", CAR), name="three"),
    ]

    found, left_out = in_order_of_arrival([annotated_file(*conversations[:2]), annotated_file(*conversations[2:])])

    assert [entry.messages[-1] for entry in found] == ["1a", "2a", "3a", "1b", "3c"]
    assert found[3].messages == ("1a", "/button", "1b")
    assert left_out == 1


# The command


BOOKING = conversation(said("book a car", CAR), said("to Basel", "SetSlot(city, Basel)"))


def workspace_of(root: Path, *conversations: Conversation) -> Workspace:
    return annotated_workspace(root, annotated_file(*conversations or [BOOKING]))


def own_templates(workspace: Workspace, **options: Any) -> Any:
    return prompt_stats.prompt_stats(workspace, templates=["assistant"], **options)


def test_the_same_template_is_measured_once_under_all_of_its_names(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path)
    (workspace.folder(DATASET)).mkdir()
    (workspace.folder(DATASET) / PROMPT_TEMPLATE).write_text(TEMPLATE)

    stats = prompt_stats.prompt_stats(workspace, templates=["data", "assistant"])

    assert [found.template for found in stats.templates] == ["data = assistant"]
    assert (stats.prompts, stats.conversations, stats.tokenizer) == (2, 1, "cl100k_base")


def test_a_file_is_measured_after_it_is_checked(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path)
    card = assistant_card(templates={"t": "{{ message }}{{ history }}"})
    workspace = annotated_workspace(tmp_path / "own", annotated_file(BOOKING), card=card)
    (tmp_path / "mine.jinja2").write_text("{{ history }}{{ available_flows }}{{ user_message }}")
    (tmp_path / "bad.jinja2").write_text("{{ history }}{{ available_flows }}{{ user_message }}{{ x }}")

    stats = prompt_stats.prompt_stats(workspace, templates=["mine.jinja2"], project=tmp_path)

    assert [found.template for found in stats.templates] == ["mine.jinja2"]
    with pytest.raises(ConfigError, match=r"\{\{ x \}\} is unknown"):
        prompt_stats.prompt_stats(workspace, templates=["bad.jinja2"], project=tmp_path)
    with pytest.raises(ConfigError, match=r"CompactLLM(.|\n)* none1: .*(.|\n)* none2: "):
        prompt_stats.prompt_stats(workspace, templates=["none1", "none2"], project=tmp_path)


def test_messages_whose_variables_are_not_recorded_are_counted(tmp_path: Path) -> None:
    stats = own_templates(workspace_of(tmp_path, conversation(said("a", CAR), said("b", CAR, renders=False))))
    assert (stats.prompts, stats.left_out) == (1, 1)
    assert "1 messages are left out" in stats.notes[0]


def test_nothing_to_render_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="nothing to render"):
        own_templates(workspace_of(tmp_path, conversation(said("a", CAR, renders=False))))


def test_without_rasa_its_templates_are_left_out_and_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_stats, "find_spec", lambda name: None if name == "rasa" else find_spec(name))
    card = assistant_card(templates={"t": "{{ message }}{{ history }}"})
    workspace = annotated_workspace(tmp_path, annotated_file(BOOKING), card=card)
    monkeypatch.setattr(prompt_stats, "SHIPPED", ())

    stats = prompt_stats.prompt_stats(workspace)

    assert [found.template for found in stats.templates] == ["assistant"]
    assert "Rasa Pro is not installed" in stats.notes[0]
    with pytest.raises(MissingExtraError, match="Rasa Pro"):
        prompt_stats.prompt_stats(workspace, templates=["CompactLLMCommandGenerator"])


def test_counting_tokens_needs_no_download_and_leaves_the_environment_alone() -> None:
    before = dict(os.environ)

    tokenizer = load_tokenizer(None)

    assert [len(tokenizer.encode(text)) for text in ("hello world", "<|endoftext|>", "")] == [2, 7, 0]
    assert dict(os.environ) == before


def test_a_tokenizer_of_a_folder_counts_without_its_special_tokens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "a": 1, "b": 2}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    found = load_tokenizer(tmp_path.name, tmp_path.parent)

    assert list(found.encode("a b a")) == [1, 2, 1]


def test_a_tokenizer_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path / 'tokenizer.json'} cannot be read")):
        load_tokenizer(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="there is no such folder"):
        load_tokenizer("nobody/nothing at all", tmp_path)


def test_the_command_prints_a_table_and_writes_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace_of(tmp_path)
    file = tmp_path / "stats.json"

    assert main(["prompt-stats", str(tmp_path), "--template", "assistant", "--json", str(file)]) == 0

    assert "2 messages of 1 conversations" in capsys.readouterr().out
    assert json.loads(file.read_text())["templates"][0]["template"] == "assistant"
    assert main(["prompt-stats", str(tmp_path), "--template", "assistant", "--json", str(tmp_path)]) == 1
    assert main(["prompt-stats", str(tmp_path / "none")]) == 1


# What the shipped prompts are worth on the example


def example_figures(*templates: Template) -> list[prompt_stats.PromptFigures]:
    found, left_out = in_order_of_arrival(read_annotations(RECORDED))
    assert not left_out
    assert len(found) > 200
    encode = load_tokenizer(None).encode
    return [measure(template, found, encode) for template in templates]


def test_most_of_the_compact_prompt_is_reusable_with_and_without_a_clock() -> None:
    source = shipped("compact").source
    plain, with_clock = example_figures(Template("a", source), Template("b", source, clock=True))
    assert plain.reusable > 0.85
    assert with_clock.reusable > 0.8


def test_the_compact_prompt_has_60_percent_fewer_tokens_than_rasas_default_which_can_hardly_be_reused() -> None:
    pytest.importorskip("rasa")
    from rasa_ft_ext.rasa_pro.templates import default_templates

    rasas = Template("rasa", default_templates()["CompactLLMCommandGenerator"], clock=True)
    source = shipped("compact").source
    default, plain, with_clock = example_figures(rasas, Template("a", source), Template("b", source, clock=True))

    assert default.clock
    assert default.reusable < 0.05
    assert plain.tokens_mean < 0.4 * default.tokens_mean
    assert with_clock.tokens_mean < 0.4 * default.tokens_mean


def test_every_generator_of_rasas_has_a_template(tmp_path: Path) -> None:
    pytest.importorskip("rasa")
    import shutil

    shutil.copytree(RECORDED, tmp_path / ANNOTATIONS)

    stats = prompt_stats.prompt_stats(Workspace(tmp_path), templates=prompt_stats.RASA)

    assert [(found.template, found.clock) for found in stats.templates] == [
        ("CompactLLMCommandGenerator", True),
        ("SearchReadyLLMCommandGenerator", True),
        ("SingleStepLLMCommandGenerator", False),
    ]
