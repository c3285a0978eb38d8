"""Checks of what `prepare-data`, `train` and `evaluate` left: they are whole, and belong together."""

from __future__ import annotations

from collections.abc import Iterator

from rasa_ft_ext.doctor.case import Case
from rasa_ft_ext.doctor.findings import Said, Unknown, ok, problem, warning
from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.evaluation import read_evaluation
from rasa_ft_ext.finetuned import changed_files
from rasa_ft_ext.workspace import SPLIT

_TRAIN = "Train with this data (`rasa-ft train`), or give the folder with the data that the model was trained on."
_EVALUATE = "Run `rasa-ft evaluate`."
_LISTED = 5


def check_data(case: Case) -> Iterator[Said]:
    """The data is there, and none of its stages was run again without the later ones."""
    try:
        case.workspace.fingerprint(SPLIT)
        card = case.workspace.card()
    except RasaFtError as error:
        yield problem(str(error), "Give the folder with the results of `rasa-ft prepare-data`.")
        return
    yield ok(f"{case.places.output} was made of {card.model} with Rasa {card.rasa_version}.")


def check_files(case: Case) -> Iterator[Said]:
    """The model's files are those that the training left."""
    name, folder = case.manifest.facts.name, case.places.model_folder
    changed = changed_files(folder)
    if changed:
        more = f" and {len(changed) - _LISTED} more" if len(changed) > _LISTED else ""
        yield problem(
            f"In {folder}, files were changed or removed since the training: {', '.join(changed[:_LISTED])}{more}.",
            "Take the model from where it was exported to, or train it again; then serve it again.",
        )
    else:
        yield ok(f"{folder} ({name}) is as the training left it.")


def check_trained_on(case: Case) -> Iterator[Said]:
    """The model was trained on this data."""
    if case.manifest.facts.data_hash != case.data_hash:
        yield problem(f"The model was trained on other data than that in {case.places.output}.", _TRAIN)
    else:
        yield ok(f"The model was trained on the data in {case.places.output}.")


def check_trained_prompt(case: Case) -> Iterator[Said]:
    """The model was trained with this prompt template, this command language, and prompts of this version of Rasa."""
    facts, card = case.manifest.facts, case.card
    known = {digest for digest in facts.templates.values() if digest}
    if known and case.template_hash not in known:
        yield problem("The model was trained with another prompt template than that of the data.", _TRAIN)
    elif known:
        yield ok("The model was trained with the prompt template of the data.")
    for what, before, now in (
        ("the command language", facts.syntax, card.syntax),
        ("prompts of Rasa", facts.rasa_version, card.rasa_version),
    ):
        if before is not None and before != now:
            yield problem(f"The model was trained with {what} {before}, but the data has {now}.", _TRAIN)
    if not known:
        raise Unknown("the model's manifest does not say which prompt template it was trained with")


def check_verdict(case: Case) -> Iterator[Said]:
    """The evaluation says that the model may replace the teacher."""
    try:
        found = read_evaluation(case.places.output)
    except RasaFtError as error:
        yield problem(str(error), "Before a model is relied upon, it should be measured.")
        return
    if found.verdict.passed:
        yield ok(f"{found.subject.model} passed.")
        return
    reasons = " ".join(found.verdict.problems)
    if found.verdict.red:
        advice = "Let the assistant use the teacher until it does."
        yield problem(f"{found.subject.model} did not pass: {reasons}", advice)
    else:
        yield warning(f"{found.subject.model} was not measured in full: {reasons}", "Run `rasa-ft evaluate` with all.")


def check_evaluated(case: Case) -> Iterator[Said]:
    """What was evaluated is what is used: this model, under this name, with this data and prompt."""
    subject, fits = case.evaluation.subject, True
    if subject.data_hash != case.data_hash:
        fits = False
        yield problem("The evaluation was made with other data.", _EVALUATE)
    if subject.template_hash != case.template_hash:
        fits = False
        yield problem("The evaluation was made with another prompt template.", _EVALUATE)
    if subject.model != case.self_hosted.model:
        fits = False
        yield warning(
            f"What was evaluated was served as {subject.model}; the assistant asks for {case.self_hosted.model}.",
            "Let the assistant ask for the model that was evaluated, or run `rasa-ft evaluate` for this one.",
        )
    if fits:
        yield ok(f"{subject.model} was evaluated with the data and the prompt template that are here.")


def check_same_weights(case: Case) -> Iterator[Said]:
    """The weights that were evaluated are those in the model's folder."""
    subject = case.evaluation.subject
    if subject.model_hash is None:
        raise Unknown("the evaluation was made without the model's folder")
    if subject.model_hash != case.manifest.model_hash:
        yield problem(f"The evaluation is of another model than that in {case.places.model_folder}.", _EVALUATE)
    else:
        yield ok(f"The evaluation is of the model in {case.places.model_folder}.")
