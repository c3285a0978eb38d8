"""Checks of the trained assistant, `models/*.tar.gz`: it is what the files say, and has the prompt of the data."""

from __future__ import annotations

from collections.abc import Iterator

from rasa_ft_ext.doctor.case import Case, digest
from rasa_ft_ext.doctor.configuration import same
from rasa_ft_ext.doctor.findings import Said, Unknown, ok, problem, warning
from rasa_ft_ext.doctor.flows import compare

_TRAIN = "Run `rasa train`."


def check_template(case: Case) -> Iterator[Said]:
    """The prompt template within it is that of the data: it is this one that is used, whatever config.yml says."""
    path, template = case.assistant.path, case.assistant.template
    if template is None:
        raise Unknown(f"{path} holds no prompt template of a command generator")
    if digest(template) != case.template_hash:
        yield problem(
            f"{path} was trained with another prompt template than that of the data, and goes on with it.",
            "When config.yml names the template of the data, run `rasa train`.",
        )
    else:
        yield ok(f"{path} has the template of the data.")


def check_config(case: Case) -> Iterator[Said]:
    """Its command generator is the one in config.yml."""
    trained, now = case.assistant, case.project.generator
    if trained.generator is None:
        raise Unknown(f"{trained.path} holds no command generator with a prompt template")
    written = {name: value for name, value in now.settings.items() if name != "name"}
    names = sorted(
        name for name in {*written, *trained.config} if not same(written.get(name), trained.config.get(name))
    )
    changed = [f"`{name}`" for name in names]
    if trained.generator != now.kind:
        changed.insert(0, f"the command generator, which was {trained.generator}")
    if changed:
        yield problem(f"config.yml was changed since {trained.path} was trained: {', '.join(changed)}.", _TRAIN)
    else:
        yield ok(f"{trained.path} was trained with the command generator that is in config.yml.")


def check_flows(case: Case) -> Iterator[Said]:
    """Its flows are those in the project's files."""
    trained = case.assistant
    if trained.flows is None:
        raise Unknown(f"{trained.path} does not say which flows it has")
    before = {name: flow.description for name, flow in trained.flows.items()}
    changes = compare(before, {name: flow.description for name, flow in case.flows.items()})
    renamed = (f"{old} (now {new})" for old, new in changes.renamed.items())
    names = sorted({*changes.added, *changes.removed, *changes.described, *renamed})
    if names:
        yield warning(f"Flows were changed since {trained.path} was trained: {', '.join(names)}.", _TRAIN)
    else:
        yield ok(f"{trained.path} has the {len(before)} flows of the project.")
