"""`report.html`: one file that a person opens, without a network; its only scripts are our own, named by their hashes.

    write_report(Path("output"))        # of what is there

A page is a row of sections; what a stage has to show is a function from the output folder to sections, listed in
`SECTIONS`. It reads the files that the stage left, so the page can be made again at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from rasa_ft_ext._version import __version__
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.files import write_whole
from rasa_ft_ext.report import coverage, data, evaluation, monitoring, overview
from rasa_ft_ext.report.sections import Section, environment, section

REPORT = "report.html"

# In the order of the page: verdicts first, then what there is to look up.
SECTIONS: tuple[Callable[[Path], Iterable[Section]], ...] = (
    overview.sections,
    coverage.sections,
    evaluation.sections,
    monitoring.sections,
    data.sections,
)


def write_report(output: Path) -> Path:
    """Write the page of an output folder, whole or not at all.

    Returns:
        Where it is.

    Raises:
        WorkspaceError: there is nothing to show, or the folder cannot be written.
    """
    sections = [part for of_stage in SECTIONS for part in _parts(of_stage, output)]
    if not sections:
        raise WorkspaceError(
            f"There is nothing to show in {output}. Run `rasa-ft prepare-data` first, or give the output folder of a "
            "run that has."
        )
    scripts = tuple(dict.fromkeys(script for part in sections for script in part.scripts))
    html = (
        environment().get_template("page.html.jinja2").render(sections=sections, scripts=scripts, version=__version__)
    )
    path = output / REPORT
    write_whole(path, html)
    return path


def _parts(of_stage: Callable[[Path], Iterable[Section]], output: Path) -> list[Section]:
    """The sections of a stage; its files may be those of another version, which is no reason to show nothing."""
    try:
        return list(of_stage(output))
    except WorkspaceError as error:
        name = of_stage.__module__.rpartition(".")[2]
        return [section(name, name.capitalize(), "page_parts.unreadable", why=str(error))]
