"""Rows to train on: every one is kept as a whole, or named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.conversation import AnnotatedFile
from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.rows import Row, read_rows
from rasa_ft_ext.split.stage import split
from rasa_ft_ext.train.data import find_data, given_data, tokenize
from rasa_ft_ext.workspace import Workspace, sha256
from tests.split.builders import annotated, conversation, example, workspace_of


def written(folder: Path, *lines: Any, name: str = "train.jsonl") -> Path:
    file = folder / name
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return file


def row(prompt: str = "p", completion: str = "c") -> dict[str, str]:
    return {"prompt": prompt, "completion": completion}


def chat_row(*messages: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def problems_of(file: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        read_rows(file)
    assert error.value.where == str(file)
    return error.value.problems


class WordChat:
    """Stands in for a `Chat`: a word is a token."""

    def example_ids(self, messages: Any, completion: str) -> tuple[list[int], int]:
        from rasa_ft_ext.train.chat import UnlearnableError

        if completion == "unlearnable":
            raise UnlearnableError("no tokens for it.")
        prompt, answer = messages[-1]["content"].split(), completion.split()
        return [1] * len(prompt) + [2] * len(answer) + [0], len(prompt)


# --- reading -----------------------------------------------------------------------------------------------------


def test_both_formats_give_the_same_rows(tmp_path: Path) -> None:
    text = "Zürich\u2028東京\n  "
    prompts = read_rows(written(tmp_path, row(text, " x\n"), row(), name="a.jsonl"))
    messages = read_rows(
        written(
            tmp_path,
            chat_row(("user", text), ("assistant", " x\n")),
            chat_row(("user", "p"), ("assistant", "c")),
            name="b.jsonl",
        )
    )

    assert prompts[0] == Row("a.jsonl line 1", ({"role": "user", "content": text},), " x\n")
    assert prompts[0].prompt == text
    assert [(r.messages, r.completion) for r in prompts] == [(r.messages, r.completion) for r in messages]


def test_a_system_message_and_earlier_turns_are_kept(tmp_path: Path) -> None:
    turns = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]

    (found,) = read_rows(written(tmp_path, chat_row(*turns)))

    assert [(message["role"], message["content"]) for message in found.messages] == turns[:-1]
    assert (found.prompt, found.completion) == ("c", "d")


def test_blank_lines_and_a_byte_order_mark_do_no_harm_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("\ufeff" + json.dumps(row()) + "\r\n\n" + json.dumps(row()), encoding="utf-8")

    assert [found.name for found in read_rows(file)] == ["train.jsonl line 1", "train.jsonl line 3"]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ('{"prompt": ', "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('["p", "c"]', "is a list, not an object"),
        ("null", "is null, not an object"),
        ({"prompt": "p"}, "has no completion (it has prompt)"),
        ({"text": "p"}, "has no prompt and no completion (it has text)"),
        ({}, "it has nothing"),
        (row(completion=" \n"), "the completion is empty"),
        (row(prompt=""), "the prompt is empty"),
        ({"prompt": 3, "completion": "c"}, "the prompt is a number, not a text"),
        ({"prompt": "p", "completion": None}, "the completion is null, not a text"),
        ('{"prompt": "p", "completion": "\\ud800"}', "half a character"),
        ({"prompt": "p", "completion": "c", "messages": []}, "one of both is meant"),
        ({"messages": "m"}, "no list of objects"),
        ({"messages": ["m"]}, "no list of objects"),
        ({"messages": []}, "has messages of nobody"),
        (chat_row(("user", "p")), "the last two must be of user and assistant"),
        (chat_row(("user", "p"), ("assistant", "c"), ("user", "p")), "has messages of user, assistant, user"),
        (chat_row(("user", "p"), ("bot", "c")), "has message 2 with role 'bot'"),
        (chat_row(("user", "p"), ("assistant", "")), "the content of message 2 is empty"),
        ({"messages": [{"role": "user"}, {"role": "assistant", "content": "c"}]}, "content of message 1 is null"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: Any, part: str) -> None:
    (problem,) = problems_of(written(tmp_path, line))

    assert problem.startswith("Line 1 ")
    assert part in problem


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(b'{"prompt": "\xff"}\n')

    assert problems_of(file) == ("Line 1 is not UTF-8 (byte 13).",)


def test_formats_in_one_file_cannot_be_mixed(tmp_path: Path) -> None:
    (problem,) = problems_of(written(tmp_path, row(), chat_row(("user", "p"), ("assistant", "c")), row()))

    assert problem == "Line 2 has messages, but line 1 has prompt and completion: one format for a file."


def test_all_problems_of_a_file_are_told_at_once_the_first_twenty_in_words(tmp_path: Path) -> None:
    assert len(problems_of(written(tmp_path, *[{}] * 20))) == 20

    problems = problems_of(written(tmp_path, row(), *[{}] * 33))

    assert len(problems) == 21
    assert problems[0].startswith("Line 2 ")
    assert problems[-1] == "... and 13 more."


def test_an_empty_or_missing_file_gives_nothing_to_train_on(tmp_path: Path) -> None:
    assert problems_of(written(tmp_path))[0].startswith("There are no rows to train on.")
    assert "cannot be read: No such file" in problems_of(tmp_path / "nowhere.jsonl")[0]
    assert read_rows(written(tmp_path), may_be_empty=True) == []


# --- where rows come from ----------------------------------------------------------------------------------------


def with_templates(files: list[AnnotatedFile], **template_of: str) -> list[AnnotatedFile]:
    """The annotations with another template for the turns of some tests."""

    def changed(test: Any) -> Any:
        name = template_of.get(test.name, "t")
        turns = [
            turn.model_copy(update={"annotation": turn.annotation.model_copy(update={"template": name})})
            for turn in test.turns
        ]
        return test.model_copy(update={"turns": tuple(turns)})

    return [
        file.model_copy(update={"conversations": tuple(changed(test) for test in file.conversations)}) for file in files
    ]


def prepared(root: Path, *, train_frac: float = 0.5, **template_of: str) -> Workspace:
    tests = [conversation(f"f.yml::{name}", f"prompt {name}", f"more {name}") for name in "abcd"]
    examples = [example(test.id, f"prompt {test.name}") for test in tests]
    examples += [example(tests[0].id, "more a", turn=1)]
    workspace = workspace_of(root, with_templates(annotated(tests), **template_of), examples)
    split(workspace, train_frac=train_frac)
    return workspace


def test_an_output_folder_gives_rows_and_all_that_its_manifests_say(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)

    data = find_data(tmp_path)

    assert {found.prompt for found in [*data.train, *data.validation]} == {"more a", *(f"prompt {n}" for n in "abcd")}
    assert data.train
    assert data.validation
    assert data.origin.data_hash == workspace.fingerprint("4_train_test_split")
    assert data.origin.rasa_version == "3.21.0"
    assert (data.origin.generator, data.origin.syntax, data.origin.assistant) == ("g", "v2", "m")
    assert data.origin.templates == {"t": ""}
    assert data.origin.notes == ()
    assert data.origin.files == {
        f"ft_splits/{path.name}": sha256(path) for path in (tmp_path / "4_train_test_split/ft_splits").iterdir()
    }


def test_all_examples_may_be_trained_on(tmp_path: Path) -> None:
    prepared(tmp_path, train_frac=1)

    data = find_data(tmp_path)

    assert len(data.train) == 5
    assert data.validation == []


def test_rows_that_were_edited_are_taken_and_noted(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    before = find_data(tmp_path).origin
    written(workspace.folder("4_train_test_split") / "ft_splits", row("mine"))

    after = find_data(tmp_path)

    assert [found.prompt for found in after.train] == ["mine"]
    assert after.origin.data_hash != before.data_hash
    assert "ft_splits/train.jsonl in" in after.origin.notes[0]


def test_a_folder_without_a_split_or_with_newer_examples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"holds no finished split.*prepare-data"):
        find_data(tmp_path)
    prepared(tmp_path)
    workspace_of(tmp_path, [], [example("f.yml::z", "another")], force=True)

    with pytest.raises(WorkspaceError, match=r"was made from other (annotations|dataset)"):
        find_data(tmp_path)


def test_data_of_two_prompt_templates_is_refused(tmp_path: Path) -> None:
    prepared(tmp_path, a="old", c="old")

    with pytest.raises(ConfigError) as error:
        find_data(tmp_path)

    (problem,) = error.value.problems
    assert "2 prompt templates: old (3 examples), t (2 examples)" in problem
    assert "rasa-ft annotate --force" in problem


def test_files_are_known_by_their_bytes_only(tmp_path: Path) -> None:
    train, val = written(tmp_path, row()), written(tmp_path, row("q"), name="val.jsonl")

    data = given_data(train, val)

    assert (len(data.train), len(data.validation)) == (1, 1)
    assert data.origin.files == {str(train): sha256(train), str(val): sha256(val)}
    assert data.origin.templates is None
    assert "Nothing is known of the prompt templates" in data.origin.notes[0]
    assert given_data(train, None).origin.data_hash != data.origin.data_hash


def test_all_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        given_data(tmp_path / "a.jsonl", tmp_path / "b.jsonl")

    assert len(error.value.problems) == 2


# --- tokens ------------------------------------------------------------------------------------------------------


def rows_of(*lengths: int) -> list[Row]:
    """Rows whose examples have these lengths."""
    return [
        Row(f"train.jsonl line {number}", ({"role": "user", "content": "w " * (length - 2)},), "c")
        for number, length in enumerate(lengths, 1)
    ]


def test_every_row_becomes_an_example_in_the_same_order() -> None:
    kept, dropped = tokenize(rows_of(5, 3, 10), WordChat(), max_length=10)  # type: ignore[arg-type]

    assert [(example.name[-1], len(example.ids), example.prompt_length) for example in kept] == [
        ("1", 5, 3),
        ("2", 3, 1),
        ("3", 10, 8),
    ]
    assert dropped == {}


def test_examples_that_are_too_long_are_refused_by_name() -> None:
    with pytest.raises(ConfigError) as error:
        tokenize(rows_of(5, *range(11, 23)), WordChat(), max_length=10)  # type: ignore[arg-type]

    assert error.value.where == "12 of 13 examples are longer than 10 tokens"
    assert error.value.problems[0] == "train.jsonl line 2: 11 tokens"
    assert error.value.problems[10] == "... and 2 more"
    assert "--max-length 22" in error.value.problems[-1]


def test_examples_that_are_too_long_are_dropped_by_name_if_that_is_wanted() -> None:
    kept, dropped = tokenize(rows_of(5, 11, 6, 12), WordChat(), 10, "drop")  # type: ignore[arg-type]

    assert [len(example.ids) for example in kept] == [5, 6]
    assert dropped == {"train.jsonl line 2": 11, "train.jsonl line 4": 12}
    with pytest.raises(ConfigError, match="2 of 2 examples are longer"):
        tokenize(rows_of(11, 12), WordChat(), 10, "drop")  # type: ignore[arg-type]


def test_answers_that_cannot_be_learned_are_named_all_at_once() -> None:
    rows = [Row(f"line {number}", ({"role": "user", "content": "p"},), "unlearnable") for number in range(25)]

    with pytest.raises(ConfigError) as error:
        tokenize(rows, WordChat(), 10)  # type: ignore[arg-type]

    assert error.value.problems[0] == "line 0: no tokens for it."
    assert error.value.problems[-1] == "... and 5 more."
