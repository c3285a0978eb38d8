"""The names in an output folder, and how what stands under them is read.

Stages take these from `rasa_ft_ext.workspace`, which says how the folders come about.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard, Example
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.records import Stored, read_record, stored

ANNOTATIONS = "1_command_annotations"
REPHRASINGS = "2_rephrasings"
DATASET = "3_llm_finetune_data"
SPLIT = "4_train_test_split"
EVALUATION = "5_evaluation"
MONITORING = "6_monitoring"
STAGES = (ANNOTATIONS, REPHRASINGS, DATASET, SPLIT)

MANIFEST = "manifest.json"
TIMINGS = "timings.json"
ASSISTANT_CARD = "assistant.json"
FLOW_MAP = "flows.json"
SUMMARY = "summary.json"
EXAMPLES = "llm_ft_data.jsonl"
PROMPT_TEMPLATE = "prompt_template.jinja2"

AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def read_annotations(folder: Path) -> Stored[AnnotatedFile]:
    """The annotations in a folder that `annotate` wrote, in the order of their files' names.

    Raises:
        WorkspaceError: there are none.
    """
    if not (folder / ASSISTANT_CARD).is_file():
        raise WorkspaceError(
            f"{folder} holds no annotations (there is no {ASSISTANT_CARD}). Run `rasa-ft annotate` first, or give a "
            "folder that it wrote."
        )
    return stored(folder, AnnotatedFile)


def read_examples(path: Path) -> Stored[Example]:
    """The examples in a file that `dataset` wrote, in their order."""

    def read() -> Iterator[Example]:
        try:
            with path.open(encoding="utf-8", newline="\n") as lines:
                yield from (Example.model_validate_json(line) for line in lines if line != "\n")
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise WorkspaceError(f"{path} cannot be read: {error}. Run `rasa-ft dataset` again.") from error

    return Stored(read)


def read_card(folder: Path) -> AssistantCard:
    """Read what `annotate` wrote of the assistant."""
    return read_record(folder / ASSISTANT_CARD, AssistantCard)


def read_flow_map(folder: Path) -> FlowMap | None:
    """Read the map of the flows that `annotate` wrote; None where it is missing, as in recordings of old versions."""
    path = folder / FLOW_MAP
    return read_record(path, FlowMap) if path.is_file() else None


def read_summary(folder: Path, kind: type[AnyRecord]) -> AnyRecord:
    """Read the summary that a finished stage left in its folder."""
    return read_record(folder / SUMMARY, kind)


def command_of(stage: str) -> str:
    """The command that makes a stage."""
    commands = {ANNOTATIONS: "annotate", REPHRASINGS: "rephrase", DATASET: "dataset", SPLIT: "split"}
    return {**commands, EVALUATION: "evaluate"}[stage]
