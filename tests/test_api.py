"""The stages as functions: from recorded annotations of the example to training data, with a scripted LLM."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import rasa_ft_ext
from rasa_ft_ext import AnnotateSummary, PrepareDataSummary, api, locking, preparation
from rasa_ft_ext.cli.call_arguments import call_options
from rasa_ft_ext.cli.main import build_parser
from rasa_ft_ext.dataset.student import shipped
from rasa_ft_ext.errors import ConfigError, ForeignResultsError, LLMUnavailableError, RasaFtError, WorkspaceError
from rasa_ft_ext.llm.options import CallOptions
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm
from rasa_ft_ext.workspace import Workspace
from tests.builders import contents

EXAMPLE = Path(__file__).parents[1] / "assistant_example"
# The flags that are one argument of the functions, `calls`, or that say what `confirm` does.
OF_CALLS = {
    *("max_requests_per_minute", "max_tokens_per_minute", "llm_timeout", "llm_mode", "cache", "no_cache"),
    *("price_per_1k", "max_cost", "confirm_above", "yes", "dry_run", "workers", "backend"),
}
RASAS_FIGURES = [
    "num_input_e2e_tests",
    "num_annotated_conversations",
    "num_user_messages_across_conversations",
    "num_user_messages_to_rephrase_across_conversations",
    "num_passing_rephrased_user_messages",
    "num_failing_rephrased_user_messages",
    "num_ft_data_points",
    "num_train_data_points",
    "num_val_data_points",
]


@pytest.fixture(scope="module")
def llm() -> Iterator[Running]:
    with scripted_llm(EXAMPLE / "answers.yml") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that holds a few of the example's recorded annotations, and no assistant."""
    folder = tmp_path / "project" / "annotations"
    recorded = EXAMPLE / "annotations"
    shutil.copytree(recorded / "cars", folder / "cars")
    shutil.copy(recorded / "assistant.json", folder)
    return folder.parent


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(path)
    return content


def test_the_public_names_are_these() -> None:
    assert sorted(rasa_ft_ext.__all__) == [
        "AnnotateSummary",
        "DatasetSummary",
        "PrepareDataSummary",
        "Progress",
        "RasaFtError",
        "RephraseSummary",
        "SplitSummary",
        "__version__",
        "api",
        "prepare_data",
    ]
    for name in rasa_ft_ext.__all__:
        assert getattr(rasa_ft_ext, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = rasa_ft_ext.no_such_name


def test_every_flag_is_a_keyword_with_the_same_default() -> None:
    for name in ("prepare-data", "annotate", "rephrase", "dataset", "split"):
        args = vars(build_parser().parse_args([name]))
        keywords = inspect.signature(getattr(api, name.replace("-", "_"))).parameters
        for keyword, parameter in keywords.items():
            if keyword == "tests":
                assert args["path-to-e2e-test-cases"] == parameter.default
            elif keyword not in ("progress", "out", "concurrency", "calls", "confirm"):
                assert args[keyword] == parameter.default, (name, keyword)
        others = {"run", "command", "loglevel", "logging_config_file", "output", "path-to-e2e-test-cases"}
        assert set(args) - set(keywords) == (others | OF_CALLS) & set(args)
        assert call_options(build_parser().parse_args([name])) == CallOptions()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("evaluate", ["--api-base", "http://x/v1", "--model", "m"]),
        ("connect", []),
        ("doctor", []),
        ("monitor", ["--conversations", "c"]),
        ("prompt-stats", []),
    ],
)
def test_what_both_know_of_the_loop_has_the_same_default(name: str, given: list[str]) -> None:
    args = vars(build_parser().parse_args([name, *given]))
    keywords = inspect.signature(getattr(api, name.replace("-", "_"))).parameters
    both = keywords.keys() & args.keys() - {"out", "only", "conversations"}
    for keyword in both:
        if keywords[keyword].default is not inspect.Parameter.empty:
            assert args[keyword] == keywords[keyword].default, keyword
    assert "project" in both


