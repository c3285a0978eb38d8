"""The change to the assistant's files, made in memory and checked there: nothing is written here.

The new text of each file is read again, and must say what it said before but for what was to change. Where that fails,
or the text is written in a way that cannot be edited safely, the error says what to write by hand.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode

from rasa_ft_ext.connect import notation
from rasa_ft_ext.connect.edits import Edits, UnsafeEditError, is_alias, refuse_anchors
from rasa_ft_ext.connect.target import Target, same_template
from rasa_ft_ext.errors import ConfigError, ConnectError
from rasa_ft_ext.project import DATE_TIME, PROMPT_KEYS, Project, YamlFile, entry_of, items_of, parse_yaml

COMMENT = "rasa-ft connect --force: "

_KINDS_WITHOUT = ("MultiStepLLMCommandGenerator",)


@dataclass(frozen=True)
class FileChange:
    """One file's bytes before and after; None before where there is no such file."""

    path: Path
    before: bytes | None
    after: bytes


def changes(project: Project, target: Target, template: str, said: Sequence[str]) -> tuple[FileChange, ...]:
    """The files that must change; none where all is as it should be.

    Args:
        project: The assistant's files as they are.
        target: What they should hold.
        template: The source of the prompt template.
        said: What is said in a comment above the generator, as the user insisted.

    Raises:
        ConnectError: a file cannot be edited safely; says what to write by hand.
    """
    if project.generator.kind in _KINDS_WITHOUT:
        raise ConnectError(f"{project.generator.kind} has several prompts and cannot use a model made for one.")
    found = [
        _changed(project.config, lambda edits: _edit_config(edits, project, target, said), _config(project, target)),
        _changed(project.endpoints, lambda edits: _edit_endpoints(edits, project, target), _endpoints(project, target)),
    ]
    unsafe = [change for change in found if isinstance(change, str)]
    if unsafe:
        raise ConnectError("\n".join([*unsafe, by_hand(project, target)]))
    files = [change for change in found if isinstance(change, FileChange)]
    if target.template is not None and not same_template(project.root / target.template, template):
        place = project.root / target.template
        before = place.read_bytes() if place.exists() else None
        files.append(FileChange(place, before, template.encode()))
    return tuple(files)


def by_hand(project: Project, target: Target) -> str:
    """What a person writes where the files cannot be edited."""
    entries: dict[str, Any] = {"llm": target.llm}
    if target.template is not None:
        entries["prompt_template"] = target.template
    if target.include_date_time is not None:
        entries[DATE_TIME] = target.include_date_time
    lines = [f"Write this by hand into {project.config.path}, at {project.generator.name}:"]
    lines += [f"    {line}" for key, value in entries.items() for line in notation.block(key, value)]
    if target.group is not None:
        lines.append(f"and this into {project.endpoints.path}, under model_groups:")
        lines += [f"    {line}" for line in notation.listed(target.group)]
    if target.template is not None:
        lines.append(f"and copy the prompt_template.jinja2 of the data to {project.root / target.template}.")
    return "\n".join(lines)


def unified(change: FileChange, root: Path) -> list[str]:
    """A file's change as the lines of a unified diff."""
    name = change.path.relative_to(root).as_posix() if change.path.is_relative_to(root) else str(change.path)
    before, after = (_lines(text) for text in (change.before, change.after))
    first = "/dev/null" if change.before is None else f"a/{name}"
    lines = []
    for line in difflib.unified_diff(before, after, first, f"b/{name}"):
        lines += [line.rstrip("\r\n")] if line.endswith("\n") else [line, "\\ No newline at end of file"]
    return lines


def _lines(raw: bytes | None) -> list[str]:
    return (raw or b"").decode("utf-8", errors="replace").splitlines(keepends=True)


def _changed(file: YamlFile, edit: Callable[[Edits], None], expected: Mapping[str, Any]) -> FileChange | str | None:
    """The file's change, None where there is none, or the reason why it cannot be made."""
    try:
        edits = Edits(file)
        edit(edits)
        after = edits.result()
        if after == file.raw:
            return None
        if parse_yaml(file.path, after).data != expected:
            raise UnsafeEditError("the outcome would say something else than it should")
    except (UnsafeEditError, ConfigError) as error:
        reason = "the outcome would be no YAML" if isinstance(error, ConfigError) else error
        return f"{file.path} cannot be edited safely: {reason}."
    return FileChange(file.path, file.raw if file.exists else None, after)


def _edit_config(edits: Edits, project: Project, target: Target, said: Sequence[str]) -> None:
    node = project.generator.node
    pipeline = entry_of(project.config.root, "pipeline")
    if pipeline is None or is_alias(*pipeline) or pipeline[1].anchor:
        raise UnsafeEditError("the pipeline has an anchor")
    _refuse_shared(node)
    edits.set(node, "llm", target.llm, after=("name",))
    if target.template is not None:
        edits.set(node, PROMPT_KEYS[0], target.template, after=("llm", "name"), instead_of=PROMPT_KEYS[1])
    if target.include_date_time is not None:
        edits.set(node, DATE_TIME, target.include_date_time, after=(*PROMPT_KEYS, "llm", "name"))
    edits.comment([node, pipeline[0], project.config.root], [_one_line(text) for text in said], COMMENT)


def _refuse_shared(node: MappingNode) -> None:
    if node.anchor:
        raise UnsafeEditError(f"the command generator has an anchor (line {node.start_mark.line + 1})")
    for key, _ in node.value:
        refuse_anchors(key)


def _edit_endpoints(edits: Edits, project: Project, target: Target) -> None:
    if target.group is None:
        return
    groups = items_of(project.endpoints.root, "model_groups")
    for node, group in zip(groups, project.endpoints.data.get("model_groups") or [], strict=True):
        if isinstance(node, MappingNode) and group.get("id") == target.group["id"]:
            _update_group(edits, node, group, target.group)
            return
    edits.append(project.endpoints.root, "model_groups", target.group)


def _update_group(edits: Edits, node: MappingNode, group: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Bring a group that an earlier `connect` wrote up to date."""
    models = items_of(node, "models")
    if len(models) == len(wanted["models"]) and {**group, "models": 0} == {**wanted, "models": 0}:
        for model, entries in zip(models, wanted["models"], strict=True):
            edits.shape(model, entries)
    else:
        edits.rewrite(node, wanted)


def _config(project: Project, target: Target) -> dict[str, Any]:
    """What config.yml should say."""
    data = deepcopy(dict(project.config.data))
    place = next(i for i, entry in enumerate(project.config.data["pipeline"]) if entry is project.generator.settings)
    component = data["pipeline"][place]
    component["llm"] = dict(target.llm)
    if target.template is not None:
        new, old = PROMPT_KEYS
        if new in component and old in component:
            component[old] = target.template
        else:
            component.pop(old, None)
        component[new] = target.template
    if target.include_date_time is not None:
        component[DATE_TIME] = target.include_date_time
    return data


def _endpoints(project: Project, target: Target) -> dict[str, Any]:
    """What endpoints.yml should say."""
    data = deepcopy(dict(project.endpoints.data))
    if target.group is not None:
        groups = data.get("model_groups") or []
        known = [group for group in groups if group.get("id") == target.group["id"]]
        rest = [dict(target.group) if group in known else group for group in groups]
        data["model_groups"] = rest if known else [*groups, dict(target.group)]
    return data


def _one_line(text: str) -> str:
    return " ".join(text.split())
