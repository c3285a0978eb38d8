"""Recorded annotations in the place of a run: what `--annotations` does.

The records of a folder that `annotate` once wrote are checked and written into the workspace, as if the tests had
just been run. No Rasa is needed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from rasa_ft_ext.annotate.output import AnnotateSummary, add, finish
from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.file_names import check_file_names
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.records import Stored
from rasa_ft_ext.workspace import ANNOTATIONS, Workspace, read_annotations, read_card, read_flow_map, read_summary


def copy_annotations(workspace: Workspace, folder: Path) -> AnnotateSummary:
    """Take recorded annotations over.

    Raises:
        WorkspaceError: the folder holds none, or they cannot be read.
    """
    files = read_annotations(folder)
    card, flows = read_card(folder), read_flow_map(folder)
    digest, names = _look(folder, files, card, flows)
    if not any(names.values()):
        raise WorkspaceError(f"{folder} holds no annotated conversation. Record one with `rasa-ft annotate`.")
    key = {"recorded": digest}
    if workspace.is_done(ANNOTATIONS, key):
        return read_summary(workspace.folder(ANNOTATIONS), AnnotateSummary)
    check_file_names(names, workspace.root)
    with workspace.resuming(ANNOTATIONS, key) as draft:
        draft.expect(len(names))
        for file in files:
            if file.source.file not in draft.done:
                add(draft, file)
        return finish(draft, card, names, flows, timings=False)


def _look(
    folder: Path, files: Stored[AnnotatedFile], card: AssistantCard, flows: FlowMap | None
) -> tuple[str, dict[str, int]]:
    """The SHA-256 of all records, and the test files with the number of their conversations.

    Raises:
        WorkspaceError: two records are of one test file.
    """
    digest = hashlib.sha256(card.model_dump_json().encode())
    names: dict[str, int] = {}
    for file in files:
        if file.source.file in names:
            raise WorkspaceError(
                f"{folder} holds two records of the test file {file.source.file!r}, of which one would be lost. A copy "
                "of a record needs a test file of its own: change the name in it (`source.file`, and the ids of its "
                "tests), or remove one of the two."
            )
        digest.update(b"\n" + file.model_dump_json().encode())
        names[file.source.file] = len(file.conversations)
    if flows is not None:
        digest.update(b"\n" + flows.model_dump_json().encode())
    return digest.hexdigest(), names
