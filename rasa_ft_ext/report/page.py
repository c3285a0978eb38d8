"""`report.html`: one file that a person opens, without a network; its only scripts are our own, named by their hashes.

    write_report(Path("output"))        # of what is there

A page is a row of sections; what a stage has to show is a function from the output folder to sections, listed in
`SECTIONS`. It reads the files that the stage left, so the page can be made again at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from rasa_ft_ext._version import __version__
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.files import write_whole
from rasa_ft_ext.report import coverage, data, evaluation, findings, monitoring, overview
from rasa_ft_ext.report.browse import as_json
from rasa_ft_ext.report.made_from import made_from, stands_in
from rasa_ft_ext.report.sections import Section, environment, script, section
from rasa_ft_ext.workspace import MANIFEST

REPORT = "report.html"

# In the order of the page: verdicts first, then what there is to look up.
SECTIONS: tuple[Callable[[Path], Iterable[Section]], ...] = (
    overview.sections,
    coverage.sections,
    findings.sections,
    evaluation.sections,
    monitoring.sections,
    data.sections,
)

# What the page of `rasa-ft review` has beside: the second builds on the first.
_OF_A_REVIEW = ("review_form.js", "review.js")


@dataclass(frozen=True)
class Served:
    """What the page of `rasa-ft review` has beside: how its script talks to the server, and the file it changes."""

    token: str
    header: str
    file: str


def write_report(output: Path) -> Path:
    """Write the page of an output folder, whole or not at all.

    Returns:
        Where it is.

    Raises:
        WorkspaceError: there is nothing to show, or the folder cannot be written.
    """
    path = output / REPORT
    write_whole(path, render(output))
    return path


def refresh_report(output: Path) -> Path:
    """The same, but a page that was made from just what is there is left as it is.

    For runs that have looked whether the stages' files are those of their manifests.
    """
    path = output / REPORT
    found = stands_in(path)
    return path if found is not None and found == made_from(output) else write_report(output)


def render(output: Path, served: Served | None = None) -> str:
    """The page of an output folder as HTML; with the script of a review if it is to be served.

    Raises:
        WorkspaceError: there is nothing to show.
    """
    is_stage = (output / MANIFEST).is_file()  # a page in there would be a change of its results
    sections = [] if is_stage else [part for of_stage in SECTIONS for part in _parts(of_stage, output)]
    if not sections:
        raise WorkspaceError(_nothing(output))
    scripts = dict.fromkeys(found for part in sections for found in part.scripts)
    return (
        environment()
        .get_template("page.html.jinja2")
        .render(
            sections=sections,
            contents=_contents(sections),
            scripts=(*scripts, *(map(script, _OF_A_REVIEW) if served else ())),
            version=__version__,
            made_from=None if served else made_from(output),
            served=as_json(asdict(served)) if served else None,
        )
    )


def _nothing(output: Path) -> str:
    """Why there is nothing to show, and what to do."""
    if not output.is_dir():
        return f"There is no folder {output}. Give the output folder of `rasa-ft prepare-data`."
    if (output / MANIFEST).is_file():
        return f"There is nothing to show in {output}, which is the folder of one stage. Give the one above it."
    return (
        f"There is nothing to show in {output}. Run `rasa-ft prepare-data` first, or give the output folder of a run "
        "that has."
    )


def _contents(sections: Iterable[Section]) -> list[tuple[str, list[Section]]]:
    """The table of contents: groups of sections that belong together, in their order."""
    return [(group, list(of)) for group, of in groupby(sections, key=lambda part: part.group)]


def _parts(of_stage: Callable[[Path], Iterable[Section]], output: Path) -> list[Section]:
    """The sections of a stage; its files may be those of another version, which is no reason to show nothing."""
    parts: list[Section] = []
    try:
        for part in of_stage(output):
            parts.append(part)
    except WorkspaceError as error:
        name = of_stage.__module__.rpartition(".")[2]
        parts.append(section(name, name.capitalize(), "page_parts.unreadable", why=str(error)))
    return parts