def test_recorded_annotations_become_training_data(project: Path, llm: Running) -> None:
    summary = api.prepare_data(project=project, annotations="annotations", llm_api_base=llm.base_url, num_rephrases=2)

    figures = read(project / "output" / "result_summary.yaml")
    assert list(figures)[:9] == RASAS_FIGURES
    assert [figures[name] for name in RASAS_FIGURES] == [getattr(summary, name) for name in RASAS_FIGURES]
    assert summary.num_passing_rephrased_user_messages > 0
    assert summary.num_ft_data_points == summary.num_train_data_points + summary.num_val_data_points
    parameters = read(project / "output" / "params.yaml")["parameters"]
    assert list(parameters)[:2] == ["num_rephrases", "rephrase_config"]
    assert parameters["annotations"] == "annotations"
    assert parameters["rephrase_config"]["llm"]["api_base"] == llm.base_url
    rows = (project / "output" / "4_train_test_split" / "ft_splits" / "train.jsonl").read_text().splitlines()
    assert len(rows) == summary.num_train_data_points


def test_two_runs_of_the_same_inputs_leave_the_same_bytes(project: Path, llm: Running) -> None:
    def run() -> dict[str, bytes]:
        api.prepare_data(project=project, annotations="annotations", llm_api_base=llm.base_url, num_rephrases=1)
        return contents(project / "output", without=("timings.json", "llm_cache.sqlite", "llm_costs.jsonl"))

    first = run()
    shutil.rmtree(project / "output")

    assert run() == first


def test_a_finished_run_is_not_paid_for_again(project: Path, llm: Running) -> None:
    def run() -> PrepareDataSummary:
        return api.prepare_data(project=project, annotations="annotations", llm_api_base=llm.base_url, num_rephrases=1)

    first = run()
    calls = llm.stats()["calls"]

    assert run() == first
    assert llm.stats()["calls"] == calls


def test_no_other_run_comes_in_between_two_stages(project: Path, llm: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "_PATIENCE", 0)
    refused = []

    def between(workspace: Workspace, *_: object, **__: object) -> None:
        with pytest.raises(WorkspaceError, match=f"Another run is writing .*process {os.getpid()} on"):
            Workspace(workspace.root).locked().__enter__()
        refused.append(workspace.root)

    monkeypatch.setattr(preparation, "judge_before_paying", between)
    api.prepare_data(project=project, annotations="annotations", llm_api_base=llm.base_url, num_rephrases=0)
    assert refused == [project / "output"]
    with Workspace(project / "output").locked():
        pass


def test_the_stages_one_by_one_give_the_same_as_prepare_data(project: Path, llm: Running) -> None:
    whole = api.prepare_data(
        project=project, annotations="annotations", llm_api_base=llm.base_url, num_rephrases=1, out="whole"
    )

    annotated = api.annotate(project=project, annotations="annotations")
    rephrased = api.rephrase(project=project, llm_api_base=llm.base_url, num_rephrases=1)
    made = api.dataset(project=project)
    divided = api.split(project=project)

    assert (annotated, rephrased, made, divided) == (whole.annotate, whole.rephrase, whole.dataset, whole.split)


