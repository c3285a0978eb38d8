"""`doctor`: run every check on a set-up, none of them hindered by another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from rasa_ft_ext._version import __version__
from rasa_ft_ext.doctor import configuration, drift, results, serving, trained
from rasa_ft_ext.doctor.case import Case, Places
from rasa_ft_ext.doctor.findings import Diagnosis, Finding, Said, Unknown, in_one_line
from rasa_ft_ext.errors import ConfigError, RasaFtError
from rasa_ft_ext.progress import Progress

Check = Callable[[Case], Iterator[Said]]

# What is looked at, in this order; a check that has several questions has several lines.
CHECKS: tuple[tuple[str, Check], ...] = (
    ("configuration", configuration.check_model),
    ("LLM settings", configuration.check_settings),
    ("server", serving.check_server),
    ("model name", serving.check_name),
    ("context length", serving.check_length),
    ("chat template", serving.check_chat_template),
    ("answers", serving.check_answers),
    ("prompt template", configuration.check_pinned),
    ("prompt template", trained.check_template),
    ("date and time", configuration.check_date_time),
    ("command language", configuration.check_language),
    ("flows", drift.check_flows),
    ("slots", drift.check_slots),
    ("Rasa", drift.check_rasa),
    ("Rasa", drift.check_trained_version),
    ("trained assistant", trained.check_config),
    ("trained assistant", trained.check_flows),
    ("data", results.check_data),
    ("model", results.check_files),
    ("model", results.check_trained_on),
    ("model", results.check_trained_prompt),
    ("evaluation", results.check_verdict),
    ("evaluation", results.check_evaluated),
    ("evaluation", results.check_same_weights),
)


def doctor(places: Places, *, progress: Progress | None = None) -> Diagnosis:
    """Look at a set-up; nothing is changed and no assistant is loaded.

    Raises:
        ConfigError: there is no such project.
    """
    if not places.project.is_dir():
        raise ConfigError("arguments", [f"There is no project at {places.project}: no such folder."])
    case, told = Case(places), progress or Progress()
    told.start("checks", len(CHECKS))
    findings: list[Finding] = []
    for name, check in CHECKS:
        findings += map(partial(_finding, name), _answers(check, case))
        told.step()
    return Diagnosis(version=__version__, findings=tuple(dict.fromkeys(findings)))  # one reason can stop two checks


def _answers(check: Check, case: Case) -> Iterator[Said]:
    try:
        yield from check(case)
    except Unknown as reason:
        yield Said("not checked", str(reason))
    except RasaFtError as error:
        yield Said("not checked", in_one_line(error))


def _finding(name: str, said: Said) -> Finding:
    return Finding(check=name, status=said.status, text=said.text, advice=said.advice)
