"""What is trained on: rows of a file, where they come from, and the examples that a model sees of them.

    data = find_data(Path("output"))                                      # what prepare-data wrote
    data = given_data(Path("train.jsonl"), Path("val.jsonl"))             # or any two files
    kept, dropped = tokenize(data.train, chat, max_length=4096)

Every example is kept as a whole, or named. This module knows no torch; a `Chat` turns text into tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard, Example
from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.prompts import template_id
from rasa_ft_ext.rows import TRAIN_ROWS, VALIDATION_ROWS, Row, read_rows, shortened
from rasa_ft_ext.workspace import DATASET, MANIFEST, PROMPT_TEMPLATE, SPLIT, Manifest, Workspace, read_record, sha256

if TYPE_CHECKING:
    from rasa_ft_ext.train.chat import Chat

_SHOWN_LONG = 10


@dataclass(frozen=True)
class Tokens:
    """One example as the model sees it.

    `ids` are prompt, completion and the token that ends the answer; `ids[:prompt_length]` is what a server computes
    for the same messages, with the beginning of the answer's turn.
    """

    name: str
    ids: tuple[int, ...]
    prompt_length: int
    completion: str


@dataclass(frozen=True)
class DataOrigin:
    """Where the rows come from, as far as it is known; goes into model card and manifest.

    `data_hash` stands for all rows; `files` has the SHA-256 of each file. `templates` maps the id of the prompt
    template that the rows come from to the SHA-256 of its source (empty where the source was not kept); it is None
    where nothing is known. `notes` are sentences to be shown.
    """

    source: str
    data_hash: str
    files: dict[str, str]
    templates: dict[str, str] | None = None
    rasa_version: str | None = None
    syntax: Syntax | None = None
    generator: str | None = None
    assistant: str | None = None
    assistant_hash: str | None = None
    flows: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Data:
    """The rows of both sides and their origin; `validation` is empty where all examples are trained on."""

    train: list[Row]
    validation: list[Row]
    origin: DataOrigin


class Tokenized(NamedTuple):
    """The examples that fit, and the length in tokens of each that was dropped, by its name."""

    kept: list[Tokens]
    dropped: dict[str, int]


def find_data(output: Path) -> Data:
    """Read the rows that `prepare-data` left in its output folder, with what its manifests say of them.

    Raises:
        WorkspaceError: there is no finished split, or a stage before it was run anew since.
        ConfigError: rows cannot be read, or come from more than one prompt template or command language.
    """
    workspace = Workspace(output)
    folder = workspace.folder(SPLIT)
    if not (folder / MANIFEST).is_file():
        raise WorkspaceError(
            f"{folder} holds no finished split. Run `rasa-ft prepare-data` first, give the folder that it wrote to, or "
            "give files with --train-file and --val-file."
        )
    data_hash = workspace.fingerprint(SPLIT)
    card = workspace.card()
    templates = _one_template(workspace, card, output)
    files = {name: folder / name for name in (TRAIN_ROWS, VALIDATION_ROWS)}
    _check_files(files.values())
    origin = DataOrigin(
        source=str(output),
        data_hash=data_hash,
        files={name: sha256(path) for name, path in files.items()},
        templates=templates,
        rasa_version=card.rasa_version,
        syntax=card.syntax,
        generator=card.generator,
        assistant=card.model,
        assistant_hash=card.fingerprint,
        flows=tuple(card.flows),
        notes=_edited(folder, files),
    )
    return _data(files[TRAIN_ROWS], files[VALIDATION_ROWS], origin)


def given_data(train_file: Path, val_file: Path | None) -> Data:
    """Read rows of any files; nothing but their bytes is known of them.

    Raises:
        ConfigError: a file or a row cannot be read.
    """
    given = [file for file in (train_file, val_file) if file is not None]
    _check_files(given)
    files = {str(file): sha256(file) for file in given}
    note = "Nothing is known of the prompt templates, the Rasa version and the flows of these files."
    data_hash = hashlib.sha256(json.dumps(list(files.values())).encode()).hexdigest()
    origin = DataOrigin(source=", ".join(files), data_hash=data_hash, files=files, notes=(note,))
    return _data(train_file, val_file, origin)


def _data(train_file: Path, val_file: Path | None, origin: DataOrigin) -> Data:
    train = read_rows(train_file)
    return Data(train, read_rows(val_file, may_be_empty=True) if val_file else [], origin)


def _check_files(files: Iterable[Path]) -> None:
    missing = [f"There is no file {file}." for file in files if not file.is_file()]
    if missing:
        raise ConfigError("The rows to train on", missing)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _edited(folder: Path, files: Mapping[str, Path]) -> tuple[str, ...]:
    """A note where rows are not those that `split` wrote: a user may edit them, but has to know."""
    written = read_record(folder / MANIFEST, Manifest).files
    names = [name for name, path in files.items() if written.get(name) != sha256(path)]
    return (f"{' and '.join(names)} in {folder} were changed after `rasa-ft split` wrote them.",) if names else ()


def _one_template(workspace: Workspace, card: AssistantCard, output: Path) -> dict[str, str]:
    """The prompt template of all examples; more than one are refused, and so are two command languages.

    It stands beside the examples, the student's or the assistant's own; where it does not, it was not kept or is not
    the only one, and the annotations tell.
    """
    examples = list(workspace.examples())
    if (workspace.folder(DATASET) / PROMPT_TEMPLATE).is_file():
        source = workspace.template()
        found = {template_id(source): _hash(source)}
        templates = Counter({name: len(examples) for name in found})
    else:
        templates = _annotated_with(examples, workspace.annotations())
        found = {name: _hash(card.templates[name]) if name in card.templates else "" for name in templates}
    syntaxes = Counter(str(example.syntax) for example in examples)
    problems = []
    if len(templates) > 1:
        problems.append(
            f"The examples come from {len(templates)} prompt templates: {_counted(templates)}. A model learns the one "
            "that its assistant sends. Annotate all tests with one (`rasa-ft annotate --force`), then run the later "
            "stages again with --force."
        )
    if len(syntaxes) > 1:
        problems.append(
            f"The examples are written in {len(syntaxes)} versions of the command language: {_counted(syntaxes)}. "
            "Annotate all tests with one assistant (`rasa-ft annotate --force`), then run the later stages again with "
            "--force."
        )
    if problems:
        raise ConfigError(str(output), problems)
    return found


def _annotated_with(examples: Iterable[Example], files: Iterable[AnnotatedFile]) -> Counter[str]:
    """The ids of the templates of the teacher's prompts, with the number of examples of each."""
    template_of = {
        (conversation.id, index): turn.annotation.template
        for file in files
        for conversation in file.conversations
        for index, turn in conversation.annotated
        if turn.annotation is not None
    }
    return Counter(template_of.get((example.test, example.turn), "unknown") for example in examples)


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} ({count} example{'s' * (count != 1)})" for name, count in counter.most_common())


