"""What a page is made of, and how templates become parts of it; whatever they show is escaped."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rasa_ft_ext.report import words

QUALITY = "Quality"
"""The group of what is said of the data before anything is trained."""


@dataclass(frozen=True)
class Script:
    """A script of ours. The page's policy names its hash, so that no other one runs."""

    source: Markup

    @property
    def policy(self) -> str:
        """What `script-src` must name, such as `'sha256-...'`."""
        digest = hashlib.sha256(self.source.encode("utf-8")).digest()
        return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


@dataclass(frozen=True)
class Section:
    """One part of the page: its anchor, its title, its HTML, and the scripts that it needs.

    Sections that follow each other and have the same `group` stand together in the table of contents.
    """

    id: str
    title: str
    html: Markup
    scripts: tuple[Script, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Headline:
    """What the top of the page says of a part of it: a question, the answer, and the section that has more.

    `passed` is None where there is an answer and no verdict.
    """

    question: str
    answer: str
    passed: bool | None
    anchor: str


def section(
    id: str, title: str, template: str, *, scripts: tuple[Script, ...] = (), group: str = "", **values: Any
) -> Section:
    """Make a section of a macro: `template` is `FILE.MACRO`, and `values` are its arguments."""
    file, _, macro = template.partition(".")
    module = environment().get_template(f"{file}.html.jinja2").module
    return Section(id, title, Markup(getattr(module, macro)(**values)), scripts, group)  # the macro has escaped it


@cache
def script(name: str) -> Script:
    """One of the scripts beside the templates; it stands in the page as it is, so it must not name `</script`."""
    path = files("rasa_ft_ext.report") / "templates" / name
    return Script(Markup(path.read_text(encoding="utf-8")))


@cache
def environment() -> Environment:
    found = Environment(
        loader=PackageLoader("rasa_ft_ext.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        shown=words.shown, percent=words.percent, seconds=words.seconds, count=words.count, coded=words.coded
    )
    return found
