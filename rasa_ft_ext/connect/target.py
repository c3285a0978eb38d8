"""What the assistant's files should hold when its command generator uses the model, as plain data.

Rasa wants all components of an assistant to name their models in the same way: with `model_group`, or with all of it in
config.yml. So the others decide, where there are others. A group that is there already is left alone, unless an earlier
`connect` wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasa_ft_ext.connect.settings import KEY_VARIABLE, ConnectSettings, Style
from rasa_ft_ext.project import DATE_TIME_VARIABLE, MODEL_GROUP, Project
from rasa_ft_ext.prompts import template_id
from rasa_ft_ext.workspace import Workspace

GROUP = "student"
TEMPLATE = "prompts/rasa_ft_command.jinja2"

_ORDER = "order"  # litellm's router asks the lowest first, and the next one where that fails
_CHAT = "use_chat_completions_endpoint"  # stands in the router, where there is one
_ROUTER = {"routing_strategy": "simple-shuffle", "num_retries": 0}


@dataclass(frozen=True)
class Past:
    """What an earlier `connect` left in the files: the generator's `llm`, its model group, its template.

    `teacher` are the models that answered before. All is None or empty where there was no earlier one.
    """

    llm: Mapping[str, Any] | None = None
    group: str | None = None
    template: str | None = None
    teacher: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Target:
    """What is to be.

    `llm` stands in the generator; `group` among the model groups, None where all stands in config.yml. `template` is
    the path of the prompt template, None where the generator has it already; `include_date_time` is None where nothing
    needs to be said. `teacher` are the models that answered before.
    """

    llm: Mapping[str, Any]
    group: Mapping[str, Any] | None
    template: str | None
    include_date_time: bool | None
    teacher: tuple[Mapping[str, Any], ...]


def choose(
    project: Project, settings: ConnectSettings, past: Past, template: str, clock: bool, problems: list[str]
) -> Target:
    """Decide what is to be; what cannot be is added to the problems, a sentence each.

    Args:
        project: The assistant's files as they are.
        settings: How the model is reached.
        past: What an earlier `connect` left.
        template: The prompt template of the data.
        clock: Whether the prompts of the data were given the date and the time.
        problems: Is added to.
    """
    style = _style(project, settings, problems)
    teacher = _teacher(project, settings, past)
    if settings.fallback and not teacher:
        problems.append(
            "--fallback needs to know the LLM that answers now, and the command generator names none. Write it into "
            "its `llm` first."
        )
    path = _template_path(project, past, template, problems)
    wanted_clock = clock if DATE_TIME_VARIABLE in template and clock != project.generator.include_date_time else None
    if style == "llm":
        if settings.api_key_env not in (None, KEY_VARIABLE):
            problems.append(
                f"Rasa allows no key in config.yml. Put the server's key into {KEY_VARIABLE} and leave --api-key-env "
                "out, or use --style model_group."
            )
        llm = {name: value for name, value in settings.llm().items() if name != "api_key"}
        return Target(llm, None, path, wanted_clock, teacher)
    group = _group(_group_id(project, past), settings, teacher, problems)
    return Target({MODEL_GROUP: group["id"]}, group, path, wanted_clock, teacher)


def recorded_clock(workspace: Workspace) -> bool:
    """Whether the recorded prompts were given the date and the time."""
    turns = (
        turn for file in workspace.annotations() for conversation in file.conversations for turn in conversation.turns
    )
    return any(turn.annotation and DATE_TIME_VARIABLE in turn.annotation.variables for turn in turns)


def same_template(path: Path, template: str) -> bool:
    """Whether a file holds the template, as Rasa reads it: whatever its line ends are."""
    try:
        return path.read_text(encoding="utf-8") == template.replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return False


def _style(project: Project, settings: ConnectSettings, problems: list[str]) -> Style:
    """In which way the generator names its model: as it is asked for, as the others do, or as it does now."""
    own = project.generator.llm
    others = [(name, MODEL_GROUP in llm) for name, llm in _other_models(project)]
    names, grouped = ", ".join(dict.fromkeys(name for name, _ in others)), {has_group for _, has_group in others}
    if len(grouped) > 1:
        problems.append(f"Some of these name a model with `model_group`, some without; Rasa refuses that: {names}.")
    if settings.style is not None:
        style = settings.style
    elif others:
        style = "model_group" if all(grouped) else "llm"
    else:
        style = "model_group" if own is None or MODEL_GROUP in own or settings.fallback else "llm"
    if len(grouped) == 1 and (style == "model_group") not in grouped:
        problems.append(
            "Rasa wants all components to name their models in the same way, and these do it "
            f"{'with' if style == 'llm' else 'without'} `model_group`: {names}. Leave --style out."
        )
    if settings.fallback and style == "llm":
        where = f"move the models of {names} to model groups first" if others else "leave --style llm out"
        problems.append(f"--fallback needs a model group in endpoints.yml: {where}.")
    return style


def _other_models(project: Project) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every LLM and embedding but the generator's own LLM, with the name of what it belongs to."""
    own = project.generator.settings
    for part in ("pipeline", "policies"):
        for component in project.config.data.get(part) or []:
            if not isinstance(component, Mapping):
                continue
            retrieval = component.get("flow_retrieval")
            places = [component.get("embeddings"), component.get("llm") if component is not own else None]
            places.append(retrieval.get("embeddings") if isinstance(retrieval, Mapping) else None)
            for place in places:
                if isinstance(place, Mapping):
                    yield str(component.get("name")), place
    rephraser = project.endpoints.data.get("nlg")
    if isinstance(rephraser, Mapping) and isinstance(rephraser.get("llm"), Mapping):
        yield "nlg", rephraser["llm"]


