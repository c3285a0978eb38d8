"""What the report shows of the prepared data: how it came about, what it holds, every conversation, and the run.

Everything is read from the records that the stages left; a stage that was not run has no part of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard, Example
from rasa_ft_ext.report.balance import kinds, lengths
from rasa_ft_ext.report.browse import Placed, as_json, browsable
from rasa_ft_ext.report.figures import Tokens, is_done, read_figures, read_tokens
from rasa_ft_ext.report.funnel import funnel, makers
from rasa_ft_ext.report.reviewed import reviewed
from rasa_ft_ext.report.sections import Section, script, section
from rasa_ft_ext.rows import TRAIN_ROWS, VALIDATION_ROWS, read_rows
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
    placed = _placed(workspace) if is_done(output, DATASET) else []
    if placed:
        yield _balance(placed, workspace.card().flows if is_done(output, ANNOTATIONS) else {})
    if is_done(output, ANNOTATIONS):
        annotated = workspace.annotations()
        yield _browse(workspace, annotated, placed)
        rows, tokens = list(_run(workspace)), list(_tokens(workspace, annotated))
        yield section("run", "The run", "data.run", group=GROUP, rows=rows, tokens=tokens)


def _placed(workspace: Workspace) -> list[Placed]:
    """The examples with the rows that `split` made of them."""
    sides: dict[tuple[str, str], tuple[str, str]] = {}
    if is_done(workspace.root, SPLIT):
        for side, file in ((TRAIN, TRAIN_ROWS), (VALIDATION, VALIDATION_ROWS)):
            for row in read_rows(workspace.folder(SPLIT) / file, may_be_empty=True):
                sides[row.prompt, row.completion] = (side, row.name)
    examples = workspace.examples()
    return [Placed(entry, *sides.get((entry.prompt, entry.completion), ("", ""))) for entry in examples]


def _balance(placed: Sequence[Placed], flows: Mapping[str, str]) -> Section:
    sides: dict[str, list[Example]] = {}
    for entry in sorted(placed, key=lambda entry: entry.side):
        sides.setdefault(entry.side or UNDIVIDED, []).append(entry.example)
    return section(
        "balance",
        "What the examples hold",
        "data.balance",
        group=GROUP,
        kinds=kinds(sides, flows),
        lengths=lengths(sides),
        sides={side: len(of) for side, of in sides.items()},
        most=_OPEN,
    )


def _browse(workspace: Workspace, annotated: Sequence[AnnotatedFile], placed: Sequence[Placed]) -> Section:
    rephrased = workspace.rephrasings() if is_done(workspace.root, REPHRASINGS) else []
    found = browsable(annotated, rephrased, placed, reviewed(workspace, annotated, rephrased))
    return section(
        "browse",
        "Conversations",
        "data.browse",
        group=GROUP,
        scripts=(script("browse.js"),),
        data=as_json(found),
        tests=found["tests"][:_STATIC],
        commands=found["commands"],
        total=len(found["tests"]),
    )


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


def _tokens(workspace: Workspace, annotated: Sequence[AnnotatedFile]) -> Iterator[tuple[str, str, Tokens]]:
    """What the calls were for, which LLM answered them, and their tokens; what is not known is left out."""
    teacher = _llm(workspace.card().llm, *_NAMES)
    yield "running the tests", teacher, _of_annotations(annotated)
    if is_done(workspace.root, REPHRASINGS):
        rephraser = _llm(read_record(workspace.folder(REPHRASINGS) / MANIFEST, Manifest).key.get("llm"), *_NAMES)
        found = read_tokens(workspace.root, REPHRASINGS)
        for name, what, llm in (
            ("rephrasing", "rephrasing", rephraser),
            ("checking", "checking the rephrasings", teacher),
        ):
            if name in found:
                yield what, llm, found[name]


def _of_annotations(annotated: Sequence[AnnotatedFile]) -> Tokens:
    """The tokens of the calls that annotated the tests."""
    asked = [
        turn.annotation.usage
        for file in annotated
        for of in file.conversations
        for _, turn in of.annotated
        if turn.annotation is not None
    ]
    return Tokens(
        calls=len(asked),
        prompt_tokens=sum(of.prompt_tokens for of in asked),
        completion_tokens=sum(of.completion_tokens for of in asked),
    )
