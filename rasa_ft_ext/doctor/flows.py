"""Flows and slots as a project's files have them, and what has changed since the data was made.

The files are read as plain YAML: `data/**/*.yml` for flows, `domain.yml` or `domain/**/*.yml` for slots. Rasa's own
flows, those that are called `pattern_...`, are no user's to start and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from rasa_ft_ext.doctor.findings import Unknown
from rasa_ft_ext.yaml_reading import read_yaml

_PATTERN = "pattern_"
_ALIKE = 0.75  # from here on, two descriptions are those of one flow under two names


@dataclass(frozen=True)
class Flow:
    """One flow: its description, and the slots that it asks for with the description of each."""

    description: str
    collects: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """How flows differ from those before; `renamed` maps an old id to the new one."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    described: tuple[str, ...] = ()


def read_flows(data: Path) -> dict[str, Flow]:
    """Read the flows of a project.

    Raises:
        Unknown: there are no such files.
        ConfigError: a file is no YAML.
    """
    if not data.exists():
        raise Unknown(f"there are no flows at {data}")
    flows: dict[str, Flow] = {}
    for file in _yaml_files(data):
        flows.update(flows_of(_read(file)))
    if not flows:
        raise Unknown(f"no file under {data} has flows")
    return flows


def flows_of(content: Mapping[str, Any]) -> dict[str, Flow]:
    """The flows in the content of one file."""
    found = content.get("flows")
    return {
        str(name): Flow(one_line(flow.get("description")), dict(_collects(flow.get("steps"))))
        for name, flow in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(flow, Mapping) and not str(name).startswith(_PATTERN)
    }


def read_slots(domain: Iterable[Path]) -> set[str]:
    """Read the names of the slots in the domain's files, of whichever of these places is there.

    Raises:
        Unknown: none of them is there.
        ConfigError: a file is no YAML.
    """
    places = [place for place in domain if place.exists()]
    if not places:
        raise Unknown("the project has no domain.yml and no folder domain")
    found = [_read(file).get("slots") for place in places for file in _yaml_files(place)]
    return {str(name) for slots in found if isinstance(slots, Mapping) for name in slots}


def compare(before: Mapping[str, str], now: Mapping[str, str]) -> Changes:
    """Say what has become of flows, given by id and description.

    A flow that is gone and one that is new are the same under another name if their descriptions are (nearly) the
    same; each is paired once, the most alike first.
    """
    gone = [name for name in before if name not in now]
    new = [name for name in now if name not in before]
    pairs = sorted(((_alike(before[old], now[name]), old, name) for old in gone for name in new), reverse=True)
    renamed: dict[str, str] = {}
    for likeness, old, name in pairs:
        if likeness >= _ALIKE and old not in renamed and name not in renamed.values():
            renamed[old] = name
    return Changes(
        added=tuple(name for name in new if name not in renamed.values()),
        removed=tuple(name for name in gone if name not in renamed),
        renamed=renamed,
        described=tuple(name for name in before if name in now and one_line(before[name]) != one_line(now[name])),
    )


def one_line(text: object) -> str:
    """A description as it is compared: without line breaks and blanks that only lay it out."""
    return " ".join(str(text or "").split())


def _read(file: Path) -> Mapping[str, Any]:
    found = read_yaml(file)
    return found if isinstance(found, Mapping) else {}


def _alike(one: str, other: str) -> float:
    one, other = one_line(one).lower(), one_line(other).lower()
    return SequenceMatcher(None, one, other, autojunk=False).ratio() if one and other else 0.0


def _collects(steps: Any) -> Iterator[tuple[str, str]]:
    """The slots that a flow's steps ask for, those within its branches included."""
    if isinstance(steps, list):
        for step in steps:
            yield from _collects(step)
    elif isinstance(steps, Mapping):
        if isinstance(steps.get("collect"), str):
            yield steps["collect"], one_line(steps.get("description"))
        for key in ("next", "then", "else", "steps"):
            if isinstance(steps.get(key), list | Mapping):
                yield from _collects(steps[key])


def _yaml_files(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(path for path in place.rglob("*.y*ml") if path.is_file())
