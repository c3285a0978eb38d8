"""Recorded annotations in the place of a run: what `--annotations` does.

The records of a folder that `annotate` once wrote are checked and written into the workspace, as if the tests had
just been run. No Rasa is needed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from rasa_ft_ext.annotate.stage import AnnotateSummary, summarise, write
from rasa_ft_ext.conversation import Conversation, FailedTest
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.workspace import ANNOTATIONS, Workspace, read_annotations, read_card, read_flow_map, read_summary


def copy_annotations(workspace: Workspace, folder: Path) -> AnnotateSummary:
    """Take recorded annotations over.

    Raises:
        WorkspaceError: the folder holds none, or they cannot be read.
    """
    files = read_annotations(folder)
    card, flows = read_card(folder), read_flow_map(folder)
    found: list[Conversation | FailedTest] = []
    for file in files:
        found += [*file.conversations, *file.failed]
    if not any(file.conversations for file in files):
        raise WorkspaceError(f"{folder} holds no annotated conversation. Record one with `rasa-ft annotate`.")
    records = [card.model_dump_json(), *(file.model_dump_json() for file in files)]
    if flows is not None:
        records.append(flows.model_dump_json())
    key = {"recorded": hashlib.sha256("\n".join(records).encode()).hexdigest()}
    if workspace.is_done(ANNOTATIONS, key):
        return read_summary(workspace.folder(ANNOTATIONS), AnnotateSummary)
    summary = summarise(found)
    with workspace.writing(ANNOTATIONS, key) as draft:
        write(draft, card, files, summary, flows)
    return summary