def test_a_students_prompt_changes_the_prompts_and_nothing_else(project: Path, llm: Running) -> None:
    recorded = {"project": project, "annotations": "annotations", "llm_api_base": llm.base_url, "num_rephrases": 1}

    api.prepare_data(**recorded, out="own")
    api.prepare_data(**recorded, out="student", student_prompt="compact")

    own, student = (Workspace(project / name) for name in ("own", "student"))
    same = {"prompt", "made_by", "also_in"}
    assert [example.model_dump(exclude=same) for example in student.examples()] == [
        example.model_dump(exclude=same) for example in own.examples()
    ]
    assert {example.made_by for example in student.examples()} == {"rendered"}
    short, long = (sum(len(example.prompt) for example in made.examples()) for made in (student, own))
    assert short < 0.6 * long
    assert student.template() == shipped("compact").source
    assert own.template() in own.card().templates.values()
    assert read(student.root / "params.yaml")["parameters"]["student_prompt"] == "compact"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ user_message }}{{ available_flows }}{{ colour }}", "colour }} is unknown"),
        ("{{ user_message[:3] }}{{ available_flows }}", "does not show the user's message"),
    ],
)
def test_a_students_prompt_that_cannot_be_is_found_before_anything_is_done(
    project: Path, llm: Running, template: str, reason: str
) -> None:
    (project / "student.jinja2").write_text(template)
    calls = llm.stats()["calls"]

    with pytest.raises(ConfigError, match=reason):
        api.prepare_data(
            project=project, annotations="annotations", llm_api_base=llm.base_url, student_prompt="student.jinja2"
        )

    assert llm.stats()["calls"] == calls
    assert not (project / "output").exists()


def test_it_can_be_called_from_within_an_event_loop(project: Path) -> None:
    async def notebook() -> AnnotateSummary:
        return api.annotate(project=project, annotations="annotations")

    assert asyncio.run(notebook()).passed > 0


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_called(project: Path, llm: Running) -> None:
    calls = llm.stats()["calls"]
    (project / "rephrase.yml").write_text("temperature: 1\n")

    with pytest.raises(ConfigError) as wrong:
        api.prepare_data(
            project=project,
            annotations="nowhere",
            llm_api_base=llm.base_url,
            rephrase_config="rephrase.yml",
            num_rephrases=50,
            train_frac=0,
            concurrency=0,
            output_format="csv",  # type: ignore[arg-type]
            slot_values="mine",  # type: ignore[arg-type]
            student_prompt="no.jinja2",
        )

    told = str(wrong.value)
    for word in ("nowhere", "temperature", "num_rephrases", "train_frac", "concurrency", "csv", "mine", "no.jinja2"):
        assert word in told
    assert llm.stats()["calls"] == calls
    assert not (project / "output").exists()


def test_a_single_mistake_keeps_its_kind(project: Path) -> None:
    with pytest.raises(WorkspaceError, match="nowhere"):
        api.prepare_data(project=project, annotations="nowhere", llm_api_base="http://127.0.0.1:1/v1")


def test_an_llm_that_is_not_there_is_named(project: Path) -> None:
    with pytest.raises(LLMUnavailableError, match=r"127\.0\.0\.1:1/v1"):
        api.prepare_data(project=project, annotations="annotations", llm_api_base="http://127.0.0.1:1/v1")


def test_results_of_others_are_left_alone(project: Path, llm: Running) -> None:
    foreign = project / "output" / "1_command_annotations" / "notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")

    with pytest.raises(ForeignResultsError):
        api.prepare_data(project=project, annotations="annotations", llm_api_base=llm.base_url)
    assert foreign.read_text() == "mine"

    api.prepare_data(project=project, annotations="annotations", llm_api_base=llm.base_url, num_rephrases=0, force=True)
    assert not foreign.exists()


def test_no_secret_reaches_the_parameters(project: Path, llm: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_KEY", "a-very-secret-key")
    (project / "rephrase.yml").write_text(
        f"llm: {{provider: self-hosted, model: scripted, api_base: '{llm.base_url}', api_key: '${{OUR_KEY}}'}}\n"
    )

    base = f"{llm.base_url}?code=passphrase"
    api.prepare_data(
        project=project, annotations="annotations", llm_api_base=base, rephrase_config="rephrase.yml", num_rephrases=0
    )

    for name, content in contents(project / "output").items():
        assert b"a-very-secret-key" not in content, name
        assert b"passphrase" not in content, name


def test_a_stage_before_its_time_says_what_to_run(tmp_path: Path) -> None:
    for stage in (api.rephrase, api.dataset, api.split):
        with pytest.raises(RasaFtError, match="rasa-ft annotate"):
            stage(project=tmp_path)
