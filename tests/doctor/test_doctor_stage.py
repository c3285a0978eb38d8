"""Each thing that can have moved away since the training is named, and hides nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rasa_ft_ext.doctor import drift
from rasa_ft_ext.doctor.case import Case, Places
from rasa_ft_ext.doctor.configuration import check_date_time
from rasa_ft_ext.doctor.drift import check_slots
from rasa_ft_ext.doctor.findings import Unknown
from rasa_ft_ext.doctor.stage import CHECKS
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.evaluation import Probe
from tests.builders import commands
from tests.doctor.patients import CHAT_TEMPLATE, ROOM, Patient, alter_card, findings, unlike_ok

CARS = "data/flows/cars.yml"
FLOW = "  search_rental_car:\n    name: renting a car\n    description: find a rental car and book it"
NEED_MODEL = ("context length", "chat template", "answers")
NEED_LLM = ("LLM settings", "server", "model name", *NEED_MODEL, "evaluation")

Plant = Callable[[Patient], object]


def test_a_set_up_that_fits_together_is_healthy(patient: Patient) -> None:
    diagnosis = patient.diagnose()

    assert unlike_ok(diagnosis) == []
    assert diagnosis.healthy
    assert {finding.check for finding in diagnosis.findings} == {name for name, _ in CHECKS}


def retrained(plant: Plant) -> Plant:
    """The change, and an assistant that was trained after it."""

    def change(patient: Patient) -> None:
        plant(patient)
        patient.train_assistant()

    return change


def edit(file: str, old: str, new: str) -> Plant:
    return lambda patient: patient.edit(file, old, new)


def facts(**changes: object) -> Plant:
    return lambda patient: patient.alter_facts(**changes)


def evaluated(**changes: object) -> Plant:
    return lambda patient: patient.evaluate(**changes)  # type: ignore[arg-type]


def remove(path: str) -> Plant:
    def change(patient: Patient) -> None:
        place = patient.project / path
        shutil.rmtree(place) if place.is_dir() else place.unlink()

    return change


def served(**changes: object) -> Plant:
    def change(patient: Patient) -> None:
        for name, value in changes.items():
            setattr(patient.server, name, value)

    return change


NOT_OURS = "- provider: self-hosted\n        model: travel-7b\n        api_base: {}\n        api_key: ${{TRAVEL_KEY}}"

PLANTED: dict[str, tuple[Plant, dict[str, str], str]] = {
    # what is planted: how, which checks say so with which status, and a word of what they say
    "teacher": (
        lambda patient: patient.edit(
            "endpoints.yml", NOT_OURS.format(patient.server.base_url), "- provider: openai\n        model: gpt-4o"
        ),
        {"configuration": "problem", **dict.fromkeys(NEED_LLM, "not checked")},
        "openai/gpt-4o is asked",
    ),
    "no model group": (
        edit("endpoints.yml", "id: teacher", "id: student"),
        {"configuration": "problem", **dict.fromkeys(NEED_LLM, "not checked")},
        "names the model group teacher, which is not in",
    ),
    "no model": (
        retrained(edit("config.yml", "    llm:\n      model_group: teacher\n", "")),
        {"configuration": "problem", **dict.fromkeys(NEED_LLM, "not checked")},
        "names no LLM",
    ),
    "temperature": (edit("endpoints.yml", "temperature: 0.0", "top_p: 1.0"), {"LLM settings": "problem"}, "not set"),
    "warm": (edit("endpoints.yml", "temperature: 0.0", "temperature: 0.7"), {"LLM settings": "problem"}, "is 0.7"),
    "cut off": (edit("endpoints.yml", "max_tokens: 64", "max_tokens: 8"), {"LLM settings": "problem"}, "40 tokens"),
    "no limit": (edit("endpoints.yml", "        max_tokens: 64\n", ""), {"LLM settings": "warning"}, "max_tokens"),
    "no timeout": (edit("endpoints.yml", "        timeout: 30\n", ""), {"LLM settings": "warning"}, "300 seconds"),
    "text completions": (
        edit("endpoints.yml", "timeout: 30\n", "timeout: 30\n        use_chat_completions_endpoint: false\n"),
        {"LLM settings": "problem"},
        "without the chat template",
    ),
    "not pinned": (
        edit("config.yml", "    prompt_template: prompts/command.jinja2\n", ""),
        {"prompt template": "problem", "trained assistant": "problem"},
        "names no `prompt_template`",
    ),
    "template gone": (remove("prompts/command.jinja2"), {"prompt template": "problem"}, "cannot be read"),
    "another template": (
        edit("prompts/command.jinja2", "You read a chat", "You read the chat"),
        {"prompt template": "problem"},
        "differ from line 1 on",
    ),
    "trained with another template": (
        lambda patient: (
            patient.edit("prompts/command.jinja2", "You read a chat", "You read the chat"),
            patient.train_assistant(),
            patient.edit("prompts/command.jinja2", "You read the chat", "You read a chat"),
        ),
        {"prompt template": "problem"},
        "was trained with another prompt template",
    ),
    "language": (
        retrained(edit("config.yml", "CompactLLMCommandGenerator", "SearchReadyLLMCommandGenerator")),
        {"command language": "problem"},
        "speaks v3 of the command language, the data v2",
    ),
    "not trained again": (
        edit("config.yml", "include_date_time: false", "include_date_time: true"),
        {"trained assistant": "problem"},
        "`include_date_time`",
    ),
    "another generator": (
        edit("config.yml", "CompactLLMCommandGenerator", "actions.MyCompactCommandGenerator"),
        {"trained assistant": "problem", "command language": "not checked"},
        "which was CompactLLMCommandGenerator",
    ),
    "renamed flow": (
        retrained(edit(CARS, FLOW, FLOW.replace("search_rental_car", "rent_car"))),
        {"flows": "problem"},
        "search_rental_car is called rent_car now",
    ),
    "renamed flow with a new description": (
        retrained(edit(CARS, FLOW, FLOW.replace("search_", "rent_").replace("and book it", "and book that"))),
        {"flows": "problem"},
        "search_rental_car is called rent_rental_car now",
    ),
    "removed flow": (retrained(remove("data/flows/excursions.yml")), {"flows": "problem"}, "no flow book_excursion"),
    "new flow": (
        retrained(edit(CARS, "flows:\n", "flows:\n  buy_map:\n    description: sell a map\n    steps: []\n")),
        {"flows": "warning"},
        "buy_map",
    ),
    "another description": (
        retrained(edit(CARS, "description: find a rental car and book it", "description: rent a car")),
        {"flows": "warning"},
        "description was changed of search_rental_car",
    ),
    "flows not trained": (
        edit(CARS, "flows:\n", "flows:\n  buy_map:\n    description: sell a map\n    steps: []\n"),
        {"flows": "warning", "trained assistant": "warning"},
        "buy_map",
    ),
    "renamed slot": (
        lambda patient: [
            file.write_text(file.read_text().replace("car_rental_selection", "car_choice"))
            for folder in ("data", "domain")
            for file in (patient.project / folder).rglob("*.yml")
        ],
        {"slots": "problem"},
        "no slot car_rental_selection any more",
    ),
    "new slot": (
        edit(
            CARS, "    steps:\n      - collect: trip", "    steps:\n      - collect: car_colour\n      - collect: trip"
        ),
        {"slots": "warning"},
        "car_colour",
    ),
    "another description of a slot": (
        edit(CARS, "the day on which the car is picked up", "pick-up day"),
        {"slots": "warning"},
        "describe car_rental_start_date in other words",
    ),
    "slot in a branch": (
        edit(CARS, "              - action: utter_no_rental_car\n", "              - collect: car_colour\n"),
        {"slots": "warning"},
        "car_colour",
    ),
    "made with another Rasa": (
        lambda patient: alter_card(patient, rasa_version="3.20.5"),
        {"Rasa": "problem", "data": "problem", "model": "problem", "evaluation": "not checked"},
        "3.21.0 is installed here, but the data was made with 3.20.5",
    ),
    "trained by another Rasa": (
        lambda patient: patient.train_assistant(rasa="3.19.1"),
        {"Rasa": "problem"},
        "3.19.1 is what trained",
    ),
    "no data": (
        remove("output/4_train_test_split"),
        {"data": "problem", "model": "not checked", "evaluation": "not checked"},
        "no finished results",
    ),
    "changed data": (
        edit("output/4_train_test_split/ft_splits/train.jsonl", "find a rental car", "find a car"),
        {"model": "problem", "evaluation": "problem"},
        "other data",
    ),
    "no model folder": (
        remove("finetuned_model"),
        dict.fromkeys(("model", "context length", "chat template", "evaluation"), "not checked"),
        "holds no finished training",
    ),
    "perturbed weights": (
        lambda patient: (patient.project / "finetuned_model/merged/model.safetensors").write_bytes(b"weighty"),
        {"model": "problem"},
        "merged/model.safetensors",
    ),
    "model of other data": (facts(data_hash="0"), {"model": "problem"}, "on other data"),
    "model of another template": (facts(templates={"a": "b"}), {"model": "problem"}, "another prompt template"),
    "model of no known template": (facts(templates={}), {"model": "not checked"}, "does not say which prompt template"),
    "model of another Rasa": (facts(rasa_version="3.20.1"), {"model": "problem"}, "prompts of Rasa 3.20.1"),
    "model of another language": (facts(syntax="v1"), {"model": "problem"}, "the command language v1"),
    "no evaluation": (remove("output/5_evaluation"), {"evaluation": "problem"}, "no evaluation"),
    "red": (evaluated(passed=False), {"evaluation": "problem"}, "Too few tests pass"),
    "not measured in full": (evaluated(passed=False, left_out=True), {"evaluation": "warning"}, "not measured in full"),
    "evaluated with other data": (evaluated(data_hash="0"), {"evaluation": "problem"}, "with other data"),
    "evaluated with another template": (evaluated(template_hash="0"), {"evaluation": "problem"}, "another prompt"),
    "evaluated under another name": (evaluated(model="travel-8b"), {"evaluation": "warning"}, "travel-8b"),
    "evaluation of other weights": (evaluated(model_hash="0"), {"evaluation": "problem"}, "of another model"),
    "evaluation of unknown weights": (evaluated(model_hash=None), {"evaluation": "not checked"}, "without the model's"),
    "wrong key": (
        served(key="another-key"),
        {"server": "problem", "model name": "not checked", **dict.fromkeys(NEED_MODEL, "not checked")},
        "401",
    ),
    "wrong name": (
        served(models=[{"id": "travel-8b"}]),
        {"model name": "problem", **dict.fromkeys(NEED_MODEL, "not checked")},
        "but the server has travel-8b",
    ),
    "too short": (served(models=[{"id": "travel-7b", "max_model_len": 512}]), {"context length": "problem"}, "512"),
    "length unknown": (served(models=[{"id": "travel-7b"}]), {"context length": "not checked"}, "does not say"),
    "another chat template": (served(tokens=lambda prompt: [1, 2]), {"chat template": "problem"}, "from token 1 on"),
    "another number of tokens": (
        served(tokens=None, count=lambda prompt: 5),
        {"chat template": "problem"},
        "other tokens of a prompt",
    ),
    "tokens unknown": (served(tokens=None), {"chat template": "not checked"}, "neither the tokens"),
    "chatter": (served(answers=lambda prompt: "I am happy to help."), {"answers": "problem"}, "hold no command"),
    "other commands": (served(answers=lambda prompt: "start flow welcome"), {"answers": "warning"}, "(welcome)"),
    "another model": (
        lambda patient: (
            patient.evaluate(probes=tuple(Probe(prompt=str(number), answer="cancel flow") for number in range(3))),
            served(answers=lambda prompt: "start flow welcome")(patient),
        ),
        {"answers": "problem"},
        "not the model that was evaluated",
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_planted_is_named(planted: str, patient: Patient) -> None:
    plant, expected, word = PLANTED[planted]
    plant(patient)

    diagnosis = patient.diagnose()

    found = unlike_ok(diagnosis)
    assert set(found) >= set(expected.items())
    assert {check for check, _ in found} == set(expected)
    assert any(word in finding.text for check in expected for finding in findings(diagnosis, check))
    assert diagnosis.healthy == ("problem" not in expected.values())
    advised = [finding for finding in diagnosis.findings if finding.status in ("problem", "warning")]
    assert all(finding.advice for finding in advised)


def test_an_answer_without_a_command_is_as_it_was_evaluated(patient: Patient) -> None:
    patient.evaluate(probes=(Probe(prompt="hello", answer="Hm."),))
    patient.server.answers = lambda prompt: "Hm."

    assert unlike_ok(patient.diagnose()) == []


def test_a_command_generator_of_the_assistants_own_is_found_by_its_recorded_name(patient: Patient) -> None:
    patient.edit("config.yml", "CompactLLMCommandGenerator", "mine.Understanding")
    alter_card(patient, generator="Understanding")
    patient.train_assistant()

    assert "configuration" not in dict(unlike_ok(patient.diagnose()))


def test_a_small_step_of_rasa_is_a_warning(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "version", lambda name: "3.21.7")

    diagnosis = patient.diagnose()

    assert unlike_ok(diagnosis) == [("Rasa", "warning")]
    assert diagnosis.healthy


def test_without_rasa_the_assistants_version_still_counts(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "RASA", "a-package-that-nobody-has")
    monkeypatch.setattr(drift, "version", __import__("importlib.metadata").metadata.version)

    assert [finding.status for finding in findings(patient.diagnose(), "Rasa")] == ["not checked", "ok"]


def test_a_broken_configuration_hides_nothing_else(patient: Patient) -> None:
    (patient.project / "config.yml").write_text("pipeline: [")

    diagnosis = patient.diagnose()

    assert findings(diagnosis, "configuration")[0].status == "problem"
    assert findings(diagnosis, "answers")[0].text.endswith("has not one LLM command generator")
    assert all(findings(diagnosis, check)[0].status == "ok" for check in ("flows", "slots", "Rasa", "data", "model"))


def test_a_server_that_is_not_there_is_asked_once_and_named(patient: Patient) -> None:
    patient.edit("endpoints.yml", patient.server.base_url, "http://127.0.0.1:9/v1")

    found = [finding for finding in patient.diagnose().findings if finding.status != "ok"]

    assert [finding.check for finding in found] == [
        "server",
        "model name",
        "context length",
        "chat template",
        "answers",
    ]
    assert "nobody answers at http://127.0.0.1:9/v1/models" in found[0].text.lower()
    assert patient.server.asked == 0


def test_an_address_without_v1_is_understood(patient: Patient) -> None:
    patient.edit("endpoints.yml", patient.server.base_url, patient.server.base_url.removesuffix("/v1"))

    assert f"{patient.server.base_url}." in str(findings(patient.diagnose(), "server")[0].advice)


def test_an_adapter_has_the_room_of_its_base(patient: Patient) -> None:
    patient.server.models = [{"id": "base", "max_model_len": ROOM}, {"id": "travel-7b", "parent": "base"}]

    assert findings(patient.diagnose(), "context length")[0].status == "ok"


def test_a_server_without_tokens_is_known_by_their_number(patient: Patient) -> None:
    tokens = patient.server.tokens
    assert tokens
    patient.server.tokens, patient.server.count = None, lambda prompt: len(tokens(prompt))

    found = findings(patient.diagnose(), "chat template")[0]

    assert (found.status, "as many tokens in 5 prompts" in found.text) == ("ok", True)


def test_the_server_has_the_chat_template_of_the_model_that_is_here(patient: Patient) -> None:
    patient.server.tokens = lambda prompt: [1] + [ord(letter) for letter in f"<|user|>{prompt}"]
    (patient.project / "finetuned_model/merged/chat_template.jinja").write_text(f"!{CHAT_TEMPLATE}")

    assert findings(patient.diagnose(), "chat template")[0].status == "problem"


def test_behind_a_router_the_own_model_is_looked_at(patient: Patient) -> None:
    patient.edit("endpoints.yml", "    models:\n", "    models:\n      - {provider: openai, model: gpt-4o}\n")

    assert "asks travel-7b at" in findings(patient.diagnose(), "configuration")[0].text


def test_a_key_is_in_no_finding(patient: Patient) -> None:
    patient.server.key = "another-key"

    assert "a-key" not in patient.diagnose().model_dump_json()


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00broken"])
def test_an_archive_that_cannot_be_read_is_not_checked(content: bytes, patient: Patient) -> None:
    (patient.project / "models" / "model.tar.gz").write_bytes(content)

    found = unlike_ok(patient.diagnose())

    assert set(found) == {(check, "not checked") for check in ("prompt template", "Rasa", "trained assistant")}


def test_the_latest_assistant_counts(patient: Patient) -> None:
    patient.train_assistant(rasa="3.18.0", name="a_later_one.tar.gz")
    for number, name in enumerate(("model.tar.gz", "a_later_one.tar.gz")):
        os.utime(patient.project / "models" / name, (number, number))

    assert ("Rasa", "problem") in unlike_ok(patient.diagnose())
    assert unlike_ok(patient.diagnose(assistant_model="models/model.tar.gz")) == []


@pytest.mark.parametrize(
    ("template", "recorded", "setting", "status"),
    [
        ("{{ user_message }}", True, "false", "ok"),
        ("{{ current_datetime }}", True, "true", "ok"),
        ("{{ current_datetime }}", False, "false", "ok"),
        ("{{ current_datetime }}", True, "false", "problem"),
        ("{{ current_datetime }}", False, "true", "problem"),
    ],
)
def test_date_and_time_are_told_as_in_the_data(
    template: str, recorded: bool, setting: str, status: str, patient: Patient
) -> None:
    patient.edit("config.yml", "include_date_time: false", f"include_date_time: {setting}")
    case = case_of(patient)
    told = {"current_datetime": {"@@datetime@@": "2024-04-27T18:13:47+00:00"}} if recorded else {"user_message": "x"}
    case.template = template
    case.annotations = tuple(entry.model_copy(update={"variables": told}) for entry in case.annotations)

    assert [said.status for said in check_date_time(case)] == [status]


def test_slots_that_rasa_brings_along_are_not_missed(patient: Patient) -> None:
    case = case_of(patient)
    said = commands("SetSlot(continue_interrupted_flow_confirmation, True)")
    case.examples = [case.examples[0].model_copy(update={"commands": said})]

    assert [entry.status for entry in check_slots(case)] == ["ok"]


def test_date_and_time_are_not_guessed(patient: Patient) -> None:
    case = case_of(patient)
    case.template, case.annotations = "{{ current_datetime }}", ()

    with pytest.raises(Unknown, match="no template variables"):
        list(check_date_time(case))


def case_of(patient: Patient) -> Case:
    home = patient.project
    return Case(
        Places(
            home, home / "output", Path("config.yml"), Path("endpoints.yml"), home / "models", home / "finetuned_model"
        )
    )


def test_a_project_that_is_not_there_is_an_error(patient: Patient) -> None:
    shutil.rmtree(patient.project)

    with pytest.raises(ConfigError, match="no project at"):
        patient.diagnose()
