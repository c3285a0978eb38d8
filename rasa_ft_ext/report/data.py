"""What the report shows of the prepared data: how it came about, what it holds, every conversation, and the run.

Everything is read from the records that the stages left; a stage that was not run has no part of the page.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard, Conversation, RephrasedConversation, RephrasedFile
from rasa_ft_ext.report.balance import SideCounts, kinds, lengths
from rasa_ft_ext.report.browse import Placed, as_json, browsable
from rasa_ft_ext.report.figures import Tokens, is_done, read_figures, read_tokens
from rasa_ft_ext.report.funnel import funnel, makers
from rasa_ft_ext.report.reviewed import reviewed
from rasa_ft_ext.report.sections import Section, script, section
from rasa_ft_ext.rows import TRAIN_ROWS, VALIDATION_ROWS, stored_rows
from rasa_ft_ext.scratch import digest, scratch
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    DATASET,
    MANIFEST,
    REPHRASINGS,
    SPLIT,
    STAGES,
    Manifest,
    Workspace,
    read_record,
)

GROUP = "Data"
TRAIN, VALIDATION, UNDIVIDED = "train", "validation", "examples"
_OPEN = 25  # rows of a chart; more are folded
_WORDINGS = 20_000  # messages and rephrasings that are in the page; a browser is slow with more
_STATIC = 200  # conversations that stand in the page for who has no script


def sections(output: Path) -> Iterator[Section]:
    """The sections of the prepared data, if there is any."""
    found = read_figures(output)
    if found is None:
        return
    failed = found.annotated.failed if found.annotated else ()
    if steps := funnel(found):
        yield section(
            "funnel",
            "From tests to examples",
            "data.funnel",
            group=GROUP,
            steps=steps,
            failed=failed,
            makers=makers(found.rephrased),
        )
        if found.rephrased and found.rephrased.teacher:
            yield section(
                "agreement", "How sure the LLM is", "data.agreement", group=GROUP, found=found.rephrased.teacher
            )
    workspace = Workspace(output)
    with scratch() as database:
        counts: dict[str, SideCounts] = {}
        placed = _counted(_placed(workspace, database), counts) if is_done(output, DATASET) else iter(())
        has_annotations = is_done(output, ANNOTATIONS)
        tested = _tested(workspace, placed) if has_annotations else None
        deque(placed, maxlen=0)  # whoever shows no conversations has not looked at the examples
        if counts:
            yield _balance(counts, workspace.card().flows if has_annotations else {})
        if tested is not None:
            browse, tokens = tested
            yield browse
            rows = list(_run(workspace))
            yield section("run", "The run", "data.run", group=GROUP, rows=rows, tokens=list(_tokens(workspace, tokens)))


def _counted(placed: Iterable[Placed], counts: dict[str, SideCounts]) -> Iterator[Placed]:
    """Pass examples on, and count them by their sides."""
    for entry in placed:
        counts.setdefault(entry.side, SideCounts()).add(entry.example)
        yield entry


def _placed(workspace: Workspace, database: sqlite3.Connection) -> Iterator[Placed]:
    """The examples with the rows that `split` made of them, read one after the other."""
    database.execute("CREATE TABLE rows (row BLOB PRIMARY KEY, side TEXT, name TEXT) WITHOUT ROWID")
    if is_done(workspace.root, SPLIT):
        for side, file in ((TRAIN, TRAIN_ROWS), (VALIDATION, VALIDATION_ROWS)):
            for _, row in stored_rows(workspace.folder(SPLIT) / file, may_be_empty=True):
                entry = (digest(row.prompt, row.completion), side, row.name)
                database.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", entry)

    for example in workspace.examples():
        key = digest(example.prompt, example.completion)
        found = database.execute("SELECT side, name FROM rows WHERE row = ?", (key,)).fetchone()
        yield Placed(example, *(found or ("", "")))


def _balance(counts: Mapping[str, SideCounts], flows: Mapping[str, str]) -> Section:
    sides = {side or UNDIVIDED: counts[side] for side in sorted(counts)}
    return section(
        "balance",
        "What the examples hold",
        "data.balance",
        group=GROUP,
        kinds=kinds(sides, flows),
        lengths=lengths(sides),
        sides={side: of.examples for side, of in sides.items()},
        most=_OPEN,
    )


def _tested(workspace: Workspace, placed: Iterable[Placed]) -> tuple[Section, Tokens]:
    """The conversations of the tests, and the tokens that it took to annotate them."""
    rephrased = _first_rephrased(workspace.rephrasings() if is_done(workspace.root, REPHRASINGS) else ())
    usage: Counter[str] = Counter()
    annotated, total = _first_annotated(_used(workspace.annotations(), usage), rephrased)
    found = browsable(annotated, rephrased, placed, reviewed(workspace, annotated, rephrased))
    browse = section(
        "browse",
        "Conversations",
        "data.browse",
        group=GROUP,
        scripts=(script("browse.js"),),
        data=as_json(found),
        tests=found["tests"][:_STATIC],
        commands=found["commands"],
        shown=len(found["tests"]),
        total=total,
    )
    return browse, Tokens(**usage)


def _used(files: Iterable[AnnotatedFile], usage: Counter[str]) -> Iterator[AnnotatedFile]:
    """Pass files on, and count the calls that annotated them, and the tokens of these."""
    for file in files:
        for conversation in file.conversations:
            for _, turn in conversation.annotated:
                if turn.annotation is not None:
                    usage.update({"calls": 1, **turn.annotation.usage.model_dump()})
        yield file


def _first_rephrased(files: Iterable[RephrasedFile]) -> list[RephrasedFile]:
    """As many rephrased tests as go into the page, at least one."""
    kept: list[RephrasedFile] = []
    room = _WORDINGS
    for file in files:
        chosen: list[RephrasedConversation] = []
        for conversation in file.conversations:
            room -= _wordings(conversation)
            if room < 0 and (kept or chosen):
                break
            chosen.append(conversation)
        kept.append(file.model_copy(update={"conversations": tuple(chosen)}))
        if room < 0:
            break
    return kept


def _first_annotated(
    files: Iterable[AnnotatedFile], rephrased: Iterable[RephrasedFile]
) -> tuple[list[AnnotatedFile], int]:
    """As many annotated tests as go into the page with their rephrasings, at least one; and how many there are."""
    wordings = {conversation.id: _wordings(conversation) for file in rephrased for conversation in file.conversations}
    kept: list[AnnotatedFile] = []
    room, total = _WORDINGS, 0
    for file in files:
        chosen: list[Conversation] = []
        for conversation in file.conversations:
            room -= len(conversation.turns) + wordings.get(conversation.id, 0)
            if room >= 0 or not (total or chosen):
                chosen.append(conversation)
            total += 1
        if chosen:
            kept.append(file.model_copy(update={"conversations": tuple(chosen)}))
    return kept, total


def _wordings(conversation: RephrasedConversation) -> int:
    return sum(len(turn.rephrasings) for turn in conversation.turns)


def _run(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """What the data was made from and with, as pairs of a name and what it was."""
    manifests = {
        stage: read_record(workspace.folder(stage) / MANIFEST, Manifest)
        for stage in STAGES
        if is_done(workspace.root, stage)
    }
    yield "rasa-ft-ext", ", ".join(sorted({manifest.version for manifest in manifests.values()}))
    yield from _assistant(workspace.card())
    key: dict[str, Any] = {}
    for manifest in manifests.values():
        key |= {name: value for name, value in manifest.key.items() if name != "llm"}
    if rephrasing := manifests.get(REPHRASINGS):
        yield "LLM that rephrases", _llm(rephrasing.key.get("llm"))
    for name, text in _OPTIONS.items():
        if name in key:
            yield text, str(key[name])
    if "simulate" in key:
        how = "rendered from the recording, or by running the assistant again" if key["simulate"] else "rendered"
        yield "prompts of new conversations", how


_OPTIONS = {
    "num_rephrases": "rephrasings asked for, per message",
    "slot_values": "label of a rephrasing with another slot value",
    "train_frac": "part to train on",
    "seed": "seed of the split",
    "output_format": "format of the rows",
}


def _assistant(card: AssistantCard) -> Iterator[tuple[str, str]]:
    yield "Rasa", card.rasa_version
    yield "assistant's model", f"{card.model} ({card.fingerprint[:12]})" if card.fingerprint else card.model
    yield "command generator", f"{card.generator}, syntax {card.syntax}"
    yield "LLM that answers", _llm(card.llm)


_NAMES = ("provider", "model", "deployment")


def _llm(settings: Any, *keys: str) -> str:
    """What an LLM's settings say under these keys; under all that tell it from others if none are given."""
    if not isinstance(settings, Mapping):
        return "-"
    names = [str(settings[name]) for name in keys or (*_NAMES, "api_base") if settings.get(name)]
    return ", ".join(names) or "-"


def _tokens(workspace: Workspace, of_annotations: Tokens) -> Iterator[tuple[str, str, Tokens]]:
    """What the calls were for, which LLM answered them, and their tokens; what is not known is left out."""
    teacher = _llm(workspace.card().llm, *_NAMES)
    yield "running the tests", teacher, of_annotations
    if is_done(workspace.root, REPHRASINGS):
        rephraser = _llm(read_record(workspace.folder(REPHRASINGS) / MANIFEST, Manifest).key.get("llm"), *_NAMES)
        found = read_tokens(workspace.root, REPHRASINGS)
        for name, what, llm in (
            ("rephrasing", "rephrasing", rephraser),
            ("checking", "checking the rephrasings", teacher),
        ):
            if name in found:
                yield what, llm, found[name]
