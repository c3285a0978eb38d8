"""What a page is made of, and how templates become parts of it; whatever they show is escaped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rasa_ft_ext.report import words


@dataclass(frozen=True)
class Section:
    """One part of the page: its anchor, its title, and its HTML."""

    id: str
    title: str
    html: Markup


def section(id: str, title: str, template: str, **values: Any) -> Section:
    """Make a section of a macro: `template` is `FILE.MACRO`, and `values` are its arguments."""
    file, _, macro = template.partition(".")
    module = environment().get_template(f"{file}.html.jinja2").module
    return Section(id, title, Markup(getattr(module, macro)(**values)))  # the macro has escaped it


@cache
def environment() -> Environment:
    found = Environment(
        loader=PackageLoader("rasa_ft_ext.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(shown=words.shown, percent=words.percent, seconds=words.seconds, count=words.count)
    return found
