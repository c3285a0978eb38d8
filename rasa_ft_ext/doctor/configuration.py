"""Checks of config.yml and endpoints.yml: the model that is asked, with what, and with which prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rasa_ft_ext.doctor.case import Case, digest
from rasa_ft_ext.doctor.findings import Said, Unknown, in_one_line, ok, problem, warning
from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.llm.settings import resolve
from rasa_ft_ext.project import DATE_TIME, DATE_TIME_VARIABLE, Project

_CONNECT = "Run `rasa-ft connect` to let the assistant use the fine-tuned model."
_SYNTAX = {
    "SingleStepLLMCommandGenerator": "v1",
    "CompactLLMCommandGenerator": "v2",
    "SearchReadyLLMCommandGenerator": "v3",
}


def check_model(case: Case) -> Iterator[Said]:
    """The command generator asks a model of one's own."""
    try:
        project = case.read_project()
        if not project.models:
            yield problem(_no_model(project), _CONNECT)
            return
        resolve(case.model_config, {}, f"The LLM of {project.generator.kind}")
    except RasaFtError as error:
        yield problem(in_one_line(error), "Mend the file; the assistant cannot be loaded with it either.")
        return
    try:
        found = case.self_hosted
    except Unknown:
        yield problem(f"{case.llm.provider}/{case.llm.model} is asked for commands, no self-hosted model.", _CONNECT)
        return
    yield ok(f"{project.generator.kind} asks {found.model} at {found.address}.")


def _no_model(project: Project) -> str:
    group = project.generator.model_group
    if group is None:
        return f"{project.generator.kind} in config.yml names no LLM: Rasa asks the one that it has as a default."
    return f"config.yml names the model group {group}, which is not in {project.endpoints.path}."


def check_settings(case: Case) -> Iterator[Said]:
    """What Rasa has no good default for with a self-hosted model is set."""
    given = case.self_hosted.arguments
    group = case.project.generator.model_group
    where = f"the model in the group {group} in endpoints.yml" if group else "`llm` in config.yml"
    if given.get("temperature") != 0:
        found = f"`temperature` is {given['temperature']:g}" if "temperature" in given else "`temperature` is not set"
        yield problem(f"{found}: answers are drawn by lot.", f"Give {where} `temperature: 0.0`.")
    longest = _longest_answer(case)
    tokens = given.get("max_completion_tokens", given.get("max_tokens"))
    if tokens is None:
        yield warning("`max_tokens` is not set: an answer may go on for long.", f"Give {where} `max_tokens: 256`.")
    elif longest is not None and tokens < longest:
        yield problem(
            f"`max_tokens` is {tokens}, but an answer in the data has {longest} tokens: such answers are cut off.",
            f"Give {where} a `max_tokens` of {2 * longest}.",
        )
    if "timeout" not in given:
        yield warning(
            "`timeout` is not set: for a self-hosted model Rasa waits up to 300 seconds.",
            f"Give {where} `timeout: 30`.",
        )
    if case.model_config.get("use_chat_completions_endpoint") is False:
        yield problem(
            "`use_chat_completions_endpoint` is false: the model gets prompts without the chat template that it was "
            "trained with.",
            "Remove it.",
        )
    shown = [name for name in ("temperature", "max_tokens", "max_completion_tokens", "timeout") if name in given]
    if shown:
        yield ok(f"Set are {', '.join(f'{name} {given[name]:g}' for name in shown)}.")


def _longest_answer(case: Case) -> int | None:
    try:
        return case.manifest.facts.longest_answer
    except Unknown:
        return None


def check_pinned(case: Case) -> Iterator[Said]:
    """The prompt template is written in config.yml, and is that of the data."""
    path = case.project.template_path
    advice = "Run `rasa-ft connect`, which writes the template of the data to the project and names it in config.yml."
    if path is None:
        yield problem(
            "config.yml names no `prompt_template`: Rasa chooses one by the name of the model, and another one at the "
            "next training.",
            advice,
        )
        return
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        yield problem(f"The prompt template {path} cannot be read ({error}).", advice)
        return
    if digest(source) != case.template_hash:
        yield problem(f"{path} is another prompt template than that of the data.{_difference(case, source)}", advice)
    else:
        yield ok(f"{path} is the template of the data.")


def _difference(case: Case, source: str) -> str:
    """Where the two begin to differ."""
    lines = zip(case.template.splitlines(), source.splitlines(), strict=False)
    number = next((index for index, (one, other) in enumerate(lines, start=1) if one != other), None)
    return f" They differ from line {number} on." if number is not None else " They differ at the end."


def check_date_time(case: Case) -> Iterator[Said]:
    """Prompts tell the date and the time, or not, as they did in the data."""
    if DATE_TIME_VARIABLE not in case.template:
        yield ok("The template of the data shows neither date nor time.")
        return
    recorded = [annotation.variables for annotation in case.annotations if annotation.variables]
    if not recorded:
        raise Unknown("the annotations hold no template variables")
    before = any(DATE_TIME_VARIABLE in variables for variables in recorded)
    now = case.project.generator.include_date_time
    told = {True: "tell the date and the time", False: "do not tell the date and the time"}
    if before != now:
        yield problem(
            f"The prompts of the data {told[before]}, but those of the assistant {told[now]}.",
            f"Set `{DATE_TIME}: {str(before).lower()}` for the command generator in config.yml and run `rasa train`.",
        )
    else:
        yield ok(f"The prompts {told[now]}, as in the data.")


def check_language(case: Case) -> Iterator[Said]:
    """The command generator speaks the command language that the model learned."""
    card, kind = case.card, case.project.generator.kind
    known = card.syntax if kind == card.generator else _SYNTAX.get(kind)
    if known is None:
        raise Unknown(f"which command language {kind} speaks is not known")
    if known != card.syntax:
        yield problem(
            f"{kind} in config.yml speaks {known} of the command language, the data {card.syntax} ({card.generator}).",
            f"Go back to {card.generator}, or make the data again and train with it.",
        )
    else:
        yield ok(f"{kind} speaks {card.syntax} of the command language, as in the data.")


def same(written: Any, stored: Any) -> bool:
    """Whether a setting is what it was; one that comes from the environment may be anything."""
    if isinstance(written, str) and "${" in written:
        return True
    if isinstance(written, dict) and isinstance(stored, dict):
        return written.keys() == stored.keys() and all(same(written[key], stored[key]) for key in written)
    if isinstance(written, list) and isinstance(stored, list):
        return len(written) == len(stored) and all(map(same, written, stored))
    return bool(written == stored)
