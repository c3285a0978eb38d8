"""What the report shows of a review: the decisions beside what they are about, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rasa_ft_ext.conversation import AnnotatedFile, RephrasedFile
from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.report.figures import is_done
from rasa_ft_ext.review.decisions import Decision
from rasa_ft_ext.review.fitting import Place
from rasa_ft_ext.review.place import is_applied, read_review
from rasa_ft_ext.workspace import DATASET, Workspace


def reviewed(
    workspace: Workspace, annotated: Sequence[AnnotatedFile], rephrased: Sequence[RephrasedFile]
) -> Mapping[Place, Decision]:
    """The decisions by what they are about; none where they cannot be read, which `worries` tells."""
    try:
        return read_review(workspace).fit(workspace, list(annotated), list(rephrased)).placed
    except RasaFtError:
        return {}


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