def tokenize(
    rows: Sequence[Row], chat: Chat, max_length: int, over_length: Literal["refuse", "drop"] = "refuse"
) -> Tokenized:
    """Turn rows into examples. Every row is kept as a whole, or is dropped with its name, or is refused.

    Raises:
        ConfigError: examples are longer than `max_length` tokens and may not be dropped, none is left, or an answer
            cannot be learned with this tokenizer; names them.
    """
    from rasa_ft_ext.train.chat import UnlearnableError

    examples: list[Tokens] = []
    problems: list[str] = []
    for row in rows:
        try:
            ids, prompt_length = chat.example_ids(row.messages, row.completion)
        except UnlearnableError as error:
            problems.append(f"{row.name}: {error}")
        else:
            examples.append(Tokens(row.name, tuple(ids), prompt_length, row.completion))
    if problems:
        raise ConfigError("Rows that cannot be learned", shortened(problems))
    long = {example.name: len(example.ids) for example in examples if len(example.ids) > max_length}
    kept = [example for example in examples if example.name not in long]
    if long and (over_length == "refuse" or not kept):
        where = f"{len(long)} of {len(rows)} examples are longer than {max_length} tokens"
        raise ConfigError(where, _too_long(long, some_fit=bool(kept)))
    return Tokenized(kept, long)


def _too_long(long: Mapping[str, int], *, some_fit: bool) -> list[str]:
    shown = [f"{name}: {length} tokens" for name, length in [*long.items()][:_SHOWN_LONG]]
    if len(long) > _SHOWN_LONG:
        shown.append(f"... and {len(long) - _SHOWN_LONG} more")
    way = ", or leave them out with --over-length drop" if some_fit else "; none would be left without them"
    return [*shown, f"Nothing is cut off. Train with --max-length {max(long.values())}{way}."]
