"""What the report shows of a review: the decisions beside what they are about, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rasa_ft_ext.conversation import AnnotatedFile, RephrasedFile
from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.report.figures import is_done
from rasa_ft_ext.review.applying import NOT_THE_LABEL, apply
from rasa_ft_ext.review.decisions import Decision
from rasa_ft_ext.review.fitting import Place
from rasa_ft_ext.review.place import is_applied, read_review
from rasa_ft_ext.workspace import DATASET, REPHRASINGS, Workspace


@dataclass(frozen=True)
class Marks:
    """The decisions by what they are about, and why rephrasings are left out on which nobody decided themselves."""

    decisions: Mapping[Place, Decision] = field(default_factory=dict)
    left_out: Mapping[Place, str] = field(default_factory=dict)


def reviewed(workspace: Workspace, annotated: Sequence[AnnotatedFile], rephrased: Sequence[RephrasedFile]) -> Marks:
    """What was decided of these tests; nothing where it cannot be read, which `worries` tells."""
    everything = workspace.rephrasings() if is_done(workspace.root, REPHRASINGS) else ()
    try:
        fitted = read_review(workspace).fit(workspace, workspace.annotations(), everything)
    except RasaFtError:
        return Marks()
    left_out: dict[Place, str] = {
        (conversation.id, entry.turn, found.text): found.reason
        for file in apply(annotated, rephrased, fitted).rephrased
        for conversation in file.conversations
        for entry in conversation.turns
        for found in entry.rephrasings
        if found.reason is not None and found.reason.startswith(NOT_THE_LABEL)
    }
    return Marks(fitted.placed, left_out)


def worries(output: Path) -> Iterator[str]:
    """Decisions that cannot be read, or that the examples were not made with."""
    workspace = Workspace(output)
    try:
        review = read_review(workspace)
        is_missing = is_done(output, DATASET) and not is_applied(workspace, review)
    except RasaFtError as error:
        yield f"The decisions of the review cannot be read. {error}"
        return
    if is_missing:
        yield (
            f"The decisions in {review.path.name} have changed since the examples were made. Run `rasa-ft "
            "prepare-data` again, or `rasa-ft dataset` and `rasa-ft split`."
        )