def _group_id(project: Project, past: Past) -> str:
    """An id that is free, or that of the group that an earlier `connect` wrote and nobody else uses."""
    used = {str(llm.get(MODEL_GROUP)) for _, llm in _other_models(project)}
    if past.group is not None and past.group not in used:
        return past.group
    names = [GROUP, *(f"{GROUP}_{number}" for number in range(2, len(project.groups) + 3))]
    return next(name for name in names if name not in project.groups)


def _group(
    name: str, settings: ConnectSettings, teacher: tuple[Mapping[str, Any], ...], problems: list[str]
) -> dict[str, Any]:
    student = settings.llm()
    if not settings.fallback:
        return {"id": name, "models": [student]}
    if any(model.get(_CHAT) is False for model in teacher):
        problems.append(f"--fallback: the LLM that answers now has `{_CHAT}: false`, which holds for both or neither.")
    if any(model.get("provider") == "rasa" and "api_key" not in model for model in teacher):
        problems.append(
            "--fallback: the LLM that answers now is one of Rasa's own. Behind a router Rasa does not send it the "
            "licence that it asks for."
        )
    behind = [{**{key: value for key, value in model.items() if key != _CHAT}, _ORDER: 2} for model in teacher]
    return {"id": name, "models": [{**student, _ORDER: 1}, *behind], "router": dict(_ROUTER)}


def _teacher(project: Project, settings: ConnectSettings, past: Past) -> tuple[Mapping[str, Any], ...]:
    """The models that answered before the student did."""
    if past.llm is not None and past.llm == project.generator.llm:
        return past.teacher
    student = settings.llm()
    return tuple(
        {key: value for key, value in model.items() if key != _ORDER}
        for model in project.models
        if any(model.get(key) != student[key] for key in ("provider", "model"))
    )


def _template_path(project: Project, past: Past, template: str, problems: list[str]) -> str | None:
    """Where the template is to stand; None where the generator has it already."""
    written = project.generator.prompt_template
    if written is not None and same_template(project.root / written, template):
        return None
    for path in (TEMPLATE, TEMPLATE.replace(".jinja2", f"_{template_id(template)}.jinja2")):
        place = project.root / path
        if not place.exists() or path == past.template or same_template(place, template):
            return path
    problems.append(f"{project.root / TEMPLATE} is in the way: it is another template. Move it.")
    return TEMPLATE
